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
from gmbench.records.schema import Record, Scores
from gmbench.records.store import RECORD, read_predictions, read_record
from gmbench.registry import find_method
from gmbench.runs.apart import Apart, EndedError, MethodApart, RaisedError
from gmbench.runs.runner import Run, perform
from gmbench.support.cache import Cache
from gmbench.support.progress import Progress

LEVEL = 0.001
LARGEST_FDR = 3.0
LARGEST_NMI = 0.5
"""So many times the run's FDR, and so much above its NMI, a record may say. Networks that are trained again end
elsewhere: of 218 rows of three seeds, one had FDRs more than a factor of 2 apart (marra19: 3.0), none NMIs more than
0.45 apart."""


@dataclass(frozen=True)
class Rerun:
    """A record and the run that was made of it.

    Attributes:
        folder: the record's.
        claimed, found: accuracy of the record and of the run, in [0, 1].
        agreement: share of test images that both attribute to the same source.
        p: of McNemar's exact test between the two (two-sided).
        problems: FDR and NMI that the record has and the run does not come near, a line each.
    """

    folder: Path
    claimed: float
    found: float
    agreement: float
    p: float
    problems: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether the run is about as good as the record says.

        Networks trained on another machine or with another number of threads end elsewhere, so predictions need not be
        equal; but a record that is better than the run, with p below 0.001, was not made by this code. Nor was one
        whose FDR or NMI is far above the run's.
        """
        return (self.found >= self.claimed or self.p >= LEVEL) and not self.problems


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
    problems = of_features(record.scores, outcome.record.scores)
    return compared(folder, record, labels, probabilities, again, problems)


def of_features(claimed: Scores, found: Scores) -> tuple[str, ...]:
    """What a record's FDR and NMI say that those of its run do not, a line each."""
    said, made = claimed.fdr, found.fdr
    problems = []
    if said is not None and (made is None or said.d != made.d or said.ratio > LARGEST_FDR * made.ratio):
        now = "none" if made is None else f"{made.ratio:.2f} (d = {made.d})"
        problems.append(
            f"FDR {now}, the record says {said.ratio:.2f} (d = {said.d}): at most {LARGEST_FDR:g} times as much holds"
        )
    for choice, alignment in claimed.nmi.items():
        again = found.nmi[choice].nmi if choice in found.nmi else None
        if again is None or alignment.nmi > again + LARGEST_NMI:
            now = "none" if again is None else f"{again:.2f}"
            problems.append(
                f"NMI of {choice} {now}, the record says {alignment.nmi:.2f}: at most {LARGEST_NMI:g} more holds"
            )
    return tuple(problems)


def compared(
    folder: Path,
    record: Record,
    labels: np.ndarray,
    probabilities: np.ndarray,
    again: np.ndarray,
    problems: tuple[str, ...] = (),
) -> Rerun:
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
        problems,
    )
