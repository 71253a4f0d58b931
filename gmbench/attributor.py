"""The contract between gmbench and a method, on one screen."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np

    from gmbench.cache import Cache
    from gmbench.data.card import DatasetCard
    from gmbench.data.images import ImageSet
    from gmbench.encoders import Encoder
    from gmbench.progress import Progress


@dataclass(frozen=True)
class RunContext:
    """What a run lends to a method.

    Attributes:
        manifold: real images that are in no other role: the stand-in for the data manifold.
        seed: decides everything random that the method does.
        device: where to compute, as torch names it (`cpu`, `cuda`, `cuda:1`, `mps`).
        cache: for work that other runs can share, such as projections.
        scratch: a folder for checkpoints of this very fit. It is kept, and shared by runs that differ in nothing but
            their test images, so that the same fit is not done twice.
        progress: shows long work to the user.
        encoder: gives the encoder `sl` or `ssl` that goes with the dataset.
        precision: of the training of networks, as lightning-fabric names it: `32-true`, or `bf16-mixed`, in which
            convolutions and products of matrices compute in bfloat16. Answers are always computed in 32 bits.
    """

    manifold: ImageSet
    seed: int
    device: str
    cache: Cache
    scratch: Path
    progress: Progress
    encoder: Callable[[str], Encoder]
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

    def on(self, manifold: ImageSet) -> Self:
        """This fitted method for images of another dataset, whose reals are `manifold`.

        Used for transfer between datasets. A method that compares images with the manifold returns a copy that compares
        them with this one, and stays as it is itself; a method that does not look at the manifold returns itself.
        """
        return self

    def skip(self, dataset: DatasetCard) -> str | None:
        """Why the method cannot run on a dataset, or None if it can."""
        return None
