"""McCloskey and Albright 2018: frequencies of saturated and under-exposed pixels, and a linear SVM."""

from __future__ import annotations

import numpy as np
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from gmbench.errors import ParameterError
from gmbench.features import FeatureAttributor

PENALTIES = (0.01, 0.1, 1.0, 10.0, 100.0)


class McCloskey18(FeatureAttributor):
    """Attributes by how many pixels lie near the ends of the intensity range."""

    def __init__(self, channels: str = "rgby", thresholds: str = "0,1,2,4,8,16,24,32", C: float = 0.0) -> None:
        self.channels = channels
        self.thresholds = thresholds
        self.C = C

    def features(self, pixels: np.ndarray) -> np.ndarray:
        """Per channel, the shares of pixels at most t and of pixels at least 255 - t: (n, channels * 2 thresholds)."""
        levels = _levels(self.thresholds)
        intensity = np.rint(pixels @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)[..., None]
        images = intensity if self.channels == "y" else np.concatenate([pixels, intensity], axis=-1)
        shares = []
        for channel in np.moveaxis(images, -1, 0).reshape(images.shape[-1], len(pixels), -1):
            shares += [(channel <= level).mean(axis=1) for level in levels]
            shares += [(channel >= 255 - level).mean(axis=1) for level in levels]
        return np.stack(shares, axis=1)

    def candidates(self, seed: int) -> list:
        penalties = PENALTIES if self.C == 0 else (self.C,)
        return [
            make_pipeline(StandardScaler(), LinearSVC(C=C, dual=False, max_iter=10_000, random_state=seed))
            for C in penalties
        ]


def _levels(thresholds: str) -> list[int]:
    try:
        levels = [int(part) for part in thresholds.split(",")]
    except ValueError:
        levels = []
    if not levels or not all(0 <= level <= 127 for level in levels):
        raise ParameterError(f"thresholds: expected levels from 0 to 127 such as '0,1,2,4', got '{thresholds}'.")
    return levels
