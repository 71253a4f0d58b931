"""What every room may use: files, cache, device, seeds, digests, git, schemas, parameters, progress.

Nothing here knows the words image, dataset or method.
"""
