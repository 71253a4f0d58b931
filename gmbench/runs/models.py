"""Fitted methods that are kept, and asked about images: which generative model made this one?

A model's folder holds `model.json` (the method and its parameters, what it was fitted on, the digests of its other
files) and the method's state (see `gmbench.support.state`). Nothing in it is ever unpickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from pydantic import ValidationError

from gmbench.attributor import Attributor, RunContext, check_probabilities
from gmbench.data.cards import find_dataset
from gmbench.data.dataset import load_dataset
from gmbench.data.images import ImageSet
from gmbench.data.locations import state_of
from gmbench.data.png import image_id
from gmbench.errors import DataError, OutputError, ParameterError
from gmbench.evaluators.evidence import (
    best_temperature,
    log10_generated,
    log10_ratios,
    together,
    with_prior,
    with_temperature,
)
from gmbench.records.schema import Identity
from gmbench.registry import find_method
from gmbench.runs.runner import Run, contained, prepare
from gmbench.support.cache import Cache
from gmbench.support.digests import harness_sha256
from gmbench.support.files import ensure_writable, sha256_file, write_text
from gmbench.support.progress import Progress
from gmbench.support.schema import Strict, first_problem
from gmbench.support.state import ARRAYS, VALUES, read_state, write_state

MODEL = "model.json"
FORMAT = 1
REFUSED = 0.05
"""The share of known validation images that the threshold of `unknown` refuses."""
UNKNOWN = "unknown"


class Kept(Strict):
    """What `model.json` says.

    Attributes:
        identity: of the run whose fit this is.
        method_name: how the user named the method: by its slug, or by the path of its folder.
        size: height and width of its images, in pixels.
        shares: of each source in training, the prior that its probabilities were made with.
        temperature: fitted on the validation images, like the threshold.
        threshold: an image whose largest probability is below it is of a source that the model does not know.
        refused: the share of validation images, all of known sources, that this refuses.
        files: sha256 of each further file.
    """

    format: int
    identity: Identity
    method_name: str
    size: tuple[int, int]
    shares: list[float]
    temperature: float
    threshold: float
    refused: float
    val_accuracy: float
    files: dict[str, str]


@dataclass(frozen=True)
class Answer:
    """What a model says of one image.

    Attributes:
        name: of the image, as it was given.
        source: the most probable one, or `unknown`.
        probabilities: of each source, calibrated, under the prior that was asked for; they sum to 1.
        log10_ratios: of each source against all others: how many times more probable the image is, as a power of ten.
            They do not depend on the prior.
        log10_generated: the same of generated against real.
        known: the largest probability before any prior, and whether it reaches the threshold.
        agreement: of several crops, the share that has this most probable source; 1 for a whole image.
        changes: what was done to bring the image to the model's size.
    """

    name: str
    source: str
    probabilities: dict[str, float]
    log10_ratios: dict[str, float]
    log10_generated: float
    confidence: float
    known: bool
    agreement: float = 1.0
    changes: tuple[str, ...] = ()

    @property
    def ranked(self) -> list[tuple[str, float]]:
        """Sources and their probabilities, the most probable first."""
        return sorted(self.probabilities.items(), key=lambda item: -item[1])


@dataclass(frozen=True)
class Model:
    """A fitted method that was kept. `raw` asks it as a run does; `answer` calibrates what it says."""

    kept: Kept
    folder: Path
    attributor: Attributor = field(repr=False)

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the sources, `real` first: the order of its probabilities."""
        return tuple(self.kept.identity.sources)

    @property
    def shares(self) -> np.ndarray:
        """(sources,) the prior that its probabilities were made with."""
        return np.array(self.kept.shares)

    def raw(self, pixels: np.ndarray) -> np.ndarray:
        """Probabilities (n, sources) of images uint8 (n, height, width, 3), as a record has them.

        Raises:
            DataError: the images have another size than those of its training.
            MethodError: the method does not keep to the contract.
        """
        ids = np.array([image_id(image) for image in pixels])
        images = ImageSet.of(pixels, ids, self.sources, origin="attribute").require(self.kept.size)
        return check_probabilities(self.attributor.predict_proba(images), images)

    def attribute(
        self, pixels: np.ndarray, names: Sequence[str] | None = None, prior: Mapping[str, float] | None = None
    ) -> list[Answer]:
        """What it says of images uint8 (n, height, width, 3).

        Args:
            names: what to call them; their numbers if None.
            prior: probabilities of some sources before any image is seen; what is left goes to the others in the shares
                that they had in training.

        Raises:
            DataError: the images have another size than those of its training.
            ParameterError: the prior names no source, or is none.
        """
        called = [str(number) for number in range(len(pixels))] if names is None else list(names)
        found = with_temperature(self.raw(pixels), self.kept.temperature)
        return [self.answer(row, name, prior) for row, name in zip(found, called, strict=True)]

    def attribute_crops(
        self, crops: np.ndarray, name: str, prior: Mapping[str, float] | None = None, changes: tuple[str, ...] = ()
    ) -> Answer:
        """What it says of one image, from crops of it uint8 (n, height, width, 3): the mean of their probabilities."""
        found = with_temperature(self.raw(crops), self.kept.temperature)
        pooled = found.mean(axis=0)
        agreement = float((found.argmax(axis=1) == pooled.argmax()).mean())
        return self.answer(pooled, name, prior, agreement, changes)

    def answer(
        self,
        probabilities: np.ndarray,
        name: str,
        prior: Mapping[str, float] | None = None,
        agreement: float = 1.0,
        changes: tuple[str, ...] = (),
    ) -> Answer:
        """The answer that calibrated probabilities (sources,) are, before any other prior."""
        row = probabilities[None]
        posterior = with_prior(row, self.shares, self.prior(prior))[0]
        confidence = float(probabilities.max())
        known = confidence >= self.kept.threshold
        return Answer(
            name,
            self.sources[int(posterior.argmax())] if known else UNKNOWN,
            dict(zip(self.sources, posterior.tolist(), strict=True)),
            dict(zip(self.sources, log10_ratios(row, self.shares)[0].tolist(), strict=True)),
            float(log10_generated(row, self.shares)[0]),
            confidence,
            known,
            agreement,
            changes,
        )

    def of_one_origin(self, answers: Sequence[Answer], prior: Mapping[str, float] | None = None) -> dict[str, float]:
        """Probability of each source if all images are of one, given which they are taken as independent."""
        log = np.array([[answer.log10_ratios[source] for source in self.sources] for answer in answers])
        # A ratio against the others, with the shares, is the probability that the model gave.
        odds = 10**log * (self.shares / (1 - self.shares))
        posterior = together(odds / (1 + odds), self.shares)
        posterior = with_prior(posterior[None], self.shares, self.prior(prior))[0]
        return dict(zip(self.sources, posterior.tolist(), strict=True))

    def prior(self, given: Mapping[str, float] | None) -> np.ndarray:
        """(sources,) the prior that a user names in part.

        Raises:
            ParameterError: it names no source of the model, or leaves nothing for the others, or more than there is.
        """
        given = given or {}
        if strangers := [name for name in given if name not in self.sources]:
            raise ParameterError(f"prior: '{strangers[0]}' is none of the model's sources: {', '.join(self.sources)}.")
        if any(not 0 < value < 1 for value in given.values()) or sum(given.values()) > 1 + 1e-9:
            raise ParameterError("prior: expected probabilities between 0 and 1 that sum to at most 1.")
        chosen = np.array([name in given for name in self.sources])
        if chosen.all() and abs(sum(given.values()) - 1) > 1e-9:
            raise ParameterError("prior: all sources are named, and their probabilities do not sum to 1.")
        left = 1 - sum(given.values())
        prior = self.shares.copy()
        if not chosen.all():
            prior[~chosen] *= max(left, 1e-12) / prior[~chosen].sum()
        prior[chosen] = [given[name] for name in self.sources if name in given]
        return prior


def fit_model(run: Run, out: Path, progress: Progress, cache: Cache | None = None) -> Model:
    """Fits a method as a run does and keeps it in a folder; a fit that a run did already is not done again.

    Raises:
        CannotRunError: the method cannot run on the dataset, or cannot be kept.
        OutputError: the folder holds something else.
        ParameterError, DataError, MethodError: see `gmbench.errors`.
    """
    if out.exists() and not (out / MODEL).is_file() and any(out.iterdir() if out.is_dir() else [out]):
        raise OutputError(f"{out} holds something else than a model. Name another folder with --out.")
    ensure_writable(out)
    cache = cache or Cache()
    prepared = prepare(run, cache, progress)
    attributor, context = prepared.unfitted(cache, progress)
    roles, val = prepared.roles, prepared.roles.val
    assert val.labels is not None
    with contained("fit"):
        attributor.fit(roles.train, val, context)
    state = attributor.state()
    found = check_probabilities(attributor.predict_proba(val.without_labels()), val)
    temperature = best_temperature(found, val.labels)
    largest = with_temperature(found, temperature).max(axis=1)
    threshold = float(np.quantile(largest, REFUSED, method="lower"))
    counts = np.bincount(np.asarray(roles.train.labels), minlength=len(val.sources))
    (out / MODEL).unlink(missing_ok=True)
    write_state(out, state)
    kept = Kept(
        format=FORMAT,
        identity=prepared.identity,
        method_name=run.method.name,
        size=val.size,
        shares=(counts / counts.sum()).tolist(),
        temperature=temperature,
        threshold=threshold,
        refused=float((largest < threshold).mean()),
        val_accuracy=float((found.argmax(axis=1) == val.labels).mean()),
        files={name: sha256_file(out / name) for name in (VALUES, ARRAYS)},
    )
    write_text(out / MODEL, kept.model_dump_json(indent=2) + "\n")
    return Model(kept, out, attributor)


def load_model(folder: Path, device: str, progress: Progress, cache: Cache | None = None) -> Model:
    """A model that was kept.

    Raises:
        DataError: the folder holds none, or one that was altered, or whose code or dataset is another now.
        NotFoundError: its method or dataset is not known here.
    """
    kept = _read(folder)
    identity = kept.identity
    for name, expected in kept.files.items():
        if not (folder / name).is_file() or sha256_file(folder / name) != expected:
            raise DataError(f"{folder / name} is not what {MODEL} names: it was altered. Fit the model again.")
    method = find_method(kept.method_name)
    for what, now, then in (
        ("the method's code", method.source_sha256, identity.method_sha256),
        ("gmbench's code", harness_sha256(), identity.harness_sha256),
    ):
        if now != then:
            raise DataError(f"{folder} was fitted by other code ({what} has changed since). {_again(kept, folder)}")
    attributor = method.build(identity.parameters)
    progress.say(f"{identity.entry}, fitted on {identity.dataset}")
    scratch = TemporaryDirectory()
    context = RunContext(
        ImageSet.of(np.zeros((0, *kept.size, 3), np.uint8), np.array([], str), tuple(identity.sources)),
        identity.random_state,
        device,
        cache or Cache(),
        Path(scratch.name),
        progress,
        lambda kind, *choice: _encoder(identity, kind, *choice),
    )
    return Model(kept, folder, attributor.restore(read_state(folder), tuple(identity.sources), context))


def _again(kept: Kept, folder: Path) -> str:
    return f"Fit it again: gmbench fit --method {kept.method_name} --dataset {kept.identity.dataset} --out {folder}"


def _read(folder: Path) -> Kept:
    path = folder / MODEL
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict) and content.get("format", FORMAT) != FORMAT:
            raise DataError(
                f"{path} has format {content['format']!r}, this gmbench reads {FORMAT}. Fit the model again."
            )
        return Kept.model_validate(content)
    except FileNotFoundError as error:
        raise DataError(
            f"{folder} holds no model ({MODEL} is missing). Make one: gmbench fit --out {folder}"
        ) from error
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path} cannot be read ({type(error).__name__}). Fit the model again.") from error
    except ValueError as error:
        problem = first_problem(error) if isinstance(error, ValidationError) else str(error)
        raise DataError(f"{path} is damaged: {problem}. Fit the model again.") from error


def _encoder(identity: Identity, kind: str, *choice: Any) -> Any:
    """An encoder for the dataset that a model was fitted on."""
    from gmbench.manifold.encoders import find_encoder

    card = find_dataset(identity.dataset)
    folder = state_of(card).folder
    if folder is None:
        raise DataError(f"the encoder of {card.slug} is not here: gmbench data pull {card.slug}")
    return find_encoder(card, kind, folder, *choice)


def reals_of(model: Model, progress: Progress) -> ImageSet:
    """The real images of the manifold of the dataset that a model was fitted on, to show the nearest one.

    Raises:
        DataError, NotFoundError: the dataset is not here.
    """
    return load_dataset(find_dataset(model.kept.identity.dataset), Cache(), progress)["manifold"]
