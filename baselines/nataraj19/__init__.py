"""Nataraj et al. 2019: co-occurrence matrices of neighbouring pixels, and a convolutional network."""

from __future__ import annotations

import re
from copy import deepcopy
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from gmbench.attributor import RunContext
from gmbench.data.images import ImageSet
from gmbench.errors import ParameterError
from gmbench.learning.inputs import Inputs, moments_of
from gmbench.learning.network_attributor import NetworkAttributor
from gmbench.learning.training import TrainingOptions
from gmbench.networks.attribution import AttributionNetwork

PAIRS = 256 * 255
"""How many pairs of horizontal neighbours an image of 256x256 has."""

LARGE = 128
"""Images of so many pixels a side, and larger ones, are counted in all 256 levels unless `levels` says otherwise."""

OFFSET = "(0|[1-9][0-9]*),(0|-?[1-9][0-9]*)"
"""One spelling for each pair of numbers."""

IMAGES_FOR_MOMENTS = 512


class Matrices:
    """The co-occurrence matrices of a set of images, made batch by batch from pixels."""

    def __init__(self, images: ImageSet, levels: int, offset: tuple[int, int], symmetric: bool, normalise: str) -> None:
        self.images, self.levels, self.offset = images, levels, offset
        self.symmetric, self.normalise = symmetric, normalise

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, rows: np.ndarray) -> np.ndarray:
        """Matrices of some images, float32 (len(rows), 3, levels, levels)."""
        counts = co_occurrence(self.images.pixels(rows), self.offset, self.symmetric, self.levels)
        return normalised(counts, self.normalise)


class Nataraj19(NetworkAttributor):
    """Attributes by how often each pair of levels occurs in neighbouring pixels."""

    inference_batch = 64

    def __init__(
        self,
        levels: int = 0,
        offset: str = "0,1",
        symmetric: bool = False,
        normalise: str = "logcount",
        geometry: str = "grip",
        epochs: int = 5,
        batch_size: int = 16,
        learning_rate: float = 5e-4,
    ) -> None:
        self.levels = levels
        self.offset = offset
        self.symmetric = symmetric
        self.normalise = normalise
        self.geometry = geometry
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate

    def fit(self, train: ImageSet, val: ImageSet, context: RunContext) -> Self:
        self.levels_ = self.levels or (256 if min(train.size) >= LARGE else 128)
        return super().fit(train, val, context)

    def inputs(self, images: ImageSet) -> Matrices:
        """Co-occurrence matrices."""
        return Matrices(images, self.levels_, _parse_offset(self.offset), self.symmetric, self.normalise)

    def new_network(self, train: ImageSet, inputs: Inputs) -> AttributionNetwork:
        """One that standardises matrices with their moments in training."""
        mean, sd = moments_of(inputs, IMAGES_FOR_MOMENTS)
        return co_occurrence_network(self.geometry, len(train.sources), mean, sd, self.levels_)

    def training_options(self) -> TrainingOptions:
        """Adam along a cosine."""
        return TrainingOptions(self.epochs, self.batch_size, self.learning_rate)


def co_occurrence(
    pixels: np.ndarray, offset: tuple[int, int] = (0, 1), symmetric: bool = False, levels: int = 256
) -> np.ndarray:
    """How often level i has level j at an offset, per channel of uint8 (n, height, width, 3).

    Args:
        offset: rows down (not negative) and columns to the right.
        symmetric: count each pair in both directions.
        levels: 256 and its divisors; neighbouring intensities that share a level are 256 / levels.

    Returns:
        float32 (n, 3, levels, levels).

    Raises:
        ParameterError: 256 levels cannot be divided into so many, or the images are too small to hold such pairs.
    """
    if levels < 2 or 256 % levels:
        raise ParameterError(f"levels: expected 0 or a power of two from 2 to 256, got {levels}.")
    down, right = offset
    height, width = pixels.shape[1:3]
    if down >= height or abs(right) >= width:
        raise ParameterError(f"offset: no pixels of {height}x{width} images are {down} rows and {right} columns apart.")
    left, shifted = max(0, -right), max(0, right)
    quantised = pixels // (256 // levels)
    here = quantised[:, : height - down, left : width - shifted]
    there = quantised[:, down:, shifted : width - left]
    # A channel at a time, whose counters stay in the processor's cache, is faster than all at once.
    counts = np.empty((len(pixels), 3, levels**2), np.float32)
    for image, channel in np.ndindex(len(pixels), 3):
        pairs = here[image, :, :, channel].astype(np.uint16) * levels + there[image, :, :, channel]
        counts[image, channel] = np.bincount(pairs.ravel(), minlength=levels**2)
    matrices = counts.reshape(-1, 3, levels, levels)
    return matrices + matrices.transpose(0, 1, 3, 2) if symmetric else matrices


def normalised(counts: np.ndarray, normalise: str) -> np.ndarray:
    """Counts (n, 3, levels, levels) in a range that a network can be trained on.

    `count` leaves them. `prob` is the share of pairs times levels^2, so that its mean is 1. `logcount` is the logarithm
    of 1 + counts as they would be in an image of 256x256, 256 x 255 pairs.
    """
    if normalise == "count":
        return counts
    shares = counts / counts.sum(axis=(2, 3), keepdims=True)
    return shares * counts[0, 0].size if normalise == "prob" else np.log1p(shares * PAIRS)


def co_occurrence_network(
    geometry: str, sources: int, mean: Tensor, sd: Tensor, levels: int = 256
) -> AttributionNetwork:
    """The network of six convolutions and two dense layers for matrices with these moments (3,); features are 256.

    Args:
        geometry: `grip`: first convolution of stride 2, no padding, no biases of convolutions, pooling 3x3 of stride 2.
            `valid` and `same`: stride 1, biases, pooling 2x2; `same` pads, `valid` does not.
        levels: side of the matrices.

    Raises:
        ParameterError: the matrices are too small for the convolutions.
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
    layers.append(nn.Flatten())
    body = nn.Sequential(*layers, nn.Linear(_flattened(layers, geometry, levels), 256), nn.ReLU(True))
    for module in body:
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return AttributionNetwork(body, 256, sources, mean, sd).to(memory_format=torch.channels_last)


def _flattened(layers: list[nn.Module], geometry: str, levels: int) -> int:
    """How many numbers the layers make of a matrix of `levels`, found without computing them."""
    shapes_only = deepcopy(nn.Sequential(*layers)).to("meta")
    try:
        return shapes_only(torch.empty(1, 3, levels, levels, device="meta")).shape[1]
    except RuntimeError as error:
        raise ParameterError(f"levels: geometry '{geometry}' needs more than {levels}; give 128 or 256.") from error


def _parse_offset(offset: str) -> tuple[int, int]:
    down, right = map(int, offset.split(",")) if re.fullmatch(OFFSET, offset) else (0, 0)
    if (down, right) == (0, 0):
        raise ParameterError(
            f"offset: expected rows down (not negative) and columns to the right such as '0,1', got '{offset}'."
        )
    return down, right
