"""Marra, Saltori, Boato, Verdoliva 2019: generators are learned one after the other (iCaRL)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from scipy.special import softmax
from torch import Tensor, nn

from gmbench.attributor import Attributor, RunContext
from gmbench.data.images import ImageSet
from gmbench.errors import ParameterError
from gmbench.learning.inputs import Pixels, moments_of
from gmbench.learning.network_attributor import blank_images, load_network_state, network_state
from gmbench.learning.training import TrainingOptions, apply_network, train_classifier
from gmbench.networks.attribution import AttributionNetwork, attribution_network
from gmbench.networks.pretrained import IMAGENET_MEAN, IMAGENET_SD, random_weights

PUBLISHED_MOMENTS = {"resnet50": (IMAGENET_MEAN, IMAGENET_SD), "xception": ((0.5,) * 3, (0.5,) * 3)}


class Marra19(Attributor):
    """Attributes by the nearest mean of exemplars, in the features of a network that met one generator after the other.

    Classes are numbered as they arrive; `real`, which is source 0, is class 0.

    Attributes:
        order_: the source of each class.
        means_: the normalised mean of each class's exemplars, float32 (classes, d).
        training_: the names of the classes; each step's training; after each step the validation accuracy on the
            classes of that step and of each one before; and how much of that is forgotten at the end.
    """

    def __init__(
        self,
        variant: str = "mt-sc",
        binary_weight: float = 0.1,
        exemplars: int = 2000,
        classes_per_step: int = 1,
        class_order: str = "",
        joint: bool = False,
        prediction: str = "nearest-mean",
        network: str = "resnet20",
        pretrained: bool = True,
        weights: str = "",
        epochs: int = 15,
        later_epochs: int = 2,
        batch_size: int = 32,
        learning_rate: float = 2e-3,
        weight_decay: float = 5e-4,
    ) -> None:
        self.variant = variant
        self.binary_weight = binary_weight
        self.exemplars = exemplars
        self.classes_per_step = classes_per_step
        self.class_order = class_order
        self.joint = joint
        self.prediction = prediction
        self.network = network
        self.pretrained = pretrained
        self.weights = weights
        self.epochs = epochs
        self.later_epochs = later_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay

    def fit(self, train: ImageSet, val: ImageSet, context: RunContext) -> Self:
        assert train.labels is not None
        assert val.labels is not None
        if self.exemplars < len(train.sources):
            raise ParameterError(f"exemplars: {len(train.sources)} sources need as many, got {self.exemplars}.")
        self.device_, self.size_ = context.device, train.require(train.size).size
        steps = self._steps(train.sources, context.random_state)
        self.order_ = np.concatenate(steps)
        class_of, step_of = np.argsort(self.order_), np.repeat(np.arange(len(steps)), [len(step) for step in steps])
        labels, val_labels = class_of[train.labels], class_of[val.labels]
        torch.manual_seed(context.random_state)
        self.network_ = network = self._new_network(train[step_of[labels] == 0], len(steps[0]))

        exemplars: list[np.ndarray] = []
        trainings, accuracies = [], []
        for number, arriving in enumerate(steps):
            known, classes = len(exemplars), len(exemplars) + len(arriving)
            rows = np.concatenate([np.flatnonzero(step_of[labels] == number), *exemplars])
            images, seen = Pixels(train[rows]), step_of[val_labels] <= number
            old = np.empty((len(rows), 0), np.float32)
            if known:
                old = apply_network(lambda x: network(x).sigmoid(), images, context.device)
                network.grow(classes)
            loss_of = partial(incremental_loss, old=old, variant=self.variant, binary_weight=self.binary_weight)
            result = train_classifier(
                network,
                images,
                labels[rows],
                Pixels(val[seen]),
                val_labels[seen],
                self._options(self.later_epochs if known else self.epochs),
                context,
                name=f"step-{number}",
                loss_of=loss_of,
            )
            network.eval()
            features = apply_network(network.features, images, context.device)
            chosen = choose_exemplars(features, labels[rows], known, self.exemplars // classes)
            exemplars = [rows[of_class] for of_class in chosen]
            self.means_ = np.stack([unit(features[of_class].mean(axis=0)) for of_class in chosen])
            is_right = self._scores(val[seen]).argmax(axis=1) == val_labels[seen]
            by_step = [float(is_right[step_of[val_labels[seen]] == j].mean()) for j in range(number + 1)]
            trainings.append(asdict(result))
            accuracies.append(by_step)
        self.training_ = {
            "class_order": [train.sources[source] for source in self.order_],
            "steps": trainings,
            "val_accuracy_by_step": accuracies,
            "forgetting": forgetting(accuracies),
        }
        return self

    def fit_report(self) -> dict[str, Any]:
        began_from = self.network_.weights_sha256
        return self.training_ | ({"weights_sha256": began_from} if began_from else {})

    def state(self) -> dict[str, Any]:
        learned = {"size": self.size_, "order": self.order_, "means": self.means_}
        return learned | {"network": network_state(self.network_)}

    def restore(self, state: Mapping[str, Any], sources: tuple[str, ...], context: RunContext) -> Self:
        self.device_, self.size_, self.training_ = context.device, state["size"], {}
        self.order_, self.means_ = state["order"], state["means"]
        with random_weights():
            self.network_ = self._new_network(blank_images(self.size_, sources), len(self.order_))
        load_network_state(self.network_, state["network"])
        self.network_.eval()
        return self

    def predict_proba(self, images: ImageSet) -> np.ndarray:
        """The softmax of negative distances to the means, or of logits."""
        probabilities = np.empty((len(images), len(self.order_)), np.float32)
        probabilities[:, self.order_] = softmax(self._scores(images), axis=1)
        return probabilities

    def embed(self, images: ImageSet) -> np.ndarray:
        """What distances to the means are measured in: the network's penultimate activations, normalised."""
        return apply_network(self.network_.features, Pixels(images.require(self.size_)), self.device_)

    def _scores(self, images: ImageSet) -> np.ndarray:
        """One score per image and class so far, the larger the more likely: (n, classes)."""
        if self.prediction == "argmax":
            return apply_network(self.network_, Pixels(images.require(self.size_)), self.device_)
        features = self.embed(images)
        return -np.stack([np.linalg.norm(features - mean, axis=1) for mean in self.means_], axis=1)

    def _steps(self, sources: tuple[str, ...], seed: int) -> list[np.ndarray]:
        """The sources that arrive in each step; `real` is in the first."""
        generators = np.random.default_rng(seed).permutation(np.arange(1, len(sources)))
        if self.class_order:
            names = self.class_order.split(",")
            if sorted(names) != sorted(sources[1:]):
                raise ParameterError(f"class_order: expected {','.join(sources[1:])} in some order, got {names}.")
            generators = np.array([sources.index(name) for name in names])
        at_once = len(generators) if self.joint else self.classes_per_step
        steps = [generators[start : start + at_once] for start in range(0, len(generators), at_once)]
        return [np.append(0, steps[0]), *steps[1:]]

    def _new_network(self, images: ImageSet, classes: int) -> IncrementalNetwork:
        if self.pretrained and self.network in PUBLISHED_MOMENTS:
            mean, sd = (torch.tensor(moment) for moment in PUBLISHED_MOMENTS[self.network])
        else:
            mean, sd = moments_of(Pixels(images))
        network = attribution_network(self.network, classes, mean, sd, self.pretrained, self.weights)
        return IncrementalNetwork(network, self.variant).to(self.device_)

    def _options(self, epochs: int) -> TrainingOptions:
        return TrainingOptions(epochs, self.batch_size, self.learning_rate, self.weight_decay)


class IncrementalNetwork(nn.Module):
    """A network whose head grows; MT-MC gives it a second one, which tells generated from real."""

    def __init__(self, network: AttributionNetwork, variant: str) -> None:
        super().__init__()
        self.network = network
        self.binary_head = nn.Linear(network.head.in_features, 1) if variant == "mt-mc" else None
        self.weights_sha256 = network.weights_sha256

    def features(self, x: Tensor) -> Tensor:
        """The feature of each image, of length 1: (n, d)."""
        return F.normalize(self.network.features(x))

    def forward(self, x: Tensor) -> Tensor:
        """A logit per class; in training mode a last column has the second head's logit."""
        if self.binary_head is None or not self.training:
            return self.network(x)
        features = self.network.features(x)
        return torch.cat([self.network.head(features), self.binary_head(features)], dim=1)

    def grow(self, classes: int) -> None:
        """Makes room for so many classes; the logits of those that were there stay as they are."""
        before = self.network.head
        head = nn.Linear(before.in_features, classes).to(before.weight.device)
        with torch.no_grad():
            head.weight[: before.out_features] = before.weight
            head.bias[: before.out_features] = before.bias
        self.network.head = head


def incremental_loss(
    output: Tensor, labels: Tensor, rows: np.ndarray, old: np.ndarray, variant: str, binary_weight: float
) -> Tensor:
    """iCaRL's loss and, as a second task, that of telling generated images from real ones; the mean over a batch.

    iCaRL's is the sum over classes of binary cross-entropies: of new classes with the label, of old ones with what the
    network said before the step (Rebuffi et al., CVPR 2017, algorithm 3). The second task's probability is
    sigmoid(binary head) for MT-MC and, for MT-SC, the sum of the softmax over all classes but `real`, which is
    sigmoid(log sum of exp(logits of generators) - logit of real).

    Args:
        output: (n, classes), for `mt-mc` with one more column, the second head's logit.
        labels: (n,) classes; 0 is `real`.
        rows: (n,) which rows of `old` the batch is.
        old: (images, old classes) the network's sigmoids before the step.
    """
    logits = output[:, :-1] if variant == "mt-mc" else output
    targets = F.one_hot(labels, logits.shape[1]).float()
    targets[:, : old.shape[1]] = torch.from_numpy(old[rows]).to(targets.device)
    class_loss = F.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(dim=1).mean()
    generated = output[:, -1] if variant == "mt-mc" else logits[:, 1:].logsumexp(dim=1) - logits[:, 0]
    binary_loss = F.binary_cross_entropy_with_logits(generated, (labels > 0).float())
    return class_loss + binary_weight * binary_loss


def choose_exemplars(features: np.ndarray, labels: np.ndarray, known: int, per_class: int) -> list[np.ndarray]:
    """At most `per_class` rows of each class: the first ones of a known class, of a new one those that herding chooses.

    Args:
        features: (n, d).
        labels: (n,) classes; rows of a known class are its exemplars so far, best first.
        known: how many classes were known before.
    """
    chosen = []
    for class_ in range(labels.max() + 1):
        of_class = np.flatnonzero(labels == class_)
        chosen.append(of_class[:per_class] if class_ < known else of_class[herd(features[of_class], per_class)])
    return chosen


def herd(features: np.ndarray, n: int) -> list[int]:
    """Rows of (all, d) in the order that keeps the mean of the first k nearest to the mean of all; no row twice.

    The k-th minimises ||mean - (feature + sum of those before) / k|| (Rebuffi et al., algorithm 4).
    """
    mean, chosen_sum = features.mean(axis=0), np.zeros(features.shape[1], features.dtype)
    squares = np.square(features).sum(axis=1)
    chosen: list[int] = []
    for k in range(1, min(n, len(features)) + 1):
        # k times the squared distance, less what is the same for all rows.
        distances = (squares + 2 * features @ chosen_sum) / k - 2 * features @ mean
        distances[chosen] = np.inf
        chosen.append(int(distances.argmin()))
        chosen_sum += features[chosen[-1]]
    return chosen


def forgetting(accuracies: list[list[float]]) -> float:
    """Mean over steps but the last: the best accuracy on its classes before the end, less that at the end.

    Args:
        accuracies: after each step, the accuracies on the classes of that step and of each one before.
    """
    *before, last = accuracies
    lost = [max(row[j] for row in before[j:]) - last[j] for j in range(len(before))]
    return sum(lost) / len(lost) if lost else 0.0


def unit(vector: np.ndarray) -> np.ndarray:
    """The vector at length 1."""
    return vector / max(np.linalg.norm(vector), 1e-12)
