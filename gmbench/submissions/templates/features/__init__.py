"""My method: features of an image, and a linear classifier."""

from __future__ import annotations

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from gmbench.learning.feature_attributor import FeatureAttributor


class MyMethod(FeatureAttributor):
    """Attributes by the statistics of an image's colours."""

    def __init__(self, C: float = 1.0) -> None:
        self.C = C

    def features(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 (n, height, width, 3) to mean and standard deviation of each channel, (n, 6)."""
        values = pixels.astype(np.float64)
        return np.concatenate([values.mean(axis=(1, 2)), values.std(axis=(1, 2))], axis=1)

    def candidates(self, random_state: int) -> list[BaseEstimator]:
        """Classifiers to choose from on the validation images."""
        return [make_pipeline(StandardScaler(), LogisticRegression(C=self.C, max_iter=1000, random_state=random_state))]
