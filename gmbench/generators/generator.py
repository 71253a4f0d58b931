"""What the trainer asks of a generative model."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class Generator(nn.Module, ABC):
    """A generative model of square images that can be trained step by step and sampled.

    Images are float32 tensors (n, channels, size, size) in [-1, 1]. The constructor takes `size` (a power of two, at
    least 16) and `channels` (1 or 3) first, then what the model's paper lets one choose.

    Attributes:
        sampling_parts: the names of the submodules and buffers that `sample` uses; the others serve training alone.
    """

    sampling_parts: ClassVar[tuple[str, ...]]
    size: int
    channels: int

    @abstractmethod
    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """The optimisers by name, made once; the trainer saves and restores their state."""

    @abstractmethod
    def train_step(self, real: Tensor, number: int) -> dict[str, Tensor]:
        """Optimisation step `number` (from 1) on a batch of real images. Returns the losses by name, detached.

        It never waits for the device: no value is read back, and no tensor is made from numbers on the way.
        """

    def kind_of_step(self, number: int) -> Hashable:
        """Names what step `number` does: steps of one name run the same operations, and a GPU records them once."""
        return number == 1

    def prepare(self, number: int) -> None:
        """Sets in place what changes from step to step, such as a growing learning rate, before step `number`."""

    @abstractmethod
    @torch.no_grad()
    def sample(self, n: int, random: torch.Generator) -> Tensor:
        """`n` new images, decided by the state of `random` (a CPU generator) alone."""

    def noise(self, *shape: int, random: torch.Generator) -> Tensor:
        """Standard normal noise, drawn on the CPU so that it is the same on every device."""
        return torch.randn(*shape, generator=random).to(next(self.parameters()).device)


class MovingAverage(nn.Module):
    """A copy of a network whose parameters follow the network's, `decay` of the way behind at each step."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__()
        self.module = copy.deepcopy(network).requires_grad_(False)
        self._follow = get_ema_multi_avg_fn(decay)

    def forward(self, *given: object) -> object:
        return self.module(*given)

    @torch.no_grad()
    def update(self, network: nn.Module, number: int) -> None:
        """Follows the network after step `number`; after the first it starts as an exact copy."""
        averaged: list[Tensor] = [*self.module.parameters()]
        learned: list[Tensor] = [*network.parameters()]
        if number == 1:
            torch._foreach_copy_(averaged, learned)
        else:
            self._follow(averaged, learned, 0)
        for buffer, other in zip(self.module.buffers(), network.buffers(), strict=True):
            buffer.copy_(other)


def step(optimizer: torch.optim.Optimizer, loss: Tensor, clip: float | None = None) -> None:
    """Zeroes gradients, goes back through `loss`, clips the gradient's norm to `clip` if given, and steps."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    if clip is not None:
        nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], clip)
    optimizer.step()


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Sets the learning rate, in place where a recorded step reads it from the device."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate
