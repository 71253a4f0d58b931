"""SL and SSL space: what an encoder makes of an image (table 3: ResNet-50, supervised or by Barlow Twins).

Distances are measured between the encoder's features. What of the encoder a difference of two images is taken in is
another question, on which the paper can be read in several ways; `reading` names them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gmbench.errors import ParameterError
from gmbench.manifold.encoders import Encoder, encode
from gmbench.manifold.space import Space

BATCH = 64


class Learned(Space):
    """A reading of an encoder that was trained on real images.

    `vector` is its features. `stages` is the mean and the standard deviation of each channel after each stage of the
    network, `map` the feature map of the middle stage.
    """

    def __init__(self, encoder: Encoder, device: str = "cpu", reading: str = "vector") -> None:
        if reading not in READINGS:
            raise ParameterError(f"reading: expected one of {', '.join(READINGS)}, got '{reading}'.")
        self.encoder, self.device, self.reading = encoder, device, reading
        self.sha256 = encoder.sha256

    def embed(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 (n, height, width, 3) to float32 (n, d), of `map` (n, channels, height, width)."""
        return encode(
            self.encoder, pixels, self.device, BATCH, lambda images: READINGS[self.reading](self.encoder, images)
        )

    def describe(self) -> dict[str, Any]:
        return {"space": "learned", "encoder": self.sha256, "reading": self.reading}


def stage_moments(encoder: Encoder, images: Tensor) -> Tensor:
    """Means, then standard deviations, of the channels of each stage in turn: (n, 2 x all channels)."""
    found = encoder.maps(images)
    return torch.cat(
        [moment for each in found for moment in (each.mean((2, 3)), each.std((2, 3), correction=0))], dim=1
    )


def middle_map(encoder: Encoder, images: Tensor) -> Tensor:
    """The feature map of the middle stage; of an even number, the later of the two: (n, channels, height, width)."""
    return encoder.maps(images)[len(encoder.stages) // 2].contiguous()


READINGS: dict[str, Callable[[Encoder, Tensor], Tensor]] = {
    "vector": lambda encoder, images: encoder(images),
    "stages": stage_moments,
    "map": middle_map,
}
