"""Images as methods see them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from gmbench.errors import DataError

SHOWN = 16


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images with stable ids, and with labels where the reader may know them.

    Slicing with a slice, an integer array or a boolean mask gives another ImageSet on the same pixels; nothing is read
    until `pixels` or `batches` asks for it, so a set can be far larger than memory.

    Attributes:
        sources: names of the classes; label j means `sources[j]`.
        ids: (n,) strings.
        labels: (n,) integers, or None for images that are to be attributed.
        origin: what decides the pixels next to the ids: dataset revision and setting.
    """

    store: np.ndarray
    rows: np.ndarray
    ids: np.ndarray
    sources: tuple[str, ...]
    labels: np.ndarray | None = None
    origin: str = ""

    @classmethod
    def of(
        cls,
        pixels: np.ndarray,
        ids: np.ndarray,
        sources: tuple[str, ...],
        labels: np.ndarray | None = None,
        origin: str = "",
    ) -> ImageSet:
        """A set of uint8 RGB `pixels` (n, height, width, 3), which may be memory-mapped."""
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[-1] != 3:
            raise ValueError(f"images must be uint8 (n, height, width, 3), got {pixels.dtype} {pixels.shape}")
        if len(ids) != len(pixels) or (labels is not None and len(labels) != len(pixels)):
            raise ValueError(f"{len(pixels)} images need as many ids and labels")
        lent = [np.asarray(ids).copy(), *([] if labels is None else [np.asarray(labels).copy()])]
        for array in lent:
            array.flags.writeable = False
        return cls(pixels, np.arange(len(pixels)), lent[0], sources, lent[1] if labels is not None else None, origin)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: slice | np.ndarray) -> ImageSet:
        labels = None if self.labels is None else self.labels[index]
        return ImageSet(self.store, self.rows[index], self.ids[index], self.sources, labels, self.origin)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of every image, in pixels."""
        return self.store.shape[1], self.store.shape[2]

    def pixels(self, index: slice | np.ndarray = slice(None)) -> np.ndarray:
        """The pixels of some images, read into memory: uint8 (n, height, width, 3)."""
        return np.asarray(self.store[self.rows[index]])

    def batches(self, size: int = 256) -> Iterator[np.ndarray]:
        """The pixels in order, `size` images at a time."""
        for start in range(0, len(self), size):
            yield self.pixels(slice(start, start + size))

    def id_batches(self, size: int = 256) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Pixels and ids in order, `size` images at a time."""
        for start in range(0, len(self), size):
            rows = slice(start, start + size)
            yield self.pixels(rows), self.ids[rows]

    def require(self, size: tuple[int, int]) -> ImageSet:
        """These images, if there are any and they have this height and width.

        Raises:
            DataError: there are none, or they have another size.
        """
        if not len(self):
            raise DataError("there are no images to look at.")
        if self.size != size:
            came, expected = (f"{height}x{width}" for height, width in (self.size, size))
            raise DataError(f"images have {came} pixels, expected {expected} as in training.")
        return self

    def without_labels(self) -> ImageSet:
        """The same images for a reader who must not know where they come from."""
        return ImageSet(self.store, self.rows, self.ids, self.sources, None, self.origin)

    def _repr_html_(self) -> str:
        """How a notebook shows it: the first images, and how many there are of each source."""
        from gmbench.support.html import figure, paragraph, png, table

        height, width = self.size
        said = paragraph(f"{len(self):,} images of {width}x{height} pixels")
        if len(self):
            row = np.concatenate(list(self.pixels(slice(0, SHOWN))), axis=1)
            said += figure(png(row), f"The first {min(SHOWN, len(self))} images", pixels=True)
        if self.labels is None:
            return said
        counts = np.bincount(self.labels, minlength=len(self.sources))
        return said + table(["source", "images"], zip(self.sources, counts.tolist(), strict=True), numbers=[1])

    @cached_property
    def digest(self) -> str:
        """A name for exactly these images in this order, for keys of cached work."""
        text = "\n".join([self.origin, *self.ids])
        return hashlib.sha256(text.encode()).hexdigest()
