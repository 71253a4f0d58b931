"""One run: (method, dataset, setting, repetition) to a record."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gmbench.attributor import Attributor, RunContext
from gmbench.data.cards import ROLES, DatasetCard
from gmbench.data.dataset import Dataset, load_dataset
from gmbench.errors import CannotRunError, MethodError
from gmbench.protocol.settings import Roles, find_setting
from gmbench.records.command import command_of
from gmbench.records.schema import SCHEMA_VERSION, Identity, Record
from gmbench.records.scoring import OF_FEATURES, OF_PREDICTIONS, design_choices, keep_features, score
from gmbench.records.store import RECORD, read_record, record_folder, write_record
from gmbench.registry import Method, ObjectMethod
from gmbench.runs.environment import environment, forget_peak_memory, package_versions, peak_memory_mib
from gmbench.support.cache import Cache
from gmbench.support.digests import evaluator_sha256, harness_sha256
from gmbench.support.files import ensure_writable
from gmbench.support.parameters import Value
from gmbench.support.progress import Progress
from gmbench.support.seeds import seed_from

if TYPE_CHECKING:
    from gmbench.manifold.encoders import Encoder
from gmbench.attributor import check_features, check_probabilities


@dataclass(frozen=True)
class Run:
    """What one run is asked for."""

    method: Method
    dataset: DatasetCard
    setting: str = "clean"
    repetition: int = 0
    given: Mapping[str, Value] | None = None
    device: str = "cpu"
    precision: str = "32-true"


@dataclass(frozen=True)
class Outcome:
    """A run's record, where it is, and whether it was there before."""

    record: Record
    folder: Path
    was_there: bool


def perform(run: Run, results: Path, progress: Progress, cache: Cache | None = None) -> Outcome:
    """Gives the record of a run below `results`: the one that is there if it is of the very same run, else a new one.

    What is fitted on the same images with the same code, parameters and seed is fitted once: settings that differ in
    the test images alone go on from the same checkpoints.

    Raises:
        ParameterError, DataError, CannotRunError, MethodError, OutputError, RecordError: see `gmbench.errors`.
    """
    cache = cache or Cache()
    parameters = run.method.parameters(run.given or {})
    setting = find_setting(run.setting)
    ensure_writable(results)
    forget_peak_memory()
    dataset = load_dataset(run.dataset, cache, progress)
    roles = setting.images(dataset, run.repetition, cache, progress)
    identity = _identity(run, dataset, roles, parameters)
    folder = record_folder(results, identity)
    ensure_writable(folder)
    if (folder / RECORD).exists():
        before = read_record(folder)
        if before.identity == identity:
            return Outcome(before, folder, True)
        progress.say(f"{folder / RECORD} is of another {_difference(before.identity, identity)}; it will be replaced.")

    with _contained("its import"):
        attributor = run.method.build(parameters)
    for card in (dataset.card, *([roles.tested_on.card] if roles.tested_on else [])):
        if (reason := attributor.skip(card)) is not None:
            raise CannotRunError(f"{run.method.slug} cannot run on {card.slug}: {reason}.")
    made_in = environment(run.device)
    scratch = _scratch(cache, identity, roles)
    encoder = _encoder_of(dataset)
    context = RunContext(roles.manifold, identity.seed, run.device, cache, scratch, progress, encoder, run.precision)
    probabilities, features, seconds = _measure(attributor, roles, context)
    training = _report_of(attributor)
    assert roles.test.labels is not None
    choices = design_choices((roles.tested_on or dataset).card, identity.sources)
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
        converged=run.method.is_converged(parameters) if _has_curve(training) else None,
    )
    record = write_record(folder, record, roles.test.ids, roles.test.labels, probabilities)
    return Outcome(record, folder, False)


def _measure(
    attributor: Attributor, roles: Roles, context: RunContext
) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
    """Fits on train; probabilities and features of the test images, whose labels it does not tell."""
    unlabelled = roles.test.without_labels()
    seconds: dict[str, float] = {}
    with _timed(seconds, "fit"), _contained("fit"):
        attributor.fit(roles.train, roles.val, context)
    if roles.test_manifold is not None:
        with _contained("with_manifold"):
            attributor = attributor.with_manifold(roles.test_manifold)
    with _timed(seconds, "predict"), _contained("predict_and_embed"):
        probabilities, features = attributor.predict_and_embed(unlabelled)
    return check_probabilities(probabilities, unlabelled), check_features(features, unlabelled), seconds


@contextmanager
def _contained(what: str) -> Iterator[None]:
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
            "method", "method_sha256", "parameters", "seed", "sources", "harness_sha256", "packages", "device",
            "precision",
        }
    )  # fmt: skip
    images = {role: getattr(roles, role).digest for role in ("manifold", "train", "val")}
    folder = cache.path("fits", **decides, **images)
    folder.mkdir(exist_ok=True)
    return folder


def _identity(run: Run, dataset: Dataset, roles: Roles, parameters: dict[str, Value]) -> Identity:
    usual = run.method.parameters({})
    return Identity(
        dataset=run.dataset.slug,
        dataset_revision=dataset.revision,
        roles_sha256=dataset.roles_sha256,
        setting=run.setting,
        tested_on=roles.tested_on.card.slug if roles.tested_on else None,
        tested_revision=roles.tested_on.revision if roles.tested_on else None,
        method=run.method.slug,
        method_sha256=run.method.source_sha256,
        parameters=parameters,
        given={name: value for name, value in parameters.items() if value != usual[name]},
        repetition=run.repetition,
        seed=seed_from(run.dataset.slug, run.method.slug, run.repetition),
        sources=list(roles.test.sources),
        harness_sha256=harness_sha256(),
        evaluators_sha256={name: evaluator_sha256(name) for name in OF_PREDICTIONS + OF_FEATURES},
        packages=package_versions(),
        device=run.device,
        precision=run.precision,
    )


def _difference(before: Identity, now: Identity) -> str:
    """The fields in which two identities differ."""
    return ", ".join(field for field in Identity.model_fields if getattr(before, field) != getattr(now, field))


def _report_of(attributor: Attributor) -> dict[str, Any]:
    """What the method says of its fit, if a record can hold it.

    Raises:
        MethodError: it is no JSON, or has numbers that are not finite.
    """
    with _contained("fit_report"):
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
