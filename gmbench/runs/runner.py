"""One run: (method, dataset, setting, seed) to a record."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gmbench.attributor import Attributor, RunContext, check_features, check_probabilities
from gmbench.data.cards import ROLES, DatasetCard
from gmbench.data.dataset import Dataset, load_dataset
from gmbench.errors import CannotRunError, MethodError
from gmbench.protocol.settings import Roles, find_setting
from gmbench.records.command import command_of
from gmbench.records.identity import identity_of
from gmbench.records.schema import SCHEMA_VERSION, Identity, Record
from gmbench.records.scoring import OF_FEATURES, OF_PREDICTIONS, absent_scores, design_choices, keep_features, score
from gmbench.records.store import RECORD, read_record, record_folder, write_record
from gmbench.registry import Method, ObjectMethod
from gmbench.runs.environment import environment, forget_peak_memory, package_versions, peak_memory_mib
from gmbench.support.cache import Cache
from gmbench.support.digests import harness_sha256
from gmbench.support.files import ensure_writable
from gmbench.support.parameters import Value
from gmbench.support.progress import Progress

if TYPE_CHECKING:
    from gmbench.manifold.encoders import Encoder


@dataclass(frozen=True)
class Run:
    """What one run is asked for."""

    method: Method
    dataset: DatasetCard
    setting: str = "clean"
    seed: int = 0
    given: Mapping[str, Value] | None = None
    device: str = "cpu"
    precision: str = "32-true"


@dataclass(frozen=True)
class Outcome:
    """A run's record, where it is, and whether it was there before."""

    record: Record
    folder: Path
    was_there: bool


@dataclass(frozen=True)
class Prepared:
    """A run whose images are there: what decides its result is known, and nothing is fitted."""

    run: Run
    dataset: Dataset
    roles: Roles
    identity: Identity

    def unfitted(self, cache: Cache, progress: Progress) -> tuple[Attributor, RunContext]:
        """The method, and what the run lends to it.

        Raises:
            CannotRunError: the method cannot run on the dataset.
            MethodError: its import ends the process.
        """
        with contained("its import"):
            attributor = self.run.method.build(self.identity.parameters)
        for card in (self.dataset.card, *([self.roles.tested_on.card] if self.roles.tested_on else [])):
            if (reason := attributor.skip(card)) is not None:
                raise CannotRunError(f"{self.run.method.slug} cannot run on {card.slug}: {reason}.")
        scratch, encoder = _scratch(cache, self.identity, self.roles), _encoder_of(self.dataset)
        device, precision = self.run.device, self.run.precision
        random_state = self.identity.random_state
        return attributor, RunContext(
            self.roles.manifold, random_state, device, cache, scratch, progress, encoder, precision
        )


def prepare(run: Run, cache: Cache, progress: Progress) -> Prepared:
    """Checks what a run is asked for, and loads its images.

    Raises:
        ParameterError, DataError, NotFoundError: see `gmbench.errors`.
    """
    parameters = run.method.parameters(run.given or {})
    setting = find_setting(run.setting)
    dataset = load_dataset(run.dataset, cache, progress)
    roles = setting.images(dataset, run.seed, cache, progress)
    identity = identity_of(
        dataset,
        roles,
        run.setting,
        run.seed,
        method=run.method.slug,
        method_sha256=run.method.source_sha256,
        scored_by=OF_PREDICTIONS + OF_FEATURES,
        device=run.device,
        parameters=parameters,
        defaults=run.method.parameters({}),
        harness_sha256=harness_sha256(),
        packages=package_versions(),
        precision=run.precision,
    )
    return Prepared(run, dataset, roles, identity)


def perform(run: Run, results: Path, progress: Progress, cache: Cache | None = None) -> Outcome:
    """Gives the record of a run below `results`: the one that is there if it is of the very same run, else a new one.

    What is fitted on the same images with the same code, parameters and seed is fitted once: settings that differ in
    the test images alone go on from the same checkpoints.

    Raises:
        ParameterError, DataError, CannotRunError, MethodError, OutputError, RecordError: see `gmbench.errors`.
    """
    cache = cache or Cache()
    ensure_writable(results)
    forget_peak_memory()
    prepared = prepare(run, cache, progress)
    roles, identity = prepared.roles, prepared.identity
    folder = record_folder(results, identity)
    ensure_writable(folder)
    if (folder / RECORD).exists():
        before = read_record(folder)
        if before.identity == identity:
            return Outcome(before, folder, True)
        progress.say(f"{folder / RECORD} is of another {_difference(before.identity, identity)}; it will be replaced.")

    attributor, context = prepared.unfitted(cache, progress)
    assert roles.test.labels is not None
    for name, why in absent_scores(roles.test.labels, roles.test.sources).items():
        progress.say(f"there will be no {name.upper()}: {why}.")
    made_in = environment(run.device)
    probabilities, features, seconds = _measure(attributor, roles, context)
    training = _report_of(attributor)
    choices = design_choices((roles.tested_on or prepared.dataset).card, identity.sources)
    with _timed(seconds, "evaluate"):
        scores = score(probabilities, features, roles.test.labels, identity.sources, choices, progress)
    keep_features(cache, identity, features)
    record = Record(
        schema_version=SCHEMA_VERSION,
        identity=identity,
        images={role: len(getattr(roles, role)) for role in ROLES},
        scores=scores,
        training=training,
        environment=made_in,
        command=command_of(identity, run.method.name),
        seconds=seconds,
        peak_memory_mib=peak_memory_mib(),
        predictions_sha256="",
        of_object=isinstance(run.method, ObjectMethod),
        converged=run.method.is_converged(identity.parameters) if _has_curve(training) else None,
    )
    record = write_record(folder, record, roles.test.ids, roles.test.labels, probabilities)
    return Outcome(record, folder, False)


def _measure(
    attributor: Attributor, roles: Roles, context: RunContext
) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
    """Fits on train; probabilities and features of the test images, whose labels it does not tell."""
    unlabelled = roles.test.without_labels()
    seconds: dict[str, float] = {}
    with _timed(seconds, "fit"), contained("fit"):
        attributor.fit(roles.train, roles.val, context)
    if roles.test_manifold is not None:
        with contained("with_manifold"):
            attributor = attributor.with_manifold(roles.test_manifold)
    with _timed(seconds, "predict"), contained("predict_and_embed"):
        probabilities, features = attributor.predict_and_embed(unlabelled)
    return check_probabilities(probabilities, unlabelled), check_features(features, unlabelled), seconds


@contextmanager
def contained(what: str) -> Iterator[None]:
    """A method may fail, but only gmbench may end the process: an exit within the block is the method's error.

    Raises:
        MethodError: the block exits.
    """
    try:
        yield
    except SystemExit as error:
        raise MethodError(f"{what} ended the process (exit {error.code}); a method raises an error instead.") from error


def _scratch(cache: Cache, identity: Identity, roles: Roles) -> Path:
    """The folder of what is fitted: named by all that decides it, and not by what it is tested on."""
    decides = identity.model_dump(
        include={
            "method", "method_sha256", "parameters", "random_state", "sources", "harness_sha256", "packages", "device",
            "precision",
        }
    )  # fmt: skip
    images = {role: getattr(roles, role).digest for role in ("manifold", "train", "val")}
    folder = cache.path("fits", **decides, **images)
    folder.mkdir(exist_ok=True)
    return folder


def _difference(before: Identity, now: Identity) -> str:
    """The fields in which two identities differ."""
    return ", ".join(field for field in Identity.model_fields if getattr(before, field) != getattr(now, field))


def _report_of(attributor: Attributor) -> dict[str, Any]:
    """What the method says of its fit, if a record can hold it.

    Raises:
        MethodError: it is no JSON, or has numbers that are not finite.
    """
    with contained("fit_report"):
        report = attributor.fit_report()
    try:
        json.dumps(report, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise MethodError(f"fit_report must return what JSON can hold, with finite numbers: {error}.") from error
    return report


def _has_curve(training: Mapping[str, Any]) -> bool:
    """Whether the fit was a training of epochs, so that it can have been too short."""
    return any(name.startswith("val_accuracy") for name in training)


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    seconds[name] = round(time.perf_counter() - started, 2)


def _encoder_of(dataset: Dataset) -> Callable[..., Encoder]:
    def encoder(kind: str, *choice: Any, **named: Any) -> Encoder:
        from gmbench.manifold.encoders import find_encoder

        return find_encoder(dataset.card, kind, dataset.folder, *choice, **named)

    return encoder
