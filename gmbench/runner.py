"""One run: (method, dataset, setting, repetition) to a record."""

from __future__ import annotations

import shlex
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gmbench.attributor import Attributor, RunContext
from gmbench.cache import Cache
from gmbench.data.card import DatasetCard
from gmbench.data.dataset import Dataset, load_dataset
from gmbench.data.images import ImageSet
from gmbench.errors import CannotRunError, MethodError
from gmbench.evaluators.accuracy import attribution_accuracy
from gmbench.evaluators.fdr import frechet_distance_ratio
from gmbench.evaluators.nmi import design_alignment
from gmbench.files import ensure_writable
from gmbench.progress import Progress
from gmbench.provenance import environment, harness_sha256, package_versions, peak_memory_mib
from gmbench.records import (
    RECORD,
    SCHEMA_VERSION,
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

if TYPE_CHECKING:
    from gmbench.encoders import Encoder


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
        ParameterError, DataError, CannotRunError, MethodError, OutputError, RecordError: see `gmbench.errors`.
    """
    cache = cache or Cache()
    parameters = run.method.parameters(run.given or {})
    setting = find_setting(run.setting)
    ensure_writable(results)
    dataset = load_dataset(run.dataset, cache, progress)
    roles = setting(dataset, run.repetition)
    identity = _identity(run, dataset, parameters)
    folder = record_folder(results, identity)
    ensure_writable(folder)
    if (folder / RECORD).exists():
        before = read_record(folder)
        if before.identity == identity:
            return Outcome(before, folder, True)
        progress.say(f"{folder / RECORD} is of another {_difference(before.identity, identity)}; it will be replaced.")

    attributor, card = run.method.build(parameters), dataset.card
    if (reason := attributor.skip(card)) is not None:
        raise CannotRunError(f"{run.method.slug} cannot run on {run.dataset.slug}: {reason}.")
    made_in = environment(run.device)
    scratch = cache.path("runs", **identity.model_dump())
    scratch.mkdir(exist_ok=True)
    context = RunContext(roles.manifold, identity.seed, run.device, cache, scratch, progress, _encoder_of(card))
    choices = [card.sources[name].known_choices if name in card.sources else {} for name in identity.sources]
    scores, probabilities, seconds = _measure(attributor, roles, context, choices)
    record = Record(
        schema_version=SCHEMA_VERSION,
        identity=identity,
        images={role: len(images) for role, images in vars(roles).items()},
        scores=scores,
        training=_training_of(attributor),
        environment=made_in,
        command=_command(run, identity),
        seconds=seconds,
        peak_memory_mib=peak_memory_mib(),
        predictions_sha256="",
    )
    assert roles.test.labels is not None
    record = write_record(folder, record, roles.test.ids, roles.test.labels, probabilities)
    shutil.rmtree(scratch, ignore_errors=True)
    return Outcome(record, folder, False)


def _measure(
    attributor: Attributor, roles: Roles, context: RunContext, choices: Sequence[Mapping[str, str]]
) -> tuple[Scores, np.ndarray, dict[str, float]]:
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
    with _timed(seconds, "evaluate"), context.progress.phase("evaluating", 3) as phase:
        accuracy = attribution_accuracy(probabilities, roles.test.labels, roles.test.sources)
        phase.advance()
        try:
            fdr = frechet_distance_ratio(features, roles.test.labels)
        except ValueError as error:
            raise MethodError(f"embed: {error}.") from error
        phase.advance()
        nmi = design_alignment(features, roles.test.labels, choices)
        phase.advance()
    return Scores(accuracy=accuracy, fdr=fdr, nmi=nmi), probabilities, seconds


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


def _command(run: Run, identity: Identity) -> str:
    """The command that makes a record of this identity again."""
    return " ".join(
        [
            f"gmbench run --method {shlex.quote(run.method.name)} --dataset {identity.dataset}",
            f"--setting {identity.setting} --seed {identity.repetition}",
            *(f"--set {shlex.quote(f'{name}={value}')}" for name, value in identity.given.items()),
            f"--device {identity.device}",
        ]
    )


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
        sources=list(dataset.card.classes),
        harness_sha256=harness_sha256(),
        packages=package_versions(),
        device=run.device,
    )


def _difference(before: Identity, now: Identity) -> str:
    """The fields in which two identities differ."""
    return ", ".join(field for field in Identity.model_fields if getattr(before, field) != getattr(now, field))


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    seconds[name] = round(time.perf_counter() - started, 2)


def _encoder_of(card: DatasetCard) -> Callable[[str], Encoder]:
    def encoder(kind: str) -> Encoder:
        from gmbench.encoders import find_encoder

        return find_encoder(card, kind)

    return encoder


def _training_of(attributor: Attributor) -> dict[str, Any]:
    training = getattr(attributor, "training_", None)
    described: dict[str, Any] = asdict(training) if is_dataclass(training) else dict(training or {})  # type: ignore[arg-type]
    if weights := getattr(getattr(attributor, "network_", None), "weights_sha256", None):
        described["weights_sha256"] = weights
    if encoder := getattr(attributor, "encoder_", None):
        described["encoder_sha256"] = encoder.sha256
    return described
