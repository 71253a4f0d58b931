"""Names of folders and labels to the sources of a dataset; what counts as what is in `gmbench.data.judgements`."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

from gmbench.data.cards import REAL, DatasetCard, registered_cards
from gmbench.data.judgements import DATASETS_OF_REALS, GENERATED_NAMES, NO_SOURCES, REAL_NAMES, SPEAKS_OF_REALS
from gmbench.errors import DataError

SAYS_NOTHING = re.compile(r"samples?|images?|generated|fakes?|pngs?|\d+k|(32|64|256)(x(32|64|256))?")


@dataclass(frozen=True)
class Match:
    """What a path says of its images.

    Attributes:
        source: whose they are; None: nobody's.
        place: the names down to the one that decided.
        note: what else is named on the path, or why it is of no source.
    """

    source: str | None
    place: tuple[str, ...] = ()
    note: str = ""


Matcher = Callable[[tuple[str, ...]], Match]


def normalised(name: str) -> str:
    """A name without what differs between spellings: `StyleGAN-2`, `stylegan_2 samples` and `stylegan2` are one."""
    words = _words(name)
    return "".join([word for word in words if not SAYS_NOTHING.fullmatch(word)] or words)


def source_matcher(card: DatasetCard, real: str | None = None) -> Matcher:
    """Says what the names on a path make of the images there, as `gmbench.data.judgements` describes.

    A source's own name, title or alias, letter by letter, comes before its other spellings (of registered sources by
    `normalised`, of others by `slugged`); a spelling that is of two sources is of none.

    Args:
        real: another name that says only "real".
    """
    # Where nobody registered the sources, `adm_64` and `adm_256` are two.
    spelling = normalised if card.slug in registered_cards() else slugged
    exact: dict[str, str] = {}
    spelt: dict[str, set[str]] = {}
    for name, source in card.generators.items():
        for alias in (*source.aliases, source.title, name):
            exact.setdefault(alias, name)
            spelt.setdefault(spelling(alias), set()).add(name)
    reals = {normalised(alias) for alias in card.real.aliases}

    def models_of(name: str) -> set[str]:
        return {exact[name]} if name in exact else spelt.get(spelling(name), set())

    def match(path: tuple[str, ...]) -> Match:
        if about := [part for part in path if _joined(part) in _NO_SOURCES and not models_of(part)]:
            return Match(None, note=f"{printable(about[0])}: no images of a source")
        said: list[tuple[int, str, set[str]]] = []
        generated: list[tuple[int, str, set[str]]] = []
        for depth, part in reversed(list(enumerate(path, start=1))):
            if says_only_real(part, real):
                said.append((depth, part, {REAL}))
            elif _joined(part) in _GENERATED:
                said.append((depth, part, set()))
                # A folder `fake` may be a source of a dataset that nobody registered, if no model is named beside it.
                generated += [(depth, part, models)] if (models := models_of(part)) else []
            elif models := models_of(part):
                said.append((depth, part, models))
        weak = [(d, part, {REAL}) for d, part in enumerate(path, start=1) if normalised(part) in reals]
        deciding = [entry for entry in said if entry[2]] or generated or weak
        if not deciding:
            return Match(None, note="says generated, and names no model" if said else "")
        depth, part, sources = deciding[0]
        if len(sources) > 1:
            return Match(None, note=f"'{printable(part)}' may be {' or '.join(sorted(sources))}: rename it")
        (source,) = sources
        is_weak = all(models != {REAL} or d != depth for d, _, models in said)
        if source == REAL and any((is_weak or d > depth) and not models for d, _, models in said):
            return Match(None, note="says generated beside a name of reals, and names no model")
        others = [part for d, part, models in [*said, *weak] if d != depth and models not in ({source}, set())]
        others += [part for d, part, models in said if not models and source == REAL and d < depth]
        note = f"also names {', '.join(dict.fromkeys(map(printable, others)))}" if others else ""
        return Match(source, path[:depth], note)

    return match


def names_of_reals(card: DatasetCard) -> str:
    """The names that folders of real images have, for a message."""
    return ", ".join([*REAL_NAMES, *card.real.aliases])


def printable(name: str) -> str:
    """A file's name as text, no two names alike: a byte that is none becomes `\\xff`, what cannot be seen (line breaks,
    what steers a terminal or turns the direction of writing) `\\u001b`, and a backslash two."""
    text = os.fsencode(name.replace("\\", "\\\\")).decode("utf-8", "backslashreplace")
    return "".join(letter if letter.isprintable() else f"\\u{ord(letter):04x}" for letter in text)


def source_slug(folder: str) -> str:
    """The name of a source that nobody registered, from that of its folder.

    Raises:
        DataError: nothing is left of it.
    """
    slug = slugged(folder)
    if not slug or slug == REAL:
        raise DataError(
            f"the folder '{printable(folder)}' gives no name for a source: rename it with letters a to z or digits."
        )
    return slug


def slugged(name: str) -> str:
    """A name in small letters, digits and single hyphens; empty if it has no letter or digit."""
    return re.sub(r"[^a-z0-9]+", "-", _plain(name)).strip("-")


def says_only_real(name: str, real: str | None = None) -> bool:
    """Whether a name says that images are real and nothing else."""
    says_generated = any(word in _GENERATED for word in _words(name))
    return name == real or _joined(name) in _REALS or (normalised(name) in _REALS and not says_generated)


def is_number(label: str) -> bool:
    """Whether a label is a whole number, which names no source."""
    try:
        return float(label).is_integer()
    except ValueError:
        return False


def is_real_label(label: str) -> bool:
    """Whether a label beside an image says "real" and nothing else: by its name, or by the number 0."""
    return float(label) == 0 if is_number(label) else says_only_real(label)


def is_generated_label(label: str) -> bool:
    """Whether a label beside an image says "generated" and not by which model: by its name, or by another number."""
    return float(label) != 0 if is_number(label) else says_only_generated(label)


def names_a_model(label: str) -> bool:
    """Whether a label beside an image says more than "real" or "generated"."""
    return not is_real_label(label) and not is_generated_label(label)


def may_be_real(name: str) -> bool:
    """Whether the name of a source that nobody registered speaks of real images."""
    return any(word in SPEAKS_OF_REALS for word in _words(name)) or normalised(name) in DATASETS_OF_REALS


def says_only_generated(name: str) -> bool:
    """Whether a name says that images are generated and not by which model."""
    return _joined(name) in _GENERATED


def says_no_source(name: str) -> bool:
    """Whether a name is of pictures about images, such as masks."""
    return _joined(name) in _NO_SOURCES


def _plain(name: str) -> str:
    return unicodedata.normalize("NFKD", name).casefold().replace("β", "beta").replace("+", "p")


def _words(name: str) -> list[str]:
    return [word for word in re.split(r"[\W_]+", _plain(name)) if word]


def _joined(name: str) -> str:
    return "".join(_words(name))


_REALS = {_joined(name) for name in REAL_NAMES}
_NO_SOURCES = {_joined(name) for name in NO_SOURCES}
_GENERATED = {_joined(name) for name in GENERATED_NAMES}
