"""Methods that train a network."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from gmbench.attributor import Attributor, RunContext
from gmbench.cache import Cache
from gmbench.data.images import ImageSet
from gmbench.files import sha256_file
from gmbench.networks import FeatureNetwork, channel_moments
from gmbench.progress import Progress
from gmbench.provenance import harness_sha256
from gmbench.spaces.rgb import RGB
from gmbench.training import Inputs, TrainingOptions, apply_network, train_classifier

BATCH = 256


class NetworkAttributor(Attributor):
    """Trains one network on what it sees of images, and leaves the answers to it.

    A method says what its network sees, which network it is and how it is trained. A method that has to learn something
    before (statistics of the training images, say) does so in a `fit` of its own, which ends with this one.

    Attributes:
        device_: where the network is.
        size_: height and width of the training images, in pixels; all others must have it.
        network_: the trained network, in evaluation mode.
        training_: what the trainer says of the training, and its options.
    """

    inference_batch = 256
    """How many images the trained network sees at a time."""

    @abstractmethod
    def inputs(self, images: ImageSet) -> Inputs:
        """What the network sees of images, in validation and when it is asked."""

    def training_inputs(self, images: ImageSet) -> Inputs:
        """What the network sees in training: the same, unless the method augments images."""
        return self.inputs(images)

    @abstractmethod
    def new_network(self, train: ImageSet, inputs: Inputs) -> FeatureNetwork:
        """A network with an output per source, to be trained on `inputs`; torch's generator draws its weights."""

    @abstractmethod
    def training_options(self) -> TrainingOptions:
        """How the network is trained."""

    def fit(self, train: ImageSet, val: ImageSet, context: RunContext) -> Self:
        assert train.labels is not None
        assert val.labels is not None
        self.device_, self.size_ = context.device, train.size
        inputs, val_inputs = self.training_inputs(train.require(self.size_)), self.inputs(val.require(self.size_))
        torch.manual_seed(context.seed)
        self.network_ = self.new_network(train, inputs).to(context.device)
        options = self.training_options()
        result = train_classifier(self.network_, inputs, train.labels, val_inputs, val.labels, options, context)
        self.training_ = {**asdict(result), "options": asdict(options)}
        self.network_.eval()
        return self

    def predict_proba(self, images: ImageSet) -> np.ndarray:
        """The softmax of the network's output."""
        network = self.network_
        return apply_network(
            lambda x: network(x).softmax(dim=1), self._asked(images), self.device_, self.inference_batch
        )

    def embed(self, images: ImageSet) -> np.ndarray:
        """What the network's last layer sees."""
        return apply_network(self.network_.features, self._asked(images), self.device_, self.inference_batch)

    def _asked(self, images: ImageSet) -> Inputs:
        return self.inputs(images.require(self.size_))


class Pixels:
    """Images in [0, 1]."""

    def __init__(self, images: ImageSet) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, rows: np.ndarray) -> np.ndarray:
        """float32 (len(rows), 3, height, width)."""
        return RGB().embed(self.images.pixels(rows))


class Vectors:
    """Vectors that are kept because they take long to compute: float32 (n, d)."""

    def __init__(self, vectors: np.ndarray) -> None:
        self.vectors = vectors

    @classmethod
    def kept(cls, inputs: Inputs, cache: Cache, progress: Progress, **parts: Any) -> Vectors:
        """The vectors of `inputs`, computed once and read from the disk since.

        Args:
            inputs: give float32 (len(rows), d).
            parts: what decides them besides the code, as JSON values.
        """
        width = inputs.batch(np.arange(1)).shape[1]
        rows = np.array_split(np.arange(len(inputs)), -(-len(inputs) // BATCH))

        def batches() -> Iterator[np.ndarray]:
            return (inputs.batch(some) for some in progress.track(rows, "vectors", len(rows)))

        code = [harness_sha256(), sha256_file(Path(inspect.getfile(type(inputs))))]
        return cls(cache.mapped("vectors", (len(inputs), width), batches, np.float32, code=code, **parts))

    def __len__(self) -> int:
        return len(self.vectors)

    def batch(self, rows: np.ndarray) -> np.ndarray:
        """float32 (len(rows), d)."""
        return np.asarray(self.vectors[rows])


def moments_of(inputs: Inputs, at_most: int = 4096) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel, or of each place of a vector, over inputs that are spread evenly."""
    some = np.linspace(0, len(inputs) - 1, min(len(inputs), at_most)).astype(int)
    return channel_moments(torch.from_numpy(inputs.batch(some)))
