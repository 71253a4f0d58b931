"""The one trainer of every network."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn

from gmbench.attributor import RunContext
from gmbench.errors import MethodError, ParameterError
from gmbench.learning.inputs import Inputs
from gmbench.networks.checkpoints import Stateful, load_checkpoint, save_checkpoint

STEPS_PER_EPOCH_AT_LEAST = 25


@dataclass(frozen=True)
class TrainingOptions:
    """How a network is trained.

    An epoch is one pass over the images, but at least 25 steps, so that a few images are trained on as long as many.

    Attributes:
        epochs: at most so many.
        weight_decay: of `adamw` decoupled from the gradient (with 0 this is Adam), of `sgd` a part of it.
        betas: of `adamw`; the momentum of `sgd` is the first.
        schedule: of the learning rate: `cosine` falls to zero over all epochs, `constant` stays, `plateau` falls to a
            tenth when validation accuracy has not risen by 0.001 for `patience` epochs, `steps` after `milestones`.
        patience: `plateau` stops when the learning rate falls below a hundredth of what it was, `constant` and `steps`
            after so many epochs without a better one; 0: never. A `cosine` has its best epochs at its end, and none.
        optimizer: `adamw` or `sgd`.
        milestones: the epochs, from 1, after which `steps` falls to a tenth.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    schedule: str = "cosine"
    patience: int = 0
    optimizer: str = "adamw"
    milestones: tuple[int, ...] = ()


@dataclass(frozen=True)
class TrainingResult:
    """The chosen epoch (from 1), the curve, and how long it took, stops not counted.

    Attributes:
        val_accuracy: after every epoch.
        loss: the mean over every epoch's training steps; None where it is not finite.
    """

    best_epoch: int
    val_accuracy: list[float]
    loss: list[float | None]
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
    loss_of: Callable[[Tensor, Tensor, np.ndarray], Tensor] | None = None,
) -> TrainingResult:
    """Trains with cross-entropy, or another loss, and keeps the epoch with the best validation accuracy.

    The network is left as it was after that epoch. Of epochs with equal accuracy, the one with the lower validation
    loss counts. After every epoch a checkpoint goes to the run's scratch folder; a training that was stopped goes on
    from there and ends as if it had not been. What is left there of a training that is over is the network and the
    result, from which the same training ends again at once.

    Training computes in the run's precision, validation in 32 bits, as all answers are.

    Parameters that need no gradient are left as they are. Random augmentation in `train.batch` draws from torch's
    generator, whose state is part of the checkpoint.

    Args:
        name: tells the trainings of one run apart.
        loss_of: the loss of a batch from the network's output, the labels and the rows of the batch.

    Raises:
        MethodError: the run has trained something else under this name.
    """
    task = _digest(network, train_labels, val_labels, options)
    fabric = _fabric(context.device, context.precision)
    batch_size = min(options.batch_size, len(train))
    steps = max(STEPS_PER_EPOCH_AT_LEAST, math.ceil(len(train) / batch_size))
    learned = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = _optimizer(learned, options)
    schedule = _Schedule(optimizer, options, steps)
    model, fabric_optimizer = fabric.setup(network, optimizer)
    order = np.random.default_rng(context.random_state)
    torch.manual_seed(context.random_state)

    accuracies: list[float] = []
    losses: list[float | None] = []
    best: dict[str, Any] = {"epoch": 0, "score": (-1.0, 0.0), "network": None}
    seconds = 0.0
    checkpoint = context.scratch / f"{name}.pt"
    parts: dict[str, Stateful] = {"network": network, "optimizer": optimizer, "schedule": schedule}
    if (values := load_checkpoint(checkpoint, parts, context.device)) is not None:
        if values["task"] != task:
            raise MethodError(f"this run has trained something else as '{name}'. Give each training a name of its own.")
        if "result" in values:
            return TrainingResult(**values["result"])
        order.bit_generator.state = values["order"]
        accuracies, losses = values["accuracies"], values["losses"]
        best, seconds = values["best"], values["seconds"]

    with context.progress.phase("training steps", options.epochs * steps) as phase:
        phase.advance(len(accuracies) * steps)
        started = time.monotonic() - seconds
        for epoch in range(len(accuracies), options.epochs):
            if schedule.over:
                break
            model.train()
            of_steps = []
            for rows in _shuffled(len(train), batch_size, steps, order):
                x = fabric.to_device(torch.from_numpy(train.batch(rows)))
                y = fabric.to_device(torch.from_numpy(train_labels[rows]))
                output = model(x)
                loss = F.cross_entropy(output, y) if loss_of is None else loss_of(output, y, rows)
                fabric_optimizer.zero_grad()
                fabric.backward(loss)
                fabric_optimizer.step()
                schedule.after_step()
                of_steps.append(loss.detach())
                phase.advance()
            accuracy, val_loss = _validate(network, val, val_labels, context.device)
            accuracies.append(accuracy)
            mean_loss = torch.stack(of_steps).mean().item()
            losses.append(mean_loss if math.isfinite(mean_loss) else None)
            if (accuracy, -val_loss) > best["score"]:
                best = {"epoch": epoch + 1, "score": (accuracy, -val_loss), "network": deepcopy(network.state_dict())}
            schedule.after_epoch(accuracy, better=best["epoch"] == epoch + 1)
            phase.advance(0, f"epoch {epoch + 1} val {accuracy:.1%}")
            seconds = time.monotonic() - started
            values = {
                "task": task,
                "order": order.bit_generator.state,
                "accuracies": accuracies,
                "losses": losses,
                "best": best,
                "seconds": seconds,
            }
            save_checkpoint(checkpoint, parts, values)

    network.load_state_dict(best["network"])
    result = TrainingResult(best["epoch"], accuracies, losses, round(seconds, 2))
    save_checkpoint(checkpoint, {"network": network}, {"task": task, "result": asdict(result)})
    return result


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


def _optimizer(learned: list[nn.Parameter], options: TrainingOptions) -> torch.optim.Optimizer:
    rate, decay = options.learning_rate, options.weight_decay
    if options.optimizer == "adamw":
        return torch.optim.AdamW(learned, lr=rate, betas=options.betas, weight_decay=decay)
    if options.optimizer == "sgd":
        return torch.optim.SGD(learned, lr=rate, momentum=options.betas[0], weight_decay=decay)
    raise ParameterError(f"optimizer: expected adamw or sgd, got '{options.optimizer}'.")


class _Schedule:
    """The learning rate, and when to stop, from step to step and from epoch to epoch."""

    LEAST_GAIN = 0.001

    def __init__(self, optimizer: torch.optim.Optimizer, options: TrainingOptions, steps: int) -> None:
        if options.schedule not in ("cosine", "constant", "plateau", "steps"):
            raise ParameterError(f"schedule: expected cosine, constant, plateau or steps, got '{options.schedule}'.")
        if options.schedule == "cosine" and options.patience:
            raise ParameterError("patience: a cosine goes to its end. Give patience=0, or another schedule.")
        self.optimizer, self.options, self.steps = optimizer, options, steps
        self.done, self.epochs_without, self.best, self.over = 0, 0, -1.0, False

    def after_step(self) -> None:
        self.done += 1
        if self.options.schedule == "cosine":
            share = self.done / (self.options.epochs * self.steps)
            self._set(self.options.learning_rate * 0.5 * (1 + math.cos(math.pi * share)))

    def after_epoch(self, accuracy: float, better: bool) -> None:
        if self.options.schedule == "plateau":
            # A gain counts over the last that counted: many that are each too small still add up.
            better = accuracy > self.best + self.LEAST_GAIN
        if better:
            self.best = accuracy
        if self.options.schedule == "steps" and self.done // self.steps in self.options.milestones:
            self._set(self.optimizer.param_groups[0]["lr"] / 10)
        self.epochs_without = 0 if better else self.epochs_without + 1
        if not self.options.patience or self.epochs_without < self.options.patience:
            return
        if self.options.schedule == "plateau":
            self.epochs_without = 0
            self._set(self.optimizer.param_groups[0]["lr"] / 10)
            self.over = self.optimizer.param_groups[0]["lr"] < self.options.learning_rate / 100 * 0.99
        else:
            self.over = True

    def _set(self, learning_rate: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("done", "epochs_without", "best", "over")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


def _digest(network: nn.Module, *others: object) -> str:
    """Names a training by the weights it starts from and whatever else decides it."""
    digest = hashlib.sha256()
    for value in network.state_dict().values():
        digest.update(value.detach().cpu().numpy().tobytes())
    for other in others:
        digest.update(other.tobytes() if isinstance(other, np.ndarray) else repr(other).encode())
    return digest.hexdigest()


def _fabric(device: str, precision: str) -> Fabric:
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    kind, _, index = device.partition(":")
    return Fabric(accelerator=kind, devices=[int(index)] if index else 1, precision=precision)  # type: ignore[arg-type]


def _shuffled(n: int, batch_size: int, steps: int, order: np.random.Generator) -> Iterator[np.ndarray]:
    """Rows of `steps` batches: one permutation of the n images after another."""
    passes = math.ceil(steps * batch_size / n)
    rows = np.concatenate([order.permutation(n) for _ in range(passes)])
    for step in range(steps):
        yield rows[step * batch_size : (step + 1) * batch_size]


def _validate(network: nn.Module, val: Inputs, labels: np.ndarray, device: str) -> tuple[float, float]:
    network.eval()
    logits = torch.from_numpy(apply_network(network, val, device))
    loss = F.cross_entropy(logits, torch.tensor(labels)).item()
    return float((logits.argmax(1).numpy() == labels).mean()), loss
