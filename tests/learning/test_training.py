"""The trainer: what it keeps, that it resumes, that a seed decides it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import gmbench.learning.training
from gmbench.attributor import RunContext
from gmbench.errors import MethodError, ParameterError
from gmbench.learning.training import TrainingOptions, apply_network, train_classifier
from gmbench.networks.attribution import attribution_network
from gmbench.networks.resnet import cifar_resnet

OPTIONS = TrainingOptions(epochs=4, batch_size=16, learning_rate=0.02, weight_decay=0.0)


class Vectors:
    """Inputs that are vectors in memory."""

    def __init__(self, x: np.ndarray) -> None:
        self.x = x

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, rows: np.ndarray) -> np.ndarray:
        return self.x[rows]


def two_clouds(n: int, seed: int) -> tuple[Vectors, np.ndarray]:
    """Points around two centres, float32 (n, 2), and which of them (n,)."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, n)
    x = random.normal(size=(n, 2)) + 3 * np.stack([labels, 1 - labels], axis=1)
    return Vectors(x.astype(np.float32)), labels


def network() -> nn.Module:
    """A small network with dropout, so that torch's own random state matters."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 2))


def train(context: RunContext, options: TrainingOptions = OPTIONS):  # type: ignore[no-untyped-def]
    """A trained network and what the trainer says of it."""
    model = network()
    result = train_classifier(model, *two_clouds(200, 1), *two_clouds(100, 2), options, context)
    return model, result


def weights(model: nn.Module) -> np.ndarray:
    """All weights in one vector."""
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()]).numpy()


def test_it_learns(context: RunContext) -> None:
    """Two clouds are told apart almost as well as can be (98 % with these centres)."""
    _, result = train(context)
    assert max(result.val_accuracy) > 0.93
    assert len(result.val_accuracy) == 4


def test_the_curve_has_the_loss_of_every_epoch(context: RunContext) -> None:
    """The mean over an epoch's steps: of a network that says nothing and does not learn, log 2 each time."""
    _, result = train(context)
    assert len(result.loss) == 4
    assert result.loss[-1] < result.loss[0] < np.log(2)
    (context.scratch / "network.pt").unlink()
    silent = nn.Linear(2, 2)
    nn.init.zeros_(silent.weight)
    nn.init.zeros_(silent.bias)
    options = replace(OPTIONS, learning_rate=0.0, epochs=2)
    result = train_classifier(silent, *two_clouds(200, 1), *two_clouds(100, 2), options, context)
    assert result.loss == pytest.approx([np.log(2)] * 2)


def test_a_loss_that_is_no_number_is_none(context: RunContext) -> None:
    """A record holds finite numbers."""
    options = replace(OPTIONS, epochs=1)
    lost = lambda output, y, rows: output.sum() * float("nan")  # noqa: E731
    result = train_classifier(network(), *two_clouds(50, 1), *two_clouds(50, 2), options, context, loss_of=lost)
    assert result.loss == [None]


def test_a_cosine_has_no_patience(context: RunContext) -> None:
    """Its last epochs are its best: to stop before them is a mistake."""
    with pytest.raises(ParameterError, match="patience: a cosine goes to its end"):
        train(context, replace(OPTIONS, patience=3))


def test_the_network_is_left_as_it_was_after_the_best_epoch(context: RunContext) -> None:
    """Its validation accuracy is the best that was seen, not the last."""
    model, result = train(context, replace(OPTIONS, learning_rate=0.5, epochs=6))
    inputs, labels = two_clouds(100, 2)
    model.eval()
    accuracy = (apply_network(model, inputs, "cpu").argmax(axis=1) == labels).mean()
    assert accuracy == pytest.approx(max(result.val_accuracy))
    assert result.val_accuracy[result.best_epoch - 1] == max(result.val_accuracy)


def test_the_seed_decides(context: RunContext) -> None:
    """The same seed gives the same weights; another one others."""
    first, _ = train(context)
    (context.scratch / "network.pt").unlink()
    again, _ = train(context)
    (context.scratch / "network.pt").unlink()
    other, _ = train(replace(context, random_state=8))
    np.testing.assert_array_equal(weights(first), weights(again))
    assert not np.array_equal(weights(first), weights(other))


def test_mixed_precision(context: RunContext) -> None:
    """In bfloat16 products are rounded, so weights come out a little different; they stay in 32 bits, and it learns."""
    exact, _ = train(context)
    (context.scratch / "network.pt").unlink()
    mixed, result = train(replace(context, precision="bf16-mixed"))
    assert max(result.val_accuracy) > 0.93
    assert all(parameter.dtype == torch.float32 for parameter in mixed.parameters())
    assert not np.array_equal(weights(mixed), weights(exact))
    np.testing.assert_allclose(weights(mixed), weights(exact), atol=0.2)


@pytest.mark.parametrize("epochs_before", [1, 3])
def test_a_stopped_training_ends_as_if_it_had_not_been(
    context: RunContext, monkeypatch: pytest.MonkeyPatch, epochs_before: int
) -> None:
    """Interrupted in some epoch and started again, weights and history are those of a training in one go."""
    whole, result = train(context)
    (context.scratch / "network.pt").unlink()
    validate, calls = gmbench.learning.training._validate, []

    def interrupted(*arguments):  # type: ignore[no-untyped-def]
        calls.append(1)
        if len(calls) > epochs_before:
            raise KeyboardInterrupt
        return validate(*arguments)

    monkeypatch.setattr(gmbench.learning.training, "_validate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(context)
    monkeypatch.setattr(gmbench.learning.training, "_validate", validate)
    resumed, resumed_result = train(context)
    np.testing.assert_array_equal(weights(whole), weights(resumed))
    assert resumed_result == result


def test_a_training_that_is_over_is_not_done_again(context: RunContext) -> None:
    """The same call gives the same weights, result and random state without a single batch, from a small file."""
    first, result = train(context)
    drawn = torch.rand(3)

    class Untouched(Vectors):
        def batch(self, rows: np.ndarray) -> np.ndarray:
            raise AssertionError("a batch was asked for")

    (x, labels), (val, val_labels) = two_clouds(200, 1), two_clouds(100, 2)
    again = network()
    assert train_classifier(again, Untouched(x.x), labels, Untouched(val.x), val_labels, OPTIONS, context) == result
    np.testing.assert_array_equal(weights(again), weights(first))
    assert torch.equal(torch.rand(3), drawn)


def test_what_is_left_of_a_training_is_small(context: RunContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network alone: no optimiser, which is twice as large, and no second copy of the network."""
    sizes: list[int] = []
    save = gmbench.learning.training.save_checkpoint

    def measured(path: Path, *arguments: Any) -> None:
        save(path, *arguments)
        sizes.append(path.stat().st_size)

    monkeypatch.setattr(gmbench.learning.training, "save_checkpoint", measured)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 1000), nn.ReLU(), nn.Linear(1000, 500), nn.ReLU(), nn.Linear(500, 2))
    options = replace(OPTIONS, epochs=1)
    train_classifier(model, *two_clouds(50, 1), *two_clouds(50, 2), options, context)
    during, after = sizes
    of_network = 4 * sum(parameter.numel() for parameter in model.parameters())
    assert during > 3.9 * of_network
    assert after < 1.1 * of_network


def test_two_trainings_of_one_run_need_two_names(context: RunContext) -> None:
    """A second network is trained, not taken for the first; under the same name it is refused."""
    x, labels = two_clouds(200, 1)
    first, _ = train(context)
    flipped = network()
    with pytest.raises(MethodError, match="something else as 'network'"):
        train_classifier(flipped, x, 1 - labels, x, 1 - labels, OPTIONS, context)
    train_classifier(flipped, x, 1 - labels, x, 1 - labels, OPTIONS, context, name="flipped")
    for model in (first, flipped):
        model.eval()
    agreement = apply_network(first, x, "cpu").argmax(axis=1) == apply_network(flipped, x, "cpu").argmax(axis=1)
    assert agreement.mean() < 0.2


def test_few_images_are_trained_on_as_long_as_many(context: RunContext) -> None:
    """An epoch has at least 25 steps, and every image is seen equally often, give or take one."""
    seen: list[int] = []

    class Watched(Vectors):
        def batch(self, rows: np.ndarray) -> np.ndarray:
            seen.extend(rows.tolist())
            return super().batch(rows)

    x, labels = two_clouds(10, 3)
    options = replace(OPTIONS, epochs=1, batch_size=4)
    train_classifier(network(), Watched(x.x), labels, *two_clouds(10, 4), options, context)
    counts = np.bincount(seen, minlength=10)
    assert counts.sum() == 25 * 4
    assert counts.max() - counts.min() <= 1


def test_the_small_residual_network_is_the_papers() -> None:
    """ResNet-20 of He et al. has 0.27 million parameters (their table 6): 269,722, less the head's 650."""
    assert sum(parameter.numel() for parameter in cifar_resnet(3, 20).parameters()) == 269_722 - 650


@pytest.mark.parametrize(("name", "width"), [("resnet20", 64), ("resnet50", 2048)])
@pytest.mark.parametrize("channels", [3, 6])
def test_networks_have_features_and_logits(name: str, width: int, channels: int) -> None:
    """Any number of channels; features as wide as stated; the head sees the features."""
    network = attribution_network(name, 5, torch.zeros(channels), torch.ones(channels)).eval()
    x = torch.randn(2, channels, 32, 32)
    with torch.no_grad():
        assert network.features(x).shape == (2, width)
        torch.testing.assert_close(network(x), network.head(network.features(x)))


def test_networks_standardise_their_input() -> None:
    """An input shifted and scaled per channel gives the same output if the moments are those of the input."""
    x = torch.randn(4, 3, 32, 32)
    scale, shift = torch.tensor([2.0, 3, 4]), torch.tensor([1.0, -1, 5])
    torch.manual_seed(1)
    plain = attribution_network("resnet20", 5, torch.zeros(3), torch.ones(3)).eval()
    torch.manual_seed(1)
    moved = attribution_network("resnet20", 5, shift, scale).eval()
    with torch.no_grad():
        moved_x = x * scale.view(1, 3, 1, 1) + shift.view(1, 3, 1, 1)
        torch.testing.assert_close(moved(moved_x), plain(x), atol=1e-4, rtol=1e-4)


def test_small_gains_that_add_up_keep_the_rate_of_a_plateau() -> None:
    """0.9000, 0.9006, ... 0.9030, as released: each gain counts from the last that was 0.001, so the rate stays."""
    from gmbench.learning.training import _Schedule

    parameter = torch.nn.Parameter(torch.zeros(1))
    options = TrainingOptions(100, 8, 1e-4, schedule="plateau", patience=5)
    for accuracies, rate in (
        ([0.9000, 0.9006, 0.9012, 0.9018, 0.9024, 0.9030], 1e-4),
        ([0.9000, 0.9006, 0.9006, 0.9006, 0.9006, 0.9006], 1e-5),
    ):
        optimizer = torch.optim.SGD([parameter], lr=1e-4)
        schedule = _Schedule(optimizer, options, steps=1)
        for accuracy in accuracies:
            schedule.after_epoch(accuracy, better=False)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(rate)


def test_sgd_in_steps_is_the_formula(context: RunContext) -> None:
    """v = 0.9 v + gradient + decay w, w = w - rate v, and a tenth of the rate after the first epoch, 25 steps each."""
    points, labels = two_clouds(40, 3)
    model = nn.Linear(2, 2)
    w = np.concatenate([model.weight.detach().numpy(), model.bias.detach().numpy()[:, None]], axis=1).astype(float)
    x, v, after = np.c_[points.x, np.ones(40)], np.zeros((2, 3)), []
    for rate in (0.1, 0.01):
        for _ in range(25):
            odds = np.exp(x @ w.T)
            gradient = (odds / odds.sum(axis=1, keepdims=True) - np.eye(2)[labels]).T @ x / 40
            v = 0.9 * v + gradient + 0.01 * w
            w = w - rate * v
        after.append(w)
    options = TrainingOptions(2, 40, 0.1, weight_decay=0.01, schedule="steps", optimizer="sgd", milestones=(1,))
    result = train_classifier(model, points, labels, points, labels, options, context)
    trained = np.concatenate([model.weight.detach().numpy(), model.bias.detach().numpy()[:, None]], axis=1)
    np.testing.assert_allclose(trained, after[result.best_epoch - 1], atol=1e-4)


def test_steps_fall_after_their_epochs() -> None:
    """0.1, and a tenth after epochs 100 and 150 of 180: rates of epochs 100, 101, 150, 151 and 180."""
    from gmbench.learning.training import _Schedule

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    schedule = _Schedule(optimizer, TrainingOptions(180, 36, 0.1, schedule="steps", milestones=(100, 150)), steps=3)
    rates = []
    for _ in range(180):
        rates.append(optimizer.param_groups[0]["lr"])
        for _ in range(3):
            schedule.after_step()
        schedule.after_epoch(0.5, better=False)
    assert [rates[epoch - 1] for epoch in (1, 100, 101, 150, 151, 180)] == pytest.approx(
        [0.1, 0.1, 0.01, 0.01, 0.001, 0.001]
    )


def test_an_unknown_optimiser_is_named(context: RunContext) -> None:
    """What was expected and what came."""
    with pytest.raises(ParameterError, match="optimizer: expected adamw or sgd, got 'adam'"):
        train(context, TrainingOptions(1, 8, 0.1, optimizer="adam"))
