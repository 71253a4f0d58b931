"""The questions of an audit and their answers, one by one and together."""

from __future__ import annotations

from collections import Counter
from typing import Any

from gmbench.support.schema import Strict


class Check(Strict):
    """One question of an audit.

    Attributes:
        expected, found: in words.
        figures: the numbers behind `found`; counts, shares in [0, 1], distances in grey levels (root mean square).
        gate: whether the audit fails with it; without, it is a figure to know.
    """

    name: str
    passed: bool
    expected: str
    found: str
    figures: dict[str, Any]
    gate: bool = True


class AuditReport(Strict):
    """What an audit found, and of which dataset. `images`: how many each role has."""

    dataset: str
    revision: str
    gmbench: str
    images: dict[str, int]
    checks: list[Check]

    @property
    def passed(self) -> bool:
        """Whether every check that the audit may fail with passed."""
        return all(check.passed for check in self.checks if check.gate)


REMEDIES = {
    "format": "import the images anew: an import stores all as PNG of one size",
    "metadata": "import the images anew: an import keeps pixels alone",
    "encoder settings": "import the images anew: an import writes all files alike",
    "history": "give all sources the same format, quality and size before import, e.g. all JPEG of one quality",
    "ids": "import the images anew: ids are made from the pixels",
    "sources": "import with all sources in each role, or a card that names those that are there",
    "images per source": "import with --balance, which takes as many of each source in each role",
    "near-duplicates across roles": "remove repeated images before import, or keep them in one role",
    "near-duplicates between sources": "remove images that several sources share before import",
    "copies of training reals": "sample anew or remove the copies: they are no generated images",
    "probe on trivial statistics": "match brightness, colour and sizes of sources before import, or draw more samples",
}
"""What to do about a check that failed, by its name."""


def verdict(check: Check) -> str:
    """The result of a check in a word."""
    if not check.gate:
        return "figure"
    return "pass" if check.passed else "FAIL"


def listed(counts: Counter[str]) -> str:
    return ", ".join(f"{n} {what}" for what, n in counts.most_common())


def some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
