"""Accuracy of attribution, with how sure it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import NormalDist

import numpy as np

from gmbench.support.schema import Strict

NORMAL = NormalDist().inv_cdf(0.975)
"""Half the width of a 95 % interval, in standard deviations."""
AGREEING = 0.1
"""So many images about which all seeds err alike are added, where it is estimated how far seeds err alike."""


class Accuracy(Strict):
    """Attribution scores on one set of test images, shares in [0, 1].

    Attributes:
        accuracy: share of images whose most probable source is the true one (top-1).
        low, high: 95 % interval of `accuracy` over test images (see `accuracy_interval`).
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
    low, high = accuracy_interval(correct)
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


def accuracy_interval(correct: np.ndarray) -> tuple[float, float]:
    """95 % interval, within [0, 1], of the accuracy of these seeds on other test images like these.

    Of one seed it is Wilson's (1927), which covers near 1 too, where a bootstrap does not: from 300 right of 300, that
    draws nothing but 1. Of several seeds it is Wilson's for as many images as would leave one seed with the spread of
    the mean over seeds: n where all seeds are right about the same images, up to n times their number where they err
    independently (Wilson's with an effective sample size: Franco, Little, Louis and Slud 2019). Few errors do not show
    that seeds are independent, so `AGREEING` is added above and below that ratio.

    It covers 93 to 97 % from an accuracy of 0.01 to 0.995, for 1, 2, 3 and 5 seeds on 900 images or more (exact for one
    seed, simulated for several). Images are taken as drawn from all sources together: where each has a fixed number of
    them and some are much harder than others, it is too wide rather than too narrow.

    Args:
        correct: bool (images,) of one seed, or (seeds, images); at least one image.
    """
    shares = np.atleast_2d(correct).mean(axis=0)
    mean = shares.mean()
    of_one_seed, of_all = (len(shares) * spread + AGREEING for spread in (mean * (1 - mean), shares.var()))
    squared = NORMAL**2 * of_all / of_one_seed / len(shares)
    middle = (mean + squared / 2) / (1 + squared)
    half = np.sqrt(squared * mean * (1 - mean) + squared**2 / 4) / (1 + squared)
    # Where all are right, or none, rounding must not put the accuracy outside.
    return max(0.0, float(min(middle - half, mean))), min(1.0, float(max(middle + half, mean)))
