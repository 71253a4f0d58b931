"""Calibration and selective attribution: closed forms, and a simulation that is calibrated by construction."""

from __future__ import annotations

import numpy as np
import pytest

from gmbench.evaluators.calibration import calibration


def answers(confidence: np.ndarray, correct: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (n, 2) that attribute everything to source 0 with this confidence, and labels."""
    confidence = np.asarray(confidence, dtype=np.float64)
    return np.stack([confidence, 1 - confidence], axis=1), np.where(correct, 0, 1)


def test_a_calibrated_method_has_almost_no_calibration_error() -> None:
    """Twenty thousand images, each right with the probability that the method claims."""
    random = np.random.default_rng(0)
    probabilities = random.dirichlet(np.full(5, 0.4), 20_000)
    labels = (random.random((20_000, 1)) > probabilities.cumsum(axis=1)).sum(axis=1).clip(max=4)
    assert calibration(probabilities, labels).ece < 0.02


def test_a_method_that_is_too_sure() -> None:
    """Half right with confidence 0.9: off by 0.4."""
    result = calibration(*answers(np.full(10, 0.9), np.arange(10) < 5))
    assert result.ece == pytest.approx(0.4)
    assert result.bins == 15


def test_errors_of_bins_are_weighed_by_their_images() -> None:
    """Six images at 0.61, all right, and two at 0.99, both wrong: (6 * 0.39 + 2 * 0.99) / 8."""
    result = calibration(*answers([0.61] * 6 + [0.99] * 2, np.arange(8) < 6))
    assert result.ece == pytest.approx((6 * 0.39 + 2 * 0.99) / 8)


def test_within_a_bin_errors_cancel_and_between_bins_they_do_not() -> None:
    """Confidences 0.68 and 0.72 share the bin from 10/15 to 11/15; 0.65 and 0.72 do not."""
    correct = np.array([True, True, False, False])
    assert calibration(*answers([0.68, 0.72, 0.68, 0.72], correct)).ece == pytest.approx(0.2)
    assert calibration(*answers([0.65, 0.65, 0.72, 0.72], correct)).ece == pytest.approx((0.35 + 0.72) / 2)


def test_area_by_hand() -> None:
    """Right, wrong, right, wrong by falling confidence: risks 0, 1/2, 1/3, 1/2, whatever the order of the images."""
    confidence, correct = np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, False, True, False])
    for order in ([0, 1, 2, 3], [3, 1, 0, 2]):
        result = calibration(*answers(confidence[order], correct[order]))
        assert result.aurc == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)


def test_risk_at_each_tenth() -> None:
    """Twenty images, wrong ones least confident: no risk up to 70 %, then 2/16, 4/18, 6/20."""
    result = calibration(*answers(np.linspace(0.99, 0.6, 20), np.arange(20) < 14))
    assert result.risk == pytest.approx([0] * 7 + [2 / 16, 4 / 18, 6 / 20])


def test_a_tenth_of_a_few_images_is_rounded_up() -> None:
    """Of three images, 10 % is one and 40 % is two; all of them have the error rate."""
    risk = calibration(*answers([0.9, 0.8, 0.7], [True, False, False])).risk
    assert risk == pytest.approx([0, 0, 0, 1 / 2, 1 / 2, 1 / 2, 2 / 3, 2 / 3, 2 / 3, 2 / 3])


@pytest.mark.parametrize("first_right", [True, False])
def test_equal_confidence_has_the_error_rate_at_every_coverage(first_right: bool) -> None:
    """Images come ordered by source; that order must not make a constant method look selective."""
    result = calibration(*answers(np.full(10, 0.5), (np.arange(10) < 5) == first_right))
    assert result.risk == pytest.approx([0.5] * 10)
    assert result.aurc == pytest.approx(0.5)
