"""Samples are chosen so that trivial statistics do not tell them from reals."""

from __future__ import annotations

import numpy as np

from gmbench.building.matching import matched_to_reals
from gmbench.evaluators.trivial import STATISTICS, trivial_statistics


def flat_images(levels: np.ndarray, seed: int) -> np.ndarray:
    """Images of about one grey level each, uint8 (n, 8, 8, 3)."""
    noise = np.random.default_rng(seed).integers(-10, 11, (len(levels), 8, 8, 3))
    return (levels[:, None, None, None] + noise).clip(0, 255).astype(np.uint8)


def test_samples_that_are_lit_otherwise_are_left_out() -> None:
    """Of samples of which half are too bright, almost only the others are chosen, each at most once."""
    reals = flat_images(np.full(200, 100), 0)
    bright = np.arange(200) % 2 == 0
    samples = flat_images(np.where(bright, 200, 100), 1)
    chosen = matched_to_reals(samples, reals, 80, seed=3)
    assert len(set(chosen.tolist())) == 80
    assert bright[chosen].mean() < 0.05


def test_it_brings_the_samples_to_the_reals_and_not_to_their_most_frequent_kind() -> None:
    """Reals are dark or bright as often; nine in ten samples are dark: of those chosen about as many are of each."""
    reals = flat_images(np.tile([60, 180], 150), 0)
    samples = flat_images(np.where(np.arange(300) % 10 == 0, 180, 60), 1)
    chosen = matched_to_reals(samples, reals, 40, seed=5)
    assert 0.3 < (samples[chosen].mean(axis=(1, 2, 3)) > 120).mean() < 0.7


def test_trivial_statistics() -> None:
    """A red image, and one that is half black and half white."""
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 96
    halves = np.zeros((4, 4, 3), np.uint8)
    halves[:2] = 255
    statistics = trivial_statistics(np.stack([red, halves]), np.array([70, 80]))
    np.testing.assert_allclose(statistics[:, STATISTICS["mean colour"]], [[96, 0, 0], [127.5, 127.5, 127.5]])
    np.testing.assert_allclose(statistics[:, STATISTICS["file size"]], [[70], [80]])
    np.testing.assert_allclose(statistics[0, STATISTICS["grey histogram"]], [0, 1, 0, 0, 0, 0, 0, 0])
    np.testing.assert_allclose(statistics[1, STATISTICS["grey histogram"]], [0.5, 0, 0, 0, 0, 0, 0, 0.5])
