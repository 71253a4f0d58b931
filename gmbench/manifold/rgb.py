"""RGB space: the image as it is (table 3: identity)."""

from __future__ import annotations

from typing import Any

import numpy as np

from gmbench.manifold.space import Space


class RGB(Space):
    """Pixels in [0, 1], channels first."""

    def embed(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 (n, height, width, 3) to float32 (n, 3, height, width) in [0, 1]."""
        return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)).astype(np.float32) / 255

    @property
    def is_of_pixels(self) -> bool:
        # A space that builds on this one and embeds otherwise is another.
        return type(self).embed is RGB.embed

    def describe(self) -> dict[str, Any]:
        return {"space": "rgb"}
