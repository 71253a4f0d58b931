"""Which images reach a method, and in which state: settings, selection, laundering."""
