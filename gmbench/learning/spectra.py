"""Means of spectra over rings of frequencies."""

from __future__ import annotations

import numpy as np
import scipy.fft
from scipy.sparse import csc_array


def ring_matrix(ring: np.ndarray, half: bool) -> csc_array:
    """Takes a spectrum's values to their mean over each ring: (rings, frequencies), for `matrix @ values.ravel()`.

    The spectrum of a real image has the same magnitude at opposite frequencies. `half` is for values at those that
    `rfft2` gives, (size, size // 2 + 1), each of which counts in its own ring and in that of its opposite: the two are
    not the same ring unless the rings are about the constant component.

    Args:
        ring: the ring of each frequency of the whole, centred spectrum (size, size), integers; -1 for no ring.
        half: for half the spectrum, as `rfft2` orders it, else for the whole, centred one. A ring without frequencies
            gives 0.
    """
    size = len(ring)
    place = np.arange(size * size).reshape(size, size)
    if half:
        ring, width = scipy.fft.ifftshift(ring), size // 2 + 1
        row, column = np.indices(ring.shape)
        place = np.where(column < width, row * width + column, -row % size * width + size - column)
    kept = ring >= 0
    rings, places = ring[kept].astype(np.int32), place[kept].astype(np.int32)
    counts = np.bincount(rings)
    return csc_array((1 / counts[rings], (rings, places)), shape=(len(counts), size * (width if half else size)))
