"""FDR against the textbook form with scipy's matrix root, on the same features: `pytest benchmarks/test_fdr.py`."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import scipy.linalg

from gmbench.evaluators.fdr import frechet_distance, frechet_distance_ratio

SOURCES, PER_HALF, WIDTH, HALVINGS = 5, 250, 512, 2


def with_matrix_root(x: np.ndarray, y: np.ndarray) -> float:
    """Squared Fréchet distance as most public code computes it."""
    first, second = np.cov(x.T), np.cov(y.T)
    root = scipy.linalg.sqrtm(first @ second).real
    return float(np.square(x.mean(0) - y.mean(0)).sum() + np.trace(first + second - 2 * root))


def ratio_with_matrix_root(features: np.ndarray, labels: np.ndarray) -> float:
    """FDR over the same halvings as `frechet_distance_ratio` draws."""
    random = np.random.default_rng(0)
    rows_of = [np.flatnonzero(labels == source) for source in np.unique(labels)]
    ratios = []
    for _ in range(HALVINGS):
        drawn = [features[random.permutation(rows)] for rows in rows_of]
        halves = [(x[:PER_HALF], x[PER_HALF:]) for x in drawn]
        within = np.mean([with_matrix_root(*pair) for pair in halves])
        between = np.mean([with_matrix_root(x[0], y[0]) for x, y in combinations(halves, 2)])
        ratios.append(between / within)
    return float(np.mean(ratios))


@pytest.fixture(scope="module")
def sample() -> tuple[np.ndarray, np.ndarray]:
    """Features of five sources with different means and scales."""
    random = np.random.default_rng(1)
    labels = np.repeat(np.arange(SOURCES), 2 * PER_HALF)
    return random.normal(labels[:, None] * 0.1, 1 + labels[:, None] * 0.1, (len(labels), WIDTH)), labels


@pytest.mark.benchmark(group="fdr")
def test_gmbench(benchmark, sample: tuple[np.ndarray, np.ndarray]) -> None:  # type: ignore[no-untyped-def]
    """The nuclear-norm form."""
    result = benchmark.pedantic(lambda: frechet_distance_ratio(*sample, halvings=HALVINGS), rounds=3)
    assert result.ratio > 1


@pytest.mark.benchmark(group="fdr")
def test_scipy_sqrtm(benchmark, sample: tuple[np.ndarray, np.ndarray]) -> None:  # type: ignore[no-untyped-def]
    """The matrix root; and both give the same ratio."""
    ratio = benchmark.pedantic(lambda: ratio_with_matrix_root(*sample), rounds=1)
    assert ratio == pytest.approx(frechet_distance_ratio(*sample, halvings=HALVINGS).ratio, rel=1e-4)


def test_single_distances_agree(sample: tuple[np.ndarray, np.ndarray]) -> None:
    """Also one by one."""
    features, labels = sample
    x, y = features[labels == 0], features[labels == 1]
    assert frechet_distance(x, y) == pytest.approx(with_matrix_root(x, y), rel=1e-6)
