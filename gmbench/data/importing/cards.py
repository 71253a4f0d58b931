"""The card of a dataset that is imported from folders of images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast, get_args

from gmbench.data.cards import UNKNOWN, Counts, DatasetCard, Family, RealImages, Source
from gmbench.data.importing.chunks import files_of_images
from gmbench.data.importing.decoding import FORMATS
from gmbench.data.importing.names import is_real_label, printable, says_only_real, slugged, source_slug
from gmbench.data.importing.scanning import Place, source_names, survey
from gmbench.data.judgements import REAL_NAMES, SPLITS
from gmbench.errors import DataError, NotFoundError, ParameterError


def new_card(
    name: str,
    origin: Path,
    real: str | None,
    resolution: int | None,
    families: Mapping[str, str] | None = None,
    labels: str | None = None,
) -> DatasetCard:
    """A card for a dataset that nobody registered: a source per folder in `origin`, named after it.

    Args:
        name: made a slug, as the names of folders are.
        real: another name of folders with real images; None: those that are named so.
        resolution: of the images, in pixels; None: that of the first real image.
        families: of sources, by slug or by folder; the others' is unknown.
        labels: what decides where a table contradicts a folder, see `scan`.

    Raises:
        DataError: nothing is left of `name`, no folder holds real images, none of these can be read, two folders give
            one name, a folder is called like a split that it is not, or a family is of no source or does not exist.
    """
    slug = slugged(name)
    if not slug:
        raise DataError(f"'{name}' cannot name a dataset: expected letters, digits and hyphens.")
    if not origin.exists():
        raise DataError(f"{origin} does not exist. Give the folder that holds one folder per source.")
    looked = survey(origin)
    folders = source_names(looked, real, labels)
    reals = [
        place for place in looked.places if any(says_only_real(part, real) for part in (*place.parts, place.label))
    ]
    labelled = [label for table in looked.tables.values() for label in table.of.values() if labels != "folders"]
    names = {name for place in looked.places for name in (*place.parts, place.label)} | set(labelled)
    none = not reals and not any(is_real_label(label) or label == real for label in labelled)
    if none or (real is not None and real not in names):
        found = ", ".join(map(printable, folders[:8])) or "no folder with images"
        raise DataError(
            f"{origin} has no folder of real images ({real or ', '.join(REAL_NAMES)}); name it with --real. "
            f"Found: {found}."
        )
    if splits := [folder for folder in folders if folder.casefold() in SPLITS]:
        raise DataError(
            f"'{printable(splits[0])}' is the name of a split, but not all folders beside it are splits (found: "
            f"{', '.join(map(printable, folders[:8]))}). Move the others away, or rename it."
        )
    by_slug: dict[str, str] = {}
    for folder in folders:
        if (other := by_slug.setdefault(source_slug(folder), folder)) != folder:
            raise DataError(
                f"the folders '{printable(other)}' and '{printable(folder)}' would both be the source "
                f"'{source_slug(folder)}': rename one of them."
            )
    given = {source_slug(folder): family for folder, family in (families or {}).items()}
    if strangers := set(given) - set(by_slug):
        raise NotFoundError.of("source", min(strangers), by_slug)
    if unknown := [family for family in given.values() if family not in get_args(Family)]:
        raise ParameterError(f"--family: '{unknown[0]}' is none of: {', '.join(get_args(Family))}.")
    generators = {
        slug: Source(
            title=printable(folder), family=cast(Family, given.get(slug, UNKNOWN)), paper=UNKNOWN, aliases=[folder]
        )
        for slug, folder in by_slug.items()
    }
    title = real or "real images"
    return DatasetCard(
        slug=slug,
        title=name,
        description="Imported from a folder per source.",
        resolution=_first_size(origin, reals or looked.places) if resolution is None else resolution,
        licence=UNKNOWN,
        real=RealImages(title=printable(title), licence=UNKNOWN, url=UNKNOWN, aliases=[real] if real else []),
        images=Counts(per_source=0, manifold=0),
        generators=generators,
    )


def _first_size(origin: Path, places: list[Place]) -> int:
    """Width of the first real image that can be read."""
    from PIL import Image

    for place in places:
        for file in files_of_images(origin, place):
            try:
                with Image.open(file, formats=FORMATS) as image:
                    return image.size[0]
            except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
                continue
    raise DataError(f"{origin} has no real image whose size can be read. Give it with --resolution.")


def card_toml(card: DatasetCard) -> str:
    """A card as the file that `read_card` reads."""
    import tomli_w

    return tomli_w.dumps(card.model_dump(exclude_defaults=True))
