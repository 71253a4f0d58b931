"""Drawing images from a trained generator: the one way to them, for a dataset, a sample, or fresh test images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from gmbench.building.matching import matched_to_reals
from gmbench.building.reals import Reals, distinct
from gmbench.data.cards import DatasetCard, find_dataset
from gmbench.data.dataset import load_dataset
from gmbench.errors import DataError, NotFoundError
from gmbench.generators.training import read_description, sample_generator
from gmbench.support.cache import Cache
from gmbench.support.progress import Progress

SPARE = 1.1
TRIES = 4
WEIGHTS = "generators"
"""Where a dataset's folder has the weights of its generators, a folder for each."""


def draw_images(
    folder: Path,
    n: int,
    seed: int,
    *,
    device: str,
    progress: Progress,
    reals: np.ndarray | None = None,
    candidates: float = 1.0,
    avoid: Sequence[Reals] = (),
) -> np.ndarray:
    """`n` images of a folder's trained generator, uint8 (n, size, size, channels), decided by `seed` and the arguments.

    Args:
        reals: uint8 images (m, size, size, channels); with them, `candidates` times as many samples are drawn as are
            needed, and those kept whose trivial statistics are as the reals' (see `matching`).
        avoid: images that none may be a near-duplicate of; nor is one of another that is drawn.

    Raises:
        DataError: there is no trained generator in the folder, or it repeats itself.
    """
    weights = read_description(folder).get("sha256")
    wanted = math.ceil(SPARE * n)
    for attempt in range(TRIES):
        drawn = math.ceil(candidates * wanted) if reals is not None else wanted
        samples = Cache().array(
            "samples",
            partial(sample_generator, folder, drawn, seed, device=device, progress=progress),
            weights=weights,
            n=drawn,
            seed=seed,
            device=device,
        )
        if reals is not None:
            samples = samples[matched_to_reals(_rgb(samples), _rgb(reals), wanted, seed)]
        try:
            return distinct(Reals(samples, np.full(len(samples), None)), n, list(avoid), folder.name).images
        except DataError:
            if attempt == TRIES - 1:
                raise
            wanted = 2 * wanted
    raise AssertionError("unreachable")


def draw_from_dataset(name: str, n: int, seed: int, *, device: str, progress: Progress) -> np.ndarray:
    """`n` images of a generator that comes with a dataset, by a name such as `gm-garments/dcgan`, drawn as for it.

    Raises:
        NotFoundError: there is no such dataset or source.
        DataError: its weights are not there.
    """
    slug, _, source = name.partition("/")
    card = find_dataset(slug)
    generators = {**card.generators, **card.siblings}
    if source not in generators:
        raise NotFoundError.of(f"generator of {slug}", source, generators)
    folder = shipped_weights(card, source)
    if folder is None:
        there = sorted(path.name for path in (card.folder / WEIGHTS).glob("*") if path.is_dir())
        raise DataError(f"{slug} brings no weights of {source}. It has: {', '.join(there) or 'none'}.")
    reals = load_dataset(card, Cache(), progress)["manifold"].pixels() if card.plan.candidates > 1 else None
    return draw_images(folder, n, seed, device=device, progress=progress, reals=reals, candidates=card.plan.candidates)


def shipped_weights(card: DatasetCard, source: str) -> Path | None:
    """Where a dataset's folder has the weights of a source; None where it has none."""
    folder = card.folder / WEIGHTS / source
    return folder if (folder / "generator.json").is_file() else None


def _rgb(images: np.ndarray) -> np.ndarray:
    return images if images.shape[-1] == 3 else np.repeat(images, 3, axis=-1)
