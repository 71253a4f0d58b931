"""Dzanic, Shah, Witherden 2020: how much high frequency an image has and how it decays, and nearest neighbours."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache

import numpy as np
import scipy.fft
from scipy.sparse import csc_array
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from gmbench.errors import ParameterError
from gmbench.learning.feature_attributor import FeatureAttributor
from gmbench.learning.spectra import ring_matrix

# First row of the inverse of the NTSC matrix: what MATLAB takes for grey.
GREY = np.linalg.inv([[1, 0.956, 0.621], [1, -0.272, -0.647], [1, -1.106, 1.703]])[0]
LOWEST = 0.5
THRESHOLDS = {"paper": 0.75, "official": 0.85}
FIRST_EXPONENT = -2.0
STEEPEST = 32.0
TINY = np.finfo(np.float64).tiny


class Dzanic20(FeatureAttributor):
    """Attributes by a power law fitted to the highest frequencies of an image's spectrum."""

    def __init__(
        self,
        variant: str = "paper",
        threshold: float = 0.0,
        bins: int = 0,
        end: bool = False,
        neighbors: int = 5,
    ) -> None:
        self.variant = variant
        self.threshold = threshold
        self.bins = bins
        self.end = end
        self.neighbors = neighbors

    def features(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 (n, size, size, 3) to power laws (n, 2 or 3)."""
        size = pixels.shape[1]
        bins = self.bins or min(200, size // 2)
        threshold = self.threshold or THRESHOLDS[self.variant]
        # An image at a time stays in the processor's cache.
        grey = (np.floor(image @ GREY + 0.5) for image in pixels)
        if self.variant == "official":
            return features_as_official(grey, threshold, bins)
        features = features_as_paper(grey, threshold, bins)
        return features if self.end else features[:, :2]

    def candidates(self, random_state: int) -> list:
        return [make_pipeline(StandardScaler(), KNeighborsClassifier(self.neighbors))]


def features_as_paper(grey: Iterable[np.ndarray], threshold: float, bins: int) -> np.ndarray:
    """b1, b2 and F(1) of the spectrum over its constant component, of grey images (size, size): (n, 3)."""
    magnitude = half_magnitude(grey)
    k, spectrum = tail(magnitude, magnitude.shape[1] // 2, threshold, bins, half=True)
    spectrum = spectrum / np.maximum(magnitude[:, 0, :1], TINY)
    amplitude, exponent = fit_law(k / threshold, spectrum)
    return np.stack([amplitude, exponent, spectrum[:, -1]], axis=1)


def features_as_official(grey: Iterable[np.ndarray], threshold: float, bins: int) -> np.ndarray:
    """The released code's exponent, first and last value of the fit, of grey images (size, size): (n, 3)."""
    magnitude = half_magnitude(grey)
    k, spectrum = tail(magnitude, magnitude.shape[1] / 2 - 1, threshold, bins, half=True)
    exponent = fit_exponent_as_official(k, spectrum)
    return np.stack([exponent, spectrum[:, 0], spectrum[:, -1]], axis=1)


def half_magnitude(grey: Iterable[np.ndarray]) -> np.ndarray:
    """Magnitudes of the spectra of grey images (size, size), as `rfft2` orders them: (n, size, size // 2 + 1)."""
    return np.stack([np.abs(scipy.fft.rfft2(image)) for image in grey])


def tail(
    magnitude: np.ndarray, centre: float, threshold: float, bins: int, half: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """The smoothed azimuthal average of spectra, from a reduced wavenumber on.

    The reduced wavenumber is the distance from (centre, centre) over that of a corner, sqrt(2) size / 2. The range from
    0.5 to the largest is cut into equal bins, which are averaged and smoothed.

    Args:
        magnitude: whole, centred (n, size, size), or the `half` that `rfft2` gives, (n, size, size // 2 + 1).

    Returns:
        The wavenumbers in the middle of the bins (points,) and the bins' values (n, points).

    Raises:
        ParameterError: fewer than two bins are above the threshold, or there are so many that some hold no frequency.
    """
    size = magnitude.shape[1]
    first = round((threshold - LOWEST) / (1 - LOWEST) * bins)
    if not 0 <= first <= bins - 2:
        raise ParameterError(
            f"threshold: expected at least {LOWEST} and two of {bins} bins above it, got {threshold:g}."
        )
    edges, matrix = _bin_matrix(size, centre, bins, half)
    values = np.stack([matrix @ of_image.ravel() for of_image in magnitude])
    values[:, matrix.sum(axis=1) == 0] = np.nan
    smoothed = smooth(fill_zeros(values))[:, first:]
    if np.isnan(smoothed).any():
        raise ParameterError(f"bins: {bins} are too many for images of {size}x{size}; size / 2 are always few enough.")
    return ((edges[:-1] + edges[1:]) / 2)[first:], smoothed


@lru_cache(maxsize=8)
def _bin_matrix(size: int, centre: float, bins: int, half: bool) -> tuple[np.ndarray, csc_array]:
    y, x = np.indices((size, size))
    radius = np.hypot(y - centre, x - centre) / (np.sqrt(2) * size / 2)
    kept = radius > LOWEST
    edges = np.linspace(radius[kept].min(), radius[kept].max(), bins + 1)
    # A value on an edge belongs to the lower bin.
    which = np.clip(np.searchsorted(edges, radius) - 1, 0, bins - 1)
    return edges, ring_matrix(np.where(kept, which, -1), half)


def fill_zeros(values: np.ndarray) -> np.ndarray:
    """Values (n, bins) with each zero replaced by the mean of its neighbours."""
    padded = np.pad(values, ((0, 0), (1, 1)), mode="reflect")
    return np.where(values == 0, (padded[:, :-2] + padded[:, 2:]) / 2, values)


def smooth(values: np.ndarray) -> np.ndarray:
    """Moving mean of (n, bins) over five bins, fewer towards the ends; NaN counts only where there is nothing else."""
    i = np.arange(values.shape[1])
    reach = np.minimum(2, np.minimum(i, i[::-1]))
    near = (np.abs(i[:, None] - i) <= reach).astype(float)
    with np.errstate(invalid="ignore"):
        return np.nan_to_num(values) @ near / (~np.isnan(values) @ near)


def fit_law(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least squares of y (n, points) and b1 x^b2, x (points,): b1 (n,) and b2 (n,).

    For a given exponent the best amplitude is a projection, so that only the exponent is searched for, within 32 of
    zero: a spectrum that ends abruptly has no exponent, and would give an outlier without bounds.
    """
    scaled = y / np.maximum(np.linalg.norm(y, axis=1, keepdims=True), TINY)

    def amplitude(exponent: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        law = x ** exponent.clip(-STEEPEST, STEEPEST)[:, None]
        best = (target * law).sum(axis=1) / np.square(law).sum(axis=1)
        return best, law

    def distance(exponent: np.ndarray) -> np.ndarray:
        best, law = amplitude(exponent, scaled)
        return np.linalg.norm(scaled - best[:, None] * law, axis=1)

    exponent = minimise(distance, np.full(len(y), FIRST_EXPONENT), tolerance=1e-7)
    return amplitude(exponent, y)[0], exponent.clip(-STEEPEST, STEEPEST)


def fit_exponent_as_official(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The exponent c that the released code finds for y (n, points) and y_0 (x / x_0)^c, x (points,): (n,).

    It minimises the spectral norm of the matrix of all differences between a value and a point of the law. That matrix
    is y 1' - 1 m' for the law m, of rank two, so that its norm follows from the trace and the determinant of a 2x2
    matrix.
    """
    n = len(x)
    y_sum, y_square = y.sum(axis=1), np.square(y).sum(axis=1)

    def norm(exponent: np.ndarray) -> np.ndarray:
        law = y[:, :1] * (x / x[0]) ** exponent[:, None]
        law_sum, law_square = law.sum(axis=1), np.square(law).sum(axis=1)
        trace = n * y_square - 2 * y_sum * law_sum + n * law_square
        determinant = (n * y_square - y_sum**2) * (n * law_square - law_sum**2)
        return np.sqrt((trace + np.sqrt(np.maximum(trace**2 - 4 * determinant, 0))) / 2)

    return minimise(norm, np.full(len(y), FIRST_EXPONENT), tolerance=1e-4)


def minimise(function: Callable[[np.ndarray], np.ndarray], start: np.ndarray, tolerance: float) -> np.ndarray:
    """Minimises n functions of one variable at once, as `scipy.optimize.fmin` does one after another (Nelder-Mead).

    Args:
        function: the n values at n places.
        start: where to start, (n,), not zero.
        tolerance: of places and of values alike.
    """
    best, worst = start, 1.05 * start
    f_best, f_worst = function(best), function(worst)
    for _ in range(200):
        swap = f_worst < f_best
        best, worst = np.where(swap, worst, best), np.where(swap, best, worst)
        f_best, f_worst = np.where(swap, f_worst, f_best), np.where(swap, f_best, f_worst)
        active = (np.abs(worst - best) > tolerance) | (np.abs(f_worst - f_best) > tolerance)
        if not active.any():
            break
        step = best - worst
        reflected = best + step
        f_reflected = function(reflected)
        # Expand beyond a reflection that is best, contract to its side of the best place or to the other.
        factor = np.where(f_reflected < f_best, 2.0, np.where(f_reflected < f_worst, 0.5, -0.5))
        trial = best + factor * step
        f_trial = function(trial)
        keep_reflected = (factor == 2) & ~(f_trial < f_reflected)
        trial, f_trial = np.where(keep_reflected, reflected, trial), np.where(keep_reflected, f_reflected, f_trial)
        shrink = ((factor == 0.5) & ~(f_trial <= f_reflected)) | ((factor == -0.5) & ~(f_trial < f_worst))
        if shrink.any():
            shrunk = best - 0.5 * step
            trial, f_trial = np.where(shrink, shrunk, trial), np.where(shrink, function(shrunk), f_trial)
        worst, f_worst = np.where(active, trial, worst), np.where(active, f_trial, f_worst)
    return best
