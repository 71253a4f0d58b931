"""The rows of leaderboards: records of one method on one dataset in one setting, over its seeds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import groupby
from pathlib import Path
from typing import Literal

import numpy as np

from gmbench.attributors import METHOD_FOLDERS
from gmbench.data.cards import REAL, DatasetCard, dataset_cards
from gmbench.evaluators.accuracy import accuracy_interval
from gmbench.records.integrity import (
    check_absent,
    check_revisions,
    check_roles,
    check_row,
    check_scores,
    check_test_images,
    found_of,
    row_of,
)
from gmbench.records.kept import Kept
from gmbench.records.schema import Record
from gmbench.records.store import all_records
from gmbench.registry import methods

BASELINES, METHODS = METHOD_FOLDERS


@dataclass(frozen=True, eq=False)
class Entry:
    """All seeds of one method (with its parameters) on one dataset in one setting.

    Attributes:
        records: one per seed, in their order; their scores are those that the predictions give.
        labels: (images,) source of each test image.
        probabilities: (seeds, images, sources).
        kept: tests of entries that were computed before; None: compute them.
    """

    records: tuple[Record, ...]
    labels: np.ndarray
    probabilities: np.ndarray
    kept: Kept | None = None

    @property
    def name(self) -> str:
        return self.records[0].identity.entry

    @property
    def dataset(self) -> str:
        """The dataset that the method was fitted on."""
        return self.records[0].identity.dataset

    @property
    def tested_on(self) -> str | None:
        """The dataset of the test images where that is another one (transfer)."""
        return self.records[0].identity.tested_on

    @property
    def setting(self) -> str:
        return self.records[0].identity.setting

    @property
    def sources(self) -> list[str]:
        return self.records[0].identity.sources

    @property
    def method(self) -> str:
        """The slug of its method."""
        return self.records[0].identity.method

    @property
    def kind(self) -> Literal["method", "baseline"] | None:
        """Whether its method competes (`methods/`) or is compared with (`baselines/`); None for one from elsewhere."""
        method = methods().get(self.method)
        home = method.folder.parent if method else None
        return "method" if home == METHODS else "baseline" if home == BASELINES else None

    @property
    def families(self) -> dict[str, str]:
        """The family of each source, as the dataset's card says: `real` its own, `other` where there is no card."""
        card = dataset_cards().get(self.tested_on or self.dataset)
        return {source: _family(card, source) for source in self.sources}

    @cached_property
    def correct(self) -> np.ndarray:
        """(seeds, images) whether each test image was attributed to its source."""
        return self.probabilities.argmax(axis=2) == self.labels

    @property
    def accuracies(self) -> np.ndarray:
        """Accuracy of each seed, in [0, 1]."""
        return self.correct.mean(axis=1)

    @cached_property
    def interval(self) -> tuple[float, float]:
        """95 % interval over test images of the accuracy averaged over these seeds."""
        return accuracy_interval(self.correct)

    @property
    def confusion(self) -> np.ndarray:
        """(sources, sources) counts over all seeds; row: true source, column: attributed source."""
        return np.sum([record.scores.accuracy.confusion for record in self.records], axis=0)

    @property
    def recall(self) -> dict[str, float]:
        """Recall of each source, averaged over seeds."""
        recalls = [record.scores.accuracy.recall for record in self.records]
        return {source: float(np.mean([recall[source] for recall in recalls])) for source in self.sources}

    def accuracies_among(self, sources: Sequence[str]) -> np.ndarray:
        """Accuracy of each seed on the test images of some of its sources, choosing among these alone."""
        columns = [self.sources.index(source) for source in sources]
        asked = np.isin(self.labels, columns)
        predicted = np.array(columns)[self.probabilities[:, asked][:, :, columns].argmax(axis=2)]
        return (predicted == self.labels[asked]).mean(axis=1)


def read_entries(
    results: Path, dataset: str | None = None, setting: str | None = None, kept: Kept | None = None
) -> list[Entry]:
    """All entries below `results`, ordered by dataset, setting and name, or those of one dataset and setting alone.

    Args:
        kept: scores and tests that were computed before; they are computed anew without.

    Raises:
        RecordError: a record is damaged, its scores do not follow from its predictions, its test images are not the
            dataset's, or records that belong together were made from different data, code or parameters.
    """
    # Decoding and resampling run side by side, the rest waits its turn: four threads take longer than two.
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda of_record: found_of(*of_record), all_records(results, dataset, setting)))
        check_revisions(found)
        check_test_images(found)
        for member in found:
            check_roles(member)
            check_absent(member)
        list(pool.map(partial(check_scores, kept=kept), found))
    entries = []
    for _, group in groupby(sorted(found, key=row_of), key=row_of):
        members = sorted(group, key=lambda member: member.record.identity.seed)
        check_row(members)
        probabilities = np.stack([member.probabilities for member in members])
        entries.append(Entry(tuple(member.record for member in members), members[0].labels, probabilities, kept))
    return entries


def methods_of(entries: Iterable[Entry]) -> list[str]:
    """Slugs of the methods that are the project's own (`baselines/`, `methods/`) and have a record, in order."""
    return sorted({entry.method for entry in entries if entry.kind is not None})


def _family(card: DatasetCard | None, source: str) -> str:
    if source == REAL:
        return REAL
    return card.generators[source].family if card is not None and source in card.generators else "other"
