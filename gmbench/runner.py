"""One run: (method, dataset, setting, repetition) to a record."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gmbench.attributor import Attributor, RunContext
from gmbench.cache import Cache
from gmbench.data.card import DatasetCard
from gmbench.data.dataset import Dataset, load_dataset
from gmbench.data.images import ImageSet
from gmbench.errors import CannotRunError, MethodError, OutputError
from gmbench.evaluators.accuracy import Accuracy, attribution_accuracy
from gmbench.evaluators.fdr import frechet_distance_ratio
from gmbench.progress import Progress
from gmbench.provenance import environment, harness_sha256, peak_memory_mib
from gmbench.records import (
    RECORD,
    SCHEMA_VERSION,
    AccuracyScores,
    FDRScores,
    Identity,
    Record,
    Scores,
    read_record,
    record_folder,
    write_record,
)
from gmbench.registry import Method, Value
from gmbench.seeds import seed_from
from gmbench.settings import Roles, find_setting


@dataclass(frozen=True)
class Run:
    """What one run is asked for."""

    method: Method
    dataset: DatasetCard
    setting: str = "clean"
    repetition: int = 0
    given: Mapping[str, Value] | None = None
    device: str = "cpu"


@dataclass(frozen=True)
class Outcome:
    """A run's record, where it is, and whether it was there before."""

    record: Record
    folder: Path
    was_there: bool


def perform(run: Run, results: Path, progress: Progress, cache: Cache | None = None) -> Outcome:
    """Gives the record of a run below `results`: the one that is there if it is of the very same run, else a new one.

    Raises:
        ParameterError, DataError, CannotRunError, OutputError: see `gmbench.errors`.
    """
    cache = cache or Cache()
    parameters = run.method.parameters(run.given or {})
    setting = find_setting(run.setting)
    ensure_writable(results)
    dataset = load_dataset(run.dataset, cache, progress)
    roles = setting(dataset, run.repetition)
    identity = _identity(run, dataset, parameters)
    folder = record_folder(results, identity)
    if (kept := _kept_record(folder, identity)) is not None:
        return Outcome(kept, folder, True)

    attributor = run.method.build(parameters)
    if (reason := attributor.skip(run.dataset)) is not None:
        raise CannotRunError(f"{run.method.slug} cannot run on {run.dataset.slug}: {reason}.")
    with _scratch(cache, identity) as scratch:
        context = RunContext(roles.manifold, identity.seed, run.device, cache, scratch, progress)
        scores, probabilities, seconds = _measure(attributor, roles, context)
    record = Record(
        schema_version=SCHEMA_VERSION,
        identity=identity,
        sources=list(dataset.card.classes),
        images={role: len(images) for role, images in vars(roles).items()},
        scores=scores,
        training=_training_of(attributor),
        environment=environment(run.device),
        command=command_of(identity),
        seconds=seconds,
        peak_memory_mib=peak_memory_mib(),
        predictions_sha256="",
    )
    assert roles.test.labels is not None
    return Outcome(write_record(folder, record, roles.test.ids, roles.test.labels, probabilities), folder, False)


def _measure(attributor: Attributor, roles: Roles, context: RunContext) -> tuple[Scores, np.ndarray, dict[str, float]]:
    """Fits on train, predicts and embeds test without its labels, and scores both."""
    assert roles.test.labels is not None
    unlabelled = roles.test.without_labels()
    seconds: dict[str, float] = {}
    with _timed(seconds, "fit"):
        attributor.fit(roles.train, roles.val, context)
    with _timed(seconds, "predict"):
        probabilities = check_probabilities(attributor.predict_proba(unlabelled), unlabelled)
    with _timed(seconds, "embed"):
        features = check_features(attributor.embed(unlabelled), unlabelled)
    with _timed(seconds, "evaluate"), context.progress.phase("evaluating", 2) as phase:
        accuracy = attribution_accuracy(probabilities, roles.test.labels)
        phase.advance()
        fdr = frechet_distance_ratio(features, roles.test.labels)
        phase.advance()
    scores = Scores(accuracy=accuracy_scores(accuracy, roles.test.sources), fdr=FDRScores(**asdict(fdr)))
    return scores, probabilities, seconds


def accuracy_scores(accuracy: Accuracy, sources: tuple[str, ...]) -> AccuracyScores:
    """An `Accuracy` as a record holds it."""
    return AccuracyScores(
        accuracy=accuracy.accuracy,
        low=accuracy.low,
        high=accuracy.high,
        recall=dict(zip(sources, accuracy.recall.tolist(), strict=True)),
        confusion=accuracy.confusion.tolist(),
    )


def check_probabilities(probabilities: np.ndarray, images: ImageSet) -> np.ndarray:
    """The probabilities, if they are what the contract asks for.

    Raises:
        MethodError: wrong shape, not finite, or rows that do not sum to 1.
    """
    expected = (len(images), len(images.sources))
    if probabilities.shape != expected:
        raise MethodError(f"predict_proba must return shape {expected}, got {probabilities.shape}.")
    if not np.isfinite(probabilities).all() or (probabilities < 0).any():
        raise MethodError("predict_proba must return finite numbers of at least 0.")
    if not np.allclose(probabilities.sum(axis=1), 1, atol=1e-3):
        raise MethodError("predict_proba must return rows that sum to 1.")
    return probabilities.astype(np.float32)


def check_features(features: np.ndarray, images: ImageSet) -> np.ndarray:
    """The features, if they are what the contract asks for.

    Raises:
        MethodError: not one vector per image, or not finite.
    """
    if features.ndim != 2 or len(features) != len(images):
        raise MethodError(f"embed must return shape ({len(images)}, d), got {features.shape}.")
    if not np.isfinite(features).all():
        raise MethodError("embed must return finite numbers.")
    return features


def ensure_writable(folder: Path) -> None:
    """Makes sure that results can be written, before anything long begins.

    Raises:
        OutputError: they cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".gmbench-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OutputError(f"cannot write results to {folder}: {error.strerror}. Choose another with --out.") from error


def command_of(identity: Identity) -> str:
    """The command that makes a record of this identity again."""
    parts = [
        f"gmbench run --method {identity.method} --dataset {identity.dataset} --setting {identity.setting}",
        f"--seed {identity.repetition}",
        *(f"--set '{name}={value}'" for name, value in identity.given.items()),
    ]
    return " ".join(parts)


def _identity(run: Run, dataset: Dataset, parameters: dict[str, Value]) -> Identity:
    usual = run.method.parameters({})
    return Identity(
        dataset=run.dataset.slug,
        dataset_revision=dataset.revision,
        roles_sha256=dataset.roles_sha256,
        setting=run.setting,
        method=run.method.slug,
        method_sha256=run.method.source_sha256,
        parameters=parameters,
        given={name: value for name, value in parameters.items() if value != usual[name]},
        repetition=run.repetition,
        seed=seed_from(run.dataset.slug, run.method.slug, run.repetition),
        harness_sha256=harness_sha256(),
        device=run.device,
    )


def _kept_record(folder: Path, identity: Identity) -> Record | None:
    if not (folder / RECORD).exists():
        return None
    record = read_record(folder)
    return record if record.identity == identity else None


@contextmanager
def _scratch(cache: Cache, identity: Identity) -> Iterator[Path]:
    """A folder for one run's checkpoints. It outlives a run that is stopped and is removed after one that ends well."""
    folder = cache.path("runs", **identity.model_dump())
    folder.mkdir(exist_ok=True)
    yield folder
    shutil.rmtree(folder)


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    seconds[name] = round(time.perf_counter() - started, 2)


def _training_of(attributor: Attributor) -> dict[str, Any]:
    training = getattr(attributor, "training_", None)
    return {} if training is None else asdict(training)
