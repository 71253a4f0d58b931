"""Training steps that a GPU records once and replays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping
from typing import Protocol

import torch
from torch import Tensor

EAGER_STEPS = 3


class Learner(Protocol):
    """A network that learns step by step, without reading a value back from the device on the way."""

    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """Its optimisers by name."""

    def prepare(self, number: int) -> None:
        """Sets in place what changes from step to step, before step `number` (from 1)."""

    def kind_of_step(self, number: int) -> Hashable:
        """Names what step `number` does: steps of one name run the same operations."""

    def train_step(self, real: Tensor, number: int) -> dict[str, Tensor]:
        """Step `number` on a batch of images. Returns the losses by name, detached."""


class RecordedSteps:
    """Runs a model's training steps; on a GPU each kind of step is recorded after a few and then replayed.

    A step of a small network is hundreds of small operations, and starting these one by one takes a GPU longer than
    working them off.
    """

    def __init__(self, model: Learner, device: str) -> None:
        self.model, self.records = model, device.startswith("cuda")
        self.done: Counter[Hashable] = Counter()
        self.recorded: dict[Hashable, tuple[torch.cuda.CUDAGraph, Tensor, dict[str, Tensor]]] = {}
        if self.records:
            self.stream = torch.cuda.Stream()
            for optimizer in model.optimizers().values():
                for group in optimizer.param_groups:
                    group["capturable"] = True
                    if isinstance(optimizer, (torch.optim.Adam, torch.optim.AdamW)):
                        group["lr"] = torch.as_tensor(group["lr"], device=device)

    def __call__(self, real: Tensor, number: int) -> dict[str, Tensor]:
        self.model.prepare(number)
        if not self.records:
            return self.model.train_step(real, number)
        kind = self.model.kind_of_step(number)
        self.done[kind] += 1
        if self.done[kind] <= EAGER_STEPS:
            self.stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.stream):
                losses = self.model.train_step(real, number)
            torch.cuda.current_stream().wait_stream(self.stream)
            return losses
        if kind not in self.recorded:
            graph, given = torch.cuda.CUDAGraph(), real.clone()
            with torch.cuda.graph(graph, stream=self.stream):
                losses = self.model.train_step(given, number)
            self.recorded[kind] = graph, given, losses
        graph, given, losses = self.recorded[kind]
        given.copy_(real)
        graph.replay()
        return losses
