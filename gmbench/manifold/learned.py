"""SL and SSL space: the features of an encoder (table 3: ResNet-50, supervised or by Barlow Twins)."""

from __future__ import annotations

from typing import Any

import numpy as np

from gmbench.manifold.encoders import Encoder, encode
from gmbench.manifold.space import Space


class Learned(Space):
    """Features of an encoder that was trained on real images."""

    def __init__(self, encoder: Encoder, device: str = "cpu") -> None:
        self.encoder, self.device = encoder, device
        self.sha256 = encoder.sha256

    def embed(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 (n, height, width, 3) to float32 (n, 64 or 2048)."""
        return encode(self.encoder, pixels, self.device)

    def describe(self) -> dict[str, Any]:
        return {"space": "learned", "encoder": self.sha256}
