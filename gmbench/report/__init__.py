"""What one run, or a few, did, as one page to look at: figures, pictures and tables, from records and their images.

Tables of many records are in `leaderboard`.
"""
