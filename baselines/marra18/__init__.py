"""Marra, Gragnaniello, Cozzolino, Verdoliva 2018: a published image classifier, fine-tuned in two phases."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F

from gmbench.attributor import RunContext
from gmbench.data.cards import DatasetCard
from gmbench.data.images import ImageSet
from gmbench.errors import CannotRunError
from gmbench.learning.inputs import Inputs, Pixels, Vectors
from gmbench.learning.network_attributor import NetworkAttributor
from gmbench.learning.training import TrainingOptions, TrainingResult, apply_network, train_classifier
from gmbench.networks.attribution import AttributionNetwork, attribution_network

INCEPTION_NEEDS = 75


class ResizedPixels(Pixels):
    """Images in [0, 1], resized to a square of `side` pixels."""

    def __init__(self, images: ImageSet, side: int) -> None:
        super().__init__(images)
        self.side = side

    def batch(self, rows: np.ndarray) -> np.ndarray:
        """float32 (len(rows), 3, side, side)."""
        pixels = torch.from_numpy(super().batch(rows))
        return F.interpolate(pixels, (self.side, self.side), mode="bilinear", antialias=True).numpy()


class Marra18(NetworkAttributor):
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
        """Trains the head first, if the body starts from published weights, and then everything."""
        assert train.labels is not None
        assert val.labels is not None
        if (reason := self._too_small(min(train.size))) is not None:
            raise CannotRunError(f"{reason}.")
        self.device_, self.size_ = context.device, train.size
        inputs, val_inputs = self.inputs(train.require(self.size_)), self.inputs(val.require(self.size_))
        torch.manual_seed(context.random_state)
        self.network_ = network = self.new_network(train, inputs).to(context.device)
        options = self.training_options()
        self.training_: dict[str, Any] = {}
        if network.weights_sha256 is not None and self.head_epochs:
            head_options = replace(options, epochs=self.head_epochs)
            head = train_head(network, inputs, train.labels, val_inputs, val.labels, head_options, context)
            self.training_ = {"head": asdict(head)}
        result = train_classifier(network, inputs, train.labels, val_inputs, val.labels, options, context)
        self.training_ |= {**asdict(result), "options": asdict(options)}
        network.eval()
        return self

    def inputs(self, images: ImageSet) -> Inputs:
        """Pixels in [0, 1]."""
        return ResizedPixels(images, self.resize) if self.resize else Pixels(images)

    def new_network(self, train: ImageSet, inputs: Inputs) -> AttributionNetwork:
        """One that maps pixels to [-1, 1]."""
        half = torch.full((3,), 0.5)
        return attribution_network(self.network, len(train.sources), half, half, self.pretrained, self.weights)

    def _too_small(self, side: int) -> str | None:
        seen = self.resize or side
        if self.network != "inception_v3" or seen >= INCEPTION_NEEDS:
            return None
        return f"inception_v3 needs {INCEPTION_NEEDS} pixels and sees {seen}; give resize=299, or another network"

    def training_options(self) -> TrainingOptions:
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
        Vectors(apply_network(network.features, inputs, context.device)) for inputs in (train, val)
    )
    return train_classifier(
        network.head, features, train_labels, val_features, val_labels, options, context, name="head"
    )
