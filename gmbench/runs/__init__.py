"""From (method, dataset, setting, seed) to a record: one run, many runs, runs repeated, and what they ran on.

What a record is, and everything that reads one, is in `records`.
"""
