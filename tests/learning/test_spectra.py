"""Means over rings of a spectrum, from the whole of it and from half."""

from __future__ import annotations

import numpy as np
import pytest

from gmbench.learning.spectra import ring_matrix


@pytest.mark.parametrize("size", [8, 9])
@pytest.mark.parametrize("shift", [0, 0.5, 1])
def test_half_a_spectrum_says_as_much_as_the_whole(size: int, shift: float) -> None:
    """Both give the mean over each ring taken by masks, about the constant component and beside it; odd sides too."""
    image = np.random.default_rng(size).normal(size=(size, size))
    whole = np.abs(np.fft.fftshift(np.fft.fft2(image)))
    y, x = np.indices((size, size)) - size // 2 + shift
    ring = np.hypot(y, x).astype(int)
    expected = [whole[ring == i].mean() for i in range(ring.max() + 1)]
    np.testing.assert_allclose(ring_matrix(ring, half=False) @ whole.ravel(), expected, rtol=1e-12)
    np.testing.assert_allclose(ring_matrix(ring, half=True) @ np.abs(np.fft.rfft2(image)).ravel(), expected, rtol=1e-12)


def test_frequencies_in_no_ring_do_not_count() -> None:
    """Of 36 frequencies one is in ring 0, one in ring 2; ring 1 has none and gives 0."""
    ring = np.full((6, 6), -1)
    ring[3, 3], ring[3, 5] = 0, 2
    constant, two_to_the_right = np.zeros((6, 4)), np.zeros((6, 4))
    constant[0, 0], two_to_the_right[0, 2] = 7, 5
    np.testing.assert_array_equal(ring_matrix(ring, half=True) @ constant.ravel(), [7, 0, 0])
    np.testing.assert_array_equal(ring_matrix(ring, half=True) @ two_to_the_right.ravel(), [0, 0, 5])
