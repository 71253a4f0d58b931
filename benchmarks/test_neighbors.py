"""Projection of images onto a manifold against scikit-learn's brute force: `pytest benchmarks/test_neighbors.py`."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from gmbench.manifold.neighbors import nearest

QUERIES, REFERENCES, WIDTH = 2000, 10_000, 3072


@pytest.fixture(scope="module")
def vectors() -> tuple[np.ndarray, np.ndarray]:
    """As many numbers as images of 32 pixels have."""
    random = np.random.default_rng(0)
    return tuple(random.random((n, WIDTH), dtype=np.float32) for n in (QUERIES, REFERENCES))  # type: ignore[return-value]


@pytest.mark.benchmark(group="nearest neighbour")
def test_gmbench(benchmark, vectors: tuple[np.ndarray, np.ndarray]) -> None:  # type: ignore[no-untyped-def]
    """faiss for candidates, double precision for the order."""
    benchmark.pedantic(lambda: nearest(*vectors), rounds=3)


@pytest.mark.benchmark(group="nearest neighbour")
def test_scikit_learn(benchmark, vectors: tuple[np.ndarray, np.ndarray]) -> None:  # type: ignore[no-untyped-def]
    """Brute force in single precision; and both find the same neighbours."""
    queries, references = vectors
    search = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(references)
    found = benchmark.pedantic(lambda: search.kneighbors(queries, return_distance=False), rounds=3)
    assert (found[:, 0] == nearest(queries, references)[0][:, 0]).mean() > 0.999
