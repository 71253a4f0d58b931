"""The rows of leaderboards: records of one method on one dataset in one setting, over its repetitions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path

import numpy as np

from gmbench.data.card import dataset_cards
from gmbench.data.storage import read_columns, read_manifest, role_path
from gmbench.errors import RecordError
from gmbench.evaluators.accuracy import Accuracy, attribution_accuracy, bootstrap_interval
from gmbench.records import RECORD, Record, all_records, read_predictions


@dataclass(frozen=True)
class Entry:
    """All repetitions of one method (with its parameters) on one dataset in one setting.

    Attributes:
        scores: accuracy of each repetition, computed anew from its predictions.
        correct: (repetitions, images) whether each test image was attributed to its source.
    """

    records: tuple[Record, ...]
    scores: tuple[Accuracy, ...]
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
    def sources(self) -> list[str]:
        return self.records[0].identity.sources

    @property
    def accuracies(self) -> np.ndarray:
        """Accuracy of each repetition, in [0, 1]."""
        return np.array([score.accuracy for score in self.scores])

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
        return {source: float(np.mean([score.recall[source] for score in self.scores])) for source in self.sources}


@dataclass(frozen=True)
class Found:
    """A record with its predictions, and where it is."""

    path: Path
    record: Record
    ids: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray


def read_entries(results: Path) -> list[Entry]:
    """All entries below `results`, ordered by dataset, setting and name.

    Raises:
        RecordError: a record is damaged, its scores do not follow from its predictions, its test images are not the
            dataset's, or records that belong together were made from different data, code or parameters.
    """
    found = []
    for folder, record in all_records(results):
        predictions = read_predictions(folder, record.identity.sources)
        found.append(Found(folder / RECORD, record, *predictions))
    _check_test_images(found)
    entries = []
    for _, group in groupby(sorted(found, key=_place), key=_place):
        members = list(group)
        _check_agreement(members, ("parameters", "method_sha256", "harness_sha256", "packages"))
        scores = tuple(_checked_accuracy(member) for member in members)
        correct = np.stack([member.probabilities.argmax(axis=1) == member.labels for member in members])
        entries.append(Entry(tuple(member.record for member in members), scores, correct))
    return entries


def _place(found: Found) -> tuple[str, str, str]:
    identity = found.record.identity
    return identity.dataset, identity.setting, identity.entry


def _checked_accuracy(found: Found) -> Accuracy:
    accuracy = attribution_accuracy(found.probabilities, found.labels, found.record.identity.sources)
    recorded = found.record.scores.accuracy
    for field in Accuracy.model_fields:
        ours, theirs = getattr(accuracy, field), getattr(recorded, field)
        if ours != theirs:
            raise RecordError(
                f"{found.path}: its predictions give {_short(ours)}, the record says {_short(theirs)} "
                f"(field 'scores.accuracy.{field}')."
            )
    return accuracy


def _check_test_images(found: list[Found]) -> None:
    """Every record of a dataset is about the same test images with the same labels; embedded datasets say which."""
    for dataset, group in groupby(sorted(found, key=_place), key=lambda member: member.record.identity.dataset):
        members = list(group)
        _check_agreement(members, ("dataset_revision", "roles_sha256", "sources"))
        first = members[0]
        card = dataset_cards().get(dataset)
        ids, names, what = first.ids, np.array(first.record.identity.sources)[first.labels], str(first.path)
        if card is not None and card.embedded:
            revision = read_manifest(card.folder).revision
            if first.record.identity.dataset_revision != revision:
                raise RecordError(
                    f"{first.path} is of revision {first.record.identity.dataset_revision[:12]} of {dataset}, which is "
                    f"now {revision[:12]} (field 'identity.dataset_revision'). Run it again."
                )
            columns = read_columns(card.folder / role_path("test"))
            ids, names, what = columns["id"], columns["source"], f"dataset {dataset}"
        for member in members:
            if not np.array_equal(member.ids, ids):
                raise RecordError(f"{member.path}: its test images are not those of {what} (field 'id').")
            if not np.array_equal(np.array(member.record.identity.sources)[member.labels], names):
                raise RecordError(f"{member.path}: its labels are not those of {what} (field 'label').")


def _check_agreement(members: list[Found], fields: tuple[str, ...]) -> None:
    first = members[0]
    for member in members:
        for field in fields:
            ours, theirs = getattr(member.record.identity, field), getattr(first.record.identity, field)
            if ours != theirs:
                raise RecordError(
                    f"{member.path} does not belong with {first.path}: field 'identity.{field}' "
                    f"is {_short(ours)} and {_short(theirs)}. Run them again."
                )


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
