"""Fréchet distance ratio (FDR): how far apart the sources lie in a feature space (Appendix C of the paper, after Yu19).

FDR = (mean over pairs of sources of FD) / (mean over sources of FD between two halves of the same source).

The Fréchet distance between samples is biased upwards, the more the fewer images there are per dimension. Numerator and
denominator are therefore taken from sets of the same size: halves against halves. FDR depends on n and d all the same:
compare it only between methods on the same n, and read d beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import combinations
from typing import NamedTuple

import numpy as np

from gmbench.support.schema import Strict
from gmbench.support.threads import side_by_side

CLOSE_ENOUGH = 1e-10
"""So far, relative to itself, a nuclear norm may be off before it is computed the longer way."""

ROUNDING = 1e-6
FEWEST = 4
"""Images of each source without which there is no FDR: two in each half."""


class FDR(Strict):
    """The ratio over several random halvings.

    Attributes:
        ratio: mean over halvings; `sd` their standard deviation.
        between, within: mean Fréchet distance of pairs of sources, and of two halves of one.
        n: images in each half. d: width of the features.
    """

    ratio: float
    sd: float
    between: float
    within: float
    n: int
    d: int
    halvings: int

    @property
    def is_biased(self) -> bool:
        """Whether a half has no more images than features (n <= d).

        Covariances then have rank n - 1 < d, and two halves of one source span different subspaces: their distance
        comes mostly from that bias of small samples, not from the source. It enters numerator and denominator alike and
        draws the ratio towards 1, so that wide features look worse than they are.
        """
        return self.n <= self.d

    @property
    def contradiction(self) -> str | None:
        """Why no halvings can give these figures; None if some can.

        The quotient of two means lies between the smallest and the largest quotient, and no number is further from the
        mean of h numbers than their deviation times (h - 1) / sqrt(h).
        """
        if min(self.n, self.d, self.halvings) < 1 or self.within <= 0:
            return "fdr has no images, features or halvings, or nothing within sources"
        furthest = self.sd * (self.halvings - 1) / self.halvings**0.5
        if abs(self.between / self.within - self.ratio) > furthest + ROUNDING * max(1.0, self.ratio):
            return f"fdr.ratio is {self.ratio:.6g} ± {self.sd:.3g}, which between and within cannot give"
        return None


class _Gaussian(NamedTuple):
    """The Gaussian fitted to a sample: mean (d,), a root (at most d rows, d) with covariance root^T root, its trace."""

    mean: np.ndarray
    root: np.ndarray
    trace: float


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Squared Fréchet distance of the Gaussians fitted to two samples (n, d), (m, d) (Dowson and Landau 1982).

    |mean difference|^2 + tr(S1) + tr(S2) - 2 tr((S1 S2)^(1/2)), where the last trace is the nuclear norm of A B^T for
    the centred samples A, B divided by the root of n - 1: exact for n < d too, and without a matrix root.
    """
    return _distance(_fit(first), _fit(second))


def too_few(labels: np.ndarray, sources: Sequence[str]) -> str | None:
    """Why there is no FDR of images with these labels (n,) into `sources`; None if each source has enough."""
    counts = np.bincount(labels, minlength=len(sources))
    small = [f"{name} has {n}" for name, n in zip(sources, counts, strict=True) if n < FEWEST]
    if not small:
        return None
    some = ", ".join(small[:4]) + (f" and {len(small) - 4} sources have fewer too" if len(small) > 4 else "")
    return f"FDR needs {FEWEST} test images of each source, {some}"


def frechet_distance_ratio(features: np.ndarray, labels: np.ndarray, halvings: int = 10, seed: int = 0) -> FDR:
    """FDR of features (n, d) with source labels (n,): every source is cut into two random halves of the same size.

    Raises:
        ValueError: fewer than two sources, a source with fewer than four images, or features that are the same for all
            images of each source, which leaves nothing to divide by.
    """
    features = np.asarray(features, dtype=np.float64)
    sources, counts = np.unique(labels, return_counts=True)
    if len(sources) < 2 or counts.min() < FEWEST:
        raise ValueError(f"FDR needs at least two sources with at least {FEWEST} images each")
    half = int(counts.min()) // 2
    random = np.random.default_rng(seed)
    rows_of = [np.flatnonzero(labels == source) for source in sources]
    drawn = [[random.permutation(rows)[: 2 * half] for rows in rows_of] for _ in range(halvings)]
    found = side_by_side([partial(_within_and_between, features, of_sources) for of_sources in drawn])
    within, between = np.array(found).T
    if not within.all():
        raise ValueError("FDR needs features that vary within sources")
    ratios = between / within
    return FDR(
        ratio=float(ratios.mean()),
        sd=float(ratios.std(ddof=1)) if halvings > 1 else 0.0,
        between=float(between.mean()),
        within=float(within.mean()),
        n=half,
        d=features.shape[1],
        halvings=halvings,
    )


def _within_and_between(features: np.ndarray, drawn: list[np.ndarray]) -> tuple[float, float]:
    """Mean distances of the halves of each source, and of the first halves of all pairs, from rows by source."""
    halves = [tuple(_fit(features[rows]) for rows in np.split(of_source, 2)) for of_source in drawn]
    within = np.mean([_distance(one, other) for one, other in halves])
    between = np.mean([_distance(one[0], other[0]) for one, other in combinations(halves, 2)])
    return float(within), float(between)


def _fit(sample: np.ndarray) -> _Gaussian:
    """The root is the centred sample over the root of n - 1, or its QR factor R where that has fewer rows.

    The rows of a centred sample add up to zero. A reflection that takes (1, ..., 1) to an axis (Householder's) turns
    the first row to zero, which is left out: roots of two such samples have no product of needlessly low rank.
    """
    sample = np.asarray(sample, dtype=np.float64)
    mean = sample.mean(axis=0)
    centred = (sample - mean) / np.sqrt(len(sample) - 1)
    trace = float(np.square(centred).sum())
    root = centred[1:] + centred[0] / (np.sqrt(len(sample)) - 1)
    if len(root) > root.shape[1]:
        root = np.linalg.qr(root, mode="r")
    return _Gaussian(mean, root, trace)


def _distance(first: _Gaussian, second: _Gaussian) -> float:
    overlap = nuclear_norm(first.root @ second.root.T)
    distance = np.square(first.mean - second.mean).sum() + first.trace + second.trace - 2 * overlap
    return float(max(distance, 0.0))


def nuclear_norm(matrix: np.ndarray) -> float:
    """The sum of the singular values of a matrix, to 1e-10 of itself.

    They are the roots of the eigenvalues of M M^T, which take little more than half the time of a decomposition of M,
    but have absolute errors of some roundings of the largest: where a root would be off by too much, which needs
    singular values of very different sizes, M is decomposed.
    """
    gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    squares = np.linalg.eigvalsh(gram).clip(0)
    error = len(gram) * np.finfo(np.float64).eps * squares[-1]
    values = np.sqrt(squares)
    off = np.where(squares > error, error / np.maximum(values, np.finfo(np.float64).tiny), np.sqrt(error)).sum()
    if off > CLOSE_ENOUGH * values.sum():
        return float(np.linalg.svd(matrix, compute_uv=False).sum())
    return float(values.sum())
