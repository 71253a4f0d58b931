"""Whether methods differ by more than chance: paired tests on the same test images, and ranks over several datasets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gmbench.evaluators.accuracy import bootstrap_interval
from gmbench.support.schema import Strict

LEVEL = 0.05


class PairedDifference(Strict):
    """Two methods on the same test images.

    Attributes:
        difference: accuracy of the first minus that of the second, in [-1, 1].
        low, high: bootstrap 95 % interval of `difference` over test images.
        wins, losses: images that the first attributes rightly in a larger, a smaller share of its seeds.
        p: two-sided, of `permutation_test`; with one seed each this is McNemar's test.
    """

    difference: float
    low: float
    high: float
    wins: int
    losses: int
    p: float


class Ranking(Strict):
    """Methods over several blocks (datasets, settings).

    Attributes:
        mean_ranks: per method, its rank averaged over blocks; 1 is best.
        statistic, p: Friedman's chi-square, and its probability if all methods were equal.
        critical_difference: mean ranks further apart than this differ at the level asked for (Nemenyi).
    """

    mean_ranks: list[float]
    statistic: float
    p: float
    critical_difference: float


def mcnemar(wins: int, losses: int) -> float:
    """Two-sided p of McNemar's exact test: wins ~ Binomial(wins + losses, 1/2) if neither is better; 1 without either.

    McNemar 1947; recommended for comparing two classifiers on one test set by Dietterich 1998.
    """
    # Equal to scipy.stats.binomtest, which takes a hundred times as long: leaderboards compare all pairs.
    from scipy.special import bdtr

    return min(1.0, 2 * float(bdtr(min(wins, losses), wins + losses, 0.5)))


def permutation_test(differences: np.ndarray) -> float:
    """Two-sided p of the exact paired permutation test on integer differences (n,), one per image (Pitman 1937).

    If neither method is better, each difference is as probable with the other sign. p is the share of all 2^n choices
    of signs whose sum is at least as far from 0 as the one found. It grows with how large differences are, not only
    with how many, and so agrees with the difference in accuracy. Where all are of one size, this is McNemar's test.
    """
    sizes, counts = np.unique(np.abs(differences[differences != 0]), return_counts=True)
    if len(sizes) < 2:
        return mcnemar(int((differences > 0).sum()), int((differences < 0).sum()))
    unit = np.gcd.reduce(sizes)
    sizes, found = sizes // unit, abs(int(differences.sum())) // unit
    most = int(sizes @ counts)
    # The sum of those with sign + takes values 0 ... most; the transform of its distribution is a product over images.
    # An image of size s has the factor cos(s a) exp(-i s a), a being pi k / (most + 1). The sizes add up to `most`, and
    # exp(-i most a) = exp(-i pi k) exp(i a).
    k = np.arange((most + 1) // 2 + 1)
    angles = np.pi * k / (most + 1)
    phases = np.where(k % 2, -1, 1) * np.exp(1j * angles)
    transform = np.prod(np.cos(np.outer(angles, sizes)) ** counts, axis=1) * phases
    probabilities = np.fft.irfft(transform, most + 1)
    sums = 2 * np.arange(most + 1) - most
    return float(probabilities[np.abs(sums) >= found].sum().clip(0, 1))


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """P-values (m,) adjusted for their number, in the given order (Holm 1979).

    The i-th smallest, from i = 0, is multiplied by m - i, made no smaller than those before it, and capped at 1.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = p.argsort(kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    return adjusted.clip(max=1)


def paired_difference(first: np.ndarray, second: np.ndarray) -> PairedDifference:
    """Compares correct attributions, bool (seeds, images), of two methods on the same images in the same order.

    With d_i the share of seeds in which the first is right about image i, minus that of the second: `difference` is the
    mean of d, its interval the percentile bootstrap over images, wins and losses are the signs of d, and p is of
    `permutation_test` on d. The numbers of seeds may differ.

    Raises:
        ValueError: not the same number of images.
    """
    differences, unit = _differences(first, second)
    low, high = bootstrap_interval(differences * unit)
    return PairedDifference(
        difference=float(differences.mean() * unit),
        low=low,
        high=high,
        wins=int((differences > 0).sum()),
        losses=int((differences < 0).sum()),
        p=permutation_test(differences),
    )


def paired_test(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Difference and p of `paired_difference`, less its interval, which takes ten times as long.

    Raises:
        ValueError: not the same number of images.
    """
    differences, unit = _differences(first, second)
    return float(differences.mean() * unit), permutation_test(differences)


def tied_with_best(correct: Sequence[np.ndarray], level: float = LEVEL) -> list[bool]:
    """For each method's correct attributions, bool (seeds, images): is it the best, or not separated from the best?

    The best has the highest accuracy (of equals, the first) and is tested against each of the others as in
    `paired_difference`; p-values are Holm-corrected. Another is separated where p is at most `level`.

    Raises:
        ValueError: not the same number of images.
    """
    if not correct:
        return []
    best = int(np.argmax([of_method.mean() for of_method in correct]))
    others = [i for i in range(len(correct)) if i != best]
    adjusted = holm([paired_test(correct[best], correct[i])[1] for i in others])
    tied = [True] * len(correct)
    for i, p in zip(others, adjusted, strict=True):
        tied[i] = bool(p > level)
    return tied


def friedman_nemenyi(scores: np.ndarray, level: float = LEVEL) -> Ranking:
    """Ranks methods by scores (blocks, methods), higher being better, with average ranks for ties (Demšar 2006).

    Friedman's test, and Nemenyi's critical difference q * sqrt(k (k + 1) / (6 N)) for k methods on N blocks.

    Raises:
        ValueError: fewer than three methods or two blocks, or a score that is not finite.
    """
    from scipy.stats import friedmanchisquare, rankdata

    scores = np.asarray(scores, dtype=np.float64)
    blocks, methods = scores.shape
    if methods < 3 or blocks < 2:
        raise ValueError(f"ranking needs at least 3 methods and 2 blocks, got {methods} and {blocks}")
    if not np.isfinite(scores).all():
        raise ValueError("ranking needs a finite score of every method on every block")
    ranks = rankdata(-scores, axis=1)
    # Where all methods are equal on every block, scipy divides by zero.
    statistic, p = (0.0, 1.0) if np.ptp(ranks) == 0 else friedmanchisquare(*scores.T)
    return Ranking(
        mean_ranks=ranks.mean(axis=0).tolist(),
        statistic=float(statistic),
        p=float(p),
        critical_difference=nemenyi_quantile(methods, level) * float(np.sqrt(methods * (methods + 1) / (6 * blocks))),
    )


def nemenyi_quantile(methods: int, level: float = LEVEL) -> float:
    """q of Nemenyi's test: the studentised range at infinite degrees of freedom over sqrt(2) (Demšar 2006, Table 5)."""
    from scipy.stats import studentized_range

    return float(studentized_range.ppf(1 - level, methods, np.inf) / np.sqrt(2))


def _differences(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, float]:
    """Per image, the share of seeds in which the first is right minus the second's: integers (n,), and their unit."""
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"pairs need the same images, got {first.shape[1]} and {second.shape[1]} of them")
    ours, theirs = first.sum(axis=0, dtype=np.int64), second.sum(axis=0, dtype=np.int64)
    return ours * len(second) - theirs * len(first), 1 / (len(first) * len(second))
