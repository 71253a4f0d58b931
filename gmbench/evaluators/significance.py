"""Whether methods differ by more than chance: paired tests on the same test images, and ranks over several datasets.

There are two questions. *With these seeds*: would these very models, as they were fitted, differ on other images?
*With new seeds*: would the methods differ if they were fitted again? Where accuracy moves from seed to seed, an answer
to the first is none to the second.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from statistics import NormalDist

import numpy as np

from gmbench.support.schema import Strict

LEVEL = 0.05
FEWEST_SEEDS = 3
"""Of both methods; with fewer there is nothing to be said of new seeds."""


class NewSeeds(Strict):
    """Two methods, if they were fitted again with new seeds and tested on new images.

    Attributes:
        low, high: 95 % interval of the difference of their accuracies, first minus second, in [-1, 1].
        p: two-sided, if they are equally good on average over seeds.
    """

    low: float
    high: float
    p: float


class PairedDifference(Strict):
    """Two methods on the same test images.

    Attributes:
        difference: accuracy of the first minus that of the second, averaged over seeds, in [-1, 1].
        low, high: 95 % interval of `difference` with these seeds, on other images (see `difference_interval`).
        wins, losses: images that the first attributes rightly in a larger, a smaller share of its seeds.
        p: with these seeds, two-sided, of `permutation_test`; with one seed each this is McNemar's test.
        new_seeds: None where one of them has fewer than three.
    """

    difference: float
    low: float
    high: float
    wins: int
    losses: int
    p: float
    new_seeds: NewSeeds | None


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


def paired_difference(first: np.ndarray, second: np.ndarray, chosen_from: int = 1) -> PairedDifference:
    """Compares correct attributions, bool (seeds, images), of two methods on the same images in the same order.

    With d_i the share of seeds in which the first is right about image i, minus that of the second: `difference` is the
    mean of d, wins and losses are its signs. The numbers of seeds may differ.

    Args:
        chosen_from: the number of pairs out of which these two were chosen by their scores on these images; p-values
            and intervals are corrected for it (Bonferroni).

    Raises:
        ValueError: not the same number of images.
    """
    differences, unit = _differences(first, second)
    low, high = difference_interval(differences * unit, LEVEL / chosen_from)
    return PairedDifference(
        difference=float(differences.mean() * unit),
        low=low,
        high=high,
        wins=int((differences > 0).sum()),
        losses=int((differences < 0).sum()),
        p=min(1.0, permutation_test(differences) * chosen_from),
        new_seeds=new_seeds(first, second, chosen_from),
    )


def accuracy_difference(first: np.ndarray, second: np.ndarray) -> float:
    """`difference` of `paired_difference`."""
    differences, unit = _differences(first, second)
    return float(differences.mean() * unit)


def difference_interval(differences: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """Interval, within [-1, 1], of the mean of differences (n,) of two methods on images; it misses in a share `level`.

    Agresti and Min's (2005): the normal interval after half an image is added to each of won, lost, and both of those
    that are right or wrong in common. It covers where few images differ, where a bootstrap or the normal interval alone
    do not. What is added differs by as much as the images that differ do (root mean square), which with one seed is 1.
    """
    half = NormalDist().inv_cdf(1 - level / 2) * _spread_over_images(differences)
    mean = differences.sum() / (len(differences) + 2)
    return max(-1.0, float(mean - half)), min(1.0, float(mean + half))


def new_seeds(first: np.ndarray, second: np.ndarray, chosen_from: int = 1) -> NewSeeds | None:
    """What correct attributions, bool (seeds, images), of two methods on the same images say of new seeds.

    Seeds and images are both drawn (a crossed design, as subjects and items in psychology: Clark 1973). The variance of
    the difference is taken as the sum of that between the seeds of each method and that between images, and Student's t
    has the degrees of freedom that Satterthwaite (1946) gives such a sum. Chance in single answers is in both terms, so
    this errs on the side of caution. Seeds are not paired: what two methods share in a seed, such as the images drawn
    in few-shot settings, makes it more cautious. Nothing is surer than with these seeds, so p is at least theirs.

    Args:
        chosen_from: see `paired_difference`.

    Returns:
        None where one of them has fewer than three seeds.

    Raises:
        ValueError: not the same number of images.
    """
    from scipy.special import stdtr, stdtrit

    differences, unit = _differences(first, second)
    if min(len(first), len(second)) < FEWEST_SEEDS:
        return None
    difference = float(differences.mean() * unit)
    counts = np.array([len(first), len(second), len(differences)])
    variances = np.array(
        [
            first.mean(axis=1).var(ddof=1) / len(first),
            second.mean(axis=1).var(ddof=1) / len(second),
            _spread_over_images(differences * unit) ** 2,
        ]
    )
    spread = np.sqrt(variances.sum())
    freedom = spread**4 / (variances**2 / (counts - 1)).sum()
    half = float(stdtrit(freedom, 1 - LEVEL / chosen_from / 2) * spread)
    p = max(2 * float(stdtr(freedom, -abs(difference) / spread)), permutation_test(differences))
    return NewSeeds(low=max(-1.0, difference - half), high=min(1.0, difference + half), p=min(1.0, p * chosen_from))


def with_these_seeds(first: np.ndarray, second: np.ndarray) -> float:
    """p of `paired_difference`."""
    return permutation_test(_differences(first, second)[0])


def with_new_seeds(first: np.ndarray, second: np.ndarray) -> float | None:
    """p of `new_seeds`."""
    found = new_seeds(first, second)
    return None if found is None else found.p


def separated(
    correct: Sequence[np.ndarray], test: Callable[[np.ndarray, np.ndarray], float | None], level: float = LEVEL
) -> np.ndarray:
    """Which pairs of methods a test separates: bool (methods, methods), symmetric, from correct attributions.

    The p-values of all pairs are Holm-corrected together. Who is best, or next, is seen on the same images; with all
    pairs corrected, one may look where one likes: if all methods are equal, any two are separated in at most `level`.

    Args:
        correct: bool (seeds, images) of each method.
        test: p of two of them, `with_these_seeds` or `with_new_seeds`; a pair of which it says nothing (None) is not
            separated.

    Raises:
        ValueError: not the same number of images.
    """
    p_values = {
        (i, j): p for i, j in combinations(range(len(correct)), 2) if (p := test(correct[i], correct[j])) is not None
    }
    found = np.zeros((len(correct), len(correct)), dtype=bool)
    for (i, j), p in zip(p_values, holm(list(p_values.values())), strict=True):
        found[i, j] = found[j, i] = p <= level
    return found


def tied_with_best(
    correct: Sequence[np.ndarray],
    test: Callable[[np.ndarray, np.ndarray], float | None] = with_these_seeds,
    level: float = LEVEL,
) -> list[bool]:
    """For each method's correct attributions, bool (seeds, images): is it the best, or not `separated` from the best?

    The best has the highest accuracy; of equals, it is the first.

    Raises:
        ValueError: not the same number of images.
    """
    if not correct:
        return []
    best = int(np.argmax([of_method.mean() for of_method in correct]))
    return [not apart for apart in separated(correct, test, level)[best].tolist()]


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


def _spread_over_images(differences: np.ndarray) -> float:
    """Standard deviation of the mean of differences (n,), with what `difference_interval` adds."""
    n = len(differences) + 2
    differing = differences[differences != 0]
    added = np.square(differing).mean() if len(differing) else 1.0
    return float(np.sqrt(((np.square(differences).sum() + added) / n - (differences.sum() / n) ** 2) / n))
