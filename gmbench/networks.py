"""Networks that attribute images or artifacts. Each is a body, whose output is the feature, and a linear head."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gmbench.errors import ParameterError


class AttributionNetwork(nn.Module):
    """Standardises its input per channel, then body and head.

    Attributes:
        body: maps (n, channels, height, width) to features (n, width).
        head: maps features to logits (n, sources).
    """

    mean: Tensor
    sd: Tensor

    def __init__(self, body: nn.Module, width: int, sources: int, mean: Tensor, sd: Tensor) -> None:
        super().__init__()
        self.body, self.head = body, nn.Linear(width, sources)
        self.register_buffer("mean", mean.float().view(1, -1, 1, 1))
        self.register_buffer("sd", sd.float().clamp_min(1e-6).view(1, -1, 1, 1))

    def features(self, x: Tensor) -> Tensor:
        """The feature of each input, (n, width): what the head sees."""
        return self.body((x - self.mean) / self.sd)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


def attribution_network(name: str, sources: int, mean: Tensor, sd: Tensor) -> AttributionNetwork:
    """A new network for inputs with as many channels as `mean` and `sd` (c,) have.

    `resnet20` is the CIFAR-style residual network of He et al. (CVPR 2016, section 4.2), 64 features; `resnet50` is
    torchvision's, with a first convolution of `c` channels, 2048 features. Both start from random weights.

    Raises:
        ParameterError: there is no network of that name.
    """
    body: nn.Module
    if name == "resnet20":
        body, width = cifar_resnet(len(mean), depth=20), 64
    elif name == "resnet50":
        from torchvision.models import resnet50

        body, width = resnet50(weights=None), 2048
        body.conv1 = nn.Conv2d(len(mean), 64, 7, 2, 3, bias=False)
        body.fc = nn.Identity()
    else:
        raise ParameterError(f"network: expected 'resnet20' or 'resnet50', got '{name}'.")
    # Channels last is the faster layout of convolutions, on CPUs and on GPUs.
    return AttributionNetwork(body, width, sources, mean, sd).to(memory_format=torch.channels_last)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut without parameters, which pads new channels with zeros (option A)."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.stride, self.new_channels = stride, after - before
        self.first = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(after)
        self.second = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(after)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.first_norm(self.first(x)))
        y = self.second_norm(self.second(y))
        if self.stride != 1 or self.new_channels:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new_channels))
        return F.relu(x + y)


def cifar_resnet(channels: int, depth: int) -> nn.Sequential:
    """A residual network for small images, of `depth` 6n + 2 layers; its output is (n, 64)."""
    blocks = (depth - 2) // 6
    layers: list[nn.Module] = [nn.Conv2d(channels, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(True)]
    before = 16
    for after in (16, 32, 64):
        for block in range(blocks):
            layers.append(ResidualBlock(before, after, 2 if block == 0 and after != 16 else 1))
            before = after
    body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    for module in body.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    return body


def channel_moments(batch: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel of (n, channels, height, width)."""
    return batch.mean((0, 2, 3)), batch.std((0, 2, 3))
