"""Likelihood ratios, as forensic reports give evidence, and how good they are.

A likelihood ratio says how many times more probable an image is if one hypothesis holds than if the other does. It does
not depend on the prior odds, which are for whoever decides; posterior odds are their product.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp
from sklearn.isotonic import IsotonicRegression

SMALLEST = 1e-12
"""Probabilities are taken to be at least this, so that no image is infinitely strong evidence."""


class Cllr(NamedTuple):
    """Cost of log likelihood ratios in bits (Brümmer and du Preez, 2006): 0 is perfect, 1 says nothing.

    Attributes:
        cllr: of the ratios as they are. minimum: of the best monotone recalibration of them; the difference is what
            better calibration would save.
    """

    cllr: float
    minimum: float


def log10_ratios(probabilities: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """For each image and source, log10 of how much more probable the image is of that source than of the others.

    Args:
        probabilities: (n, sources), rows sum to 1: posteriors under `shares`.
        shares: (sources,) the prior that they were made with: the shares of the sources in training.

    Returns:
        (n, sources).
    """
    p = np.clip(np.asarray(probabilities, np.float64), SMALLEST, 1)
    log = np.log(p / p.sum(axis=1, keepdims=True))
    return (_log_odds(log) - _log_odds(np.log(np.asarray(shares, np.float64))[None])) / np.log(10)


def log10_generated(probabilities: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """For each image, log10 of how much more probable it is if it was generated than if it is real, source 0: (n,)."""
    return -log10_ratios(probabilities, shares)[:, 0]


def with_prior(probabilities: np.ndarray, shares: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Posteriors (n, sources) under another prior (sources,) than the `shares` that the given ones were made with."""
    p = np.clip(np.asarray(probabilities, np.float64), SMALLEST, 1) * (prior / shares)
    return p / p.sum(axis=1, keepdims=True)


def together(probabilities: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Posterior (sources,) of all images being of one origin, given which they are taken as independent."""
    p = np.clip(np.asarray(probabilities, np.float64), SMALLEST, 1)
    log = np.log(p / p.sum(axis=1, keepdims=True)) - np.log(shares)
    total = log.sum(axis=0) + np.log(shares)
    return np.exp(total - logsumexp(total))


def with_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities (n, sources) made flatter (above 1) or sharper: proportional to p ** (1 / temperature)."""
    log = np.log(np.clip(np.asarray(probabilities, np.float64), SMALLEST, 1)) / temperature
    return np.exp(log - logsumexp(log, axis=1, keepdims=True))


def best_temperature(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The temperature in 0.05 to 20 under which labels (n,) are most likely (Guo et al., ICML 2017, section 4.2)."""

    def cost(log_temperature: float) -> float:
        softened = with_temperature(probabilities, float(np.exp(log_temperature)))
        return -float(np.log(softened[np.arange(len(labels)), labels] + np.finfo(np.float64).tiny).mean())

    return float(np.exp(minimize_scalar(cost, bounds=(np.log(0.05), np.log(20)), method="bounded").x))


def cllr(for_first: np.ndarray, for_second: np.ndarray) -> Cllr:
    """How good log10 likelihood ratios are.

    Args:
        for_first: ratios where the first hypothesis holds, (n,). for_second: where the second does, (m,).

    Raises:
        ValueError: there are none of one kind.
    """
    if not len(for_first) or not len(for_second):
        raise ValueError("Cllr needs likelihood ratios under both hypotheses")
    ratios = np.concatenate([for_first, for_second]) * np.log(10)
    is_first = np.arange(len(ratios)) < len(for_first)
    calibrated = IsotonicRegression(y_min=0, y_max=1).fit_transform(ratios, is_first)
    prior = np.log(len(for_first) / len(for_second))
    with np.errstate(divide="ignore"):
        best = np.log(calibrated) - np.log1p(-calibrated) - prior
    return Cllr(_cost(ratios, is_first), _cost(best, is_first))


def _cost(log_ratios: np.ndarray, is_first: np.ndarray) -> float:
    wrong_way = np.where(is_first, -log_ratios, log_ratios)
    bits = np.logaddexp(0, wrong_way) / np.log(2)
    return float((bits[is_first].mean() + bits[~is_first].mean()) / 2)


def _log_odds(log: np.ndarray) -> np.ndarray:
    """log p - log(1 - p) of each column, from logarithms (n, k) of rows that sum to 1, without cancellation."""
    others = np.stack([logsumexp(np.delete(log, j, axis=1), axis=1) for j in range(log.shape[1])], axis=1)
    return log - others
