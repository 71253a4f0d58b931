"""Which images reach a method, and in which state: settings, selection, laundering.

Dealing a new dataset's images out to roles is in `data.importing` and `building`.
"""
