"""Fréchet distance ratio (FDR): how far apart the sources lie in a feature space (Appendix C of the paper, after Yu19).

FDR = (mean over pairs of sources of FD) / (mean over sources of FD between two halves of the same source).

The Fréchet distance between samples is biased upwards, the more the fewer images there are per dimension. Numerator and
denominator are therefore taken from sets of the same size: halves against halves. FDR depends on n and d all the same:
compare it only between methods on the same n, and read d beside it.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

from gmbench.data.card import Strict


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


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Squared Fréchet distance of the Gaussians fitted to two samples (n, d), (m, d) (Dowson and Landau 1982).

    |mean difference|^2 + tr(S1) + tr(S2) - 2 tr((S1 S2)^(1/2)), where the last trace is the nuclear norm of A B^T for
    the centred samples A, B divided by the root of n - 1: exact for n < d too, and without a matrix root.
    """
    return _distance(_moments(first), _moments(second))


def frechet_distance_ratio(features: np.ndarray, labels: np.ndarray, halvings: int = 10, seed: int = 0) -> FDR:
    """FDR of features (n, d) with source labels (n,): every source is cut into two random halves of the same size.

    Raises:
        ValueError: fewer than two sources, a source with fewer than four images, or features that are the same for all
            images of each source, which leaves nothing to divide by.
    """
    features = np.asarray(features, dtype=np.float64)
    sources, counts = np.unique(labels, return_counts=True)
    if len(sources) < 2 or counts.min() < 4:
        raise ValueError("FDR needs at least two sources with at least four images each")
    half = int(counts.min()) // 2
    random = np.random.default_rng(seed)
    rows_of = [np.flatnonzero(labels == source) for source in sources]
    between, within = np.empty(halvings), np.empty(halvings)
    for h in range(halvings):
        halves = []
        for rows in rows_of:
            drawn = random.permutation(rows)[: 2 * half]
            halves.append((_moments(features[drawn[:half]]), _moments(features[drawn[half:]])))
        within[h] = np.mean([_distance(one, other) for one, other in halves])
        between[h] = np.mean([_distance(one[0], other[0]) for one, other in combinations(halves, 2)])
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


def _moments(sample: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (d,) and centred sample over the root of n - 1; its Gram matrix is the covariance."""
    sample = np.asarray(sample, dtype=np.float64)
    mean = sample.mean(axis=0)
    return mean, (sample - mean) / np.sqrt(len(sample) - 1)


def _distance(first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray]) -> float:
    (mean1, a), (mean2, b) = first, second
    if len(a) + len(b) <= 2 * a.shape[1]:
        cross = a @ b.T
    else:
        root_a, root_b = (np.asarray(np.linalg.qr(sample, mode="r")) for sample in (a, b))
        cross = root_a @ root_b.T
    traces = np.square(a).sum() + np.square(b).sum()
    distance = np.square(mean1 - mean2).sum() + traces - 2 * np.linalg.svd(cross, compute_uv=False).sum()
    return float(max(distance, 0.0))
