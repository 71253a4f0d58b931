"""One question of an audit, and its answer."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from gmbench.support.schema import Strict

if TYPE_CHECKING:
    pass


class Check(Strict):
    """One question of an audit.

    Attributes:
        expected, found: in words.
        figures: the numbers behind `found`; counts, shares in [0, 1], distances in grey levels (root mean square).
    """

    name: str
    passed: bool
    expected: str
    found: str
    figures: dict[str, Any]


def verdict(check: Check) -> str:
    return "pass" if check.passed else "FAIL"


def listed(counts: Counter[str]) -> str:
    return ", ".join(f"{n} {what}" for what, n in counts.most_common())


def some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
