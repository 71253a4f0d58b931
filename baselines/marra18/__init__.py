"""Marra, Gragnaniello, Cozzolino, Verdoliva 2018: a published image classifier, fine-tuned in two phases."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F

from gmbench.attributor import Attributor, RunContext
from gmbench.data.card import DatasetCard
from gmbench.data.images import ImageSet
from gmbench.errors import CannotRunError
from gmbench.networks import AttributionNetwork, attribution_network
from gmbench.training import Inputs, TrainingOptions, TrainingResult, apply_network, train_classifier

INCEPTION_NEEDS = 75


class Pixels:
    """Images in [0, 1], resized to a square of `resize` pixels if that is not 0."""

    def __init__(self, images: ImageSet, resize: int) -> None:
        self.images, self.resize = images, resize

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, rows: np.ndarray) -> np.ndarray:
        """Float32 (len(rows), 3, height, width)."""
        pixels = self.images.pixels(rows).transpose(0, 3, 1, 2).astype(np.float32) / 255
        if not self.resize:
            return pixels
        square = (self.resize, self.resize)
        return F.interpolate(torch.from_numpy(pixels), square, mode="bilinear", antialias=True).numpy()


class Features:
    """Features of images, float32 (n, width): what a network's head sees."""

    def __init__(self, features: np.ndarray) -> None:
        self.features = features

    def __len__(self) -> int:
        return len(self.features)

    def batch(self, rows: np.ndarray) -> np.ndarray:
        """Float32 (len(rows), width)."""
        return self.features[rows]


class Marra18(Attributor):
    """Attributes by an image classifier whose last layer was trained first, and then all of it."""

    def __init__(
        self,
        network: str = "resnet20",
        pretrained: bool = True,
        weights: str = "",
        resize: int = 0,
        training: str = "by network",
        head_epochs: int = 3,
        epochs: int = 15,
        batch_size: int = 32,
        learning_rate: float = 0.0,
    ) -> None:
        self.network = network
        self.pretrained = pretrained
        self.weights = weights
        self.resize = resize
        self.training = training
        self.head_epochs = head_epochs
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate

    def skip(self, dataset: DatasetCard) -> str | None:
        return self._too_small(dataset.resolution)

    def fit(self, train: ImageSet, val: ImageSet, context: RunContext) -> Self:
        assert train.labels is not None
        assert val.labels is not None
        if (reason := self._too_small(min(train.size))) is not None:
            raise CannotRunError(f"{reason}.")
        self.device_ = context.device
        torch.manual_seed(context.seed)
        half = torch.full((3,), 0.5)
        network = attribution_network(self.network, len(train.sources), half, half, self.pretrained, self.weights)
        self.network_ = network.to(context.device)
        inputs, val_inputs = Pixels(train, self.resize), Pixels(val, self.resize)
        options = self._options()
        self.training_: dict[str, Any] = {}
        if network.weights_sha256 is not None and self.head_epochs:
            head_options = replace(options, epochs=self.head_epochs)
            head = train_head(network, inputs, train.labels, val_inputs, val.labels, head_options, context)
            self.training_ = {"head": asdict(head)}
        result = train_classifier(network, inputs, train.labels, val_inputs, val.labels, options, context)
        self.training_ |= {**asdict(result), "options": asdict(options)}
        network.eval()
        return self

    def predict_proba(self, images: ImageSet) -> np.ndarray:
        network = self.network_
        return apply_network(lambda x: network(x).softmax(dim=1), Pixels(images, self.resize), self.device_)

    def embed(self, images: ImageSet) -> np.ndarray:
        """The network's penultimate activations."""
        return apply_network(self.network_.features, Pixels(images, self.resize), self.device_)

    def _too_small(self, side: int) -> str | None:
        seen = self.resize or side
        if self.network != "inception_v3" or seen >= INCEPTION_NEEDS:
            return None
        return f"inception_v3 needs {INCEPTION_NEEDS} pixels and sees {seen}; give resize=299, or another network"

    def _options(self) -> TrainingOptions:
        """For fine-tuning, or for a small network that starts from random weights."""
        is_short = self.training == "short" or (self.training == "by network" and self.network == "resnet20")
        learning_rate, schedule = (2e-3, "cosine") if is_short else (2e-4, "constant")
        return TrainingOptions(self.epochs, self.batch_size, self.learning_rate or learning_rate, schedule=schedule)


def train_head(
    network: AttributionNetwork,
    train: Inputs,
    train_labels: np.ndarray,
    val: Inputs,
    val_labels: np.ndarray,
    options: TrainingOptions,
    context: RunContext,
) -> TrainingResult:
    """Trains the head on features that are computed once: the body stays as it is, running statistics included."""
    network.eval()
    features, val_features = (
        Features(apply_network(network.features, inputs, context.device)) for inputs in (train, val)
    )
    return train_classifier(
        network.head, features, train_labels, val_features, val_labels, options, context, name="head"
    )
