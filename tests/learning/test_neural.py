"""What methods that train a network share: the skeleton, and the small inputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import softmax
from torch import Tensor

from conftest import image_set, make_images
from gmbench.attributor import RunContext
from gmbench.attributors.manifpt import ManiFPT
from gmbench.data.dataset import Dataset
from gmbench.data.images import ImageSet
from gmbench.learning.inputs import Inputs, Pixels, Vectors, moments_of
from gmbench.learning.network_attributor import NetworkAttributor
from gmbench.learning.training import TrainingOptions
from gmbench.networks.attribution import AttributionNetwork, vector_network
from gmbench.support.cache import Cache
from gmbench.support.progress import Progress


class Brightness(NetworkAttributor):
    """Sees the mean of each channel; in training all images are brighter by a half."""

    inference_batch = 4

    def __init__(self, epochs: int = 2) -> None:
        self.epochs = epochs
        self.asked: list[int] = []

    def inputs(self, images: ImageSet) -> Inputs:
        asked = self.asked

        class Watched(Vectors):
            def batch(self, rows: np.ndarray) -> np.ndarray:
                asked.append(len(rows))
                return super().batch(rows)

        return Watched(means(images))

    def training_inputs(self, images: ImageSet) -> Inputs:
        return Vectors(means(images) + np.float32(0.5))

    def new_network(self, train: ImageSet, inputs: Inputs) -> AttributionNetwork:
        return vector_network("mlp", len(train.sources), *moments_of(inputs), hidden=8)

    def training_options(self) -> TrainingOptions:
        return TrainingOptions(self.epochs, batch_size=8, learning_rate=0.05, schedule="constant")


def means(images: ImageSet) -> np.ndarray:
    """The mean of each channel in [0, 1], float32 (n, 3)."""
    return (images.pixels().mean(axis=(1, 2)) / 255).astype(np.float32)


@pytest.fixture
def fitted(tiny: Dataset, context: RunContext) -> Brightness:
    """A method of few lines, fitted."""
    return Brightness().fit(tiny["train"], tiny["val"], context)


class TestNetworkAttributor:
    """What a method gets for saying what its network sees, which one it is and how it is trained."""

    def test_the_network_is_trained_on_the_training_inputs(self, fitted: Brightness, tiny: Dataset) -> None:
        """Its moments are those of the brightened images, not of the images."""
        brightened = means(tiny["train"]).mean(axis=0) + 0.5
        np.testing.assert_allclose(fitted.network_.mean.numpy(), brightened, rtol=1e-5)

    def test_probabilities_and_features(self, fitted: Brightness, tiny: Dataset) -> None:
        """Of images as they are: features are the hidden layer's, probabilities the softmax of the head on them."""
        test = tiny["test"].without_labels()
        network = fitted.network_
        x = (torch.from_numpy(means(test)) - network.mean) / network.sd
        with torch.no_grad():
            hidden = torch.relu(network.body[0](x))
            logits = hidden @ network.head.weight.T + network.head.bias
        np.testing.assert_allclose(fitted.embed(test), hidden.numpy(), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(fitted.predict_proba(test), softmax(logits.numpy(), axis=1), rtol=1e-4, atol=1e-6)

    def test_it_asks_for_no_more_images_at_a_time_than_the_method_says(self, fitted: Brightness, tiny: Dataset) -> None:
        """Ten images are 4, 4 and 2."""
        fitted.asked.clear()
        fitted.predict_proba(tiny["test"][:10])
        fitted.embed(tiny["test"][:10])
        assert fitted.asked == [4, 4, 2, 4, 4, 2]

    def test_what_it_keeps(self, fitted: Brightness) -> None:
        """Beside its parameters: device, size, network in evaluation mode, and history with the options behind it."""
        assert set(vars(fitted)) == {"epochs", "asked", "device_", "size_", "network_", "training_"}
        assert not fitted.network_.training
        assert len(fitted.training_["val_accuracy"]) == 2
        assert fitted.training_["options"]["learning_rate"] == 0.05

    def test_the_seed_draws_the_weights(self, tiny: Dataset, context: RunContext) -> None:
        """Whatever was drawn before, the network starts from the weights of the run's seed."""
        started: list[Tensor] = []

        class Recorded(Brightness):
            def new_network(self, train: ImageSet, inputs: Inputs) -> AttributionNetwork:
                network = super().new_network(train, inputs)
                started.append(network.head.weight.detach().clone())
                return network

        for _ in range(2):
            torch.rand(5)
            Recorded().fit(tiny["train"], tiny["val"], context)
        assert torch.equal(*started)


class TestInputs:
    """Small inputs that several methods share."""

    def test_pixels(self) -> None:
        """The rows that were asked for, channels first, black 0 and white 1."""
        images = make_images("real", 4, 0)
        images[2, 5, 6] = 0, 255, 51
        batch = Pixels(image_set(images)).batch(np.array([3, 2]))
        assert batch.dtype == np.float32
        assert batch.shape == (2, 3, 32, 32)
        np.testing.assert_allclose(batch[1, :, 5, 6], [0, 1, 0.2])

    def test_vectors(self) -> None:
        """As many as there are, in any order."""
        vectors = Vectors(np.arange(12, dtype=np.float32).reshape(4, 3))
        assert len(vectors) == 4
        np.testing.assert_array_equal(vectors.batch(np.array([2, 0])), [[6, 7, 8], [0, 1, 2]])

    def test_kept_vectors(self, tmp_path: Path) -> None:
        """They are computed once, batch by batch, and read from the disk since; other parts decide others."""
        asked: list[int] = []

        class Counting(Vectors):
            def batch(self, rows: np.ndarray) -> np.ndarray:
                asked.append(len(rows))
                return super().batch(rows)

        vectors = np.random.default_rng(0).random((700, 3), np.float32)
        inputs, cache = Counting(vectors), Cache(tmp_path)
        kept = Vectors.kept(inputs, cache, Progress(), images="some")
        assert isinstance(kept.vectors, np.memmap)
        assert asked == [1, 234, 233, 233]
        np.testing.assert_array_equal(kept.batch(np.array([699, 0])), vectors[[699, 0]])
        assert len(Vectors.kept(inputs, cache, Progress(), images="some")) == 700
        assert asked[4:] == [1]
        Vectors.kept(inputs, cache, Progress(), images="others")
        assert sum(asked[5:]) == 701

    def test_moments(self) -> None:
        """Mean and standard deviation (of a sample) of each place; of two inputs, those are the first and the last."""
        vectors = Vectors(np.array([[0, 5], [9, 9], [2, 5]], np.float32))
        mean, sd = moments_of(vectors, at_most=2)
        np.testing.assert_allclose(mean, [1, 5])
        np.testing.assert_allclose(sd, [np.sqrt(2), 0], rtol=1e-6)
        np.testing.assert_allclose(moments_of(vectors)[0], [11 / 3, 19 / 3], rtol=1e-6)


@pytest.fixture
def manifpt(tiny: Dataset, context: RunContext, space: str) -> ManiFPT:
    """ManiFPT after one short epoch."""
    return ManiFPT(space=space, epochs=1, batch_size=4).fit(tiny["train"], tiny["val"], context)


@pytest.mark.parametrize("space", ["rgb", "ssl"])
class TestManiFPTOnAnotherManifold:
    """Artifacts are taken against whichever manifold the method is on."""

    def test_artifacts_are_against_that_manifold(self, manifpt: ManiFPT, tiny: Dataset, context: RunContext) -> None:
        """A manifold of one image is everything's projection: the artifact is the image less that one."""
        test, only = tiny["test"][:5].without_labels(), tiny["manifold"][3:4]
        embedded, projection = (manifpt._reading().embed(images.pixels()) for images in (test, only))
        moved = manifpt.with_manifold(only).inputs(test).batch(np.arange(5))
        np.testing.assert_allclose(moved, embedded - projection, atol=1e-4)

    def test_the_original_is_unchanged(self, manifpt: ManiFPT, tiny: Dataset) -> None:
        """It answers as before; the copy answers otherwise, with the same network and the same parameters."""
        test = tiny["test"].without_labels()
        before, kept = manifpt.predict_proba(test), dict(vars(manifpt))
        moved = manifpt.with_manifold(tiny["manifold"][:1])
        assert not np.array_equal(moved.predict_proba(test), before)
        np.testing.assert_array_equal(manifpt.predict_proba(test), before)
        assert vars(manifpt) == kept
        assert {name for name, value in vars(moved).items() if value is not kept[name]} == {"manifold_"}

    def test_it_keeps_no_more_of_the_run_than_it_needs(self, manifpt: ManiFPT, context: RunContext) -> None:
        """For projections: manifold, cache, progress and device; not the scratch folder, not the way to encoders."""
        kept = list(vars(manifpt).values())
        assert not any(isinstance(value, RunContext) or value in (context.scratch, context.encoder) for value in kept)


def test_other_methods_stay_what_they_are(fitted: Brightness, tiny: Dataset) -> None:
    """A method that does not look at the manifold is itself on any."""
    assert fitted.with_manifold(tiny["manifold"][:1]) is fitted
