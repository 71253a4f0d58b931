"""Accuracy and FDR against closed forms."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import scipy.linalg
from scipy.stats import betabinom, binom, binomtest
from sklearn.metrics import balanced_accuracy_score, f1_score
from threadpoolctl import threadpool_limits

from gmbench.evaluators.accuracy import accuracy_interval, attribution_accuracy, family_recall
from gmbench.evaluators.fdr import frechet_distance, frechet_distance_ratio, nuclear_norm
from gmbench.evaluators.nmi import design_alignment


def whitened(n: int, d: int, seed: int) -> np.ndarray:
    """A sample (n, d) with mean exactly 0 and covariance exactly the identity."""
    x = np.random.default_rng(seed).normal(size=(n, d))
    x -= x.mean(axis=0)
    return np.linalg.qr(x).Q * np.sqrt(n - 1)


def test_accuracy_of_a_known_confusion() -> None:
    """Three sources, six images, one of `b` taken for `c`."""
    labels = np.array([0, 0, 1, 1, 2, 2])
    attributed = np.array([0, 0, 1, 2, 2, 2])
    result = attribution_accuracy(np.eye(3, dtype=np.float32)[attributed], labels, "abc")
    assert result.accuracy == pytest.approx(5 / 6)
    assert result.recall == {"a": 1, "b": 0.5, "c": 1}
    assert result.confusion == [[2, 0, 0], [0, 1, 1], [0, 0, 2]]
    assert result.balanced == pytest.approx(5 / 6)
    assert result.macro_f1 == pytest.approx((1 + 2 / 3 + 4 / 5) / 3)
    assert result.low <= result.accuracy <= result.high


def test_balanced_accuracy_weighs_sources_alike() -> None:
    """Nine images of `a` all right and one of `b` wrong: accuracy 0.9, mean recall 0.5, and F1 of `b` is 0."""
    labels, attributed = np.array([0] * 9 + [1]), np.zeros(10, dtype=int)
    result = attribution_accuracy(np.eye(2)[attributed], labels, "ab")
    assert (result.accuracy, result.balanced) == (0.9, 0.5)
    assert result.macro_f1 == pytest.approx(18 / 19 / 2)


def test_a_source_neither_there_nor_attributed_has_no_f1() -> None:
    """It counts as 0, and there is no division by zero."""
    labels = np.array([0, 1])
    assert attribution_accuracy(np.eye(3)[labels], labels, "abc").macro_f1 == pytest.approx(2 / 3)


def test_balanced_accuracy_and_f1_are_those_of_scikit_learn() -> None:
    """On random attributions of unequally many images."""
    random = np.random.default_rng(9)
    labels, attributed = random.choice(5, 300, p=[0.4, 0.3, 0.2, 0.05, 0.05]), random.integers(0, 5, 300)
    result = attribution_accuracy(np.eye(5)[attributed], labels, "abcde")
    assert result.balanced == pytest.approx(balanced_accuracy_score(labels, attributed))
    assert result.macro_f1 == pytest.approx(f1_score(labels, attributed, average="macro"))


def test_family_recall_forgives_what_stays_in_the_family() -> None:
    """Of four GAN images two go to the other GAN and one to the VAE; `real` is alone in its family."""
    confusion = [[3, 0, 1, 0], [0, 1, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0]]
    families = {"real": "real", "wgan": "gan", "dcgan": "gan", "vae": "vae"}
    found = family_recall(confusion, ["real", "wgan", "dcgan", "vae"], families)
    assert found == {"real": 0.75, "gan": 0.75, "vae": 0}


def test_ties_go_to_the_first_source() -> None:
    """Equal probabilities attribute to the first source, so that a constant method scores chance and no more."""
    result = attribution_accuracy(np.full((4, 4), 0.25, dtype=np.float32), np.arange(4), "abcd")
    assert result.accuracy == 0.25
    assert [row[0] for row in result.confusion] == [1, 1, 1, 1]


class TestAccuracyInterval:
    """95 % intervals of accuracy, of one seed and of several."""

    @pytest.mark.parametrize(
        ("right", "n", "low", "high"),
        [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
    )
    def test_one_seed_is_wilsons(self, right: int, n: int, low: float, high: float) -> None:
        """Newcombe's (1998) examples, to his four digits, and scipy's to rounding."""
        found = accuracy_interval(np.arange(n) < right)
        assert found == pytest.approx((low, high), abs=5e-5)
        assert found == pytest.approx(tuple(binomtest(right, n).proportion_ci(method="wilson")), abs=1e-12)

    def test_nothing_but_right_answers_is_no_certainty(self) -> None:
        """300 of 300 leave n / (n + z^2) = 0.9874 possible, also where three seeds agree; none of 300 mirrors it."""
        assert accuracy_interval(np.ones(300, bool)) == (pytest.approx(0.98736, abs=1e-5), 1.0)
        assert accuracy_interval(np.ones((3, 300), bool)) == accuracy_interval(np.ones(300, bool))
        assert accuracy_interval(np.zeros(300, bool)) == (0.0, pytest.approx(1 - 0.98736, abs=1e-5))

    def test_seeds_that_agree_are_one_seed(self) -> None:
        """Three times the same answers say no more than once."""
        once = np.arange(900) < 700
        assert accuracy_interval(np.tile(once, (3, 1))) == pytest.approx(accuracy_interval(once), abs=1e-12)

    def test_seeds_that_err_independently_are_more_images(self) -> None:
        """Three on 2,000 images, half of them right, are as narrow as one on nearly 6,000."""
        low, high = accuracy_interval(np.random.default_rng(0).random((3, 2000)) < 0.5)
        assert high - low == pytest.approx(2 * 1.96 * 0.5 / np.sqrt(6000), rel=0.05)

    @pytest.mark.parametrize("n", [900, 1700])
    def test_one_seed_covers_as_often_as_it_says(self, n: int) -> None:
        """Computed exactly: 93 to 97 % at 400 accuracies from 0.01 to 0.995, on as many images as datasets have."""
        right = np.arange(n + 1)
        low, high = np.array([accuracy_interval(np.arange(n) < count) for count in right]).T
        for accuracy in np.linspace(0.01, 0.995, 400):
            covered = binom.pmf(right, n, accuracy)[(low <= accuracy) & (accuracy <= high)].sum()
            assert 0.93 <= covered <= 0.97, accuracy

    @pytest.mark.parametrize("accuracy", [0.01, 0.5, 0.9, 0.995])
    @pytest.mark.parametrize("agreement", [0.05, 0.5, 0.9])
    def test_three_seeds_cover_as_often_as_they_say(self, accuracy: float, agreement: float) -> None:
        """In 2,000 simulations, 93 to 97 % (give or take its own chance error), as seeds err ever more alike.

        How many of three seeds are right about an image is beta-binomial; their correlation is `agreement`.
        """
        strength = (1 - agreement) / agreement
        counts = betabinom.pmf(np.arange(4), 3, accuracy * strength, (1 - accuracy) * strength)
        found = {}
        drawn = [tuple(row) for row in np.random.default_rng(1).multinomial(900, counts, size=2000)]
        for row in set(drawn):
            right = np.repeat(np.arange(4), row)
            found[row] = accuracy_interval(np.arange(3)[:, None] < right)
        hits = sum(found[row][0] <= accuracy <= found[row][1] for row in drawn)
        assert 0.925 <= hits / 2000 <= 0.975


def test_frechet_distance_of_two_known_gaussians_is_12() -> None:
    """diag(1, 4, 9) against diag(4, 1, 16), means (1, 2, 2) apart: 9 + 1 + 1 + 1."""
    first = whitened(50, 3, 0) * np.sqrt([1, 4, 9])
    second = whitened(70, 3, 1) * np.sqrt([4, 1, 16]) + [1, 2, 2]
    assert frechet_distance(first, second) == pytest.approx(12, abs=1e-9)


def test_frechet_distance_of_correlated_gaussians() -> None:
    """For 2x2 covariances, tr (AB)^(1/2) = (tr AB + 2 (det AB)^(1/2))^(1/2)."""
    a, b = np.array([[2, 0.5], [0.5, 1]]), np.array([[1, -0.3], [-0.3, 3]])
    first = whitened(40, 2, 2) @ np.linalg.cholesky(a).T
    second = whitened(40, 2, 3) @ np.linalg.cholesky(b).T
    assert frechet_distance(first, second) == pytest.approx(0.929311854968, abs=1e-9)


def test_frechet_distance_of_a_sample_with_itself_shifted_and_scaled() -> None:
    """FD(X, X) = 0; a shift by delta gives its squared length; a scale by s multiplies by its square."""
    random = np.random.default_rng(4)
    x, y = random.normal(size=(30, 5)), random.normal(1, 2, size=(30, 5))
    shift = np.array([1.0, -2, 0, 3, 0.5])
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(x, x + shift) == pytest.approx(np.square(shift).sum())
    assert frechet_distance(3 * x, 3 * y) == pytest.approx(9 * frechet_distance(x, y))


@pytest.mark.parametrize(("n", "d"), [(200, 16), (20, 64)], ids=["more images", "more dimensions"])
def test_frechet_distance_agrees_with_the_matrix_root(n: int, d: int) -> None:
    """The nuclear norm equals the trace of scipy's matrix root, also with fewer images than dimensions."""
    random = np.random.default_rng(5)
    x, y = random.normal(size=(n, d)), random.normal(0.3, 1.5, size=(n, d))
    root = scipy.linalg.sqrtm(np.cov(x.T) @ np.cov(y.T)).real
    expected = np.square(x.mean(0) - y.mean(0)).sum() + np.trace(np.cov(x.T) + np.cov(y.T) - 2 * root)
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-5)


def test_fdr_grows_with_separation_and_is_one_without() -> None:
    """Sources with the same distribution give a ratio of 1; far apart ones a large one."""
    random = np.random.default_rng(6)
    labels = np.repeat(np.arange(3), 200)
    noise = random.normal(size=(600, 4))
    same = frechet_distance_ratio(noise, labels, halvings=20)
    apart = frechet_distance_ratio(noise + 5 * labels[:, None], labels, halvings=20)
    assert same.ratio == pytest.approx(1, abs=0.3)
    assert apart.ratio > 100 * same.ratio
    assert (same.n, same.d, same.halvings) == (100, 4, 20)


def test_fdr_uses_as_many_images_between_as_within() -> None:
    """The smallest source decides n for all, so the bias of small samples is the same above and below the line."""
    labels = np.array([0] * 10 + [1] * 100)
    assert frechet_distance_ratio(np.random.default_rng(7).normal(size=(110, 3)), labels).n == 5


@pytest.mark.parametrize(("n", "d"), [(30, 4), (6, 40)], ids=["more images", "more dimensions"])
def test_fdr_is_the_ratio_of_mean_distances(n: int, d: int) -> None:
    """Each halving's ratio is the one of `frechet_distance` over its pairs of sources and its pairs of halves."""
    labels = np.repeat(np.arange(3), 2 * n)
    features = np.random.default_rng(10).normal(0.3 * labels[:, None], 1 + labels[:, None], (6 * n, d))
    random = np.random.default_rng(2)
    ratios = []
    for _ in range(3):
        drawn = [features[random.permutation(np.flatnonzero(labels == source))] for source in range(3)]
        within = np.mean([frechet_distance(x[:n], x[n:]) for x in drawn])
        between = np.mean([frechet_distance(x[:n], y[:n]) for x, y in combinations(drawn, 2)])
        ratios.append(between / within)
    result = frechet_distance_ratio(features, labels, halvings=3, seed=2)
    assert result.ratio == pytest.approx(np.mean(ratios), rel=1e-9)
    assert result.sd == pytest.approx(np.std(ratios, ddof=1), rel=1e-9)


@pytest.mark.parametrize(("d", "biased"), [(9, False), (10, True), (11, True)])
def test_fdr_says_when_bias_rules_it(d: int, biased: bool) -> None:
    """With no more images per half than features, here ten."""
    features = np.random.default_rng(11).normal(size=(40, d))
    assert frechet_distance_ratio(features, np.repeat([0, 1], 20)).is_biased == biased


def test_fdr_is_the_same_for_the_same_seed_only() -> None:
    """Halvings are random, and decided by the seed."""
    features, labels = np.random.default_rng(8).normal(size=(60, 3)), np.repeat([0, 1, 2], 20)
    assert frechet_distance_ratio(features, labels, seed=1) == frechet_distance_ratio(features, labels, seed=1)
    assert frechet_distance_ratio(features, labels, seed=1) != frechet_distance_ratio(features, labels, seed=2)


def test_scores_of_features_do_not_depend_on_threads() -> None:
    """FDR and NMI are the same to the last bit, however many threads the caller allows."""
    random = np.random.default_rng(12)
    labels = np.repeat(np.arange(6), 200)
    features = random.normal(size=(1200, 128)) + 0.5 * np.eye(6, 128)[labels]
    choices = [{}, *({"loss": str(i % 2), "depth": str(i % 3)} for i in range(5))]
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            found.append((frechet_distance_ratio(features, labels, 3), design_alignment(features, labels, choices)))
    assert found[0] == found[1]


def test_fdr_refuses_features_that_do_not_vary() -> None:
    """One vector for all images of a source leaves nothing to compare with."""
    labels = np.repeat([0, 1], 8)
    with pytest.raises(ValueError, match="vary within sources"):
        frechet_distance_ratio(np.eye(2)[labels], labels)


@pytest.mark.parametrize("labels", [[0] * 8, [0] * 5 + [1] * 3], ids=["one source", "a source of three"])
def test_fdr_refuses_what_cannot_be_halved(labels: list[int]) -> None:
    """There must be two sources, with four images each."""
    with pytest.raises(ValueError, match="at least two sources"):
        frechet_distance_ratio(np.zeros((8, 2)), np.array(labels))


@pytest.mark.parametrize("smallest", [1, 1e-4, 1e-9, 0])
@pytest.mark.parametrize("shape", [(40, 40), (20, 50), (50, 20)])
def test_nuclear_norm_of_known_singular_values(shape: tuple[int, int], smallest: float) -> None:
    """Whether they are alike, very different or zero, the sum is right to 1e-10."""
    random = np.random.default_rng(0)
    rank = min(shape)
    values = np.geomspace(max(smallest, 1e-300), 1, rank) if smallest else np.repeat([0.0, 1.0], rank // 2)
    left, right = (np.linalg.qr(random.normal(size=(n, rank))).Q for n in shape)
    assert nuclear_norm(left * values @ right.T) == pytest.approx(values.sum(), rel=1e-10)
