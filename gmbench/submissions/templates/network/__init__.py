"""My method: a small convolutional network that sees pixels."""

from __future__ import annotations

from torch import nn

from gmbench.data.images import ImageSet
from gmbench.learning.inputs import Inputs, Pixels, moments_of
from gmbench.learning.network_attributor import NetworkAttributor
from gmbench.learning.training import TrainingOptions
from gmbench.networks.attribution import AttributionNetwork

WIDTH = 64


class MyMethod(NetworkAttributor):
    """Attributes by a network."""

    def __init__(self, epochs: int = 15, batch_size: int = 64, learning_rate: float = 2e-3) -> None:
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate

    def inputs(self, images: ImageSet) -> Inputs:
        """What the network sees: an object with a length, and `batch(rows)` that gives float32 (rows, ...)."""
        return Pixels(images)

    def new_network(self, train: ImageSet, inputs: Inputs) -> AttributionNetwork:
        """Standardises each channel by its moments over the training images, then body, then a linear layer."""
        mean, sd = moments_of(inputs)
        return AttributionNetwork(body(len(mean)), WIDTH, len(train.sources), mean, sd)

    def training_options(self) -> TrainingOptions:
        """AdamW along a cosine."""
        return TrainingOptions(self.epochs, self.batch_size, self.learning_rate, weight_decay=5e-4)


def body(channels: int) -> nn.Module:
    """Maps (n, channels, height, width) to features (n, WIDTH)."""
    layers: list[nn.Module] = []
    for before, after in ((channels, 16), (16, 32), (32, WIDTH)):
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
