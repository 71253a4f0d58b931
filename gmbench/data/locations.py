"""Where a dataset's files are: in the package, in the data folder (imported), or in the Hub's cache (pulled)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gmbench.data.cards import DatasetCard
from gmbench.data.folders import data_folder
from gmbench.data.manifest import MANIFEST, read_manifest
from gmbench.errors import DataError

BRANCH = "main"


@dataclass(frozen=True)
class State:
    """How a dataset can be had.

    Attributes:
        word: embedded, local (imported here), partial (imported here, some sources missing), cached (pulled from the
            Hub), published (on the Hub, not here) or not published.
        folder: its files; None if they are not here.
        sources: names of the generative models that are there; all of the card's if the files are not here.
    """

    word: str
    folder: Path | None
    sources: tuple[str, ...]


def state_of(card: DatasetCard) -> State:
    """How a dataset can be had; asks nothing of the Hub.

    Raises:
        DataError: a dataset is here and its manifest is damaged.
    """
    every = card.sources
    if card.embedded:
        return State("embedded", card.folder, every)
    if (folder := local_folder(card)) is not None:
        present = present_sources(card, folder)
        return State("local" if len(present) == len(every) else "partial", folder, present)
    if (folder := cached_folder(card)) is not None:
        return State("cached", folder, present_sources(card, folder))
    return State("published" if card.revision else "not published", None, every)


def state_in_words(card: DatasetCard) -> str:
    """The word of a dataset's state; of one whose manifest is damaged, that and what is wrong."""
    try:
        return state_of(card).word
    except DataError as error:
        return f"damaged: {error}"


def local_folder(card: DatasetCard) -> Path | None:
    """Where an imported dataset is; None if it was not imported here."""
    folder = data_folder() / card.slug
    return folder if (folder / MANIFEST).is_file() else None


def cached_folder(card: DatasetCard) -> Path | None:
    """The snapshot of a pulled dataset in the Hub's cache, at the card's revision; None if it is not there whole."""
    from huggingface_hub import constants

    home = Path(constants.HF_HUB_CACHE) / f"datasets--{card.repository.replace('/', '--')}"
    commit = card.revision
    if commit is None:
        reference = home / "refs" / BRANCH
        commit = reference.read_text(encoding="utf-8").strip() if reference.is_file() else None
    if commit is None:
        return None
    folder = home / "snapshots" / commit
    try:
        manifest = read_manifest(folder)
    except DataError:
        return None
    return folder if all((folder / name).is_file() for name in manifest.sha256) else None


def present_sources(card: DatasetCard, folder: Path) -> tuple[str, ...]:
    """The sources that a folder has images of, in the card's order."""
    there = read_manifest(folder).sources
    return tuple(name for name in card.sources if not there or name in there)
