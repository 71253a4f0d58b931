"""The one trainer of every network."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn

from gmbench.attributor import RunContext
from gmbench.checkpoints import Stateful, load_checkpoint, save_checkpoint
from gmbench.errors import MethodError

STEPS_PER_EPOCH_AT_LEAST = 25


class Inputs(Protocol):
    """What a network sees of images: made batch by batch, so that it need not fit in memory."""

    def __len__(self) -> int: ...

    def batch(self, rows: np.ndarray) -> np.ndarray:
        """The inputs of some images, float32 (len(rows), ...)."""


@dataclass(frozen=True)
class TrainingOptions:
    """How a network is trained: AdamW with a cosine schedule to zero.

    An epoch is one pass over the images, but at least 25 steps, so that a few images are trained on as long as many.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float


@dataclass(frozen=True)
class TrainingResult:
    """The chosen epoch (from 1), the validation accuracy after every epoch, and how long it took, stops not counted."""

    best_epoch: int
    val_accuracy: list[float]
    seconds: float = field(compare=False)


def train_classifier(
    network: nn.Module,
    train: Inputs,
    train_labels: np.ndarray,
    val: Inputs,
    val_labels: np.ndarray,
    options: TrainingOptions,
    context: RunContext,
    name: str = "network",
) -> TrainingResult:
    """Trains with cross-entropy and leaves the network as it was after the epoch with the best validation accuracy.

    Of epochs with equal accuracy, the one with the lower validation loss counts. After every epoch a checkpoint goes to
    the run's scratch folder; a training that was stopped goes on from there and ends as if it had not been.

    Args:
        name: tells the trainings of one run apart.

    Raises:
        MethodError: the run has trained something else under this name.
    """
    task = _digest(network, train_labels, val_labels, options)
    fabric = _fabric(context.device)
    batch_size = min(options.batch_size, len(train))
    steps = max(STEPS_PER_EPOCH_AT_LEAST, math.ceil(len(train) / batch_size))
    optimizer = torch.optim.AdamW(network.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.epochs * steps)
    model, fabric_optimizer = fabric.setup(network, optimizer)
    order = np.random.default_rng(context.seed)
    torch.manual_seed(context.seed)

    accuracies: list[float] = []
    best: dict[str, Any] = {"epoch": 0, "score": (-1.0, 0.0), "network": None}
    seconds = 0.0
    checkpoint = context.scratch / f"{name}.pt"
    parts: dict[str, Stateful] = {"network": network, "optimizer": optimizer, "schedule": schedule}
    if (values := load_checkpoint(checkpoint, parts, context.device)) is not None:
        if values["task"] != task:
            raise MethodError(f"this run has trained something else as '{name}'. Give each training a name of its own.")
        order.bit_generator.state = values["order"]
        accuracies, best, seconds = values["accuracies"], values["best"], values["seconds"]

    with context.progress.phase("training", options.epochs * steps) as phase:
        phase.advance(len(accuracies) * steps)
        started = time.monotonic() - seconds
        for epoch in range(len(accuracies), options.epochs):
            model.train()
            for rows in _shuffled(len(train), batch_size, steps, order):
                x = fabric.to_device(torch.from_numpy(train.batch(rows)))
                y = fabric.to_device(torch.from_numpy(train_labels[rows]))
                loss = F.cross_entropy(model(x), y)
                fabric_optimizer.zero_grad()
                fabric.backward(loss)
                fabric_optimizer.step()
                schedule.step()
                phase.advance()
            accuracy, val_loss = _validate(network, val, val_labels, context.device)
            accuracies.append(accuracy)
            if (accuracy, -val_loss) > best["score"]:
                best = {"epoch": epoch + 1, "score": (accuracy, -val_loss), "network": deepcopy(network.state_dict())}
            phase.advance(0, f"epoch {epoch + 1} val {accuracy:.1%}")
            seconds = time.monotonic() - started
            values = {
                "task": task,
                "order": order.bit_generator.state,
                "accuracies": accuracies,
                "best": best,
                "seconds": seconds,
            }
            save_checkpoint(checkpoint, parts, values)

    network.load_state_dict(best["network"])
    return TrainingResult(best["epoch"], accuracies, round(seconds, 2))


@torch.no_grad()
def apply_network(
    function: Callable[[Tensor], Tensor], inputs: Inputs, device: str, batch_size: int = 256
) -> np.ndarray:
    """The output of a network's forward pass (or of another function of its input) for all inputs: float32 (n, d).

    The caller puts the network into evaluation mode.
    """
    outputs = [
        function(torch.from_numpy(inputs.batch(np.arange(start, min(start + batch_size, len(inputs))))).to(device))
        for start in range(0, len(inputs), batch_size)
    ]
    return torch.cat(outputs).float().cpu().numpy()


def _digest(network: nn.Module, *others: object) -> str:
    """Names a training by the weights it starts from and whatever else decides it."""
    digest = hashlib.sha256()
    for value in network.state_dict().values():
        digest.update(value.detach().cpu().numpy().tobytes())
    for other in others:
        digest.update(other.tobytes() if isinstance(other, np.ndarray) else repr(other).encode())
    return digest.hexdigest()


def _fabric(device: str) -> Fabric:
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    kind, _, index = device.partition(":")
    return Fabric(accelerator=kind, devices=[int(index)] if index else 1, precision="32-true")


def _shuffled(n: int, batch_size: int, steps: int, order: np.random.Generator) -> Iterator[np.ndarray]:
    """Rows of `steps` batches: one permutation of the n images after another."""
    passes = math.ceil(steps * batch_size / n)
    rows = np.concatenate([order.permutation(n) for _ in range(passes)])
    for step in range(steps):
        yield rows[step * batch_size : (step + 1) * batch_size]


def _validate(network: nn.Module, val: Inputs, labels: np.ndarray, device: str) -> tuple[float, float]:
    network.eval()
    logits = torch.from_numpy(apply_network(network, val, device))
    loss = F.cross_entropy(logits, torch.from_numpy(labels)).item()
    return float((logits.argmax(1).numpy() == labels).mean()), loss
