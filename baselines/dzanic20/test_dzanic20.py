"""Dzanic20: the tail of the spectrum and the power law fitted to it."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.fft
from scipy.optimize import fmin

from conftest import image_set, make_images
from gmbench.attributor import RunContext
from gmbench.attributors.dzanic20 import (
    Dzanic20,
    features_as_official,
    features_as_paper,
    fill_zeros,
    fit_exponent_as_official,
    fit_law,
    minimise,
    smooth,
    tail,
)
from gmbench.errors import ParameterError


def official_one_by_one(grey: np.ndarray, threshold: float, bins: int) -> list[float]:
    """Exponent, first and last value of one grey image, by loops and peers, step by step as the released code goes."""
    size = len(grey)
    magnitude = np.abs(scipy.fft.fftshift(scipy.fft.fft2(grey)))
    radii, magnitudes = [], []
    for row in range(size):
        for column in range(size):
            radius = np.hypot(row + 1 - size / 2, column + 1 - size / 2) / (np.sqrt(2) * size / 2)
            if radius > 0.5:
                radii.append(radius)
                magnitudes.append(magnitude[row, column])
    edges = np.linspace(min(radii), max(radii), bins + 1)
    rings: list[list[float]] = [[] for _ in range(bins)]
    for radius, value in zip(radii, magnitudes, strict=True):
        first = next(i for i in range(bins) if edges[i] <= radius <= edges[i + 1])
        rings[first].append(value)
    means = [np.mean(ring) if ring else np.nan for ring in rings]
    reaches = [min(2, i, bins - 1 - i) for i in range(bins)]
    smoothed = [np.nanmean(means[i - reach : i + reach + 1]) for i, reach in enumerate(reaches)]
    start = round((threshold - 0.5) / 0.5 * bins)
    y = np.array(smoothed[start:])
    x = ((edges[:-1] + edges[1:]) / 2)[start:]

    def norm(exponent: np.ndarray) -> float:
        return np.linalg.norm(y[:, None] - y[0] * (x / x[0]) ** exponent[0], 2)

    return [fmin(norm, -2.0, disp=False)[0], y[0], y[-1]]


@pytest.mark.parametrize(("size", "bins"), [(32, 16), (64, 32), (128, 200)])
def test_the_official_variant_equals_the_steps_of_the_released_code(size: int, bins: int) -> None:
    """All images at once give what loops, a matrix norm and scipy's `fmin` give for each; with empty bins too."""
    grey = np.random.default_rng(size).integers(0, 256, (3, size, size)).astype(float)
    expected = [official_one_by_one(image, 0.85, bins) for image in grey]
    np.testing.assert_allclose(features_as_official(grey, 0.85, bins), expected, rtol=1e-9)


def test_minimise_goes_as_fmin_goes() -> None:
    """It stops where scipy's Nelder-Mead stops, for functions with minima near, far, at zero and none."""
    centres = np.array([-2.0, -1.93, 0.0, 3.7, 55.0, -400.0])
    functions = [
        lambda x, c=centre, p=power: np.abs(x - c) ** p / (1 + abs(c)) for centre in centres for power in (1, 2, 0.7)
    ]
    functions.append(lambda x: 0 * x)
    found = minimise(
        lambda x: np.array([f(value) for f, value in zip(functions, x, strict=True)]), np.full(19, -2.0), 1e-4
    )
    expected = [fmin(f, -2.0, xtol=1e-4, ftol=1e-4, disp=False)[0] for f in functions]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("exponent", [-4.0, -2.5, -0.3, 0.0, 1.7])
def test_an_exact_law_is_found(exponent: float) -> None:
    """y = 400 (x / x0)^c on [0.85, 1] gives c by the spectral norm and by least squares, which also gives 400."""
    x = np.linspace(0.85, 1, 60)
    y = 400 * (x / x[0])[None] ** exponent
    assert fit_exponent_as_official(x, y)[0] == pytest.approx(exponent, abs=1e-4)
    amplitude, found = fit_law(x / x[0], y)
    assert (amplitude[0], found[0]) == pytest.approx((400, exponent), abs=1e-4)


def test_least_squares_are_least() -> None:
    """No other amplitude and exponent near the fitted ones is closer to noisy values."""
    x = np.linspace(1, 1.3, 16)
    y = x**-2 + np.random.default_rng(0).normal(0, 0.05, (5, 16))
    b1, b2 = fit_law(x, y)

    def distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.linalg.norm(y - a[:, None] * x ** b[:, None], axis=1)

    for da, db in [(1e-3, 0), (-1e-3, 0), (0, 1e-2), (0, -1e-2), (1e-3, -1e-2), (-1e-3, 1e-2)]:
        assert np.all(distance(b1, b2) < distance(b1 + da, b2 + db))


@pytest.mark.parametrize(("size", "bins"), [(32, 16), (64, 32), (128, 64), (128, 200)])
def test_an_impulse_is_flat(size: int, bins: int) -> None:
    """An impulse of 255 has magnitude 255 at every frequency: no decay, and 1 relative to the constant component."""
    grey = np.zeros((1, size, size))
    grey[0, 5, 9] = 255
    np.testing.assert_allclose(features_as_official(grey, 0.85, bins), [[0, 255, 255]], atol=1e-4)
    np.testing.assert_allclose(features_as_paper(grey, 0.75, bins), [[1, 0, 1]], atol=1e-6)


def test_brighter_images() -> None:
    """Twice the intensity doubles the official variant's values and leaves the paper's as they are."""
    grey = np.random.default_rng(3).integers(0, 128, (4, 64, 64)).astype(float)
    once, twice = features_as_official(grey, 0.85, 32), features_as_official(2 * grey, 0.85, 32)
    np.testing.assert_allclose(twice[:, 1:], 2 * once[:, 1:])
    np.testing.assert_allclose(twice[:, 0], once[:, 0], atol=1e-3)
    np.testing.assert_allclose(features_as_paper(2 * grey, 0.75, 32), features_as_paper(grey, 0.75, 32), rtol=1e-9)


def test_a_spectrum_that_is_a_law_about_the_constant_component() -> None:
    """An image made of k^-2 gives the exponent -2, and its amplitudes over the constant component."""
    size = 256
    y, x = np.indices((size, size)) - size // 2
    k = np.hypot(y, x) / (np.sqrt(2) * size / 2)
    spectrum = np.where(k > 0, np.maximum(k, 1e-9) ** -2.0, 5.0)
    grey = np.fft.ifft2(np.fft.ifftshift(spectrum)).real[None]
    b1, b2, end = features_as_paper(grey, 0.75, 128)[0]
    assert b2 == pytest.approx(-2, abs=0.02)
    assert b1 == pytest.approx(0.75**-2 / 5, rel=1e-2)
    assert end == pytest.approx(1 / 5, rel=1e-2)


def test_the_tail_starts_at_the_threshold() -> None:
    """200 bins from 0.5 to 1: 0.85 leaves 60 of them, 0.75 leaves 100; their middles are beyond it."""
    magnitude = np.ones((1, 512, 512))
    for threshold, points in [(0.85, 60), (0.75, 100)]:
        k, spectrum = tail(magnitude, 256, threshold, 200)
        assert spectrum.shape == (1, points)
        assert k[0] == pytest.approx(threshold + 0.5 / 400, abs=2e-3)
        np.testing.assert_allclose(spectrum, 1)


@pytest.mark.parametrize(("size", "points"), [(32, 5), (64, 10)])
def test_small_images_have_no_empty_bins(size: int, points: int) -> None:
    """Half the side as the number of bins leaves so many fitted points; 200 bins are too many."""
    magnitude = np.ones((1, size, size))
    for centre in (size / 2, size / 2 - 1):
        assert tail(magnitude, centre, 0.85, size // 2)[1].shape == (1, points)
    with pytest.raises(ParameterError, match="200 are too many"):
        tail(magnitude, size / 2 - 1, 0.85, 200)


def test_smoothing() -> None:
    """Five bins in the middle, three and one at the ends; NaN is left out."""
    values = np.array([[1.0, 2, 4, 8, 16, 32, 64]])
    np.testing.assert_allclose(smooth(values)[0], [1, 7 / 3, 31 / 5, 62 / 5, 124 / 5, 112 / 3, 64])
    values[0, 3] = np.nan
    np.testing.assert_allclose(smooth(values)[0], [1, 7 / 3, 23 / 4, 54 / 4, 116 / 4, 112 / 3, 64])


def test_zeros_are_filled() -> None:
    """A bin that is exactly zero takes the mean of its neighbours, others stay."""
    np.testing.assert_array_equal(fill_zeros(np.array([[1.0, 0, 5, 2]])), [[1, 3, 5, 2]])


def test_features_of_each_variant() -> None:
    """Two features by the paper, three with `end`; three by the official code; grey is rounded."""
    images = make_images("noisy", 4, 0)
    assert Dzanic20().features(images).shape == (4, 2)
    np.testing.assert_array_equal(Dzanic20(end=True).features(images)[:, :2], Dzanic20().features(images))
    grey = np.rint(images @ np.array([0.298936, 0.587043, 0.114021]))
    np.testing.assert_allclose(Dzanic20("official").features(images), features_as_official(grey, 0.85, 16))
    np.testing.assert_allclose(Dzanic20(end=True).features(images), features_as_paper(grey, 0.75, 16))


@pytest.mark.parametrize("variant", ["paper", "official"])
def test_images_without_high_frequencies_have_features(variant: str) -> None:
    """Black, constant and striped images, whose tails are zero, have finite features."""
    images = np.zeros((4, 32, 32, 3), np.uint8)
    images[1], images[2, :16], images[3, ::2] = 77, 255, 255
    assert np.isfinite(Dzanic20(variant).features(images)).all()


@pytest.mark.parametrize("threshold", [0.2, 0.97, 1.5])
def test_thresholds_that_make_no_sense(threshold: float) -> None:
    """A law needs two points, and the spectrum is kept from 0.5 on."""
    with pytest.raises(ParameterError, match="threshold"):
        Dzanic20(threshold=threshold).features(make_images("real", 1, 0))


@pytest.mark.parametrize("variant", ["paper", "official"])
def test_it_learns(context: RunContext, variant: str) -> None:
    """It tells blurred, noisy and other images apart, which differ in nothing but their high frequencies."""

    def images(n: int, seed: int):  # type: ignore[no-untyped-def]
        pixels = [make_images(source, n, seed + i) for i, source in enumerate(("real", "blurred", "noisy"))]
        return image_set(np.concatenate(pixels), np.repeat(np.arange(3), n))

    attributor = Dzanic20(variant).fit(images(40, 0), images(10, 10), context)
    test = images(20, 20)
    assert (attributor.predict_proba(test).argmax(axis=1) == test.labels).mean() > 0.6
    assert attributor.embed(test).shape == (60, 2 if variant == "paper" else 3)
