"""The contract between gmbench and a method, on one screen."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from gmbench.errors import CannotRunError, MethodError

if TYPE_CHECKING:
    from pathlib import Path

    from gmbench.data.cards import DatasetCard
    from gmbench.data.images import ImageSet
    from gmbench.support.cache import Cache
    from gmbench.support.progress import Progress


LARGEST_FEATURE = 1e15
"""Squares of features are summed: beyond this, distances between them have no digits left."""
FOR_METHODS = (
    "Attributor", "DatasetCard", "FeatureAttributor", "ImageSet", "NetworkAttributor", "RunContext", "Space",
)  # fmt: skip
"""What a method may import from `gmbench` itself: nothing through which it could reach labels or records."""


@dataclass(frozen=True)
class RunContext:
    """What a run lends to a method.

    Attributes:
        manifold: real images that are in no other role: the stand-in for the data manifold.
        random_state: decides everything random that the method does; follows from the user's seed and the names.
        device: where to compute, as torch names it (`cpu`, `cuda`, `cuda:1`, `mps`).
        cache: for work that other runs can share, such as projections.
        scratch: a folder for checkpoints of this very fit. It is kept, and shared by runs that differ in nothing but
            their test images, so that the same fit is not done twice.
        progress: shows long work to the user.
        encoder: gives the encoder `sl` or `ssl` that goes with the dataset, a `gmbench.manifold.encoders.Encoder`; what
            else it takes is what `find_encoder` there takes after the folder.
        precision: of the training of networks, as lightning-fabric names it: `32-true`, or `bf16-mixed`, in which
            convolutions and products of matrices compute in bfloat16. Answers are always computed in 32 bits.
    """

    manifold: ImageSet
    random_state: int
    device: str
    cache: Cache
    scratch: Path
    progress: Progress
    encoder: Callable[..., Any]
    precision: str = "32-true"


class Attributor(ABC):
    """Says which source made an image.

    The constructor only stores its parameters, each with a type and a default, under their own names. What `fit`
    learns ends in an underscore. Column j of `predict_proba` is the source `train.sources[j]`.
    """

    @abstractmethod
    def fit(self, train: ImageSet, val: ImageSet, context: RunContext) -> Self:
        """Learns from `train`, chooses on `val`; both have labels, integers into `train.sources`."""

    @abstractmethod
    def predict_proba(self, images: ImageSet) -> np.ndarray:
        """The probability of each source: float32 (n, sources), rows sum to 1. `images` has no labels."""

    @abstractmethod
    def embed(self, images: ImageSet) -> np.ndarray:
        """The features that FDR and NMI judge: float32 (n, d)."""

    def with_manifold(self, manifold: ImageSet) -> Self:
        """This fitted method for images of another dataset, whose reals are `manifold`.

        Used for transfer between datasets. A method that compares images with the manifold returns a copy that compares
        them with this one, and stays as it is itself; a method that does not look at the manifold returns itself.
        """
        return self

    def predict_and_embed(self, images: ImageSet) -> tuple[np.ndarray, np.ndarray]:
        """What `predict_proba` and `embed` give; a method that makes both in one pass says so here."""
        return self.predict_proba(images), self.embed(images)

    def fit_report(self) -> dict[str, Any]:
        """What of the fit belongs into the record: numbers and text by name, such as the best epoch.

        `weights_sha256` names pretrained weights that the fit began from, `encoder_sha256` an encoder that it looks
        through; pages give such rows a badge.
        """
        return {}

    def state(self) -> dict[str, Any]:
        """What the fit learned, for a model that is kept: arrays, JSON values, and dicts, lists and tuples of these.

        Raises:
            CannotRunError: the method cannot be kept.
        """
        raise CannotRunError(f"{type(self).__name__} cannot be kept: it does not say its `state`.")

    def restore(self, state: Mapping[str, Any], sources: tuple[str, ...], context: RunContext) -> Self:
        """Becomes the fitted method that gave the `state`, with the parameters it has, for answers alone.

        Args:
            sources: those of the training images, in their order.
            context: what a run lends; its manifold is empty, since a method that compares with one has it in its state.
        """
        raise CannotRunError(f"{type(self).__name__} cannot be kept: it does not `restore` its state.")

    def skip(self, dataset: DatasetCard) -> str | None:
        """Why the method cannot run on a dataset, or None if it can."""
        return None


def check_probabilities(probabilities: np.ndarray, images: ImageSet) -> np.ndarray:
    """The probabilities, if they are what the contract asks for, as float32.

    Raises:
        MethodError: no array of numbers, wrong shape, not finite, or rows that do not sum to 1.
    """
    _check_numbers("predict_proba", probabilities)
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
        MethodError: no array of numbers, not one vector per image, not finite, or too large for float32.
    """
    _check_numbers("embed", features)
    if features.ndim != 2 or len(features) != len(images):
        raise MethodError(f"embed must return shape ({len(images)}, d), got {features.shape}.")
    if not np.isfinite(features).all():
        raise MethodError("embed must return finite numbers.")
    if features.size and np.abs(features).max() > LARGEST_FEATURE:
        raise MethodError(f"embed must return numbers of at most {LARGEST_FEATURE:g}, got {np.abs(features).max():g}.")
    return features


def _check_numbers(what: str, answer: object) -> None:
    if not isinstance(answer, np.ndarray) or answer.dtype.kind not in "fiu":
        came = f"an array of {answer.dtype}" if isinstance(answer, np.ndarray) else type(answer).__name__
        raise MethodError(f"{what} must return a numpy array of numbers, got {came}.")
