"""Yu, Davis, Fritz 2019: an attribution network whose learned features are the fingerprints of images."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gmbench.data.cards import DatasetCard
from gmbench.data.images import ImageSet
from gmbench.errors import ParameterError
from gmbench.learning.inputs import Inputs
from gmbench.learning.network_attributor import NetworkAttributor
from gmbench.learning.training import TrainingOptions
from gmbench.networks.attribution import FeatureNetwork

SMALLEST = 4
"""Side of the maps that the dense layers see, and the smallest `switching_res`."""

FIRST_WIDTH, LARGEST_BASE = 16, 1024
"""Of the published network for 128 pixels: channels of its first convolution, and its `fmap_base`."""


class Pixels:
    """Images in [-1, 1], half of them mirrored if `flip` says so."""

    def __init__(self, images: ImageSet, flip: bool = False) -> None:
        self.images, self.flip = images, flip

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, rows: np.ndarray) -> np.ndarray:
        """float32 (len(rows), 3, height, width)."""
        pixels = self.images.pixels(rows)
        if self.flip:
            mirrored = torch.rand(len(rows)).numpy() < 0.5
            pixels = np.where(mirrored[:, None, None, None], pixels[:, :, ::-1], pixels)
        return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2), np.float32) / np.float32(127.5) - 1


class Yu19(NetworkAttributor):
    """Attributes by a network without normalisation layers, trained at an equalised learning rate."""

    def __init__(
        self,
        variant: str = "postpool",
        switching_res: int = 4,
        fmap_base: int = 0,
        fmap_max: int = 512,
        flip: bool = True,
        epochs: int = 20,
        patience: int = 10,
        batch_size: int = 16,
        learning_rate: float = 1e-3,
    ) -> None:
        self.variant = variant
        self.switching_res = switching_res
        self.fmap_base = fmap_base
        self.fmap_max = fmap_max
        self.flip = flip
        self.epochs = epochs
        self.patience = patience
        self.batch_size = batch_size
        self.learning_rate = learning_rate

    def inputs(self, images: ImageSet) -> Pixels:
        """Pixels in [-1, 1]."""
        return Pixels(images)

    def training_inputs(self, images: ImageSet) -> Pixels:
        """The same, half of them mirrored."""
        return Pixels(images, self.flip)

    def new_network(self, train: ImageSet, inputs: Inputs) -> AttributionNetwork:
        """One whose first convolution has 16 channels, unless `fmap_base` says otherwise."""
        size = train.size[0]
        fmap_base = self.fmap_base or min(FIRST_WIDTH * size // 2, LARGEST_BASE)
        network = AttributionNetwork(
            size, len(train.sources), self.variant, self.switching_res, fmap_base, self.fmap_max
        )
        return network.to(memory_format=torch.channels_last)

    def training_options(self) -> TrainingOptions:
        """Adam at a constant learning rate."""
        return TrainingOptions(
            self.epochs,
            self.batch_size,
            self.learning_rate,
            betas=(0.0, 0.99),
            schedule="constant",
            patience=self.patience,
        )

    def skip(self, dataset: DatasetCard) -> str | None:
        side = dataset.resolution
        if side < 2 * SMALLEST or side & (side - 1):
            return f"its images must have a power of two of at least {2 * SMALLEST} pixels a side, not {side}"
        return None


class AttributionNetwork(FeatureNetwork):
    """The network of section 3.1, and the two variants of section 3.2 that see one frequency band or small patches.

    A block works at resolution r: two 3x3 convolutions, to nf(log2 r - 1) and nf(log2 r - 2) channels, and the mean of
    2x2 pixels, with nf(s) = min(fmap_base / 2^s, fmap_max). Blocks follow each other down to 4x4; there come one more
    convolution, to nf(1) channels, and two dense layers, of max(nf(1), sources) units and of one per source.

    Args:
        size: side of the images in pixels, a power of two.
        variant: `predownscale` blurs and halves images until their side is `switching_res`, and has blocks from there;
            `postpool` has blocks above `switching_res`, a convolution there, and only means of 2x2 pixels below.
        switching_res: a power of two from 4 to `size`. With `postpool` and 4 this is the standard network.

    Raises:
        ParameterError: `switching_res` is none of those.
    """

    def __init__(
        self, size: int, sources: int, variant: str, switching_res: int, fmap_base: int, fmap_max: int
    ) -> None:
        super().__init__()
        allowed = [2**level for level in range(2, size.bit_length())]
        if switching_res not in allowed:
            raise ParameterError(f"switching_res: expected one of {allowed} for {size} pixels, got {switching_res}.")

        def nf(level: float) -> int:
            return max(1, min(int(fmap_base / 2**level), fmap_max))

        first, last = (switching_res, SMALLEST) if variant == "predownscale" else (size, switching_res)
        layers: list[nn.Module] = [Halve() for _ in range(_halvings(size, first))]
        channels, side = 3, first
        while side > last:
            level = _level(side)
            layers += [
                Convolution(channels, nf(level - 1)),
                Convolution(nf(level - 1), nf(level - 2)),
                nn.AvgPool2d(2),
            ]
            channels, side = nf(level - 2), side // 2
        width = nf(_level(side) - 1)
        layers += [*(nn.AvgPool2d(2) for _ in range(_halvings(side, SMALLEST))), Convolution(channels, width)]
        self.convolutions = nn.Sequential(*layers)
        units = max(nf(1), sources)
        self.dense = Dense(width * SMALLEST**2, units, gain=math.sqrt(2))
        self.head = Dense(units, sources, gain=1)

    def features(self, x: Tensor) -> Tensor:
        """Images (n, 3, size, size) in [-1, 1] to fingerprints (n, max(nf(1), sources))."""
        return F.leaky_relu(self.dense(self.convolutions(x).flatten(1)), 0.2)

    def forward(self, x: Tensor) -> Tensor:
        """Images (n, 3, size, size) in [-1, 1] to logits (n, sources)."""
        return self.head(self.features(x))


class Convolution(nn.Module):
    """A 3x3 convolution with reflected borders and a leaky ReLU, at an equalised learning rate."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(after, before, 3, 3))
        self.bias = nn.Parameter(torch.zeros(after))
        self.scale = math.sqrt(2 / (before * 9))

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (1, 1, 1, 1), mode="reflect")
        return F.leaky_relu(F.conv2d(x, self.weight * self.scale, self.bias), 0.2)


class Dense(nn.Module):
    """A linear layer at an equalised learning rate.

    The weights are drawn from N(0, 1) and multiplied by gain / sqrt(before) whenever they are used, so that Adam, whose
    steps do not depend on the size of a gradient, changes every layer at the same relative speed (Karras et al., ICLR
    2018, section 4.1).
    """

    def __init__(self, before: int, after: int, gain: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(after, before))
        self.bias = nn.Parameter(torch.zeros(after))
        self.scale = gain / math.sqrt(before)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.scale, self.bias)


class Halve(nn.Module):
    """One step of a Gaussian pyramid: the 5x5 binomial filter with reflected borders, then every second pixel."""

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        row = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
        self.register_buffer("kernel", torch.outer(row, row).expand(3, 1, 5, 5).clone())

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3, height, width) to (n, 3, height / 2, width / 2)."""
        return F.conv2d(F.pad(x, (2, 2, 2, 2), mode="reflect"), self.kernel, stride=2, groups=3)


def _level(side: int) -> int:
    """The logarithm to base 2 of a power of two."""
    return side.bit_length() - 1


def _halvings(before: int, after: int) -> int:
    return _level(before) - _level(after)
