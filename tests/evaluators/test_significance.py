"""Paired tests and rankings: closed forms, published values, and how often intervals cover what is true."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from scipy.stats import binomtest, friedmanchisquare

from gmbench.evaluators.significance import (
    accuracy_difference,
    difference_interval,
    friedman_nemenyi,
    holm,
    mcnemar,
    nemenyi_quantile,
    new_seeds,
    paired_difference,
    permutation_test,
    separated,
    tied_with_best,
    with_new_seeds,
    with_these_seeds,
)


def right(*counts: int, n: int = 100) -> np.ndarray:
    """Correct attributions (seeds, n): each seed is right about its first so many images."""
    return np.arange(n) < np.array(counts)[:, None]


class TestMcNemar:
    """The exact test on images that only one of two methods gets right."""

    def test_by_hand(self) -> None:
        """One against five: twice (1 + 6) / 2^6."""
        assert mcnemar(1, 5) == pytest.approx(14 / 64)

    @pytest.mark.parametrize(("wins", "losses"), [(0, 9), (30, 12), (7, 7), (400, 401)])
    def test_it_is_the_sign_test_from_both_sides(self, wins: int, losses: int) -> None:
        """scipy's binomial test, and the same when the methods change places."""
        assert mcnemar(wins, losses) == pytest.approx(binomtest(losses, wins + losses, 0.5).pvalue)
        assert mcnemar(wins, losses) == pytest.approx(mcnemar(losses, wins))

    def test_without_a_difference(self) -> None:
        """Methods that are right about the same images are not told apart."""
        assert mcnemar(0, 0) == 1


class TestPermutationTest:
    """The exact test on differences of several sizes."""

    def test_by_hand(self) -> None:
        """3, 1, -1: sums of at least 3 either way are +-5 (one way each) and +-3 (two ways each), of 8: 6 / 8."""
        assert permutation_test(np.array([3, 1, -1, 0])) == pytest.approx(6 / 8)

    def test_it_is_scipys(self) -> None:
        """All choices of signs of eleven differences, counted by scipy; also in other units, and with other signs."""
        random = np.random.default_rng(0)
        for _ in range(20):
            differences = random.integers(-3, 4, 11)
            counted = scipy.stats.permutation_test(
                (differences,), np.sum, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
            )
            assert permutation_test(differences) == pytest.approx(counted.pvalue)
            assert permutation_test(-6 * differences) == pytest.approx(counted.pvalue)

    def test_one_size_is_mcnemars_test(self) -> None:
        """Ones and zeros, or threes and zeros."""
        differences = np.repeat([1, -1, 0], [9, 2, 5])
        assert permutation_test(differences) == permutation_test(3 * differences) == mcnemar(9, 2)

    def test_many_images(self) -> None:
        """As the normal approximation has it, with the correction for sums that are two apart."""
        differences = np.random.default_rng(1).choice([-3, -2, -1, 1, 2, 3], 5000)
        z = (abs(differences.sum()) - 1) / np.sqrt(np.square(differences).sum())
        assert permutation_test(differences) == pytest.approx(2 * scipy.stats.norm.sf(z), abs=1e-3)
        assert permutation_test(np.append(differences, np.full(5000, 3))) < 1e-12

    def test_without_a_difference(self) -> None:
        """Nothing, and what sums to nothing."""
        assert permutation_test(np.zeros(5, int)) == 1
        assert permutation_test(np.array([2, -1, -1])) == 1

    def test_equal_methods_are_seldom_told_apart(self) -> None:
        """Three seeds against one, in 1,000 simulations: at most 5 %, and not next to never."""
        random = np.random.default_rng(2)
        told_apart = 0
        for _ in range(1000):
            hard = random.random(200) < 0.5
            chance = np.where(hard, 0.3, 0.9)
            p = with_these_seeds(random.random((3, 200)) < chance, random.random((1, 200)) < chance)
            told_apart += p <= 0.05
        assert 20 <= told_apart <= 65


class TestHolm:
    """Step-down adjustment."""

    def test_by_hand(self) -> None:
        """0.01 * 4, 0.03 * 2 no less than 0.015 * 3 and as given, 0.04 raised to 0.06."""
        np.testing.assert_allclose(holm([0.03, 0.01, 0.04, 0.015]), [0.06, 0.04, 0.06, 0.045])

    def test_never_above_one(self) -> None:
        """Also for many large ones; and of none, none."""
        np.testing.assert_array_equal(holm([0.6, 0.7, 1.0]), [1, 1, 1])
        assert len(holm([])) == 0

    def test_order_is_kept_and_ties_stay_ties(self) -> None:
        """What was smaller is not larger afterwards."""
        p = np.random.default_rng(0).random(20).round(1) / 20
        adjusted = holm(p)
        assert (np.diff(adjusted[p.argsort()]) >= 0).all()
        for value in np.unique(p):
            assert np.ptp(adjusted[p == value]) == 0


class TestPairedDifference:
    """Two methods on the same images."""

    def test_one_seed_is_mcnemars_test(self) -> None:
        """The first alone is right about 5 images, the second about 15 others."""
        first, second = np.zeros((1, 100), dtype=bool), np.zeros((1, 100), dtype=bool)
        first[0, :45], second[0, :40], second[0, 85:] = True, True, True
        found = paired_difference(first, second)
        assert found.difference == pytest.approx(-0.10)
        assert (found.wins, found.losses) == (5, 15)
        assert found.p == pytest.approx(binomtest(5, 20, 0.5).pvalue)
        assert found.low < found.difference < found.high < 0.01
        assert (accuracy_difference(first, second), with_these_seeds(first, second)) == (found.difference, found.p)
        assert found.new_seeds is None

    def test_numbers_of_seeds_may_differ(self) -> None:
        """Two of three seeds are as good as four of six, to the last bit."""
        found = paired_difference(right(50, 50, 0), right(50, 50, 50, 50, 0, 0))
        assert (found.difference, found.wins, found.losses, found.p) == (0, 0, 0, 1)
        assert found.low == -found.high < 0

    def test_seeds_are_averaged_before_images_are_counted(self) -> None:
        """Right in one of two seeds against none is a win; the difference is the half."""
        found = paired_difference(right(30, 10), right(10))
        assert (found.wins, found.losses) == (20, 0)
        assert found.difference == pytest.approx(0.10)

    def test_few_large_losses_outweigh_many_small_wins(self) -> None:
        """Right in one of ten seeds more about 20 images, in none of ten about 4 that the other is always right about.

        The difference is -2 points; wins are five times as many as losses, and decide nothing.
        """
        seldom, often = np.zeros((10, 100), dtype=bool), np.zeros((10, 100), dtype=bool)
        seldom[0, 4:24], often[:, :4] = True, True
        found = paired_difference(seldom, often)
        assert (found.difference, found.wins, found.losses) == (pytest.approx(-0.02), 20, 4)
        assert found.p > 0.05

    def test_the_interval_covers_the_truth_as_often_as_it_says(self) -> None:
        """Of 1,000 simulated pairs of methods, 93 to 97 % of intervals contain the true difference."""
        random = np.random.default_rng(0)
        hits = 0
        for _ in range(1000):
            hard = random.random(400) < 0.3
            first = random.random((1, 400)) < np.where(hard, 0.5, 0.95)
            second = random.random((1, 400)) < np.where(hard, 0.3, 0.95)
            found = paired_difference(first, second)
            hits += found.low <= 0.3 * 0.2 <= found.high
        assert 930 <= hits <= 970

    def test_equal_methods_are_seldom_told_apart(self) -> None:
        """In at most 5 % of simulations, the level of the test."""
        random = np.random.default_rng(1)
        told_apart = 0
        for _ in range(1000):
            first, second = random.random((2, 200)) < 0.7
            told_apart += mcnemar((first > second).sum(), (first < second).sum()) <= 0.05
        assert told_apart <= 50

    def test_other_images(self) -> None:
        """Pairs need the same images."""
        with pytest.raises(ValueError, match="same images, got 100 and 90"):
            paired_difference(right(5), right(5, n=90))


class TestDifferenceInterval:
    """Agresti and Min's interval of paired differences."""

    def test_by_hand(self) -> None:
        """12 won and 3 lost of 100: (9 +- 1.96 (16 - 81 / 102)^(1/2)) / 102."""
        found = difference_interval(np.repeat([1.0, -1.0, 0.0], [12, 3, 85]))
        half = 1.959964 * np.sqrt(16 - 81 / 102)
        assert found == pytest.approx(((9 - half) / 102, (9 + half) / 102), abs=1e-7)

    def test_no_image_that_differs_is_no_certainty(self) -> None:
        """Nor that all do."""
        low, high = difference_interval(np.zeros(900))
        assert low == -high
        assert 0.001 < high < 0.005
        low, high = difference_interval(np.ones(900))
        assert 0.99 < low < 0.999
        assert high == 1

    def test_it_agrees_with_the_test(self) -> None:
        """Where p is at most 0.05, the interval is of one sign: all ways to win and lose up to 40 images of 900."""
        for wins in range(41):
            for losses in range(wins):
                low, high = difference_interval(np.repeat([1.0, -1.0, 0.0], [wins, losses, 900 - wins - losses]))
                assert low > 0 or mcnemar(wins, losses) > 0.05
                assert high > 0

    @pytest.mark.parametrize("accuracy", [0.3, 0.9, 0.98, 0.995])
    def test_it_covers_as_often_as_it_says(self, accuracy: float) -> None:
        """In at least 93 % of 1,000 simulations, and in more near 1, where few images differ."""
        random, hits = np.random.default_rng(3), 0
        for _ in range(1000):
            differences = (random.random(900) < accuracy) - 1.0 * (random.random(900) < accuracy - 0.01)
            low, high = difference_interval(differences)
            hits += low <= 0.01 <= high
        assert 930 <= hits <= 985


class TestNewSeeds:
    """What the seeds that there are say of others."""

    def test_by_hand(self) -> None:
        """Seeds 70, 74, 78 and 60, 60, 60 of 100 right, the same images first.

        Between seeds, variances are 4^2 and 0 of points squared; 10 images differ by 1, 4 by 2/3, 4 by 1/3.
        """
        found = new_seeds(right(70, 74, 78), right(60, 60, 60))
        differences = np.repeat([0, 1, 2 / 3, 1 / 3], [82, 10, 4, 4])
        squares, total = (differences**2).sum() + (differences**2).sum() / 18, differences.sum()
        seeds, images = 0.04**2 / 3, (squares / 102 - (total / 102) ** 2) / 102
        freedom = (seeds + images) ** 2 / (seeds**2 / 2 + images**2 / 99)
        half = scipy.stats.t.ppf(0.975, freedom) * np.sqrt(seeds + images)
        assert found is not None
        assert (found.low, found.high) == pytest.approx((0.14 - half, 0.14 + half))
        assert found.p == pytest.approx(2 * scipy.stats.t.sf(0.14 / np.sqrt(seeds + images), freedom))
        assert found.p == with_new_seeds(right(70, 74, 78), right(60, 60, 60))

    def test_it_takes_three_of_both(self) -> None:
        """With fewer there is no answer."""
        assert new_seeds(right(70, 71, 72), right(60, 61)) is None
        assert with_new_seeds(right(70), right(60, 61, 62)) is None
        assert paired_difference(right(70, 71), right(60, 61)).new_seeds is None

    def test_without_a_difference(self) -> None:
        """The same answers from all seeds of both: p is 1, and the interval that of equal answers on images."""
        found = new_seeds(right(70, 70, 70), right(70, 70, 70))
        assert found is not None
        assert found.p == 1
        assert (found.low, found.high) == pytest.approx(difference_interval(np.zeros(100)), rel=0.02)

    def test_it_is_never_surer_than_with_these_seeds(self) -> None:
        """Five images won by all seeds and none lost: p is McNemar's 2 / 2^5, not that of a normal approximation."""
        assert with_new_seeds(right(70, 70, 70), right(65, 65, 65)) == with_these_seeds(right(70), right(65)) == 1 / 16

    def test_two_that_were_chosen_from_many(self) -> None:
        """Of ten pairs, p is ten times as large, and intervals are of 99.5 % instead of 95 %."""
        first, second = right(70, 75, 72), right(60, 66, 64)
        alone, chosen = paired_difference(first, second), paired_difference(first, second, chosen_from=10)
        assert alone.new_seeds is not None
        assert chosen.new_seeds is not None
        assert chosen.p == pytest.approx(10 * alone.p)
        assert chosen.new_seeds.p == pytest.approx(10 * alone.new_seeds.p)
        assert chosen.high - chosen.low == pytest.approx((alone.high - alone.low) * 2.807034 / 1.959964)
        assert chosen.new_seeds.high > alone.new_seeds.high
        assert chosen.new_seeds.high > chosen.high

    def test_the_order_of_methods(self) -> None:
        """Changes the sign, and nothing else."""
        first, second = right(70, 75, 72), right(60, 66, 69, 64)
        one, other = new_seeds(first, second), new_seeds(second, first)
        assert one is not None
        assert other is not None
        assert (one.low, one.high, one.p) == pytest.approx((-other.high, -other.low, other.p))

    def test_other_images(self) -> None:
        """Pairs need the same images."""
        with pytest.raises(ValueError, match="same images, got 100 and 90"):
            new_seeds(right(5, 6, 7), right(5, 6, 7, n=90))

    @pytest.mark.parametrize(
        ("spread", "wrong_before"), [((0.03, 0.03), True), ((0.04, 0.0), True), ((0.0, 0.0), False)]
    )
    def test_methods_that_are_equal_on_average_over_seeds(
        self, spread: tuple[float, float], wrong_before: bool
    ) -> None:
        """Accuracy moves from seed to seed by 3 points, in one method by 4, or not: 1,000 pairs of equal methods.

        At most 6 % are told apart with new seeds, and their interval covers 0; the test with these seeds, which
        answers another question, tells apart more than 20 %.
        """
        random = np.random.default_rng(4)
        these = new = covered = 0
        for _ in range(1000):
            chance = 0.6 + 0.1 * random.normal(size=900).clip(-2, 2)
            first, second = (
                random.random((3, 900)) < chance - 0.1 * chance.mean() + 0.06 + random.normal(0, sd, (3, 1))
                for sd in spread
            )
            found = new_seeds(first, second)
            assert found is not None
            these += with_these_seeds(first, second) <= 0.05
            new += found.p <= 0.05
            covered += found.low <= 0 <= found.high
        assert new <= 60
        assert covered == 1000 - new
        assert (these > 200) == wrong_before


class TestTiedWithBest:
    """Which methods the best is not better than."""

    def test_near_ones_are_tied_and_far_ones_are_not(self) -> None:
        """Against 80 right, 76 is 4 to 0 (p = 0.125) and 50 is 30 to 0."""
        assert tied_with_best([right(50), right(80), right(76)]) == [False, True, True]

    def test_more_comparisons_need_more_evidence(self) -> None:
        """6 to 0 (p = 0.031) is enough in one comparison, not among those of three."""
        assert tied_with_best([right(80), right(74)]) == [True, False]
        assert tied_with_best([right(80), right(74), right(79)]) == [True] * 3

    def test_level(self) -> None:
        """6 to 0 is not enough at 1 %."""
        assert tied_with_best([right(80), right(74)], level=0.01) == [True, True]

    def test_few_methods(self) -> None:
        """One is the best; of none there is none; equals are both best."""
        assert tied_with_best([right(3)]) == [True]
        assert tied_with_best([]) == []
        assert tied_with_best([right(80), right(80)]) == [True, True]

    def test_all_pairs_are_corrected_together(self) -> None:
        """10 to 0 (p = 0.002), 9 to 0 (0.004) and 1 to 0 (1): times 3, 2 and 1. With new seeds none is known of one."""
        found = separated([right(80), right(71), right(70)], with_these_seeds)
        np.testing.assert_array_equal(found, [[0, 1, 1], [1, 0, 0], [1, 0, 0]])
        assert not separated([right(80), right(71), right(70)], with_new_seeds).any()

    def test_a_pair_without_an_answer_is_no_comparison(self) -> None:
        """One seed against three has none with new seeds; the pair of three against three is then the only one."""
        three, other = right(80, 81, 82), right(60, 61, 62)
        found = separated([three, right(10), other], with_new_seeds)
        np.testing.assert_array_equal(found, [[0, 0, 1], [0, 0, 0], [1, 0, 0]])
        assert with_new_seeds(three, other) <= 0.05

    @pytest.mark.parametrize("seeds", [1, 3])
    def test_thirteen_equal_methods_are_seldom_told_apart(self, seeds: int) -> None:
        """In at most 6 % of 200 simulations is any of them not bold, though the best is chosen on the same images."""
        random = np.random.default_rng(5)
        wrong = wrong_new = 0
        for _ in range(200):
            chance = np.where(random.random(200) < 0.5, 0.5, 0.95)
            correct = [random.random((seeds, 200)) < chance for _ in range(13)]
            wrong += not all(tied_with_best(correct))
            wrong_new += not all(tied_with_best(correct, with_new_seeds))
        assert wrong <= 12
        assert wrong_new <= 12


class TestFriedmanNemenyi:
    """Methods ranked over several datasets."""

    def test_ranks_and_ties(self) -> None:
        """Best first; equal scores share their ranks: (1 + 1.5) / 2, (2 + 1.5) / 2, 3."""
        found = friedman_nemenyi(np.array([[0.9, 0.8, 0.7], [0.6, 0.6, 0.5]]))
        assert found.mean_ranks == [1.25, 1.75, 3]

    def test_a_perfect_order(self) -> None:
        """Four blocks agree on three methods: chi-square is N (k - 1) = 8, p = exp(-4) at two degrees of freedom."""
        found = friedman_nemenyi(np.tile([0.9, 0.8, 0.7], (4, 1)))
        assert found.statistic == pytest.approx(8)
        assert found.p == pytest.approx(np.exp(-4))

    def test_the_statistic_is_scipys(self) -> None:
        """On random scores with ties."""
        scores = np.random.default_rng(0).random((12, 5)).round(1)
        found = friedman_nemenyi(scores)
        assert (found.statistic, found.p) == pytest.approx(tuple(friedmanchisquare(*scores.T)))

    @pytest.mark.parametrize(("methods", "q"), [(2, 1.960), (5, 2.728), (10, 3.164)])
    def test_published_quantiles(self, methods: int, q: float) -> None:
        """Demšar 2006, Table 5(a), at 0.05."""
        assert nemenyi_quantile(methods) == pytest.approx(q, abs=5e-4)

    def test_published_critical_difference(self) -> None:
        """Demšar's example of four classifiers on 14 data sets: 1.25 at 0.05, 1.12 at 0.10."""
        scores = np.random.default_rng(0).random((14, 4))
        assert friedman_nemenyi(scores).critical_difference == pytest.approx(1.25, abs=5e-3)
        assert friedman_nemenyi(scores, level=0.10).critical_difference == pytest.approx(1.12, abs=5e-3)

    def test_equal_methods(self) -> None:
        """All the same on every block: nothing to tell apart, and no division by zero."""
        found = friedman_nemenyi(np.full((3, 4), 0.5))
        assert (found.mean_ranks, found.statistic, found.p) == ([2.5] * 4, 0, 1)

    @pytest.mark.parametrize(
        ("scores", "words"),
        [
            (np.ones((5, 2)), "at least 3 methods and 2 blocks, got 2 and 5"),
            (np.ones((1, 3)), "at least 3 methods and 2 blocks, got 3 and 1"),
            (np.array([[1, 2, np.nan], [1, 2, 3]]), "finite score"),
        ],
        ids=["two methods", "one block", "a missing score"],
    )
    def test_too_little(self, scores: np.ndarray, words: str) -> None:
        """Two methods are compared pairwise, one block by paired tests; a gap is no score."""
        with pytest.raises(ValueError, match=words):
            friedman_nemenyi(scores)
