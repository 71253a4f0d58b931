"""Nataraj et al. 2019: co-occurrence matrices of neighbouring pixels, and a convolutional network."""

from __future__ import annotations

from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from gmbench.attributor import Attributor, RunContext
from gmbench.data.images import ImageSet
from gmbench.errors import ParameterError
from gmbench.networks import AttributionNetwork, channel_moments
from gmbench.training import TrainingOptions, apply_network, train_classifier

LEVELS = 256
IMAGES_FOR_MOMENTS = 512
IMAGES_AT_ONCE = 64


class Matrices:
    """The co-occurrence matrices of a set of images, made batch by batch from pixels."""

    def __init__(self, images: ImageSet, offset: tuple[int, int], symmetric: bool, normalise: str) -> None:
        self.images, self.offset, self.symmetric, self.normalise = images, offset, symmetric, normalise

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, rows: np.ndarray) -> np.ndarray:
        """Matrices of some images, float32 (len(rows), 3, 256, 256)."""
        return normalised(co_occurrence(self.images.pixels(rows), self.offset, self.symmetric), self.normalise)


class Nataraj19(Attributor):
    """Attributes by how often each pair of levels occurs in neighbouring pixels."""

    def __init__(
        self,
        offset: str = "0,1",
        symmetric: bool = False,
        normalise: str = "logcount",
        geometry: str = "grip",
        epochs: int = 1,
        batch_size: int = 16,
        learning_rate: float = 5e-4,
        patience: int = 5,
    ) -> None:
        self.offset = offset
        self.symmetric = symmetric
        self.normalise = normalise
        self.geometry = geometry
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.patience = patience

    def fit(self, train: ImageSet, val: ImageSet, context: RunContext) -> Self:
        assert train.labels is not None
        assert val.labels is not None
        self.device_ = context.device
        inputs, val_inputs = self._matrices(train), self._matrices(val)
        some = np.linspace(0, len(train) - 1, min(len(train), IMAGES_FOR_MOMENTS)).astype(int)
        mean, sd = channel_moments(torch.from_numpy(inputs.batch(some)))
        torch.manual_seed(context.seed)
        self.network_ = co_occurrence_network(self.geometry, len(train.sources), mean, sd).to(context.device)
        options = TrainingOptions(self.epochs, self.batch_size, self.learning_rate, patience=self.patience)
        self.training_ = train_classifier(self.network_, inputs, train.labels, val_inputs, val.labels, options, context)
        self.network_.eval()
        return self

    def predict_proba(self, images: ImageSet) -> np.ndarray:
        network = self.network_
        return apply_network(
            lambda x: network(x).softmax(dim=1), self._matrices(images), self.device_, batch_size=IMAGES_AT_ONCE
        )

    def embed(self, images: ImageSet) -> np.ndarray:
        """The network's penultimate activations, 256 numbers."""
        return apply_network(self.network_.features, self._matrices(images), self.device_, batch_size=IMAGES_AT_ONCE)

    def _matrices(self, images: ImageSet) -> Matrices:
        return Matrices(images, _parse_offset(self.offset), self.symmetric, self.normalise)


def co_occurrence(pixels: np.ndarray, offset: tuple[int, int] = (0, 1), symmetric: bool = False) -> np.ndarray:
    """How often level i has level j at an offset, per channel of uint8 (n, height, width, 3): float32 (n, 3, 256, 256).

    Args:
        offset: rows down (not negative) and columns to the right.
        symmetric: count each pair in both directions.

    Raises:
        ParameterError: the images are too small to hold such pairs.
    """
    down, right = offset
    height, width = pixels.shape[1:3]
    if down >= height or abs(right) >= width:
        raise ParameterError(f"offset: no pixels of {height}x{width} images are {down} rows and {right} columns apart.")
    left, shifted = max(0, -right), max(0, right)
    here = pixels[:, : height - down, left : width - shifted].astype(np.intp)
    there = pixels[:, down:, shifted : width - left]
    pairs = here * LEVELS + there + np.arange(3) * LEVELS**2
    # An image at a time, whose counters stay in the processor's cache, is faster than all at once.
    counts = np.empty((len(pixels), 3 * LEVELS**2), np.float32)
    for image, of_image in enumerate(pairs):
        counts[image] = np.bincount(of_image.ravel(), minlength=counts.shape[1])
    matrices = counts.reshape(-1, 3, LEVELS, LEVELS)
    return matrices + matrices.transpose(0, 1, 3, 2) if symmetric else matrices


def normalised(counts: np.ndarray, normalise: str) -> np.ndarray:
    """Counts (n, 3, 256, 256) in a range that a network can be trained on.

    `count` leaves them. `prob` is the share of pairs times 256^2, so that its mean is 1. `logcount` is the logarithm of
    1 + counts as they would be in an image of 256x256, 256 x 255 pairs.
    """
    if normalise == "count":
        return counts
    shares = counts / counts.sum(axis=(2, 3), keepdims=True)
    return shares * LEVELS**2 if normalise == "prob" else np.log1p(shares * (LEVELS * (LEVELS - 1)))


def co_occurrence_network(geometry: str, sources: int, mean: Tensor, sd: Tensor) -> AttributionNetwork:
    """The network of six convolutions and two dense layers for matrices with these moments (3,); features are 256.

    Args:
        geometry: `grip`: first convolution of stride 2, no padding, no biases of convolutions, pooling 3x3 of stride 2.
            `valid` and `same`: stride 1, biases, pooling 2x2; `same` pads, `valid` does not.
    """
    grip, padding = geometry == "grip", "same" if geometry == "same" else "valid"
    layers: list[nn.Module] = []
    before = 3
    for after in (32, 64, 128):
        stride = 2 if grip and before == 3 else 1
        layers += [
            nn.Conv2d(before, after, 3, stride, padding, bias=not grip),
            nn.ReLU(True),
            nn.Conv2d(after, after, 5, 1, padding, bias=not grip),
            nn.MaxPool2d(3, 2) if grip else nn.MaxPool2d(2),
        ]
        before = after
    side = {"grip": 10, "valid": 26, "same": 32}[geometry]
    body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(128 * side**2, 256), nn.ReLU(True))
    for module in body:
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return AttributionNetwork(body, 256, sources, mean, sd).to(memory_format=torch.channels_last)


def _parse_offset(offset: str) -> tuple[int, int]:
    try:
        down, right = (int(part) for part in offset.split(","))
    except ValueError:
        down, right = 0, 0
    if (down, right) == (0, 0) or down < 0:
        raise ParameterError(
            f"offset: expected rows down (not negative) and columns to the right such as '0,1', got '{offset}'."
        )
    return down, right
