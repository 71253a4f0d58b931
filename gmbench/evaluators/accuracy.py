"""Accuracy of attribution, with how sure it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from gmbench.support.schema import Strict

RESAMPLES = 10_000


class Accuracy(Strict):
    """Attribution scores on one set of test images, shares in [0, 1].

    Attributes:
        accuracy: share of images whose most probable source is the true one (top-1).
        low, high: bootstrap 95 % interval of `accuracy` over test images.
        balanced: mean of `recall` over sources.
        macro_f1: mean over sources of F1 = 2 TP / (2 TP + FP + FN); 0 for a source neither there nor attributed.
        recall: per source, share of its images that were attributed to it.
        confusion: counts; row: true source, column: attributed source.
    """

    accuracy: float
    low: float
    high: float
    balanced: float
    macro_f1: float
    recall: dict[str, float]
    confusion: list[list[int]]


def attribution_accuracy(probabilities: np.ndarray, labels: np.ndarray, sources: Sequence[str]) -> Accuracy:
    """Scores probabilities (n, sources) against labels (n,). Of equally probable sources, the first counts."""
    predicted = probabilities.argmax(axis=1)
    confusion = np.zeros((len(sources), len(sources)), dtype=np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    there, attributed = confusion.sum(axis=1), confusion.sum(axis=0)
    recall = confusion.diagonal() / np.maximum(there, 1)
    f1 = 2 * confusion.diagonal() / np.maximum(there + attributed, 1)
    correct = predicted == labels
    low, high = bootstrap_interval(correct)
    return Accuracy(
        accuracy=float(correct.mean()),
        low=low,
        high=high,
        balanced=float(recall.mean()),
        macro_f1=float(f1.mean()),
        recall=dict(zip(sources, recall.tolist(), strict=True)),
        confusion=confusion.tolist(),
    )


def family_recall(
    confusion: Sequence[Sequence[int]] | np.ndarray, sources: Sequence[str], families: Mapping[str, str]
) -> dict[str, float]:
    """Per family, the share of its images that were attributed to any source of that family.

    Args:
        confusion: counts (sources, sources); row: true source, column: attributed source.
        sources: names of the rows and columns.
        families: family of each source; real images are one of their own.

    Returns:
        By family, in the order of `sources`; 0 for a family without images.
    """
    confusion = np.asarray(confusion)
    family_of = np.array([families[source] for source in sources])
    shares = {}
    for family in dict.fromkeys(family_of.tolist()):
        members = family_of == family
        shares[family] = float(confusion[members][:, members].sum() / max(confusion[members].sum(), 1))
    return shares


def bootstrap_interval(scores: np.ndarray, seed: int = 0, level: float = 0.95) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of per-image scores (n,) (Efron 1979), from 10,000 resamples."""
    # RandomState's streams are the same in every version of numpy, so that pages are the same bytes everywhere.
    random = np.random.RandomState(seed)
    values, counts = np.unique(scores, return_counts=True)
    resampled = random.multinomial(len(scores), counts / len(scores), size=RESAMPLES) @ values / len(scores)
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
