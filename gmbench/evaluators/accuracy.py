"""Accuracy of attribution, with how sure it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000


@dataclass(frozen=True)
class Accuracy:
    """Attribution scores on one set of test images, all in [0, 1].

    Attributes:
        accuracy: share of images whose most probable source is the true one (top-1).
        low, high: bootstrap 95 % interval of `accuracy` over test images.
        recall: per source, share of its images that were attributed to it.
        confusion: (sources, sources) counts; row: true source, column: attributed source.
    """

    accuracy: float
    low: float
    high: float
    recall: np.ndarray
    confusion: np.ndarray


def attribution_accuracy(probabilities: np.ndarray, labels: np.ndarray, seed: int = 0) -> Accuracy:
    """Scores probabilities (n, sources) against labels (n,). Of equally probable sources, the first counts."""
    sources = probabilities.shape[1]
    predicted = probabilities.argmax(axis=1)
    confusion = np.zeros((sources, sources), dtype=np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    with np.errstate(invalid="ignore"):
        recall = confusion.diagonal() / confusion.sum(axis=1)
    correct = predicted == labels
    low, high = bootstrap_interval(correct.astype(np.float64), seed)
    return Accuracy(float(correct.mean()), low, high, recall, confusion)


def bootstrap_interval(scores: np.ndarray, seed: int = 0, level: float = 0.95) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of per-image scores (n,) (Efron 1979), from 10,000 resamples."""
    random = np.random.default_rng(seed)
    values, counts = np.unique(scores, return_counts=True)
    resampled = random.multinomial(len(scores), counts / len(scores), size=RESAMPLES) @ values / len(scores)
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
