"""The projection of images onto the manifold, in any embedding space, in memory that does not grow with their number.

Images are taken piece by piece, and the manifold block by block. The projections of a piece are kept as soon as they
are there: a projection of many images that was stopped goes on where it was.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gmbench.data.images import ImageSet
from gmbench.errors import MethodError
from gmbench.manifold import neighbors
from gmbench.manifold.neighbors import nearest, nearest_images, smallest
from gmbench.manifold.space import Space
from gmbench.support.cache import Cache
from gmbench.support.files import sha256_file
from gmbench.support.progress import Phase, Progress

BATCH = 256
PIECE_BYTES = 64 * 2**20
"""Of the pixels of a piece."""
BLOCK_BYTES = 128 * 2**20
"""Of a block of the manifold's pixels or vectors."""


def project(
    images: ImageSet, manifold: ImageSet, space: Space, cache: Cache, progress: Progress, device: str = "cpu"
) -> np.ndarray:
    """The projection of each image (Definition 3.1): index (n,) of its nearest manifold image, never the image itself.

    Kept in the cache by images, manifold, space and the code of both.

    Raises:
        MethodError: the space gives a vector with values that are not finite; the message names the image and row.
    """
    code = [sha256_file(Path(path)) for path in (__file__, neighbors.__file__, inspect.getfile(type(space)))]
    parts = {"manifold": manifold.digest, "code": code, **space.describe()}
    size = max(BATCH, PIECE_BYTES // (3 * images.size[0] * images.size[1]))
    pieces = [images[start : start + size] for start in range(0, len(images), size)]
    kept = [cache.kept("projections", images=piece.digest, **parts) for piece in pieces]
    left = sum(len(piece) for piece, of_piece in zip(pieces, kept, strict=True) if of_piece is None)
    if left:
        references = _Manifold(manifold, space, device, cache, progress, parts)
        with progress.phase("projecting", left * len(manifold)) as phase:
            for number, piece in enumerate(pieces):
                if kept[number] is None:
                    compute = partial(references.nearest_to, piece, phase)
                    kept[number] = cache.array("projections", compute, images=piece.digest, **parts)
    return np.concatenate([of_piece for of_piece in kept if of_piece is not None])


def random_projection(images: ImageSet, manifold: ImageSet) -> np.ndarray:
    """An index (n,) into the manifold for each image, which its id draws: what does the nearest image do that any
    other would not? Never the image itself."""
    drawn = np.array([int.from_bytes(hashlib.sha256(str(id).encode()).digest()[:8]) for id in images.ids], np.uint64)
    index = (drawn % np.uint64(len(manifold))).astype(int)
    is_self = manifold.ids[index] == images.ids
    return np.where(is_self, (index + 1) % len(manifold), index)


class _Manifold:
    """The manifold as images are compared with it: pixels, or vectors of a space."""

    def __init__(
        self, images: ImageSet, space: Space, device: str, cache: Cache, progress: Progress, parts: dict[str, Any]
    ) -> None:
        self.images, self.space, self.device = images, space, device
        self.index_of = {id: index for index, id in enumerate(images.ids)}
        self.vectors = None if space.is_of_pixels else self._all_embedded(cache, progress, parts)

    def nearest_to(self, images: ImageSet, phase: Phase) -> np.ndarray:
        """Index (n,) of the manifold image that is nearest to each image, and not that image."""
        self_index = np.array([self.index_of.get(id, -1) for id in images.ids])
        k = 2 if (self_index >= 0).any() else 1
        best, distances = np.empty((len(images), 0), np.int64), np.empty((len(images), 0))
        queries = images.pixels() if self.vectors is None else self._embedded(images)
        search = nearest_images if self.vectors is None else nearest
        for first, block in self._blocks():
            found, distance = search(queries, block, min(k, len(block)), self.device)
            best, distances = smallest(np.hstack([best, found + first]), np.hstack([distances, distance]), k)
            phase.advance(len(queries) * len(block))
        return np.where(best[:, 0] == self_index, best[:, -1], best[:, 0])

    def _blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        row = self.images.pixels(slice(0, 1)) if self.vectors is None else self.vectors[:1]
        size = max(BATCH, BLOCK_BYTES // row.nbytes)
        for first in range(0, len(self.images), size):
            rows = slice(first, first + size)
            yield first, self.images.pixels(rows) if self.vectors is None else np.asarray(self.vectors[rows])

    def _all_embedded(self, cache: Cache, progress: Progress, parts: dict[str, Any]) -> np.ndarray:
        """float32 (m, d): in memory if they are few, else kept and memory-mapped."""
        width = self._embedded(self.images[:1]).shape[1]
        starts = range(0, len(self.images), BATCH)

        def batches() -> Iterator[np.ndarray]:
            tracked = progress.track(starts, f"encoding {len(self.images):,} images of the manifold", len(starts))
            return (self._embedded(self.images[start : start + BATCH]) for start in tracked)

        if 4 * width * len(self.images) <= BLOCK_BYTES:
            return np.concatenate(list(batches()))
        return cache.mapped("embeddings", (len(self.images), width), batches, np.float32, **parts)

    def _embedded(self, images: ImageSet) -> np.ndarray:
        """float32 (n, d), all finite: with one value that is not, a search finds nothing for any image.

        Raises:
            MethodError: one is not.
        """
        embedded = []
        for pixels, ids in images.id_batches(BATCH):
            vectors = self.space.embed(pixels).reshape(len(pixels), -1)
            wrong = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
            if len(wrong):
                raise MethodError(
                    f"{type(self.space).__name__}: the vector of image {ids[wrong[0]]} (row {wrong[0]} of "
                    f"{len(vectors)}) has values that are not finite. Give finite vectors for every image."
                )
            embedded.append(vectors)
        return np.concatenate(embedded)
