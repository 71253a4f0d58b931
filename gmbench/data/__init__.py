"""Datasets: cards, roles, loading."""
