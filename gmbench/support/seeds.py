"""Seeds derived from names, so that no run depends on which runs came before it."""

from __future__ import annotations

import hashlib


def seed_from(*names: object) -> int:
    """A seed in [0, 2**31) from the sha256 of the names, the same on every machine."""
    text = "\x1f".join(str(name) for name in names)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1
