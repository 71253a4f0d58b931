"""Folders of images to the sources of a dataset, by name."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from gmbench.data.cards import REAL, DatasetCard
from gmbench.data.importing.chunks import count, is_wanted
from gmbench.errors import DataError

REAL_NAMES = ("real", "reals", "real-images", "0_real")
SAYS_NOTHING = re.compile(r"samples?|images?|generated|fakes?|pngs?|\d+k|(32|64|256)(x(32|64|256))?")


def normalised(name: str) -> str:
    """A name without what differs between spellings: `StyleGAN-2`, `stylegan_2 samples` and `stylegan2` are one."""
    words = [word for word in re.split(r"[\W_]+", _plain(name)) if word]
    return "".join([word for word in words if not SAYS_NOTHING.fullmatch(word)] or words)


def source_matcher(card: DatasetCard) -> Callable[[tuple[str, ...]], str | None]:
    """Gives the source of a folder by the names on its path; None if there is none.

    The last name that is a generative model's decides, so `gan/dcgan` is `dcgan`. A name of real images decides only if
    there is none of a model, so `celebahq/ddpm` and `ddpm/celebahq` are both `ddpm`.
    """
    models = {
        normalised(alias): name
        for name, source in card.sources.items()
        for alias in (*source.aliases, source.title, name)
    }
    reals = {normalised(alias) for alias in (*REAL_NAMES, *card.real.aliases)}

    def match(path: tuple[str, ...]) -> str | None:
        names = [normalised(part) for part in path]
        for name in reversed(names):
            if name in models:
                return models[name]
        return REAL if reals & set(names) else None

    return match


def names_of_reals(card: DatasetCard) -> str:
    """The names that folders of real images have, for a message."""
    return ", ".join([*REAL_NAMES, *card.real.aliases])


def printable(name: str) -> str:
    """A file's name as text; bytes that are none become a question mark."""
    return os.fsencode(name).decode("utf-8", "replace")


def _plain(name: str) -> str:
    return unicodedata.normalize("NFKD", name).casefold().replace("β", "beta").replace("+", "p")


def source_slug(folder: str) -> str:
    """The name of a source that nobody registered, from that of its folder.

    Raises:
        DataError: nothing is left of it.
    """
    slug = re.sub(r"[^a-z0-9]+", "-", _plain(folder)).strip("-")
    if not slug or slug == REAL:
        raise DataError(
            f"the folder '{printable(folder)}' gives no name for a source: rename it with letters or digits."
        )
    return slug


@dataclass
class Folders:
    """What is below a folder.

    Attributes:
        found: folder and source of each folder with images of one.
        matched: folder, as it is printed, to source and number of images there.
        ignored: folder, file or link to the reason why nothing was taken from it.
    """

    found: list[tuple[str, str]] = field(default_factory=list)
    matched: dict[str, tuple[str, int]] = field(default_factory=dict)
    ignored: dict[str, str] = field(default_factory=dict)


def scan(origin: Path, match: Callable[[tuple[str, ...]], str | None]) -> Folders:
    """The folders below `origin`, matched with sources by `match`, which is given the names on a folder's path.

    Links to folders are followed, but no folder is visited twice.
    """
    folders = Folders()
    seen: set[tuple[int, int]] = set()
    waiting, links = [origin], list[Path]()
    while waiting or links:
        # Links come last, so that a folder is known by its own name.
        folder = waiting.pop() if waiting else links.pop()
        name = folder.relative_to(origin).as_posix()
        try:
            status = folder.stat()
            if (status.st_dev, status.st_ino) in seen:
                folders.ignored[printable(name)] = "a link to a folder that is read under another name"
                continue
            seen.add((status.st_dev, status.st_ino))
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            folders.ignored[printable(name)] = error.strerror or str(error)
            continue
        n_images, others = 0, Counter[str]()
        for entry in entries:
            try:
                if entry.is_dir():
                    (links if entry.is_symlink() else waiting).append(folder / entry.name)
                elif is_wanted(entry):
                    n_images += count(folder / entry.name)
                else:
                    others[Path(entry.name).suffix.lower()] += 1
            except OSError as error:
                folders.ignored[printable(f"{name}/{entry.name}")] = error.strerror or str(error)
        for suffix, n in others.items():
            folders.ignored[printable(f"{name}/*{suffix}")] = f"{n} files that are no images"
        if not n_images:
            continue
        if (source := match(folder.relative_to(origin).parts)) is None:
            folders.ignored[printable(name)] = f"{n_images} images in a folder of no source"
            continue
        folders.matched[printable(name)] = (source, n_images)
        folders.found.append((name, source))
    return folders
