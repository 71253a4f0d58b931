"""McCloskey and Albright 2018: frequencies of saturated and under-exposed pixels, and a linear SVM."""

from __future__ import annotations

import numpy as np
from PIL import Image
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from gmbench.errors import ParameterError
from gmbench.learning.feature_attributor import FeatureAttributor

INTENSITY = np.array([0.299, 0.587, 0.114])
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
        counts = np.stack([histograms(image)[-1 if self.channels == "y" else 0 :] for image in pixels])
        under, over = counts.cumsum(axis=2)[..., levels], counts[..., ::-1].cumsum(axis=2)[..., levels]
        return np.concatenate([under, over], axis=2).reshape(len(pixels), -1) / pixels[0, ..., 0].size

    def candidates(self, random_state: int) -> list:
        penalties = PENALTIES if self.C == 0 else (self.C,)
        return [
            make_pipeline(StandardScaler(), LinearSVC(C=C, dual=False, max_iter=100_000, random_state=random_state))
            for C in penalties
        ]


def histograms(image: np.ndarray) -> np.ndarray:
    """How many pixels of uint8 (height, width, 3) have each level, in red, green, blue and intensity: (4, 256)."""
    intensity = image @ INTENSITY
    levels = np.rint(intensity, out=intensity).astype(np.uint8)
    counts = Image.fromarray(image).histogram() + Image.fromarray(levels).histogram()
    return np.reshape(counts, (4, 256))


def _levels(thresholds: str) -> list[int]:
    try:
        levels = [int(part) for part in thresholds.split(",")]
    except ValueError:
        levels = []
    if not levels or not all(0 <= level <= 127 for level in levels):
        raise ParameterError(f"thresholds: expected levels from 0 to 127 such as '0,1,2,4', got '{thresholds}'.")
    return levels
