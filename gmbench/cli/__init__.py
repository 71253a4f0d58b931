"""The command line: one module per group of commands, and all that is printed. No logic: commands call rooms below."""
