"""Sampling the sources that have a public diffusers pipeline, for a later `gmbench data import`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from gmbench.data.cards import DatasetCard
from gmbench.data.png import encode_png
from gmbench.errors import DataError, MissingExtraError, UnavailableError
from gmbench.support.files import ensure_writable, replacing
from gmbench.support.progress import Progress
from gmbench.support.seeds import seed_from


def sample_source(
    card: DatasetCard,
    source: str,
    n: int,
    out: Path,
    device: str,
    progress: Progress,
    batch_size: int = 16,
    steps: int | None = None,
    pipeline: str | None = None,
) -> Path:
    """Writes `n` images of a source as PNG into `out/<source>`, numbered; those that are there are kept.

    An image is decided by its number: its noise comes from a seed of its own. Images are always made in the same groups
    of `batch_size`, because the corrector of NCSN++ takes one step size for a batch (Song et al., ICLR 2021, algorithm
    4): with another batch size its images are others.

    Args:
        steps: of denoising; None: the pipeline's own number.
        pipeline: a repository on the Hub or a folder to take instead of the card's.

    Returns:
        The folder of the images.

    Raises:
        UnavailableError: the pipeline cannot be had.
        DataError: it makes images of another size than the dataset's.
        MissingExtraError: diffusers is not installed.
        OutputError: `out` cannot be written to.
    """
    folder = out / source
    ensure_writable(folder)
    repository = pipeline or card.generators[source].pipeline
    assert repository is not None
    missing = [number for number in range(n) if not _path(folder, number).exists()]
    if not missing:
        return folder
    sampler = _load(repository, device)
    with progress.phase(f"sampling {source}", len(missing)) as phase:
        for first in sorted({number // batch_size * batch_size for number in missing}):
            numbers = range(first, first + batch_size)
            for number, pixels in zip(numbers, _sample(sampler, card, source, numbers, steps), strict=True):
                if number < n and not _path(folder, number).exists():
                    with replacing(_path(folder, number)) as aside:
                        aside.write_bytes(encode_png(pixels))
                    phase.advance()
    return folder


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}.png"


def _load(repository: str, device: str) -> Any:
    try:
        from diffusers import DiffusionPipeline
    except ModuleNotFoundError as error:
        raise MissingExtraError.of("diffusers", "generators") from error
    try:
        pipeline = DiffusionPipeline.from_pretrained(repository)
    except (OSError, ValueError) as error:
        why = " ".join(str(error).split())[:200]
        raise UnavailableError(
            f"the pipeline {repository} cannot be loaded: {why}. Download it, and give its folder with --pipeline."
        ) from error
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)


def _sample(pipeline: Any, card: DatasetCard, source: str, numbers: range, steps: int | None) -> np.ndarray:
    """uint8 (n, resolution, resolution, 3)."""
    import torch

    generators = [
        torch.Generator("cpu").manual_seed(seed_from(card.slug, source, "pipeline", number)) for number in numbers
    ]
    given = {} if steps is None else {"num_inference_steps": steps}
    images = pipeline(batch_size=len(numbers), generator=generators, output_type="np", **given).images
    if images.shape[1:] != (card.resolution, card.resolution, 3):
        height, width = images.shape[1:3]
        expected = f"{card.resolution}x{card.resolution}"
        raise DataError(f"the pipeline makes images of {width}x{height}, expected {expected} ({card.slug}).")
    return np.rint(images * 255).astype(np.uint8)
