"""Embedding spaces against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from conftest import make_images
from gmbench.manifold.freq import SPECTRA, Frequency
from gmbench.manifold.rgb import RGB


def test_rgb_is_the_image_in_unit_range() -> None:
    """Channels first, 255 becomes 1."""
    pixels = np.zeros((1, 2, 3, 3), np.uint8)
    pixels[0, 1, 2] = (255, 0, 51)
    embedded = RGB().embed(pixels)
    assert embedded.shape == (1, 3, 2, 3)
    assert embedded.dtype == np.float32
    assert embedded[0, :, 1, 2].tolist() == pytest.approx([1, 0, 0.2])


def test_spectrum_of_an_impulse_is_flat() -> None:
    """One pixel of 255, anywhere, has magnitude 1 at every frequency."""
    pixels = np.zeros((1, 8, 8, 3), np.uint8)
    pixels[0, 3, 5] = 255
    np.testing.assert_allclose(Frequency("magnitude").embed(pixels), 1, atol=1e-6)
    np.testing.assert_allclose(Frequency().embed(pixels), np.log(2), atol=1e-6)


def test_spectrum_of_a_constant_is_its_sum_in_the_centre() -> None:
    """A constant image of 255 has only the constant component, n pixels large, at the centre."""
    spectrum = Frequency("magnitude").embed(np.full((1, 8, 8, 3), 255, np.uint8))
    assert spectrum[0, 0, 4, 4] == pytest.approx(64)
    assert np.delete(spectrum[0, 0].ravel(), 4 * 8 + 4) == pytest.approx(0, abs=1e-5)


def test_the_log_spectrum_is_the_released_one() -> None:
    """log(|F| + 1e-12) of each channel of pixels in [0, 1], shifted; typed from sums of complex exponentials.

    A channel with one pixel of 255 has magnitude 1 everywhere; a constant one has nothing but its sum, 16 x 0.2, which
    leaves the logarithm of 1e-12.
    """
    pixels = np.zeros((1, 4, 4, 3), np.uint8)
    pixels[0, ..., 0] = [[0, 51, 102, 153], [204, 255, 0, 51], [102, 153, 204, 255], [10, 20, 30, 40]]
    pixels[0, 0, 0, 1] = 255
    pixels[0, ..., 2] = 51
    red = [
        [-1.1345, 0.7663, 0.4749, 0.7663],
        [-1.1345, 0.2170, 0.8190, 0.2170],
        [0.2456, -2.1990, 1.8551, -2.1990],
        [-1.1345, 0.2170, 0.8190, 0.2170],
    ]
    blue = np.full((4, 4), -27.6310)
    blue[2, 2] = 1.1632
    spectrum = Frequency("log").embed(pixels)
    assert spectrum.dtype == np.float32
    np.testing.assert_allclose(spectrum[0, 0], red, atol=1e-4)
    np.testing.assert_allclose(spectrum[0, 1], 0, atol=1e-6)
    np.testing.assert_allclose(spectrum[0, 2], blue, atol=1e-3)


def test_magnitude_does_not_see_circular_shifts() -> None:
    """Shifting an image changes phases only."""
    pixels = make_images("noisy", 2, 0)
    shifted = np.roll(pixels, (3, -5), axis=(1, 2))
    np.testing.assert_allclose(Frequency().embed(pixels), Frequency().embed(shifted), atol=1e-4)


def test_complex_spectrum_keeps_distances_up_to_the_number_of_pixels() -> None:
    """Parseval: squared distances are RGB's times height times width, so neighbours are RGB's."""
    one, other = make_images("real", 6, 1), make_images("real", 6, 2)
    rgb = np.square(RGB().embed(one) - RGB().embed(other)).sum(axis=(1, 2, 3))
    spectrum = Frequency("complex")
    freq = np.square(spectrum.embed(one) - spectrum.embed(other)).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(freq, rgb * 32 * 32, rtol=1e-4)


def test_spaces_describe_what_decides_them() -> None:
    """Two different maps never share a key in the cache."""
    described = [str(space.describe()) for space in (RGB(), *map(Frequency, SPECTRA))]
    assert len(set(described)) == 5
