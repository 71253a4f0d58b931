"""Datasets: cards, where they are, loading, import.

Which of their images reach a method is in `protocol`; making images, real or generated, in `building`.
"""
