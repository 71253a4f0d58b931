"""What networks are fed with, batch by batch."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from gmbench.data.images import ImageSet
from gmbench.manifold.rgb import RGB
from gmbench.manifold.space import Space
from gmbench.networks.resnet import channel_moments
from gmbench.support.cache import Cache
from gmbench.support.digests import harness_sha256
from gmbench.support.files import sha256_file
from gmbench.support.progress import Progress

BATCH = 256


class Pixels:
    """Images in [0, 1]."""

    def __init__(self, images: ImageSet) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, rows: np.ndarray) -> np.ndarray:
        """float32 (len(rows), 3, height, width)."""
        return RGB().embed(self.images.pixels(rows))


class Embedded:
    """Images in an embedding space."""

    def __init__(self, images: ImageSet, space: Space) -> None:
        self.images, self.space = images, space

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, rows: np.ndarray) -> np.ndarray:
        """float32 (len(rows), channels, height, width) or (len(rows), d), as the space gives."""
        return self.space.embed(self.images.pixels(rows))


class Vectors:
    """Vectors, or maps, that are kept because they take long to compute: float32 (n, ...)."""

    def __init__(self, vectors: np.ndarray) -> None:
        self.vectors = vectors

    @classmethod
    def kept(cls, inputs: Inputs, cache: Cache, progress: Progress, **parts: Any) -> Vectors:
        """The vectors of `inputs`, computed once and read from the disk since.

        Args:
            inputs: give float32 (len(rows), ...).
            parts: what decides them besides the code, as JSON values.
        """
        shape = (len(inputs), *inputs.batch(np.arange(1)).shape[1:])
        rows = np.array_split(np.arange(len(inputs)), -(-len(inputs) // BATCH))

        def batches() -> Iterator[np.ndarray]:
            return (inputs.batch(some) for some in progress.track(rows, f"inputs of {len(inputs):,} images", len(rows)))

        code = [harness_sha256(), sha256_file(Path(inspect.getfile(type(inputs))))]
        return cls(cache.mapped("vectors", shape, batches, np.float32, code=code, **parts))

    def __len__(self) -> int:
        return len(self.vectors)

    def batch(self, rows: np.ndarray) -> np.ndarray:
        """float32 (len(rows), ...)."""
        return np.asarray(self.vectors[rows])


def moments_of(inputs: Inputs, at_most: int = 4096) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel, or of each place of a vector, over inputs that are spread evenly."""
    some = np.linspace(0, len(inputs) - 1, min(len(inputs), at_most)).astype(int)
    return channel_moments(torch.from_numpy(inputs.batch(some)))


class Inputs(Protocol):
    """What a network sees of images: made batch by batch, so that it need not fit in memory."""

    def __len__(self) -> int: ...

    def batch(self, rows: np.ndarray) -> np.ndarray:
        """The inputs of some images, float32 (len(rows), ...)."""
