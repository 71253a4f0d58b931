"""FDR against the textbook form with scipy's matrix root, on the same features: `pytest benchmarks/test_fdr.py`."""

from __future__ import annotations

import time
from itertools import combinations

import numpy as np
import pytest
import scipy.linalg

from gmbench.evaluators.fdr import frechet_distance, frechet_distance_ratio

SOURCES, PER_HALF, WIDTH, HALVINGS = 5, 250, 512, 2
# As many sources as gm-garments, features as wide as a ResNet-50's, as many halvings as in a run.
WIDE_SOURCES, WIDE_WIDTH, WIDE_HALVINGS = 17, 2048, 10


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


def features_of(sources: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Features of sources with different means and scales, and labels."""
    random = np.random.default_rng(1)
    labels = np.repeat(np.arange(sources), 2 * PER_HALF)
    return random.normal(labels[:, None] * 0.1, 1 + labels[:, None] * 0.1, (len(labels), width)), labels


@pytest.fixture(scope="module")
def sample() -> tuple[np.ndarray, np.ndarray]:
    """Small enough for the matrix root to be computed for all pairs."""
    return features_of(SOURCES, WIDTH)


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


@pytest.mark.benchmark(group="fdr of 17 sources x 2,048 dimensions x 10 halvings")
def test_wide_features(benchmark, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    """The whole FDR in at most a twentieth of the matrix root's time, distances alike to 1e-4.

    The FDR is measured whole. The matrix root takes about a minute per distance on one core and would take most of a
    day: two of its distances are measured, one between halves and one between sources, and their mean is taken times
    the number of distances. Roots of the same size all take about as long. Work that could be shared, each half's
    covariance, is counted again for every distance, but is about a hundredth of it.
    """
    features, labels = features_of(WIDE_SOURCES, WIDE_WIDTH)
    started = time.perf_counter()
    benchmark.pedantic(lambda: frechet_distance_ratio(features, labels, halvings=WIDE_HALVINGS), rounds=1)
    ours = time.perf_counter() - started

    one, other, foreign = features[:PER_HALF], features[PER_HALF : 2 * PER_HALF], features[-PER_HALF:]
    started = time.perf_counter()
    roots = [with_matrix_root(one, other), with_matrix_root(one, foreign)]
    per_distance = (time.perf_counter() - started) / 2

    distances = WIDE_HALVINGS * (WIDE_SOURCES + WIDE_SOURCES * (WIDE_SOURCES - 1) // 2)
    with capsys.disabled():
        print(
            f"\n{distances:,} distances: {ours:.1f} s; with scipy's sqrtm {per_distance:.1f} s each, "
            f"{distances * per_distance:,.0f} s extrapolated ({distances * per_distance / ours:,.0f} times as long)"
        )
    assert roots == pytest.approx([frechet_distance(one, other), frechet_distance(one, foreign)], rel=1e-4)
    assert ours <= distances * per_distance / 20
