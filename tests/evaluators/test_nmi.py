"""Alignment of features with design choices: closed forms, and what the null is for."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_mutual_info_score, normalized_mutual_info_score

from gmbench.evaluators.nmi import DEALINGS, RESTARTS, design_alignment


def blobs(centres: list[float], n: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Features (n per source, 2) around a centre per source, and labels."""
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(len(centres)), n)
    return np.array(centres)[labels][:, None] + random.normal(0, 0.01, (len(labels), 2)), labels


def test_the_two_normalisations() -> None:
    """[0, 0, 1, 1] against [0, 1, 2, 3]: log 2 over log 4, and over the mean of log 2 and log 4."""
    assert normalized_mutual_info_score([0, 0, 1, 1], [0, 1, 2, 3], average_method="max") == pytest.approx(0.5)
    assert normalized_mutual_info_score([0, 0, 1, 1], [0, 1, 2, 3]) == pytest.approx(2 / 3)


def test_features_that_follow_a_choice() -> None:
    """Clusters are the values of `loss`: full agreement, above what any dealing of values gives on average."""
    features, labels = blobs([99.0, 0.0, 0.1, 5.0, 5.1])
    choices = [{}, *({"loss": loss, "skip": "no"} for loss in ("a", "a", "b", "b"))]
    found = design_alignment(features, labels, choices)
    assert set(found) == {"loss"}
    assert found["loss"].values == 2
    assert found["loss"].nmi == pytest.approx(1)
    assert found["loss"].ami == pytest.approx(1)
    # Of the three ways to pair four sources, one agrees and two are independent.
    assert found["loss"].null == pytest.approx(1 / 3, abs=0.15)


def test_features_that_ignore_a_choice() -> None:
    """Clusters split every value in half: no information."""
    features, labels = blobs([0.0, 0.0, 9.0, 9.0])
    choices = [{"loss": loss} for loss in ("a", "b", "a", "b")]
    found = design_alignment(features, labels, choices)["loss"]
    assert found.nmi == pytest.approx(0, abs=1e-9)
    assert found.ami == pytest.approx(0, abs=0.05)


def test_reals_are_left_out() -> None:
    """Images of a source without choices change nothing."""
    features, labels = blobs([50.0, 0.0, 0.1, 5.0])
    choices = [{}, *({"loss": loss} for loss in ("a", "a", "b"))]
    designed = labels > 0
    alone = design_alignment(features[designed], labels[designed], choices)
    assert design_alignment(features, labels, choices) == alone


def test_no_designs_no_alignment() -> None:
    """A dataset whose sources have no choices has nothing to align with."""
    features, labels = blobs([0.0, 1.0])
    assert design_alignment(features, labels, [{}, {}]) == {}


def test_all_scores_are_those_of_scikit_learn() -> None:
    """From labels of every image, with the same clusters and the same dealings: to the last digits."""
    random = np.random.default_rng(3)
    labels = random.choice(7, 400, p=[0.3, 0.2, 0.2, 0.1, 0.1, 0.05, 0.05])
    features = random.normal(size=(400, 5)) + labels[:, None] % 3
    losses = np.array(["wasserstein", "bce", "bce", "hinge", "bce", "hinge"])
    found = design_alignment(features, labels, [{}, *({"loss": loss} for loss in losses)])["loss"]

    kept = labels > 0
    clusters = KMeans(3, n_init=RESTARTS, random_state=0).fit_predict(features[kept])
    of_images, dealer = labels[kept] - 1, np.random.default_rng(0)
    null = np.mean(
        [
            normalized_mutual_info_score(dealer.permutation(losses)[of_images], clusters, average_method="max")
            for _ in range(DEALINGS)
        ]
    )
    assert found.nmi == pytest.approx(
        normalized_mutual_info_score(losses[of_images], clusters, average_method="max"), rel=1e-9
    )
    assert found.nmi_arithmetic == pytest.approx(normalized_mutual_info_score(losses[of_images], clusters), rel=1e-9)
    assert found.ami == pytest.approx(adjusted_mutual_info_score(losses[of_images], clusters), rel=1e-9)
    assert found.null == pytest.approx(null, rel=1e-9)


def test_values_without_images() -> None:
    """Of three values, the images of one alone are there: nothing to agree about, and no division by zero."""
    features, labels = blobs([0.0])
    choices = [{"loss": loss} for loss in "abc"]
    found = design_alignment(features, labels, choices)["loss"]
    assert (found.nmi, found.nmi_arithmetic, found.null) == (0, 0, 0)
