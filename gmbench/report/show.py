"""`gmbench show`: the paper's figures 3 to 6 for any dataset, as one picture: artifacts, spectra, neighbours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import scipy.fft

from gmbench.data.cards import DatasetCard
from gmbench.data.dataset import Dataset, load_dataset
from gmbench.data.images import ImageSet
from gmbench.errors import NotFoundError
from gmbench.manifold.neighbors import nearest, nearest_images
from gmbench.manifold.projection import project
from gmbench.manifold.space import Space
from gmbench.report.pictures import GAP, from_black_to_white, space_of, strip
from gmbench.support.cache import Cache
from gmbench.support.files import replacing
from gmbench.support.progress import Progress

LABEL_WIDTH = 110
SCALE_TO = 96
AVERAGED = 100
NEAREST = 5


def show(
    what: str, card: DatasetCard, space: str, sources: Sequence[str], n: int, out: Path, progress: Progress
) -> None:
    """Draws one picture of test images, a row or more per source.

    Args:
        what: `artifacts`: image, projection, artifact and its spectrum (figures 4 and 5 of the paper); `spectra`: the
            mean spectrum of each source's artifacts (figure 6); `neighbours`: images and their five nearest reals
            (figure 3).
        space: in which projections are searched: `rgb`, `freq`, `sl` or `ssl`.
        sources: which; all that the dataset has if there are none.
        n: images of each source.

    Raises:
        NotFoundError: the dataset has no such source.
        DataError, CannotRunError: the dataset or an encoder is not here.
        OutputError: the file cannot be written.
    """
    for name in sources:
        if name not in card.sources:
            raise NotFoundError.of(f"source of {card.slug}", name, list(card.sources))
    dataset = load_dataset(card, Cache(), progress)
    test = dataset["test"]
    rows_of: Mapping[str, Callable[..., list[np.ndarray]]] = {
        "artifacts": _artifacts,
        "spectra": _spectra,
        "neighbours": _neighbours,
    }
    found = space_of({"space": space, "encoder": "default"}, dataset)
    picture = []
    for name in sources or test.sources:
        assert test.labels is not None
        of_source = test[np.flatnonzero(test.labels == test.sources.index(name))]
        for number, row in enumerate(rows_of[what](of_source, dataset, found, n, progress)):
            picture.append(_labelled(row, name if number == 0 else "", card.resolution))
    from PIL import Image

    widest = max(row.shape[1] for row in picture)
    padded = [np.pad(row, ((0, GAP), (0, widest - row.shape[1]), (0, 0)), constant_values=255) for row in picture]
    with replacing(out) as aside:
        Image.fromarray(np.concatenate(padded)).save(aside, format="PNG")


def _artifacts(images: ImageSet, dataset: Dataset, space: Space, n: int, progress: Progress) -> list[np.ndarray]:
    manifold = dataset["manifold"]
    chosen = images[:n]
    projected = manifold.pixels(project(chosen, manifold, space, Cache(), progress))
    return [strip(image, real) for image, real in zip(chosen.pixels(), projected, strict=True)]


def _spectra(images: ImageSet, dataset: Dataset, space: Space, n: int, progress: Progress) -> list[np.ndarray]:
    manifold = dataset["manifold"]
    chosen = images[:AVERAGED]
    projected = manifold.pixels(project(chosen, manifold, space, Cache(), progress)).astype(float)
    artifacts = (chosen.pixels() - projected).mean(axis=3)
    magnitude = np.abs(scipy.fft.fftshift(scipy.fft.fft2(artifacts), axes=(1, 2))).mean(axis=0)
    return [from_black_to_white(np.log(magnitude + 1e-9))]


def _neighbours(images: ImageSet, dataset: Dataset, space: Space, n: int, progress: Progress) -> list[np.ndarray]:
    manifold, chosen = dataset["manifold"], images[:n]
    pixels, reals = chosen.pixels(), manifold.pixels()
    k = min(NEAREST, len(reals))
    if space.is_of_pixels:
        found, _ = nearest_images(pixels, reals, k)
    else:
        queries, references = (space.embed(each).reshape(len(each), -1) for each in (pixels, reals))
        found, _ = nearest(queries, references, k)
    gap = np.full((pixels.shape[1], GAP, 3), 255, np.uint8)
    return [
        np.concatenate([piece for part in (image, *reals[places]) for piece in (part, gap)][:-1], axis=1)
        for image, places in zip(pixels, found, strict=True)
    ]


def _labelled(row: np.ndarray, name: str, resolution: int) -> np.ndarray:
    """A row of pictures, enlarged if they are small, with the name of its source to the left."""
    from PIL import Image, ImageDraw

    scale = max(1, SCALE_TO // resolution)
    row = row.repeat(scale, axis=0).repeat(scale, axis=1)
    label = Image.new("RGB", (LABEL_WIDTH, len(row)), "white")
    ImageDraw.Draw(label).text((4, len(row) // 2 - 6), name[:20], fill="black")
    return np.concatenate([np.asarray(label), row], axis=1)
