"""`gmbench compare`: two methods on the same test images, from their records. Never imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gmbench.errors import NotFoundError, ParameterError
from gmbench.evaluators.significance import FEWEST_SEEDS, LEVEL, PairedDifference, paired_difference
from gmbench.records.rows import Entry, read_entries
from gmbench.records.schema import Record

WHICH_IS_WHICH = (
    "These seeds are the very models that were fitted; new seeds are the methods, if they were fitted again and tested "
    "on other images."
)


@dataclass(frozen=True)
class Comparison:
    """Two entries on one dataset in one setting; `paired` is the first against the second."""

    first: Entry
    second: Entry
    paired: PairedDifference

    @property
    def images(self) -> int:
        """How many test images both attributed."""
        return int(self.first.correct.shape[1])

    @property
    def verdict(self) -> str:
        """Three sentences: with these seeds, which is better by how much where p is at most 0.05, or that these images
        do not tell; the same with new seeds; and which is which.
        """
        return f"{self._with_these_seeds} {self._with_new_seeds} {WHICH_IS_WHICH}"

    @property
    def _with_these_seeds(self) -> str:
        paired, on = self.paired, f"on these {self.images:,} test images"
        if paired.p > LEVEL:
            return f"With these seeds, {self.first.name} and {self.second.name} are not distinguishable {on}."
        by = f"{100 * abs(paired.difference):.1f} percentage points ({self._gain(paired.low, paired.high)})"
        return f"With these seeds, {self._better} by {by} {on}."

    @property
    def _with_new_seeds(self) -> str:
        new = self.paired.new_seeds
        if new is None:
            return f"Of new seeds nothing is known: that takes {FEWEST_SEEDS} of each."
        if new.p > LEVEL:
            return "With new seeds, they are not distinguishable."
        return f"With new seeds, {self._better} by {self._gain(new.low, new.high)} points."

    @property
    def _better(self) -> str:
        names = self.first.name, self.second.name
        better, worse = names if self.paired.difference > 0 else reversed(names)
        return f"{better} is better than {worse}"

    def _gain(self, low: float, high: float) -> str:
        """An interval of the difference in points, as a gain of the better one."""
        if self.paired.difference < 0:
            low, high = -high, -low
        return f"{100 * low:.1f} to {100 * high:.1f}"


def compare_records(first: Record | Sequence[Record], second: Record | Sequence[Record]) -> Comparison:
    """Compares two methods from their records, one or several seeds each, on the same test images in one setting.

    Raises:
        ParameterError: there is no record, or they are not about the same test images.
        RecordError: the predictions beside a record cannot be read.
    """
    one, other = (_entry_of([given] if isinstance(given, Record) else list(given)) for given in (first, second))
    for what in ("dataset", "setting", "tested_on"):
        if getattr(one, what) != getattr(other, what):
            raise ParameterError(
                f"compare: expected records of one {what}, got {getattr(one, what)} and {getattr(other, what)}."
            )
    if not np.array_equal(one.labels, other.labels) or len(one.records) != len(other.records):
        raise ParameterError(
            "compare: expected records of the same test images, and as many seeds of one as the other."
        )
    return Comparison(one, other, paired_difference(one.correct, other.correct))


def _entry_of(records: list[Record]) -> Entry:
    if not records:
        raise ParameterError("compare: expected a record, got none.")
    predictions = [record.predictions() for record in records]
    return Entry(tuple(records), predictions[0].labels, np.stack([each.probabilities for each in predictions]))


def compare(first: str, second: str, results: Path, dataset: str, setting: str) -> Comparison:
    """Compares two entries by name (a method's slug, with its changed parameters) from the records below `results`.

    Raises:
        ParameterError: both names are the same.
        NotFoundError: there is no record of one of them; the message names those that there are.
        RecordError: a record is damaged or at odds with its predictions.
    """
    if first == second:
        raise ParameterError(f"compare: expected two different entries, got '{first}' twice.")
    found = {entry.name: entry for entry in read_entries(results, dataset, setting)}
    if not found:
        there = sorted({f"{entry.dataset} in setting {entry.setting}" for entry in read_entries(results)})
        raise NotFoundError(
            f"{results} has no records on {dataset} in setting {setting}. It has: {', '.join(there) or 'none at all'}."
        )
    for name in (first, second):
        if name not in found:
            raise NotFoundError(
                f"{results} has no record of '{name}' on {dataset} in setting {setting}. It has: {', '.join(found)}."
            )
    return Comparison(found[first], found[second], paired_difference(found[first].correct, found[second].correct))
