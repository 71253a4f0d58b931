"""All scores of a run at the second edition's size, part by part: `pytest -n 0 -s benchmarks/test_evaluation.py`.

17 sources of 600 images with 512 features. The peers are a singular value decomposition per Fréchet distance, and
scikit-learn's NMI from the labels of all images for every dealing of the null; both are tried on some of the work, and
their time is taken times the rest. Distances are alike to 1e-9.

Measured on a shared AMD EPYC (Zen 3, two cores, both busy with other work): 12 s of processor time for FDR and 14 s for
NMI, nearly all of it k-means; all other scores 0.01 s. By the plain ways the same took 17 s and 25 s, on one core; now
two share it. So it is 13 s of two such cores; ten are not reached.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import normalized_mutual_info_score
from threadpoolctl import threadpool_limits

from gmbench.data.cards import find_dataset
from gmbench.evaluators.fdr import frechet_distance
from gmbench.evaluators.nmi import DEALINGS
from gmbench.records.scoring import EVALUATORS, Answers, design_choices

SOURCES, PER_SOURCE, WIDTH = 17, 600, 512
HALVINGS = 10


@pytest.fixture(scope="module")
def answers() -> Answers:
    """Probabilities and features of sources that differ a little."""
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(SOURCES), PER_SOURCE)
    features = random.normal(size=(len(labels), WIDTH)) * (1 + 0.1 * labels[:, None])
    features += 0.3 * random.normal(size=(SOURCES, WIDTH))[labels]
    card = find_dataset("gm-garments")
    sources = list(card.sources)
    probabilities = random.dirichlet(np.ones(SOURCES), len(labels)).astype(np.float32)
    return Answers(probabilities, features.astype(np.float32), labels, sources, design_choices(card, sources))


def measured(function: Callable[[], Any]) -> tuple[float, float, Any]:
    """Seconds on the wall and of processor time, and the result."""
    wall, busy = time.perf_counter(), time.process_time()
    result = function()
    return time.perf_counter() - wall, time.process_time() - busy, result


def by_decomposition(first: np.ndarray, second: np.ndarray) -> float:
    """A Fréchet distance whose nuclear norm is a sum of singular values."""
    one, other = (
        (x - x.mean(axis=0)) / np.sqrt(len(x) - 1) for x in (first.astype(np.float64), second.astype(np.float64))
    )
    overlap = np.linalg.svd(one @ other.T, compute_uv=False).sum()
    means = np.square(first.astype(np.float64).mean(0) - second.astype(np.float64).mean(0)).sum()
    return float(means + np.square(one).sum() + np.square(other).sum() - 2 * overlap)


def test_all_scores(answers: Answers, capsys: pytest.CaptureFixture[str]) -> None:
    """Every part is said."""
    parts = {each.name: measured(lambda each=each: each.function(answers)) for each in EVALUATORS}  # type: ignore[misc]
    with capsys.disabled():
        print()
        for name, (wall, busy, _) in parts.items():
            print(f"{name:<12} {wall:6.2f} s, processor {busy:6.2f} s")
        print(f"{'all':<12} {sum(wall for wall, _, _ in parts.values()):6.2f} s")


def test_against_plain_ways(answers: Answers, capsys: pytest.CaptureFixture[str]) -> None:
    """Processor time of distances and of the null, beside the plain ways on a part of them."""
    halves = [answers.features[answers.labels == source][: PER_SOURCE // 2] for source in range(5)]
    pairs = list(combinations(halves, 2))
    with threadpool_limits(1):
        _, ours, distances = measured(lambda: [frechet_distance(*pair) for pair in pairs])
        _, plain, expected = measured(lambda: [by_decomposition(*pair) for pair in pairs])
    assert distances == pytest.approx(expected, rel=1e-9)

    random = np.random.default_rng(0)
    values = np.array(["a", "b", "c", "d", "e"])[random.integers(0, 5, SOURCES)]
    clusters = random.integers(0, 5, len(answers.labels))
    _, one_null, _ = measured(
        lambda: normalized_mutual_info_score(values[answers.labels], clusters, average_method="max")
    )
    choices = len({name for of_source in answers.choices for name in of_source})
    with capsys.disabled():
        print(
            f"\nper Fréchet distance {1000 * ours / len(pairs):.1f} ms, by decomposition "
            f"{1000 * plain / len(pairs):.1f} ms; nulls by scikit-learn {DEALINGS * choices * one_null:.1f} s of "
            "processor time extrapolated"
        )
