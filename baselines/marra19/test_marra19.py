"""Marra19: herding, losses and growth against closed forms, and that it learns one generator after the other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from conftest import image_set, make_images
from gmbench.attributor import RunContext
from gmbench.attributors.marra19 import (
    IncrementalNetwork,
    Marra19,
    choose_exemplars,
    forgetting,
    herd,
    incremental_loss,
)
from gmbench.data.images import ImageSet
from gmbench.errors import ParameterError
from gmbench.networks.attribution import attribution_network

NAMES = ("real", "a", "b", "c", "d", "e")


def unit_vectors(n: int, d: int, seed: int) -> np.ndarray:
    x = np.random.default_rng(seed).normal(0.3, 1, (n, d)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def network(classes: int, variant: str = "mt-sc") -> IncrementalNetwork:
    return IncrementalNetwork(attribution_network("resnet20", classes, torch.zeros(3), torch.ones(3)), variant)


class TestExemplars:
    """Which images are kept."""

    def test_herding_four_vectors(self) -> None:
        """Unit vectors at 0, 20, 50 and 100 degrees, whose mean points to 41: 50, then 20, then 100, then 0 degrees."""
        angles = np.deg2rad([0, 20, 50, 100])
        assert herd(np.stack([np.cos(angles), np.sin(angles)], axis=1), 4) == [2, 1, 3, 0]

    def test_herding_is_greedy(self) -> None:
        """Each choice is the one that brings the mean of the chosen nearest to the mean of all."""
        features, chosen = unit_vectors(30, 5, 0), []
        for _ in range(12):
            left = [i for i in range(30) if i not in chosen]
            gaps = [np.linalg.norm(features.mean(0) - features[[*chosen, i]].mean(0)) for i in left]
            chosen.append(left[int(np.argmin(gaps))])
        assert herd(features, 12) == chosen

    def test_no_image_is_chosen_twice(self) -> None:
        """Not even if all look alike, or if more are asked for than there are."""
        assert sorted(herd(np.ones((6, 3), np.float32), 6)) == list(range(6))
        assert sorted(herd(unit_vectors(7, 4, 1), 50)) == list(range(7))

    def test_known_classes_keep_their_best(self) -> None:
        """A known class is cut to its first rows, a new one is herded."""
        features = unit_vectors(30, 4, 2)
        labels = np.array([2] * 14 + [0] * 8 + [1] * 8)
        first, second, new = choose_exemplars(features, labels, known=2, per_class=5)
        np.testing.assert_array_equal(first, np.arange(14, 19))
        np.testing.assert_array_equal(second, np.arange(22, 27))
        np.testing.assert_array_equal(new, herd(features[:14], 5))


class TestLoss:
    """iCaRL's loss and the two ways to tell generated from real."""

    def test_icarl(self) -> None:
        """New classes are compared with the label, old ones with the network's earlier answer, by cross-entropy."""
        torch.manual_seed(0)
        logits, labels, rows = torch.randn(4, 5), torch.tensor([0, 3, 4, 3]), np.array([5, 2, 0, 1])
        old = np.random.default_rng(0).uniform(0.1, 0.9, (6, 3)).astype(np.float32)
        expected = 0.0
        for i, p in enumerate(logits.sigmoid().numpy()):
            target = np.array([*old[rows[i]], labels[i] == 3, labels[i] == 4], float)
            expected -= (target * np.log(p) + (1 - target) * np.log(1 - p)).sum() / 4
        assert incremental_loss(logits, labels, rows, old, "mt-sc", 0.0).item() == pytest.approx(expected, rel=1e-5)

    def test_one_classifier_sums_probabilities(self) -> None:
        """MT-SC: an image is generated with the sum of the softmax over all classes but `real`."""
        torch.manual_seed(1)
        logits, labels = 3 * torch.randn(4, 5), torch.tensor([0, 3, 1, 0])
        p_generated = logits.softmax(dim=1)[:, 1:].sum(dim=1)
        p_right = torch.where(labels > 0, p_generated, 1 - p_generated)
        assert self._binary(logits, labels, "mt-sc") == pytest.approx(-p_right.log().mean().item(), rel=1e-4)

    def test_two_classifiers(self) -> None:
        """MT-MC: the last column alone decides, and it is not a class."""
        torch.manual_seed(2)
        output, labels = torch.randn(4, 6), torch.tensor([0, 3, 1, 0])
        expected = F.binary_cross_entropy(output[:, 5].sigmoid(), (labels > 0).float()).item()
        assert self._binary(output, labels, "mt-mc") == pytest.approx(expected, rel=1e-4)

    def _binary(self, output: Tensor, labels: Tensor, variant: str) -> float:
        rows, old = np.arange(4), np.empty((4, 0), np.float32)
        with_it, without = (incremental_loss(output, labels, rows, old, variant, weight) for weight in (1.0, 0.0))
        return (with_it - without).item()


@pytest.mark.parametrize("variant", ["mt-sc", "mt-mc"])
def test_growing_keeps_the_old_logits(variant: str) -> None:
    """A new class adds a column and changes none; the binary head shows in training only."""
    growing, x = network(2, variant).eval(), torch.rand(3, 3, 32, 32)
    before = growing(x)
    growing.grow(5)
    assert growing(x).shape == (3, 5)
    torch.testing.assert_close(growing(x)[:, :2], before)
    assert growing.train()(x).shape == (3, 6 if variant == "mt-mc" else 5)
    assert growing.features(x).norm(dim=1).detach().numpy() == pytest.approx(1)


def test_the_nearest_mean_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """With means e1 and e2, (cos t, sin t) is of the first class if t is below 45 degrees."""
    angles = np.deg2rad([0, 30, 44, 46, 60, 90])
    method = Marra19()
    method.means_, method.order_ = np.eye(2), np.array([0, 1])
    monkeypatch.setattr(method, "embed", lambda _: np.stack([np.cos(angles), np.sin(angles)], axis=1))
    probabilities = method.predict_proba(image_set(make_images("real", 6, 0)))
    np.testing.assert_array_equal(probabilities.argmax(axis=1), [0, 0, 0, 1, 1, 1])


class TestSteps:
    """What arrives when."""

    def test_one_generator_at_a_time(self) -> None:
        """`real` comes with the first; the seed decides the order."""
        steps = Marra19()._steps(NAMES, seed=0)
        assert [len(step) for step in steps] == [2, 1, 1, 1, 1]
        assert steps[0][0] == 0
        assert sorted(np.concatenate(steps)) == list(range(6))
        orders = {tuple(np.concatenate(Marra19()._steps(NAMES, seed))) for seed in range(5)}
        assert len(orders) > 1

    def test_several_at_a_time_or_all_at_once(self) -> None:
        """The last step has what is left."""
        assert [len(step) for step in Marra19(classes_per_step=2)._steps(NAMES, 0)] == [3, 2, 1]
        assert [len(step) for step in Marra19(joint=True)._steps(NAMES, 0)] == [6]

    def test_a_given_order(self) -> None:
        """Generators come as they are named; leaving one out is an error."""
        steps = Marra19(class_order="c,a,e,b,d")._steps(NAMES, 0)
        np.testing.assert_array_equal(np.concatenate(steps), [0, 3, 1, 5, 2, 4])
        with pytest.raises(ParameterError, match="class_order"):
            Marra19(class_order="c,a,e,b")._steps(NAMES, 0)


def test_forgetting() -> None:
    """The best accuracy before the end less that at the end, averaged over all steps but the last."""
    assert forgetting([[0.9], [0.95, 0.8], [0.7, 0.85, 1.0]]) == pytest.approx((0.25 - 0.05) / 2)
    assert forgetting([[0.9]]) == 0


def shades(n: int = 60) -> ImageSet:
    """Images of three sources that differ in brightness; sources take turns."""
    labels = np.arange(n) % 3
    return image_set(make_images("real", n, 0) // 3 + (80 * labels[:, None, None, None]).astype(np.uint8), labels)


def test_it_learns_one_after_the_other(context: RunContext) -> None:
    """Both steps are learned, columns are sources whatever the order, and a second fit goes on from the checkpoints."""
    images = shades()
    train, val, test = images[:42], images[42:51], images[51:].without_labels()
    parameters = {"class_order": "noisy,blurred", "epochs": 2, "later_epochs": 2, "batch_size": 8}
    method = Marra19(**parameters).fit(train, val, context)
    probabilities = method.predict_proba(test)
    np.testing.assert_array_equal(probabilities.argmax(axis=1), images.labels[51:])
    assert method.training_["class_order"] == ["real", "noisy", "blurred"]
    assert [len(row) for row in method.training_["val_accuracy_by_step"]] == [1, 2]
    again = Marra19(**parameters).fit(train, val, context)
    np.testing.assert_array_equal(again.predict_proba(test), probabilities)


def test_all_at_once_with_all_exemplars_is_a_nearest_class_mean(context: RunContext) -> None:
    """The upper bound: one training, and the means are those of all training images."""
    images = shades()
    method = Marra19(joint=True, variant="mt-mc", epochs=1, batch_size=4).fit(images, images[:9], context)
    features = method.embed(images)
    for class_, source in enumerate(method.order_):
        mean = features[images.labels == source].mean(axis=0)
        np.testing.assert_allclose(method.means_[class_], mean / np.linalg.norm(mean), atol=1e-5)
    assert len(method.training_["steps"]) == 1
    assert method.training_["forgetting"] == 0


def test_the_largest_logit_decides_if_asked(context: RunContext) -> None:
    """`argmax` takes the classifier's softmax."""
    images = shades()
    method = Marra19(joint=True, prediction="argmax", epochs=1, batch_size=4).fit(images, images[:9], context)
    x = torch.from_numpy(images.pixels().transpose(0, 3, 1, 2).astype(np.float32) / 255)
    with torch.no_grad():
        expected = method.network_(x).softmax(dim=1).numpy()[:, np.argsort(method.order_)]
    np.testing.assert_allclose(method.predict_proba(images), expected, atol=1e-4)


def test_too_few_exemplars(context: RunContext) -> None:
    """Every source needs one."""
    with pytest.raises(ParameterError, match="exemplars"):
        Marra19(exemplars=2).fit(shades(), shades(), context)


@pytest.mark.slow
@pytest.mark.parametrize("prediction", ["argmax", "nearest-mean"])
def test_it_overfits(prediction: str, context: RunContext) -> None:
    """64 images with arbitrary labels are learned by heart."""
    images = image_set(make_images("real", 64, 0), np.random.default_rng(0).integers(0, 3, 64))
    method = Marra19(joint=True, prediction=prediction, epochs=12).fit(images, images, context)
    np.testing.assert_array_equal(method.predict_proba(images).argmax(axis=1), images.labels)
