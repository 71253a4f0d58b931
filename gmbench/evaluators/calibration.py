"""Whether a method knows when it is wrong: calibration of its probabilities, and selective attribution."""

from __future__ import annotations

import numpy as np

from gmbench.support.schema import Strict

BINS = 15
COVERAGES = 10


class Calibration(Strict):
    """Top-1 confidence, the probability of the attributed source, against being right; all in [0, 1].

    Attributes:
        ece: expected calibration error over `bins` bins of equal width.
        aurc: area under the risk-coverage curve, over all coverages 1/n, 2/n, ... 1. Lower is better; a method whose
            confidence says nothing has its error rate.
        risk: error rate among the most confident 10 %, 20 %, ... 100 % of images.
    """

    ece: float
    bins: int
    aurc: float
    risk: list[float]


def calibration(probabilities: np.ndarray, labels: np.ndarray) -> Calibration:
    """Scores probabilities (n, sources) against labels (n,)."""
    confidence = probabilities.max(axis=1).astype(np.float64)
    correct = probabilities.argmax(axis=1) == labels
    risks = _risks(confidence, correct)
    covered = -(-len(labels) * np.arange(1, COVERAGES + 1) // COVERAGES)
    return Calibration(
        ece=_expected_error(confidence, correct),
        bins=BINS,
        aurc=float(risks.mean()),
        risk=risks[covered - 1].tolist(),
    )


def _expected_error(confidence: np.ndarray, correct: np.ndarray) -> float:
    """Sum over bins of |B| / n * |accuracy(B) - mean confidence(B)|, bins ((b-1)/15, b/15] (Guo et al. 2017, eq. 3)."""
    bin_of = (np.ceil(confidence * BINS) - 1).clip(0, BINS - 1).astype(np.int64)
    return float(np.abs(np.bincount(bin_of, correct - confidence, BINS)).sum() / len(correct))


def _risks(confidence: np.ndarray, correct: np.ndarray) -> np.ndarray:
    """Error rate (n,) among the 1, 2, ... n most confident images (Geifman and El-Yaniv 2017, eq. 2).

    Equally confident images each count with the share of errors among them, their mean over all orders: the order of
    test images, which is by source, must not matter.
    """
    _, level = np.unique(-confidence, return_inverse=True)
    errors = (np.bincount(level, ~correct) / np.bincount(level))[np.sort(level)]
    return errors.cumsum() / np.arange(1, len(errors) + 1)
