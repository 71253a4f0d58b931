"""Choosing samples that differ from real images in their artifacts, not in how bright, colourful or smooth they are.

A generator that had little training is often off in brightness or contrast, which gives its samples away without a look
at any artifact. Where a dataset's card asks for it, more samples are drawn than are needed, and those are kept that a
classifier on trivial statistics takes for real ones: matching on the propensity score (Rosenbaum, Rubin, Biometrika
1983), here by resampling with the odds as weights, since odds of equally many reals and samples are the ratio of their
densities.
"""

from __future__ import annotations

import numpy as np

from gmbench.data.png import encode_png
from gmbench.evaluators.trivial import trivial_statistics

TREES, SMALLEST_LEAF, FOLDS = 300, 5, 5
LOWEST = 1e-4


def matched_to_reals(samples: np.ndarray, reals: np.ndarray, n: int, seed: int) -> np.ndarray:
    """`n` rows of the samples, whose trivial statistics are together closer to the reals' than those of all samples.

    Each sample's probability of being real comes from a forest that has not seen it. Rows are drawn without
    replacement, with weights (Efraimidis, Spirakis, Information Processing Letters 2006).

    Args:
        samples, reals: uint8 (m, height, width, 3), equally many.
    """
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import cross_val_predict

    statistics = np.concatenate([_statistics(images) for images in (reals, samples)])
    is_real = np.arange(len(statistics)) < len(reals)
    forest = RandomForestClassifier(TREES, min_samples_leaf=SMALLEST_LEAF, random_state=seed)
    shares = cross_val_predict(forest, statistics, is_real, cv=FOLDS, method="predict_proba")[len(reals) :, 1]
    shares = shares.clip(LOWEST, 1 - LOWEST)
    odds = shares / (1 - shares)
    keys = np.log(np.random.default_rng(seed).random(len(samples))) / odds
    return np.argsort(-keys)[:n]


def _statistics(images: np.ndarray) -> np.ndarray:
    return trivial_statistics(images, np.array([len(encode_png(image)) for image in images]))
