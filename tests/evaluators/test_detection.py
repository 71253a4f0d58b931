"""Detection: closed forms, and agreement with scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from gmbench.evaluators.detection import detection


def of_real(*p: float) -> np.ndarray:
    """Probabilities (n, 3) with these of `real`; the rest is shared by two models."""
    real = np.array(p)
    return np.stack([real, 0.7 * (1 - real), 0.3 * (1 - real)], axis=1)


def test_a_known_ranking() -> None:
    """Most generated first: generated, real, generated, real. Of four pairs three are right; precisions 1 and 2/3."""
    result = detection(of_real(0.1, 0.2, 0.3, 0.4), np.array([2, 0, 1, 0]))
    assert result.auroc == pytest.approx(3 / 4)
    assert result.average_precision == pytest.approx((1 + 2 / 3) / 2)


@pytest.mark.parametrize(("p", "auroc"), [((0.1, 0.2, 0.9), 1), ((0.9, 0.8, 0.1), 0)], ids=["perfect", "inverted"])
def test_the_ends_of_the_scale(p: tuple[float, ...], auroc: float) -> None:
    """1 where every generated image scores above every real one, 0 where below."""
    assert detection(of_real(*p), np.array([1, 2, 0])).auroc == auroc


@pytest.mark.parametrize("order", [[0, 1, 1, 2], [2, 1, 1, 0], [1, 0, 2, 1]])
def test_a_constant_scores_chance_in_any_order(order: list[int]) -> None:
    """Equal scores are one threshold: AUROC 0.5, precision the share of generated images."""
    result = detection(of_real(0.3, 0.3, 0.3, 0.3), np.array(order))
    assert (result.auroc, result.average_precision) == (0.5, 0.75)


@pytest.mark.parametrize("decimals", [1, 2, 7], ids=["many ties", "some ties", "no ties"])
def test_agreement_with_scikit_learn(decimals: int) -> None:
    """Seventeen sources, of which one is real; scores as float32, as they are stored."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 17, 2000)
    probabilities = of_real(*np.round(random.beta(1 + (labels == 0), 2), decimals)).astype(np.float32)
    result, scores = detection(probabilities, labels), -probabilities[:, 0]
    assert result.auroc == pytest.approx(roc_auc_score(labels > 0, scores), abs=1e-12)
    assert result.average_precision == pytest.approx(average_precision_score(labels > 0, scores), abs=1e-12)


def test_confident_answers_are_not_rounded_to_ties() -> None:
    """1e-30 is less than 1e-20, though 1 minus either is 1."""
    assert detection(of_real(1e-30, 1e-20), np.array([1, 0])).auroc == 1


@pytest.mark.parametrize("labels", [[0, 0], [1, 2]], ids=["real only", "generated only"])
def test_both_kinds_are_needed(labels: list[int]) -> None:
    """Without one of them there is nothing to tell apart."""
    with pytest.raises(ValueError, match="real and generated"):
        detection(of_real(0.2, 0.3), np.array(labels))
