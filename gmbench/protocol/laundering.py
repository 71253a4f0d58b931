"""What a social network does to an image: resized to a smaller size and back, sometimes blurred, compressed as JPEG.

The chain of an image is drawn from its id alone, so every method sees the same image in the same state, on every
machine that has the same Pillow and libjpeg (a record names both).
"""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from gmbench.data.images import ImageSet
from gmbench.support.cache import Cache
from gmbench.support.progress import Progress
from gmbench.support.seeds import seed_from

NAME = "laundered/1"
"""Of this chain; another one, or other ranges, has another number."""

SCALES, BLURRED, SIGMAS, QUALITIES = (0.5, 1.0), 0.3, (0.3, 1.0), (50, 95)


@dataclass(frozen=True)
class Chain:
    """What happens to one image.

    Attributes:
        scale: to this share of its side, in [0.5, 1], and back, both bicubically.
        sigma: of the Gaussian blur in pixels, in [0.3, 1]; 0: not blurred (seven of ten images).
        quality: of the JPEG compression with 4:2:0 subsampling, in 50 .. 95.
    """

    scale: float
    sigma: float
    quality: int


def chain_of(id: str) -> Chain:
    """The chain of the image with this id."""
    # Of Python's generator, random() has the same stream in every version; its other methods may change.
    draw = random.Random(seed_from(NAME, id)).random
    scale = SCALES[0] + draw() * (SCALES[1] - SCALES[0])
    is_blurred, sigma = draw() < BLURRED, SIGMAS[0] + draw() * (SIGMAS[1] - SIGMAS[0])
    quality = QUALITIES[0] + int(draw() * (QUALITIES[1] - QUALITIES[0] + 1))
    return Chain(scale, sigma if is_blurred else 0.0, quality)


def launder(pixels: np.ndarray, chain: Chain) -> np.ndarray:
    """An image uint8 (height, width, 3) after its chain."""
    from PIL import Image, ImageFilter

    image = Image.fromarray(pixels, "RGB")
    smaller = (max(1, round(image.width * chain.scale)), max(1, round(image.height * chain.scale)))
    image = image.resize(smaller, Image.Resampling.BICUBIC).resize(image.size, Image.Resampling.BICUBIC)
    if chain.sigma:
        image = image.filter(ImageFilter.GaussianBlur(chain.sigma))
    file = io.BytesIO()
    image.save(file, format="JPEG", quality=chain.quality, subsampling="4:2:0")
    return np.asarray(Image.open(file))


def laundered(images: ImageSet, cache: Cache, progress: Progress) -> ImageSet:
    """The images after their chains, with the same ids and labels; made once and kept in the cache, memory-mapped."""
    from PIL import __version__ as pillow

    with ThreadPoolExecutor() as threads:

        def changed() -> Iterator[np.ndarray]:
            batches = progress.track(images.id_batches(), "laundering", -(-len(images) // 256))
            for pixels, ids in batches:
                yield np.stack(list(threads.map(launder, pixels, map(chain_of, ids))))

        pixels = cache.mapped("laundered", (len(images), *images.size, 3), changed, images=images.digest, pillow=pillow)
    return ImageSet.of(pixels, images.ids, images.sources, images.labels, f"{images.origin} {NAME}")
