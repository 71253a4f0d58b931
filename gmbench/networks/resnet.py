"""Residual networks for small images."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut.

    Where the number of channels changes, the shortcut pads new ones with zeros (option A), or is `convolved`, 1x1.
    """

    def __init__(self, before: int, after: int, stride: int, convolved: bool = False) -> None:
        super().__init__()
        self.stride, self.new_channels = stride, after - before
        self.first = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(after)
        self.second = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(after)
        self.shortcut = nn.Conv2d(before, after, 1, stride) if convolved and before != after else None

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.first_norm(self.first(x)))
        y = self.second_norm(self.second(y))
        if self.shortcut is not None:
            x = self.shortcut(x)
        elif self.stride != 1 or self.new_channels:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new_channels))
        return F.relu(x + y)


def cifar_resnet(channels: int, depth: int, convolved: bool = False) -> nn.Sequential:
    """A residual network for small images, of `depth` 6n + 2 layers; its output is (n, 64).

    Args:
        convolved: shortcuts to more channels are 1x1 convolutions, and weights are drawn by fan-out instead of fan-in.
    """
    blocks = (depth - 2) // 6
    layers: list[nn.Module] = [nn.Conv2d(channels, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(True)]
    before = 16
    for after in (16, 32, 64):
        for block in range(blocks):
            layers.append(ResidualBlock(before, after, 2 if block == 0 and after != 16 else 1, convolved))
            before = after
    body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    for module in body.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out" if convolved else "fan_in", nonlinearity="relu")
    return body


def small_resnet18() -> nn.Module:
    """A ResNet-18 of half the width for images of 32 pixels: (n, 3, 32, 32) to 256 features, 2.8 million parameters."""
    from timm.models.resnet import BasicBlock, ResNet

    block: Any = BasicBlock
    body: Any = ResNet(block, (2, 2, 2, 2), num_classes=0, channels=(32, 64, 128, 256), stem_width=32)
    body.conv1 = nn.Conv2d(3, 64, 3, 2, 1, bias=False)
    body.maxpool = nn.Identity()
    return body


def channel_moments(batch: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel of (n, channels, height, width), or of each place of (n, d)."""
    over = [0, *range(2, batch.ndim)]
    return batch.mean(over), batch.std(over)
