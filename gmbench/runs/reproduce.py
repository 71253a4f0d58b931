"""A record's run again, from the code that is here, beside what the record says."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from gmbench.data.cards import dataset_cards, find_dataset
from gmbench.errors import MethodError, RecordError
from gmbench.evaluators.significance import mcnemar
from gmbench.records.schema import Record
from gmbench.records.store import RECORD, read_predictions, read_record
from gmbench.registry import find_method
from gmbench.runs.apart import Apart, EndedError, MethodApart, RaisedError
from gmbench.runs.runner import Run, perform
from gmbench.support.cache import Cache
from gmbench.support.progress import Progress

LEVEL = 0.001


@dataclass(frozen=True)
class Rerun:
    """A record and the run that was made of it.

    Attributes:
        folder: the record's.
        claimed, found: accuracy of the record and of the run, in [0, 1].
        agreement: share of test images that both attribute to the same source.
        p: of McNemar's exact test between the two (two-sided).
    """

    folder: Path
    claimed: float
    found: float
    agreement: float
    p: float

    @property
    def holds(self) -> bool:
        """Whether the run is about as good as the record says.

        Networks trained on another machine or with another number of threads end elsewhere, so predictions need not be
        equal; but a record that is better than the run, with p below 0.001, was not made by this code.
        """
        return self.found >= self.claimed or self.p >= LEVEL


def choose(folders: Sequence[Path]) -> Path | None:
    """One of some records at random, so that nobody knows beforehand which; None if nobody can run any again.

    Those can be run again whose images come with the project and whose method has code.
    """
    able = []
    for folder in folders:
        record = read_record(folder)
        identity = record.identity
        cards = [dataset_cards().get(name) for name in (identity.dataset, identity.tested_on) if name is not None]
        if not record.predictions_only and all(card is not None and card.embedded for card in cards):
            able.append(folder)
    return secrets.choice(able) if able else None


def rerun(folder: Path, device: str, progress: Progress) -> Rerun:
    """Makes a record's run again, with nothing from the cache, and the method in a process of its own.

    Raises:
        RecordError: the record is damaged, or of other data than is here.
        NotFoundError: its method is not here.
        MethodError: the method fails, ends its process, or reads images or records by itself.
    """
    record = read_record(folder)
    identity = record.identity
    ids, labels, probabilities = read_predictions(folder, identity.sources)
    method = find_method(identity.method)
    card = find_dataset(identity.dataset)
    with TemporaryDirectory() as home, Apart(method, Path(home).resolve() / "apart") as process:
        asked = Run(
            MethodApart.of(process, card),
            card,
            identity.setting,
            identity.seed,
            identity.given,
            device,
            identity.precision,
        )
        try:
            outcome = perform(asked, Path(home) / "results", progress, Cache(Path(home) / "cache"))
        except EndedError as error:
            raise MethodError(f"{method.slug} ended its process, {error}.") from error
        except RaisedError as error:
            raise MethodError(f"{method.slug} failed: {error}") from error
        if process.seen["labels"]:
            raise MethodError(f"{method.slug} reads images or records by itself: {process.seen['labels'][0]}.")
        again_ids, _, again = read_predictions(outcome.folder, identity.sources)
    if not np.array_equal(ids, again_ids):
        raise RecordError(f"{folder / RECORD}: its test images are not those of {identity.dataset} (field 'id').")
    return compared(folder, record, labels, probabilities, again)


def compared(folder: Path, record: Record, labels: np.ndarray, probabilities: np.ndarray, again: np.ndarray) -> Rerun:
    """What two sets of probabilities (n, sources) of the same test images with labels (n,) say of each other."""
    first, second = probabilities.argmax(axis=1), again.argmax(axis=1)
    wins = int(((first == labels) & (second != labels)).sum())
    losses = int(((first != labels) & (second == labels)).sum())
    return Rerun(
        folder,
        record.scores.accuracy.accuracy,
        float((second == labels).mean()),
        float((first == second).mean()),
        mcnemar(wins, losses),
    )
