"""How close generated images come to real ones, in the space of an encoder's features."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist


def precision_and_recall(real: np.ndarray, generated: np.ndarray, neighbours: int = 3) -> tuple[float, float]:
    """Precision and recall of Kynkäänniemi et al. (NeurIPS 2019), each in [0, 1], from features (n, d) and (m, d).

    Precision: the share of generated features inside the union of balls around the real ones that reach to the
    `neighbours`-th nearest other; recall: the same the other way round.
    """
    between = cdist(real, generated)
    real_radius, generated_radius = _radii(real, neighbours), _radii(generated, neighbours)
    precision = (between <= real_radius[:, None]).any(axis=0).mean()
    recall = (between <= generated_radius[None, :]).any(axis=1).mean()
    return float(precision), float(recall)


def _radii(features: np.ndarray, neighbours: int) -> np.ndarray:
    """The distance of each feature to its so many-th nearest other (n,)."""
    return np.partition(cdist(features, features), neighbours, axis=1)[:, neighbours]
