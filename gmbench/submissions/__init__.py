"""What somebody hands in: a new method, its checks, its records, or predictions alone."""
