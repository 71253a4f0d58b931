"""Detection: is an image generated at all? Read off an attributor's probability of `real`."""

from __future__ import annotations

import numpy as np

from gmbench.support.schema import Strict


class Detection(Strict):
    """How well the probability of `real` tells generated images from real ones, in [0, 1].

    Attributes:
        auroc: area under the ROC curve; 0.5 is chance.
        average_precision: area under the precision-recall curve, generated being positive; chance is the share of
            generated images.
    """

    auroc: float
    average_precision: float


def detection(probabilities: np.ndarray, labels: np.ndarray) -> Detection:
    """Scores 1 - p(real), from probabilities (n, sources) whose column 0 is `real`; label 0 is real, others generated.

    AUROC is the share of (generated, real) pairs in which the generated image scores higher, a tie counting half (the
    Mann-Whitney form; Hanley and McNeil 1982). Average precision is the sum over thresholds of the gain in recall times
    precision, equal scores sharing a threshold.

    Equal to scikit-learn's `roc_auc_score` and `average_precision_score`. Those take 5 ms for 2,000 images, and a
    second to import; this takes 0.2 ms, and the leaderboard scores every record anew.

    Raises:
        ValueError: there are no real images, or no generated ones.
    """
    generated = labels > 0
    if generated.all() or not generated.any():
        raise ValueError("detection needs real and generated images")
    # p(real) orders as 1 - p(real) does, and does not round confident answers to ties. Ascending: most generated first.
    _, threshold = np.unique(probabilities[:, 0], return_inverse=True)
    positives = np.bincount(threshold[generated], minlength=threshold.max() + 1)
    negatives = np.bincount(threshold[~generated], minlength=threshold.max() + 1)
    found, alarms = positives.cumsum(), negatives.cumsum()
    won = (positives * (alarms[-1] - alarms + negatives / 2)).sum()
    precision = found / (found + alarms)
    return Detection(
        auroc=float(won / (found[-1] * alarms[-1])),
        average_precision=float((positives * precision).sum() / found[-1]),
    )
