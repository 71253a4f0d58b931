"""Predictions that are somebody else's: of another method, or of another seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gmbench.errors import RecordError
from gmbench.records.integrity import Found, found_of
from gmbench.records.store import RECORD, read_record

NEAR = 1e-3
"""Probabilities that differ by less, for every image and source, are the same but for what was put over them."""
MOST_OTHERWISE = 0.01
"""Share of images that a copy may attribute to another source, where two of its probabilities are near."""


class Copy(NamedTuple):
    """A record, the one whose predictions it has, and whether that is of another method."""

    path: Path
    other: Path
    of_another_method: bool


def copies(found: Sequence[Found]) -> Iterator[Copy]:
    """Those of some records whose predictions are those of another record beside them, in any setting.

    All records in the same results on the same datasets are compared, whether they are among these or not. Predictions
    that are the same for all images are nobody's. Of several that a record could be a copy of, the first of another
    method is given, else the first.
    """
    for (folder, tested), group in groupby(sorted(found, key=_data_of), key=_data_of):
        members = list(group)
        others = members + _beside(folder, tested, {member.path for member in members})
        attributed = [other.probabilities.argmax(axis=1) for other in others]
        for index, member in enumerate(members):
            same = [
                other
                for j, other in enumerate(others)
                if j != index and _is_copy(member, other, attributed[index], attributed[j])
            ]
            if same:
                other = min(same, key=lambda other: (not _is_of_another(member, other), str(other.path)))
                yield Copy(member.path, other.path, _is_of_another(member, other))


def _data_of(found: Found) -> tuple[Path, str]:
    """Where the records of the same fitted dataset lie, and what was tested on."""
    return found.path.absolute().parents[3], found.tested


def _beside(folder: Path, tested: str, known: set[Path]) -> list[Found]:
    """Other records below a dataset's folder; those that cannot be read are not compared."""
    others = []
    absolute = {path.absolute() for path in known}
    for path in sorted(folder.glob(f"*/*/*/{RECORD}")):
        if path in absolute:
            continue
        try:
            record = read_record(path.parent)
            if (record.identity.tested_on or record.identity.dataset) == tested:
                others.append(found_of(path.parent, record))
        except RecordError:
            continue
    return others


def _is_copy(member: Found, other: Found, ours: np.ndarray, theirs: np.ndarray) -> bool:
    if member.probabilities.shape != other.probabilities.shape or (ours != theirs).mean() > MOST_OTHERWISE:
        return False
    if not np.array_equal(member.ids, other.ids) or np.ptp(member.probabilities, axis=0).max() < NEAR:
        return False
    return bool(np.abs(member.probabilities - other.probabilities).max() < NEAR)


def _is_of_another(member: Found, other: Found) -> bool:
    return member.record.identity.method != other.record.identity.method
