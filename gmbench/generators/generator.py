"""What the trainer asks of a generative model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Generator(nn.Module, ABC):
    """A generative model of square images that can be trained step by step and sampled.

    Images are float32 tensors (n, channels, size, size) in [-1, 1]. The constructor takes `size` (a power of two, at
    least 16) and `channels` (1 or 3) first, then what the model's paper lets one choose.
    """

    size: int
    channels: int

    @abstractmethod
    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """The optimisers by name, made once; the trainer saves and restores their state."""

    @abstractmethod
    def train_step(self, real: Tensor, number: int) -> dict[str, float]:
        """Optimisation step `number` (from 1) on a batch of real images. Returns the losses by name."""

    @abstractmethod
    @torch.no_grad()
    def sample(self, n: int, random: torch.Generator) -> Tensor:
        """`n` new images, decided by the state of `random` (a CPU generator) alone."""

    def noise(self, *shape: int, random: torch.Generator) -> Tensor:
        """Standard normal noise, drawn on the CPU so that it is the same on every device."""
        return torch.randn(*shape, generator=random).to(next(self.parameters()).device)


def step(optimizer: torch.optim.Optimizer, loss: Tensor, clip: float | None = None) -> None:
    """Zeroes gradients, goes back through `loss`, clips the gradient's norm to `clip` if given, and steps."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    if clip is not None:
        nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], clip)
    optimizer.step()
