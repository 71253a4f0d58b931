"""What a run leaves: schema, store, scores, integrity, rows, comparison. Never imports torch; `runs` makes them."""
