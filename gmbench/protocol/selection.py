"""Choosing some of the images, and their size."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np

from gmbench.data.images import ImageSet
from gmbench.support.cache import Cache
from gmbench.support.progress import Progress


def few_per_source(images: ImageSet, n: int, seed: int) -> ImageSet:
    """`n` images of each source: those whose sha256 of origin, seed and id comes first."""
    assert images.labels is not None
    keys = np.array([hashlib.sha256(f"{images.origin} {seed} {id}".encode()).hexdigest() for id in images.ids])
    order = np.lexsort([keys, images.labels])
    ranks = np.zeros(len(images), dtype=np.int64)
    for label in np.unique(images.labels):
        of_label = order[images.labels[order] == label]
        ranks[of_label] = np.arange(len(of_label))
    return images[ranks < n]


def of_sources(images: ImageSet, sources: tuple[str, ...]) -> ImageSet:
    """The images of some sources, labelled by their place among these."""
    assert images.labels is not None
    place = np.array([sources.index(source) if source in sources else -1 for source in images.sources])
    labels = place[images.labels]
    kept = images[labels >= 0]
    return ImageSet(kept.store, kept.rows, kept.ids, sources, labels[labels >= 0], images.origin)


def resized(images: ImageSet, size: int, cache: Cache, progress: Progress) -> ImageSet:
    """The images at `size` pixels a side, bicubically with antialiasing; those that have it already as they are."""
    if images.size == (size, size):
        return images
    from PIL import Image

    def smaller() -> Iterator[np.ndarray]:
        for batch in progress.track(images.batches(), "resizing", -(-len(images) // 256)):
            changed = [Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC) for pixels in batch]
            yield np.stack([np.asarray(image) for image in changed])

    pixels = cache.mapped("resized", (len(images), size, size, 3), smaller, images=images.digest, size=size)
    return ImageSet.of(pixels, images.ids, images.sources, images.labels, f"{images.origin} {size}px")
