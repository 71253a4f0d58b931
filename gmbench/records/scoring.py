"""From a run's predictions and features to its scores, when it is made and whenever they are computed anew."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from gmbench.data.cards import DatasetCard, find_dataset
from gmbench.errors import MethodError, RecordError
from gmbench.evaluators.accuracy import attribution_accuracy
from gmbench.evaluators.calibration import calibration
from gmbench.evaluators.detection import detection
from gmbench.evaluators.fdr import frechet_distance_ratio, too_few
from gmbench.evaluators.nmi import design_alignment
from gmbench.records.figures import Figure, of_accuracy, of_calibration, of_detection, of_fdr
from gmbench.records.schema import Identity, Record, Scores
from gmbench.records.store import read_predictions, read_record
from gmbench.support.cache import Cache, load_array, save_array
from gmbench.support.progress import Progress

ROUNDING = 1e-9
"""Scores that are nearer than this, by themselves or relative to their size, differ by the order of summation only."""


class Answers(NamedTuple):
    """What a run leaves for evaluators.

    Attributes:
        probabilities: (n, sources) of the test images. features: (n, d); without columns where there are none.
        labels: (n,) integers into `sources`.
        choices: the design choices of each source by name; empty for `real`.
    """

    probabilities: np.ndarray
    features: np.ndarray
    labels: np.ndarray
    sources: Sequence[str]
    choices: Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class Evaluator:
    """One group of `Scores`: its name, what it needs, how it is computed, and the figures that a reader sees first.

    `absent` says from labels and sources alone why there is none; None if there is.
    """

    name: str
    needs: Literal["predictions", "features"]
    function: Callable[[Answers], Any]
    figures: Callable[[Scores, Sequence[str]], list[Figure]]
    absent: Callable[[np.ndarray, Sequence[str]], str | None] = lambda labels, sources: None


EVALUATORS = (
    Evaluator(
        "accuracy",
        "predictions",
        lambda answers: attribution_accuracy(answers.probabilities, answers.labels, answers.sources),
        of_accuracy,
    ),
    Evaluator(
        "detection",
        "predictions",
        lambda answers: detection(answers.probabilities, answers.labels),
        of_detection,
    ),
    Evaluator(
        "calibration",
        "predictions",
        lambda answers: calibration(answers.probabilities, answers.labels),
        of_calibration,
    ),
    Evaluator(
        "fdr",
        "features",
        lambda answers: frechet_distance_ratio(answers.features, answers.labels),
        of_fdr,
        too_few,
    ),
    Evaluator(
        "nmi",
        "features",
        lambda answers: design_alignment(answers.features, answers.labels, answers.choices),
        lambda scores, sources: [],
    ),
)
"""All evaluators, in the order of their figures. A new score is an entry here and a field of `Scores`."""
OF_PREDICTIONS, OF_FEATURES = (
    tuple(evaluator.name for evaluator in EVALUATORS if evaluator.needs == needs)
    for needs in ("predictions", "features")
)
"""The groups of `Scores` that follow from predictions alone, and those that need features."""


def absent_scores(labels: np.ndarray, sources: Sequence[str]) -> dict[str, str]:
    """The groups of `Scores` that test images with these labels (n,) cannot have, each with why: known before a fit."""
    reasons = {evaluator.name: evaluator.absent(labels, sources) for evaluator in EVALUATORS}
    return {name: reason for name, reason in reasons.items() if reason is not None}


def score(
    probabilities: np.ndarray,
    features: np.ndarray,
    labels: np.ndarray,
    sources: Sequence[str],
    choices: Sequence[Mapping[str, str]],
    progress: Progress,
) -> Scores:
    """What all evaluators say of the probabilities (n, sources) and features (n, d) of test images.

    Args:
        labels: (n,) integers into `sources`.
        choices: the design choices of each source by name, for NMI; empty for `real`.

    Raises:
        MethodError: the features are the same for all images of each source.
    """
    answers = Answers(probabilities, features, labels, sources, choices)
    absent = absent_scores(labels, sources)
    try:
        found: dict[str, Any] = {}
        with progress.phase("evaluating", len(EVALUATORS)) as phase:
            for evaluator in EVALUATORS:
                found[evaluator.name] = None if evaluator.name in absent else evaluator.function(answers)
                phase.advance(1, evaluator.name)
    except ValueError as error:
        raise MethodError(f"embed: {error}.") from error
    return Scores(**found, absent=absent)


def score_predictions(
    probabilities: np.ndarray, labels: np.ndarray, sources: Sequence[str], names: Sequence[str] = OF_PREDICTIONS
) -> dict[str, Any]:
    """The scores that follow from predictions alone, or some of them, by their names in `Scores`."""
    answers = Answers(probabilities, np.empty((len(labels), 0)), labels, sources, ())
    return {each.name: each.function(answers) for each in EVALUATORS if each.name in names}


class Compared(NamedTuple):
    """A score by its path in `Scores`, as it was and as it is; None where there is none."""

    name: str
    before: Any
    now: Any

    @property
    def is_same(self) -> bool:
        """Equal but for rounding."""
        return _is_same(self.before, self.now)


@dataclass(frozen=True)
class Evaluation:
    """A record, and its scores computed anew. `with_features`: FDR and NMI too, whose features were in the cache."""

    record: Record
    scores: Scores
    with_features: bool

    @property
    def computed(self) -> tuple[str, ...]:
        """The groups of scores that were computed anew; the others are the record's."""
        return OF_PREDICTIONS + OF_FEATURES if self.with_features else OF_PREDICTIONS

    @property
    def compared(self) -> list[Compared]:
        """Every score that was computed anew, beside the record's."""
        before, now = self.record.scores.model_dump(), self.scores.model_dump()
        return compared({name: before[name] for name in self.computed}, {name: now[name] for name in self.computed})

    @property
    def differing(self) -> list[Compared]:
        """Those of them that are another."""
        return [score for score in self.compared if not score.is_same]


def compared(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Compared]:
    """All scores of some groups of `Scores`, as they are dumped, side by side; lists are one score each."""
    first, second = dict(_leaves(before)), dict(_leaves(now))
    return [Compared(name, first.get(name), second.get(name)) for name in {**first, **second}]


def _leaves(scores: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in scores.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}.{inner}", leaf) for inner, leaf in _leaves(value))
        else:
            yield name, value


def _is_same(first: Any, second: Any) -> bool:
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(_is_same, first, second))
    if isinstance(first, float) and isinstance(second, float):
        return math.isclose(first, second, rel_tol=ROUNDING, abs_tol=ROUNDING)
    return bool(first == second)


def evaluate(folder: Path, progress: Progress, cache: Cache | None = None) -> Evaluation:
    """Computes a record's scores anew, from its predictions and from the features that its run left in the cache.

    Raises:
        RecordError: the record is damaged, or its predictions cannot be scored.
        NotFoundError: its dataset is not known.
    """
    record = read_record(folder)
    identity = record.identity
    _, labels, probabilities = read_predictions(folder, identity.sources)
    features = cached_features(identity, cache)
    try:
        if features is None:
            of_predictions = score_predictions(probabilities, labels, identity.sources)
            return Evaluation(record, record.scores.model_copy(update=of_predictions), False)
        choices = design_choices(find_dataset(identity.tested_on or identity.dataset), identity.sources)
        return Evaluation(record, score(probabilities, features, labels, identity.sources, choices, progress), True)
    except ValueError as error:
        raise RecordError(f"{folder}: its predictions cannot be scored: {error}.") from error


def _features_path(cache: Cache, identity: Identity) -> Path:
    return cache.path("features", ".npy", **identity.model_dump(exclude={"evaluators_sha256"}))


def cached_features(identity: Identity, cache: Cache | None = None) -> np.ndarray | None:
    """The features (n, d) that a run left in the cache; None where there are none."""
    return load_array(_features_path(cache or Cache(), identity))


def keep_features(cache: Cache, identity: Identity, features: np.ndarray) -> None:
    """Keeps a run's features (n, d) in the cache, for `evaluate`."""
    save_array(_features_path(cache, identity), features.astype(np.float32))


def design_choices(card: DatasetCard, sources: Sequence[str]) -> list[Mapping[str, str]]:
    """The design choices of each source by name; none for `real`."""
    return [card.generators[name].known_choices if name in card.generators else {} for name in sources]
