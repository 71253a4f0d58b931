"""Nataraj19: co-occurrence matrices, and the network that sees them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.feature import graycomatrix
from torch import nn

from conftest import image_set, make_images
from gmbench.attributor import RunContext
from gmbench.attributors.nataraj19 import Nataraj19, co_occurrence, co_occurrence_network, normalised
from gmbench.data.images import ImageSet
from gmbench.errors import ParameterError
from gmbench.learning.training import TrainingResult


def grey_image(channel: np.ndarray) -> np.ndarray:
    """One image of three equal channels, uint8 (1, height, width, 3)."""
    return np.repeat(channel.astype(np.uint8)[None, ..., None], 3, axis=3)


def sources(n: int, seed: int) -> ImageSet:
    """n images of each of three sources."""
    pixels = [make_images(source, n, seed + i) for i, source in enumerate(("real", "blurred", "noisy"))]
    return image_set(np.concatenate(pixels), np.repeat(np.arange(3), n))


class TestMatrices:
    """Counts of pairs of levels."""

    @pytest.mark.parametrize("size", [(32, 32), (20, 45)])
    def test_they_equal_scikit_images(self, size: tuple[int, int]) -> None:
        """Right neighbours are angle 0 of `graycomatrix`; symmetric shares at distance 5 its symmetric, normed ones."""
        pixels = np.random.default_rng(0).integers(0, 256, (3, *size, 3), dtype=np.uint8)
        plain, distant = co_occurrence(pixels), normalised(co_occurrence(pixels, (0, 5), symmetric=True), "prob")
        for image in range(3):
            for c in range(3):
                channel = pixels[image, :, :, c]
                np.testing.assert_array_equal(plain[image, c], graycomatrix(channel, [1], [0], 256)[:, :, 0, 0])
                expected = graycomatrix(channel, [5], [0], 256, symmetric=True, normed=True)[:, :, 0, 0]
                np.testing.assert_allclose(distant[image, c], 65536 * expected, rtol=1e-6)

    @pytest.mark.parametrize("offset", [(0, 1), (1, 0), (1, 1), (2, -3), (0, -1)])
    def test_any_offset(self, offset: tuple[int, int]) -> None:
        """Pairs are counted one by one."""
        pixels = np.random.default_rng(1).integers(0, 256, (1, 7, 9, 3), dtype=np.uint8)
        expected = np.zeros((3, 256, 256))
        for y, x in np.ndindex(7, 9):
            if 0 <= y + offset[0] < 7 and 0 <= x + offset[1] < 9:
                for c in range(3):
                    expected[c, pixels[0, y, x, c], pixels[0, y + offset[0], x + offset[1], c]] += 1
        np.testing.assert_array_equal(co_occurrence(pixels, offset)[0], expected)

    def test_a_ramp_has_one_diagonal(self) -> None:
        """Level = column: each level is followed by the next, 256 times."""
        matrix = co_occurrence(grey_image(np.tile(np.arange(256), (256, 1))))[0]
        np.testing.assert_array_equal(matrix, np.tile(256 * np.eye(256, k=1), (3, 1, 1)))

    def test_stripes_and_constants(self) -> None:
        """Columns that alternate: 32 steps up and 31 down in each of 64 rows. A constant: all pairs in one cell."""
        stripes = co_occurrence(grey_image(np.tile([0, 255], (64, 32))))[0, 1]
        assert (stripes[0, 255], stripes[255, 0], stripes.sum()) == (2048, 1984, 64 * 63)
        constant = co_occurrence(grey_image(np.full((20, 30), 9)))[0, 2]
        assert constant[9, 9] == constant.sum() == 20 * 29

    def test_symmetric_counts_both_directions(self) -> None:
        """C + C'."""
        pixels = make_images("real", 2, 0)
        counts = co_occurrence(pixels)
        np.testing.assert_array_equal(co_occurrence(pixels, symmetric=True), counts + counts.transpose(0, 1, 3, 2))

    def test_normalisations(self) -> None:
        """Shares have mean 1; logarithms are of the counts of an image of 256x256, whatever the size."""
        counts = co_occurrence(make_images("real", 2, 1))
        assert normalised(counts, "count") is counts
        np.testing.assert_allclose(normalised(counts, "prob").mean(axis=(2, 3)), 1, rtol=1e-5)
        np.testing.assert_allclose(
            normalised(counts, "logcount"), np.log1p(counts * (256 * 255) / (32 * 31)), rtol=1e-5
        )
        assert {normalised(counts, name).dtype for name in ("count", "prob", "logcount")} == {np.dtype(np.float32)}

    @pytest.mark.parametrize(
        "offset",
        ["", "1", "0,0", "-1,0", "a,b", "0,1,2", "0,32", "32,0", "0,-32", "-0,1", "1,-0", "00,1", " 0,1"],
    )
    def test_offsets_that_make_no_sense(self, offset: str, context: RunContext) -> None:
        """An offset is two integers in one spelling, not both zero, not upwards, smaller than the image."""
        with pytest.raises(ParameterError, match="offset"):
            Nataraj19(offset=offset).fit(sources(2, 0), sources(1, 1), context)

    @pytest.mark.parametrize("levels", [2, 16, 64, 128])
    def test_fewer_levels_are_sums_of_cells(self, levels: int) -> None:
        """A cell counts the pairs of all intensities that share its two levels."""
        pixels, side = make_images("noisy", 2, 5), 256 // levels
        summed = co_occurrence(pixels).reshape(2, 3, levels, side, levels, side).sum(axis=(3, 5))
        np.testing.assert_array_equal(co_occurrence(pixels, levels=levels), summed)

    def test_fewer_levels_are_scikit_images(self) -> None:
        """Intensities are divided by 256 / levels and rounded down."""
        pixels = make_images("real", 1, 6)
        expected = graycomatrix(pixels[0, :, :, 1] // 2, [1], [0], 128)[:, :, 0, 0]
        np.testing.assert_array_equal(co_occurrence(pixels, levels=128)[0, 1], expected)

    def test_normalisations_of_fewer_levels(self) -> None:
        """Shares have mean 1; one cell with all pairs is the logarithm of 1 + the pairs of an image of 256x256."""
        assert normalised(co_occurrence(make_images("real", 1, 7), levels=128), "prob").mean() == pytest.approx(1)
        constant = co_occurrence(grey_image(np.full((20, 30), 9)), levels=128)
        assert normalised(constant, "logcount")[0, 0, 4, 4] == pytest.approx(np.log1p(256 * 255))

    @pytest.mark.parametrize(("size", "levels", "expected"), [(32, 0, 128), (128, 0, 256), (32, 256, 256)])
    def test_the_size_decides_the_levels(
        self, context: RunContext, monkeypatch: pytest.MonkeyPatch, size: int, levels: int, expected: int
    ) -> None:
        """128 below 128 pixels, else the paper's 256, unless a number is given."""
        monkeypatch.setattr(
            "gmbench.learning.network_attributor.train_classifier",
            lambda *arguments: TrainingResult(1, [1.0], [0.0], 0.0),
        )
        images = image_set(make_images("real", 3, 0, size), np.arange(3))
        method = Nataraj19(levels=levels).fit(images, images, context)
        assert method.inputs(images).batch(np.arange(3)).shape == (3, 3, expected, expected)
        assert method.embed(images).shape == (3, 256)

    @pytest.mark.parametrize("levels", [1, 3, 100, 255, 512, -128])
    def test_levels_that_make_no_sense(self, context: RunContext, levels: int) -> None:
        """They divide 256."""
        with pytest.raises(ParameterError, match="levels: expected 0 or a power of two"):
            Nataraj19(levels=levels).fit(sources(2, 0), sources(1, 1), context)


class TestNetwork:
    """Six convolutions and two dense layers."""

    @pytest.mark.parametrize(
        ("geometry", "flattened", "convolutions"),
        [("grip", 12_800, 630_624), ("valid", 86_528, 631_072), ("same", 131_072, 631_072)],
    )
    def test_sizes(self, geometry: str, flattened: int, convolutions: int) -> None:
        """Width after the convolutions, and their parameters, as the published geometries have them."""
        with torch.device("meta"):
            body = co_occurrence_network(geometry, 2, torch.zeros(3), torch.ones(3)).body
        dense = [module for module in body if isinstance(module, nn.Linear)]
        assert [(layer.in_features, layer.out_features) for layer in dense] == [(flattened, 256)]
        parameters = [p for module in body if isinstance(module, nn.Conv2d) for p in module.parameters()]
        assert sum(p.numel() for p in parameters) == convolutions

    @pytest.mark.parametrize(
        ("geometry", "levels", "side"),
        [("grip", 128, 2), ("valid", 128, 10), ("valid", 64, 2), ("same", 128, 16), ("same", 8, 1)],
    )
    def test_sizes_of_fewer_levels(self, geometry: str, levels: int, side: int) -> None:
        """128 maps are left, with the side that the layers' sizes give by hand."""
        network = co_occurrence_network(geometry, 2, torch.zeros(3), torch.ones(3), levels)
        dense = next(module for module in network.body if isinstance(module, nn.Linear))
        assert dense.in_features == 128 * side**2
        assert network(torch.zeros(1, 3, levels, levels)).shape == (1, 2)

    @pytest.mark.parametrize(("geometry", "levels"), [("grip", 64), ("valid", 32), ("same", 4)])
    def test_levels_that_are_too_few_for_the_network(self, geometry: str, levels: int) -> None:
        """The error names what it is about."""
        with pytest.raises(ParameterError, match=f"levels: geometry '{geometry}' needs more than {levels}"):
            co_occurrence_network(geometry, 2, torch.zeros(3), torch.ones(3), levels)

    def test_parameters_as_published(self) -> None:
        """3,908,194 with two sources and 256 levels."""
        network = co_occurrence_network("grip", 2, torch.zeros(3), torch.ones(3))
        assert sum(p.numel() for p in network.parameters()) == 3_908_194

    @pytest.mark.parametrize("geometry", ["grip", "valid", "same"])
    def test_dense_layers_do_not_collapse(self, geometry: str) -> None:
        """Features are rectified, so that the two dense layers are not one linear map."""
        network = co_occurrence_network(geometry, 5, torch.zeros(3), torch.ones(3))
        with torch.no_grad():
            features = network.features(torch.randn(2, 3, 256, 256))
        assert features.shape == (2, 256)
        assert features.min() == 0
        assert features.max() > 0


def test_it_learns(context: RunContext) -> None:
    """Pairs of levels lie near the diagonal in smooth images and anywhere in noise: a few steps tell them apart."""

    def images(n: int, seed: int) -> ImageSet:
        noise = np.random.default_rng(seed).integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)
        return image_set(
            np.concatenate([make_images("blurred", n, seed), noise]), np.repeat([0, 1], n), ("real", "noise")
        )

    attributor = Nataraj19(epochs=1, batch_size=2).fit(images(10, 0), images(3, 1), context)
    test = images(5, 2)
    np.testing.assert_array_equal(attributor.predict_proba(test.without_labels()).argmax(axis=1), test.labels)
    assert attributor.embed(test.without_labels()).shape == (10, 256)


@pytest.mark.slow
def test_it_learns_64_images_by_heart(context: RunContext) -> None:
    """All of 64 images whose labels are random are attributed as in training."""
    pixels = make_images("real", 64, 3)
    images = image_set(pixels, np.random.default_rng(0).permutation(64) % 4, ("real", "a", "b", "c"))
    attributor = Nataraj19(epochs=4, batch_size=8).fit(images, images, context)
    predicted = attributor.predict_proba(images.without_labels()).argmax(axis=1)
    np.testing.assert_array_equal(predicted, images.labels)
