"""MaCow (Ma, Kong, Zhang, Hovy, NeurIPS 2019).

Kept: masked convolutional flows in four orders (from the top, the bottom, the left, the right) with a kernel of 2x3 and
four times as many hidden channels as channels, in units of four with actnorm before each pair; steps of two units and a
step of Glow (actnorm, invertible 1x1 convolution, affine coupling); squeeze, steps and split at each level. Scaled
down: 3 levels of 2 steps with 96 hidden channels in the couplings (the paper: 4 levels, up to 24 steps each, 512
channels). Changed: the scales of masked convolutions lie between 1/e and e (the paper: a sigmoid, under which some
samples of a model this small run away). Left out: the steps before the first squeeze, the finer splits within a level,
variational dequantisation (ours is uniform), weight normalisation. Averaged weights and sampling at reduced temperature
are as in our Glow. Images have 8 bits. At 64 pixels use `levels=4`.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gmbench.generators.glow import ActNorm, Flow, NormalizingFlow, glow_step

SEEN = 2  # lines that a masked convolution sees
LARGEST_LOG_SCALE = 0.25


class MaskedConvolution(nn.Module):
    """An affine transform of each line of x (n, channels, h, w), decided by the `SEEN` lines before it.

    Lines are rows from the top (order A) or the bottom (B), or columns from the left (C) or the right (D). As what
    decides a line holds nothing of it, the inverse takes one turn per line.
    """

    def __init__(self, channels: int, order: str, kernel: int) -> None:
        super().__init__()
        rows = order in "AB"
        self.dim = 2 if rows else 3
        self.direction = 1 if order in "AC" else -1
        side = (kernel // 2, kernel // 2)
        # `SEEN` zero lines before the first and the last line cut off: the convolution then has one output per line,
        # made from the lines before it.
        ahead = (SEEN, -1)[:: self.direction]
        self.padding = (*side, *ahead) if rows else (*ahead, *side)
        self.padding_of_seen = (*side, 0, 0) if rows else (0, 0, *side)
        self.masked = nn.Conv2d(channels, 4 * channels, (SEEN, kernel) if rows else (kernel, SEEN))
        self.last = nn.Conv2d(4 * channels, 2 * channels, 1)
        nn.init.normal_(self.masked.weight, 0.0, 0.05)
        for parameter in (self.masked.bias, self.last.weight, self.last.bias):
            nn.init.zeros_(parameter)  # type: ignore[arg-type]

    def _affine(self, padded: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = self.last(F.elu(self.masked(padded), inplace=True)).chunk(2, dim=1)
        # Unbounded, a line divided by a tiny scale would make the next one's tinier still, and samples would run away.
        return LARGEST_LOG_SCALE * torch.tanh(log_scale), shift

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = self._affine(F.pad(x, self.padding))
        return x * log_scale.exp() + shift, log_scale.sum((1, 2, 3))

    def inverse(self, y: Tensor) -> Tensor:
        lines = y.split(1, self.dim)[:: self.direction]
        found = [torch.zeros_like(lines[0])] * SEEN
        for line in lines:
            seen = torch.cat(found[-SEEN:][:: self.direction], self.dim)
            log_scale, shift = self._affine(F.pad(seen, self.padding_of_seen))
            found.append((line - shift) * (-log_scale).exp())
        return torch.cat(found[SEEN:][:: self.direction], self.dim)


def macow_step(channels: int, hidden: int, units: int, kernel: int) -> list[nn.Module]:
    """The layers of one step: `units` of masked convolutions in all orders, then a step of Glow."""
    layers: list[nn.Module] = []
    for _ in range(units):
        for pair in ("AB", "CD"):
            layers += [ActNorm(channels), *(MaskedConvolution(channels, order, kernel) for order in pair)]
    return layers + glow_step(channels, hidden)


class MaCow(NormalizingFlow):
    """Normalising flow with masked convolutions, `kernel` (odd) positions wide."""

    def __init__(
        self,
        size: int = 32,
        channels: int = 3,
        levels: int = 3,
        depth: int = 2,
        hidden: int = 96,
        units: int = 2,
        kernel: int = 3,
        temperature: float = 0.7,
        ema_decay: float = 0.999,
        learning_rate: float = 1e-3,
        warmup: int = 500,
    ) -> None:
        flow = Flow(channels, levels, depth, hidden, partial(macow_step, units=units, kernel=kernel))
        super().__init__(size, channels, flow, temperature, ema_decay, learning_rate, warmup)
