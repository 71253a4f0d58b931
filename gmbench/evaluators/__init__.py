"""From predictions and features to numbers: pure functions on arrays, one file each. Never imports torch."""
