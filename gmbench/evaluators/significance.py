"""Whether methods differ by more than chance: paired tests on the same test images, and ranks over several datasets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gmbench.data.card import Strict
from gmbench.evaluators.accuracy import bootstrap_interval

LEVEL = 0.05


class PairedDifference(Strict):
    """Two methods on the same test images.

    Attributes:
        difference: accuracy of the first minus that of the second, in [-1, 1].
        low, high: bootstrap 95 % interval of `difference` over test images.
        wins, losses: images that the first attributes rightly in a larger, a smaller share of its seeds.
        p: two-sided, of the exact sign test on wins and losses; with one seed each this is McNemar's test.
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
    mean of d, its interval the percentile bootstrap over images, wins and losses are the signs of d. The numbers of
    seeds may differ.

    Raises:
        ValueError: not the same number of images.
    """
    differences = _differences(first, second)
    low, high = bootstrap_interval(differences)
    wins, losses = _wins_and_losses(differences)
    return PairedDifference(
        difference=float(differences.mean()), low=low, high=high, wins=wins, losses=losses, p=mcnemar(wins, losses)
    )


def tied_with_best(correct: Sequence[np.ndarray], level: float = LEVEL) -> list[bool]:
    """For each method's correct attributions, bool (seeds, images): is it the best, or not separated from the best?

    The best has the highest accuracy (of equals, the first) and is tested against each of the others as in
    `paired_difference`; p-values are Holm-corrected. Another is separated where p is at most `level` and the best wins
    on more images than it loses: with several seeds, the sign test can contradict the difference in accuracy.

    Raises:
        ValueError: not the same number of images.
    """
    if not correct:
        return []
    best = int(np.argmax([of_method.mean() for of_method in correct]))
    signs = [_wins_and_losses(_differences(correct[best], other)) for other in correct]
    others = [i for i in range(len(correct)) if i != best]
    adjusted = holm([mcnemar(*signs[i]) for i in others])
    tied = [True] * len(correct)
    for i, p in zip(others, adjusted, strict=True):
        wins, losses = signs[i]
        tied[i] = not (p <= level and wins > losses)
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


def _differences(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Per image (n,), the share of seeds in which the first is right minus that of the second."""
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"pairs need the same images, got {first.shape[1]} and {second.shape[1]} of them")
    return first.mean(axis=0) - second.mean(axis=0)


def _wins_and_losses(differences: np.ndarray) -> tuple[int, int]:
    return int((differences > 0).sum()), int((differences < 0).sum())
