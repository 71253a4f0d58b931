"""How close generated images come to real ones, in the space of an encoder's features."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist


def frechet_distance(features: np.ndarray, others: np.ndarray) -> float:
    """The squared Fréchet distance between Gaussians fitted to two sets of features (n, d) and (m, d).

    |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^1/2) (Dowson and Landau 1982; Heusel et al., NeurIPS 2017). The trace of the
    root is that of (S1^1/2 S2 S1^1/2)^1/2, whose matrix is symmetric.
    """
    mean, other_mean = features.mean(0, dtype=np.float64), others.mean(0, dtype=np.float64)
    covariance = np.cov(features.astype(np.float64), rowvar=False)
    other_covariance = np.cov(others.astype(np.float64), rowvar=False)
    values, vectors = np.linalg.eigh(covariance)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    shared = np.sqrt(np.linalg.eigvalsh(root @ other_covariance @ root).clip(0)).sum()
    apart = float(((mean - other_mean) ** 2).sum())
    return max(0.0, apart + float(np.trace(covariance) + np.trace(other_covariance) - 2 * shared))


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
