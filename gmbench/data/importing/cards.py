"""The card of a dataset that is imported from folders of images."""

from __future__ import annotations

import re
from pathlib import Path

from gmbench.data.cards import UNKNOWN, Counts, DatasetCard, RealImages, Source
from gmbench.data.importing.decoding import FORMATS, IMAGES
from gmbench.data.importing.names import (
    REAL_NAMES,
    normalised,
    printable,
    source_slug,
)
from gmbench.errors import DataError


def new_card(name: str, origin: Path, real: str | None, resolution: int | None) -> DatasetCard:
    """A card for a dataset that nobody registered: a source per folder in `origin`, named after it.

    Args:
        real: the folder with the real images; None: the one that is named so.
        resolution: of the images, in pixels; None: that of the first real image.

    Raises:
        DataError: `name` is not a slug, no folder holds real images, or none of these can be read.
    """
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        raise DataError(f"'{name}' cannot name a dataset: expected small letters, digits and single hyphens.")
    folders = sorted(path.name for path in origin.iterdir() if path.is_dir()) if origin.is_dir() else []
    wanted = [real] if real else REAL_NAMES
    reals = [folder for folder in folders if normalised(folder) in {normalised(each) for each in wanted}]
    if len(reals) != 1:
        raise DataError(
            f"{origin} has {len(reals) or 'no'} folder of real images ({', '.join(wanted)}); name it with --real."
        )
    slugs = {folder: source_slug(folder) for folder in folders if folder not in reals}
    sources = {
        slug: Source(title=printable(folder), family="unknown", paper=UNKNOWN, aliases=[printable(folder)])
        for folder, slug in slugs.items()
    }
    if resolution is None:
        resolution = _first_size(origin / reals[0])
    return DatasetCard(
        slug=name,
        title=name,
        description="Imported from a folder per source.",
        resolution=resolution,
        licence=UNKNOWN,
        real=RealImages(title=printable(reals[0]), licence=UNKNOWN, url=UNKNOWN, aliases=[printable(reals[0])]),
        images=Counts(per_source=0, manifold=0),
        sources=sources,
    )


def _first_size(folder: Path) -> int:
    from PIL import Image

    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in IMAGES and path.is_file():
            try:
                with Image.open(path, formats=FORMATS) as image:
                    return image.size[0]
            except (OSError, Image.DecompressionBombError):
                continue
    raise DataError(f"{folder} has no image that can be read. Give the size of the images with --resolution.")


def card_toml(card: DatasetCard) -> str:
    """A card as the file that `read_card` reads."""
    import tomli_w

    return tomli_w.dumps(card.model_dump(exclude_defaults=True))
