"""Leaderboards: markdown from committed records, the same bytes from the same records. Never imports torch."""
