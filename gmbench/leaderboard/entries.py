"""The rows of leaderboards: records of one method on one dataset in one setting, over its repetitions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path

import numpy as np

from gmbench.errors import RecordError
from gmbench.evaluators.accuracy import attribution_accuracy, bootstrap_interval
from gmbench.records import RECORD, Record, all_records, read_predictions


@dataclass(frozen=True)
class Entry:
    """All repetitions of one method (with its parameters) on one dataset in one setting.

    Attributes:
        correct: (repetitions, images) whether each test image was attributed to its source.
    """

    records: tuple[Record, ...]
    correct: np.ndarray

    @property
    def name(self) -> str:
        return self.records[0].identity.entry

    @property
    def dataset(self) -> str:
        return self.records[0].identity.dataset

    @property
    def setting(self) -> str:
        return self.records[0].identity.setting

    @property
    def accuracies(self) -> np.ndarray:
        """Accuracy of each repetition, in [0, 1]."""
        return np.array([record.scores.accuracy.accuracy for record in self.records])

    @property
    def fdrs(self) -> np.ndarray:
        """FDR of each repetition."""
        return np.array([record.scores.fdr.ratio for record in self.records])

    @cached_property
    def interval(self) -> tuple[float, float]:
        """Bootstrap 95 % interval over test images of the accuracy averaged over repetitions."""
        return bootstrap_interval(self.correct.mean(axis=0))

    @property
    def recall(self) -> dict[str, float]:
        """Recall of each source, averaged over repetitions."""
        recalls = [record.scores.accuracy.recall for record in self.records]
        return {source: float(np.mean([recall[source] for recall in recalls])) for source in self.records[0].sources}


def read_entries(results: Path) -> list[Entry]:
    """All entries below `results`, ordered by dataset, setting and name.

    Raises:
        RecordError: a record is damaged, its accuracy does not follow from its predictions, or records of one dataset
            were made from different images.
    """
    found = list(all_records(results))
    _check_same_images(found)
    entries = []
    key = lambda item: (item[1].identity.dataset, item[1].identity.setting, item[1].identity.entry)  # noqa: E731
    for _, group in groupby(sorted(found, key=key), key=key):
        members = sorted(group, key=lambda item: item[1].identity.repetition)
        predictions = [_correct(folder, record) for folder, record in members]
        ids = predictions[0][0]
        for (folder, _), (other_ids, _) in zip(members, predictions, strict=True):
            if not np.array_equal(ids, other_ids):
                raise RecordError(f"{folder}: its test images are not those of the other repetitions (field 'id').")
        entries.append(Entry(tuple(record for _, record in members), np.stack([correct for _, correct in predictions])))
    return entries


def _correct(folder: Path, record: Record) -> tuple[np.ndarray, np.ndarray]:
    ids, labels, probabilities = read_predictions(folder, record.sources)
    accuracy = attribution_accuracy(probabilities, labels)
    if not np.isclose(accuracy.accuracy, record.scores.accuracy.accuracy, atol=1e-9):
        raise RecordError(
            f"{folder / RECORD}: its predictions give an accuracy of {accuracy.accuracy:.4f}, "
            f"the record says {record.scores.accuracy.accuracy:.4f} (field 'scores.accuracy.accuracy')."
        )
    return ids, probabilities.argmax(axis=1) == labels


def _check_same_images(found: list[tuple[Path, Record]]) -> None:
    first: dict[str, tuple[Path, Record]] = {}
    for folder, record in found:
        before_folder, before = first.setdefault(record.identity.dataset, (folder, record))
        for field in ("dataset_revision", "roles_sha256"):
            ours, theirs = getattr(record.identity, field), getattr(before.identity, field)
            if ours != theirs:
                raise RecordError(
                    f"{folder / RECORD} was made from other images than {before_folder / RECORD}: "
                    f"field 'identity.{field}' is {ours[:12]}… and {theirs[:12]}…."
                )
