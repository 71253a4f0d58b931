"""From (method, dataset, setting, seed) to a record: one run, many runs, runs repeated, and what they ran on."""
