"""Durall, Keuper, Keuper 2020: azimuthal average of the power spectrum, and an SVM."""

from __future__ import annotations

import numpy as np
import scipy.fft
from scipy.interpolate import CubicSpline
from sklearn.svm import SVC

from gmbench.features import FeatureAttributor


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
        grey = pixels @ np.array([0.2989, 0.5870, 0.1140])
        return profile_as_code(grey, self.length) if self.variant == "code" else profile_as_paper(grey)

    def candidates(self, seed: int) -> list:
        return [SVC(kernel=self.classifier, C=self.C, gamma=self.gamma, break_ties=True)]


def profile_as_code(grey: np.ndarray, length: int) -> np.ndarray:
    """The released code's profile of grey images (n, size, size) in 0 ... 255: (n, min(rings - 2, length))."""
    size = grey.shape[1]
    spectrum = scipy.fft.fftshift(scipy.fft.fft2(grey), axes=(1, 2)) + 1e-8
    rings = ring_means(20 * np.log(np.abs(spectrum)), centre=(size - 1) / 2, rounded=False)[:, 1:-1]
    native = rings.shape[1]
    if native > length:
        positions = np.linspace(0, length, native)
        rings = CubicSpline(positions, rings, axis=1)(np.linspace(0, length, length))
    return rings / rings[:, :1]


def profile_as_paper(grey: np.ndarray) -> np.ndarray:
    """The formula's profile of grey images (n, size, size): log10 of mean power per ring over the constant's."""
    size = grey.shape[1]
    power = np.abs(scipy.fft.fftshift(scipy.fft.fft2(grey), axes=(1, 2))) ** 2
    rings = ring_means(power, centre=size // 2, rounded=True)[:, : size // 2]
    tiny = np.finfo(np.float64).tiny
    return np.log10(np.maximum(rings, tiny) / np.maximum(rings[:, :1], tiny))


def ring_means(values: np.ndarray, centre: float, rounded: bool) -> np.ndarray:
    """Mean of (n, size, size) over rings of equal integer radius about (centre, centre): (n, rings)."""
    y, x = np.indices(values.shape[1:])
    radius = np.hypot(x - centre, y - centre)
    ring = (np.rint(radius) if rounded else radius).astype(int).ravel()
    counts = np.bincount(ring)
    membership = np.zeros((ring.size, counts.size))
    membership[np.arange(ring.size), ring] = 1 / counts[ring]
    return values.reshape(len(values), -1) @ membership
