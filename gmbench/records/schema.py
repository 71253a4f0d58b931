"""What one run leaves: scores, and everything needed to run it again."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Self
from urllib.parse import quote

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveInt, PrivateAttr, StringConstraints, model_validator

from gmbench.data.cards import CHOICES
from gmbench.evaluators.accuracy import Accuracy
from gmbench.evaluators.calibration import Calibration
from gmbench.evaluators.detection import Detection
from gmbench.evaluators.fdr import FDR
from gmbench.evaluators.nmi import Alignment
from gmbench.protocol.settings import SETTINGS, TRANSFER
from gmbench.support.schema import Line, Name, Slug, Strict

SCHEMA_VERSION = 4
LONGEST_CHANGES = 120
ROUNDING = 1e-9
Role = Annotated[str, StringConstraints(pattern=r"^(manifold|train|val|test)$")]
Precision = Annotated[str, StringConstraints(pattern=r"^(32-true|bf16-mixed)$")]
Choice = Annotated[str, StringConstraints(pattern=rf"^({'|'.join(CHOICES)})$")]
FiniteNonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def _figures(scores: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """All numbers of some scores by their path."""
    if isinstance(scores, dict):
        for key, value in scores.items():
            yield from _figures(value, f"{name}.{key}" if name else str(key))
    elif isinstance(scores, list | tuple):
        for value in scores:
            yield from _figures(value, name)
    elif isinstance(scores, int | float):
        yield name, scores


class Scores(Strict):
    """What the evaluators say of a run.

    Attributes:
        fdr: None where there are predictions only, since it needs features, or where there are too few images for it.
        nmi: alignment with each design choice of the sources, by its name; needs features too.
        absent: why a run has no score of that name.
    """

    accuracy: Accuracy
    detection: Detection
    calibration: Calibration
    fdr: FDR | None
    nmi: dict[Choice, Alignment]
    absent: dict[str, Line] = {}

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        """Every figure is finite; shares lie in [0, 1], nothing else is negative; none contradicts another."""
        for name, value in _figures(self.model_dump()):
            group = name.partition(".")[0]
            low = -1.0 if name.endswith(".ami") else 0.0
            high = math.inf if group == "fdr" or isinstance(value, int) else 1.0
            if not math.isfinite(value) or not low - ROUNDING <= value <= high + ROUNDING:
                raise ValueError(f"{name} is {value}, expected a finite number in [{low:g}, {high:g}]")
        if self.fdr is not None and (problem := self.fdr.contradiction) is not None:
            raise ValueError(problem)
        for choice, alignment in self.nmi.items():
            # The larger entropy is no smaller than the mean of both, and what chance gives is taken off.
            if not max(alignment.nmi, alignment.ami) <= alignment.nmi_arithmetic + ROUNDING or alignment.values < 2:
                raise ValueError(f"nmi.{choice} is more than nmi_arithmetic can give, or of fewer than two values")
        return self


class Environment(Strict):
    """Where a run was made, as far as it should not change the result."""

    gmbench: Line
    git_commit: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")] | None
    git_dirty: bool | None
    python: Line
    platform: Line
    hardware: Line
    threads: NonNegativeInt


class Identity(Strict):
    """What decides a run's result. Two runs with equal identities are the same run.

    `given` are those of `parameters` that differ from the method's defaults. `tested_on` is another dataset than the
    one that the method was fitted on. `harness_sha256` is of the code that decides predictions and features,
    `evaluators_sha256` of the code that made each group of `Scores`. `precision` is that of the training of networks.
    """

    dataset: Slug
    dataset_revision: str
    roles_sha256: str
    setting: Slug
    tested_on: Slug | None
    tested_revision: str | None
    method: Slug
    method_sha256: str
    parameters: dict[Name, bool | int | float | str]
    given: dict[Name, bool | int | float | str]
    seed: NonNegativeInt
    random_state: int
    sources: list[Line] = Field(min_length=2)
    harness_sha256: str
    evaluators_sha256: dict[str, str]
    packages: dict[Line, Line]
    device: Line
    precision: Precision = "32-true"

    @model_validator(mode="after")
    def _is_of_a_setting(self) -> Self:
        """The setting is known, and transfer is to another dataset."""
        if self.tested_on is None and self.setting not in SETTINGS:
            raise ValueError(f"setting '{self.setting}' is not known. There is: {', '.join(SETTINGS)}")
        if self.tested_on is not None and (
            self.setting != TRANSFER + self.tested_on or self.tested_on == self.dataset or not self.tested_revision
        ):
            raise ValueError(f"setting '{self.setting}' does not test what was fitted on {self.dataset} elsewhere")
        return self

    @property
    def entry(self) -> str:
        """The name of this row: the method's slug, and what was changed from its default."""
        return entry_name(self.method, self.given, self.precision)


def entry_name(method: str, given: Mapping[str, bool | int | float | str], precision: str) -> str:
    """The name of a row: the method's slug, and what was changed from its default."""
    changed = given if precision == "32-true" else {**given, "precision": precision}
    changes = "+".join(f"{name}={quote(str(value), safe='')}" for name, value in changed.items())
    if len(changes) > LONGEST_CHANGES:
        changes = hashlib.sha256(changes.encode()).hexdigest()[:16]
    return f"{method}+{changes}" if changes else method


class Predictions(NamedTuple):
    """What a run says of each test image: `ids` (n,), `labels` (n,) into the sources, `probabilities` (n, sources)."""

    ids: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray


class Record(Strict):
    """Scores of one run, and everything needed to run it again.

    Attributes:
        predictions_only: somebody handed in the predictions, and there is no code to run again.
        of_object: the method was an object of the caller's own, and there is no code that others could run; it gets
            onto no leaderboard.
        converged: whether twice the epochs are known to bring less than a point of validation accuracy; None where
            nothing was trained epoch by epoch, and in records that are older than this field.
        folder: where it is, if it was written or read.
    """

    schema_version: int
    identity: Identity
    images: dict[Role, PositiveInt]
    scores: Scores
    training: dict[str, Any]
    environment: Environment
    command: str = Field(max_length=2000)
    seconds: dict[Line, FiniteNonNegative]
    peak_memory_mib: NonNegativeInt | None
    predictions_sha256: str
    predictions_only: bool = False
    of_object: bool = False
    converged: bool | None = None
    _folder: Path | None = PrivateAttr(default=None)

    @property
    def folder(self) -> Path | None:
        return self._folder

    def at(self, folder: Path) -> Self:
        """This record, which lies in a folder."""
        placed = self.model_copy()
        placed._folder = folder
        return placed

    def predictions(self) -> Predictions:
        """The predictions beside the record.

        Raises:
            RecordError: they cannot be read.
        """
        from gmbench.records.store import read_predictions

        assert self._folder is not None, "a record that was neither written nor read has no predictions"
        return Predictions(*read_predictions(self._folder, self.identity.sources))

    def _repr_html_(self) -> str:
        """How a notebook shows it: what it is of, and its first figures."""
        from gmbench.records.scoring import EVALUATORS
        from gmbench.support.html import paragraph, table

        identity = self.identity
        place = identity.dataset if identity.tested_on is None else f"{identity.dataset} to {identity.tested_on}"
        figures = [figure for evaluator in EVALUATORS for figure in evaluator.figures(self.scores, identity.sources)]
        name = f"{identity.entry} on {place}, {identity.setting}, seed {identity.seed}"
        return paragraph(name) + table(["score", "value", "what it means"], figures)

    def features(self) -> np.ndarray | None:
        """The features (n, d) that the run left in the cache of this machine; None where there are none."""
        from gmbench.records.scoring import cached_features

        return cached_features(self.identity)
