"""Durall, Keuper, Keuper 2020: azimuthal average of the power spectrum, and an SVM."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import numpy as np
import scipy.fft
from scipy.interpolate import CubicSpline
from scipy.sparse import csc_array
from sklearn.svm import SVC

from gmbench.learning.feature_attributor import FeatureAttributor
from gmbench.learning.spectra import ring_matrix

GREY = np.array([0.2989, 0.5870, 0.1140])
OPENCV_GREY = np.array([0.299, 0.587, 0.114])


class Durall20(FeatureAttributor):
    """Attributes by the profile of an image's spectrum over frequency."""

    def __init__(
        self,
        variant: str = "code",
        length: int = 80,
        classifier: str = "rbf",
        C: float = 6.37,
        gamma: float = 0.86,
    ) -> None:
        self.variant = variant
        self.length = length
        self.classifier = classifier
        self.C = C
        self.gamma = gamma

    def features(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 (n, size, size, 3) to profiles (n, rings)."""
        # An image at a time stays in the processor's cache. Double precision, since single precision's errors are more
        # than 1e-5 of the logarithms where a smooth image has next to nothing.
        if self.variant == "released":
            return profile_as_code((np.rint(image @ OPENCV_GREY) for image in pixels), self.length, always=True)
        grey = (image @ GREY for image in pixels)
        return profile_as_code(grey, self.length) if self.variant == "code" else profile_as_paper(grey)

    def candidates(self, random_state: int) -> list:
        return [SVC(kernel=self.classifier, C=self.C, gamma=self.gamma, break_ties=True)]


def profile_as_code(grey: Iterable[np.ndarray], length: int, always: bool = False) -> np.ndarray:
    """The released code's profile of grey images (size, size) in 0 ... 255: (n, min(rings - 2, length)).

    Args:
        always: resample shorter profiles too, as the released code does: (n, length).
    """
    rings = np.concatenate([_rings_as_code(image) for image in grey])[:, 1:-1]
    native = rings.shape[1]
    if native > length or always:
        positions = np.linspace(0, length, native)
        rings = CubicSpline(positions, rings, axis=1)(np.linspace(0, length, length))
    return rings / rings[:, :1]


def profile_as_paper(grey: Iterable[np.ndarray]) -> np.ndarray:
    """The formula's profile of grey images (size, size): log10 of power over the constant's, (n, size // 2)."""
    rings = np.concatenate([_rings_as_paper(image) for image in grey])
    tiny = np.finfo(np.float64).tiny
    return np.log10(np.maximum(rings, tiny) / np.maximum(rings[:, :1], tiny))


def ring_means(values: Iterable[np.ndarray], centre: float, rounded: bool, half: bool = False) -> np.ndarray:
    """Mean of spectra over rings of equal integer radius about (centre, centre): (n, rings).

    Args:
        values: of whole, centred spectra (size, size), or of their `half` that `rfft2` gives, (size, size // 2 + 1).
        rounded: round the radius to the nearest integer, else down.
    """
    return np.stack([_ring_matrix(len(of_image), centre, rounded, half) @ of_image.ravel() for of_image in values])


def _rings_as_code(grey: np.ndarray) -> np.ndarray:
    spectrum = scipy.fft.rfft2(grey)
    spectrum += 1e-8
    return 20 * ring_means([np.log(np.abs(spectrum))], centre=(len(grey) - 1) / 2, rounded=False, half=True)


def _rings_as_paper(grey: np.ndarray) -> np.ndarray:
    middle = len(grey) // 2
    power = np.abs(scipy.fft.rfft2(grey)) ** 2
    return ring_means([power], centre=middle, rounded=True, half=True)[:, :middle]


@lru_cache(maxsize=8)
def _ring_matrix(size: int, centre: float, rounded: bool, half: bool) -> csc_array:
    y, x = np.indices((size, size))
    radius = np.hypot(x - centre, y - centre)
    return ring_matrix((np.rint(radius) if rounded else radius).astype(int), half)
