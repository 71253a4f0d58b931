"""What somebody hands in: a new method, its checks, its records, or predictions alone.

It judges; how a run is made is in `runs`, what a record may say in `records`.
"""
