"""Embedding spaces: where the distance of an image to the manifold is measured (section 4.1, table 3 of the paper)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


class Space(ABC):
    """A map from images to vectors."""

    @abstractmethod
    def embed(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 (n, height, width, 3) to float32 (n, channels, height, width) or (n, d)."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What decides the map, for keys of cached work."""

    @property
    def is_of_pixels(self) -> bool:
        """Whether distances are those of pixels up to a factor, so that neighbours are found among integers."""
        return False
