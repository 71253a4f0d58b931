"""The methods' features against closed forms, and the contract for each."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.interpolate import interp1d

from conftest import SOURCES, image_set, make_images
from gmbench.attributor import RunContext
from gmbench.attributors.durall20 import Durall20, profile_as_code, profile_as_paper, ring_means
from gmbench.attributors.manifpt import ManiFPT
from gmbench.attributors.mccloskey18 import McCloskey18
from gmbench.data.images import ImageSet
from gmbench.errors import ParameterError
from gmbench.learning.inputs import Vectors
from gmbench.manifold.freq import Frequency
from gmbench.registry import find_method
from gmbench.testing import check_attributor

THRESHOLDS = (0, 1, 2, 4, 8, 16, 24, 32)


class TestMcCloskey18:
    """Frequencies of saturated and under-exposed pixels."""

    def test_known_shares(self) -> None:
        """A quarter of the rows black, a tenth white, the rest grey: 0.25 and 0.10 at every threshold and channel."""
        image = np.full((100, 100, 3), 128, np.uint8)
        image[:25], image[25:35] = 0, 255
        features = McCloskey18().features(image[None])
        np.testing.assert_allclose(features.reshape(4, 2, 8), np.tile([[[0.25], [0.10]]], (4, 1, 8)))

    def test_a_ramp_has_every_level_once(self) -> None:
        """With every level equally often, at most t has share (t + 1) / 256, and so has at least 255 - t."""
        ramp = np.repeat(np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1), 3, axis=3)
        expected = (np.array(THRESHOLDS) + 1) / 256
        np.testing.assert_allclose(McCloskey18().features(ramp).reshape(4, 2, 8), np.tile(expected, (4, 2, 1)))

    def test_places_of_pixels_do_not_matter(self) -> None:
        """Any permutation of the pixels leaves the features as they are."""
        images = make_images("noisy", 3, 0)
        shuffled = images.reshape(3, -1, 3)[:, np.random.default_rng(0).permutation(32 * 32)].reshape(images.shape)
        np.testing.assert_array_equal(McCloskey18().features(images), McCloskey18().features(shuffled))

    def test_the_negative_swaps_under_and_over(self) -> None:
        """Under-exposure of an image is over-exposure of its negative."""
        images = make_images("real", 3, 1)
        features = McCloskey18().features(images).reshape(3, 4, 2, 8)[:, :3]
        negative = McCloskey18().features(255 - images).reshape(3, 4, 2, 8)[:, :3]
        np.testing.assert_array_equal(features, negative[:, :, ::-1])

    def test_intensity_alone(self) -> None:
        """`channels=y` keeps the last of the four images."""
        images = make_images("real", 2, 2)
        assert np.array_equal(McCloskey18("y").features(images), McCloskey18().features(images)[:, -16:])

    @pytest.mark.parametrize("thresholds", ["", "a", "0,128", "-1"])
    def test_thresholds_that_make_no_sense(self, thresholds: str) -> None:
        """Levels are integers from 0 to 127."""
        with pytest.raises(ParameterError, match="thresholds"):
            McCloskey18(thresholds=thresholds).features(make_images("real", 1, 0))


class TestDurall20:
    """The azimuthal average of the spectrum."""

    @pytest.mark.parametrize(("size", "length"), [(32, 20), (64, 43), (128, 88), (256, 179)])
    def test_native_length(self, size: int, length: int) -> None:
        """floor(sqrt(2) (N - 1) / 2) + 1 rings, less the first and the last, as in the released code."""
        grey = np.random.default_rng(0).uniform(0, 255, (1, size, size))
        assert profile_as_code(grey, 10_000).shape == (1, length)
        assert profile_as_code(grey, 15).shape == (1, 15)

    def test_rings_of_an_impulse_are_all_alike(self) -> None:
        """An impulse of 255 has magnitude 255 everywhere: 20 ln 255, and a profile of ones."""
        grey = np.zeros((1, 32, 32))
        grey[0, 4, 9] = 255
        log = 20 * np.log(np.abs(np.fft.fftshift(np.fft.fft2(grey))) + 1e-8)
        np.testing.assert_allclose(ring_means(log, 15.5, rounded=False), 110.8252709031, rtol=1e-9)
        np.testing.assert_allclose(profile_as_code(grey, 80), 1, rtol=1e-9)

    def test_the_divisor_is_not_the_constant_component(self) -> None:
        """A constant image has nothing but the constant component, and its profile does not show it: all ones."""
        np.testing.assert_allclose(profile_as_code(np.full((1, 32, 32), 77.0), 80), 1, rtol=1e-6)

    def test_the_formula_on_a_cosine(self) -> None:
        """128 + 100 cos(2 pi k x / N): power (128 N^2)^2 in ring 0, 2 (50 N^2)^2 in ring k, nothing elsewhere."""
        n, k = 64, 9
        grey = np.broadcast_to(128 + 100 * np.cos(2 * np.pi * k * np.arange(n) / n), (1, n, n))
        profile = profile_as_paper(grey)[0]
        y, x = np.indices((n, n)) - n // 2
        in_ring = (np.rint(np.hypot(x, y)) == k).sum()
        assert profile.shape == (n // 2,)
        assert profile[0] == pytest.approx(0)
        assert profile[k] == pytest.approx(np.log10(2 * 50**2 / in_ring / 128**2))
        assert np.delete(profile, [0, k]).max() < -20

    def test_rings_keep_the_energy(self) -> None:
        """Parseval: the ring means times the ring sizes sum to N^2 times the energy of the image."""
        grey = np.random.default_rng(1).uniform(0, 255, (2, 32, 32))
        power = np.abs(np.fft.fftshift(np.fft.fft2(grey), axes=(1, 2))) ** 2
        sizes = ring_means(np.ones((1, 32, 32)), 16, rounded=True)
        y, x = np.indices((32, 32)) - 16
        counts = np.bincount(np.rint(np.hypot(x, y)).astype(int).ravel())
        assert sizes == pytest.approx(1)
        np.testing.assert_allclose(
            (ring_means(power, 16, rounded=True) * counts).sum(axis=1), 32**2 * np.square(grey).sum(axis=(1, 2))
        )

    def test_variants_differ(self) -> None:
        """`code` and `paper` are two readings, not two names."""
        images = make_images("real", 2, 3)
        assert Durall20("code").features(images).shape == (2, 20)
        assert Durall20("paper").features(images).shape == (2, 16)

    def test_released_profiles_are_as_long_as_asked(self) -> None:
        """Twenty rings become eighty by scipy's cubic interpolation from 0 to 80, first and last ring as they were."""
        grey = np.random.default_rng(2).integers(0, 256, (3, 32, 32))
        short, long = profile_as_code(grey, 80), profile_as_code(grey, 80, always=True)
        between = interp1d(np.linspace(0, 80, 20), short, kind="cubic", axis=1)(np.linspace(0, 80, 80))
        np.testing.assert_allclose(long, between, rtol=1e-9)

    def test_released_grey_is_rounded(self) -> None:
        """Red of 0 and 1 is grey of 0 and 0.299, which is black: a profile of nothing, all ones."""
        pixels = np.zeros((1, 32, 32, 3), np.uint8)
        pixels[..., 0] = np.random.default_rng(3).integers(0, 2, (32, 32))
        np.testing.assert_allclose(Durall20("released").features(pixels), np.ones((1, 80)), rtol=1e-9)
        assert np.abs(Durall20("code").features(pixels) - 1).max() > 0.1


class TestManiFPT:
    """A network on artifacts."""

    @pytest.mark.slow
    @pytest.mark.parametrize("space", ["rgb", "freq", "sl", "ssl"])
    def test_it_overfits(self, context: RunContext, space: str) -> None:
        """64 images of noise with labels that say nothing: 100 % on the training images."""
        pixels = np.random.default_rng(5).integers(0, 256, (64, 32, 32, 3)).astype(np.uint8)
        train = image_set(pixels, np.arange(64) % 2, ("real", "other"))
        method = ManiFPT(space, epochs=20, batch_size=16).fit(train, train, context)
        assert (method.predict_proba(train.without_labels()).argmax(axis=1) == train.labels).all()

    def test_neighbours_are_searched_in_the_space_or_in_pixels(self, context: RunContext) -> None:
        """A shifted copy has the same magnitudes and other pixels, a brighter one nearly the same pixels."""
        image = make_images("noisy", 1, 7).clip(10, 240)
        shifted, brighter = np.roll(image, 9, axis=2), image + 3
        asked = image_set(image)
        manifold = ImageSet.of(np.concatenate([shifted, brighter]), np.array(["shifted", "brighter"]), SOURCES)
        for neighbours, nearest in (("own", shifted), ("rgb", brighter)):
            method = ManiFPT("freq", spectrum="log", neighbours=neighbours)
            method.manifold_, method.cache_ = manifold, context.cache
            method.progress_, method.device_ = context.progress, "cpu"
            artifact = method.inputs(asked).batch(np.arange(1))
            np.testing.assert_array_equal(artifact, Frequency("log").embed(image) - Frequency("log").embed(nearest))

    def test_the_released_training(self) -> None:
        """The released network has 272,378 parameters for ten sources and standardises nothing; SGD for 180 epochs."""
        train = image_set(make_images("noisy", 2, 7), np.zeros(2, int), tuple("abcdefghij"))
        method = ManiFPT("freq", training="released")
        artifacts = Vectors(np.full((2, 3, 32, 32), 5, np.float32))
        network = method.new_network(train, artifacts)
        assert sum(parameter.numel() for parameter in network.parameters()) == 272_378
        assert network.mean.tolist() == [0, 0, 0]
        assert network.sd.tolist() == [1, 1, 1]
        options = method.training_options()
        assert (options.optimizer, options.learning_rate, options.betas[0], options.weight_decay) == (
            "sgd", 0.1, 0.9, 1e-4,
        )  # fmt: skip
        assert (options.schedule, options.milestones, options.epochs, options.batch_size) == (
            "steps", (100, 150), 180, 36,
        )  # fmt: skip
        assert ManiFPT("freq", training="released", epochs=18).training_options().milestones == (10, 15)
        assert method.training_options() != ManiFPT("sl", training="released").training_options()

    def test_the_released_reading_keeps_the_contract(self) -> None:
        """Spectrum, neighbours and training as released, for one epoch."""
        given = {"spectrum": "log", "neighbours": "rgb", "training": "released", "epochs": 1}
        check_attributor(find_method("manifpt-freq"), given)


def test_predictions_do_not_depend_on_batches() -> None:
    """The features of an image are the same alone and among others."""
    images = image_set(make_images("noisy", 9, 4))
    for method in (McCloskey18(), Durall20(), Durall20("paper")):
        alone = np.concatenate([method.features(images.pixels(slice(i, i + 1))) for i in range(9)])
        np.testing.assert_allclose(method.features(images.pixels()), alone, rtol=1e-9, atol=1e-12)
