"""Leaderboards: markdown from committed records, the same bytes from the same records. Never imports torch.

Scores, rows and tests between methods are read from `records` and `evaluators`; nothing is computed for pages alone.
"""
