"""Dataset cards: what a dataset is, readable without loading it."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from gmbench.data.catalogue import find_generator
from gmbench.data.folders import catalogue_folder, data_folder
from gmbench.data.judgements import LARGEST_SIDE
from gmbench.errors import DataError, NotFoundError
from gmbench.support.schema import Strict, first_problem

Family = Literal["gan", "vae", "flow", "score", "unknown"]
ROLES = ("manifold", "train", "val", "test")
FURTHER_ROLES = ("reserve", "unknown")
"""Of real images for runs on fresh ones, and of sources that no method is fitted on; a run reads neither."""
REAL = "real"
CHOICES = ("upsampling", "last_nonlinearity", "normalization", "downsampling", "skip", "loss")
UNKNOWN = "unknown"
NAMESPACE = "GMBENCH_HUB_NAMESPACE"
CARD = "card.toml"
DEEPEST = 500
"""More dots than this in the key of a line are no card's."""


class SourceTraining(Strict):
    """How gmbench trained a generator: steps, images per step, constructor parameters."""

    steps: int
    batch_size: int = 64
    parameters: dict[str, int | float | str | bool] = {}


class Source(Strict):
    """One generative model of a dataset. A `generator` that gmbench trains itself brings family, paper and choices.

    Attributes:
        code: where the authors' code is. checkpoint: where the weights are, or what they are called.
        licence: of code and weights.
        pipeline: a repository on the Hub that `diffusers` samples.
        sample: the command that samples it.
        aliases: other names that folders with its images have.
        choices: its six design choices, `unknown` where one cannot be known. reference: where they are from.
    """

    title: str
    family: Family
    paper: str
    code: str | None = None
    checkpoint: str | None = None
    licence: str | None = None
    pipeline: str | None = None
    sample: str | None = None
    aliases: list[str] = []
    choices: dict[Literal["upsampling", "last_nonlinearity", "normalization", "downsampling", "skip", "loss"], str] = {}
    reference: str | None = None
    generator: str | None = None
    training: SourceTraining | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_catalogue(cls, entry: dict[str, Any]) -> dict[str, Any]:
        if entry.get("generator") is None:
            return entry
        card = find_generator(entry["generator"])
        known = {"title": card.title, "family": card.family, "paper": card.paper, "choices": card.choices}
        return known | entry

    @property
    def known_choices(self) -> dict[str, str]:
        """The design choices less those that cannot be known."""
        return {name: value for name, value in self.choices.items() if value != UNKNOWN}


class RealImages(Strict):
    """Where the real images come from, and under which licence.

    Attributes:
        aliases: names that folders with them have.
        pool: those that gmbench makes datasets from.
    """

    title: str
    licence: str
    url: str
    aliases: list[str] = []
    pool: Literal["fashion-mnist", "photographs"] | None = None
    categories: list[str] = []


class Counts(Strict):
    """How many images a dataset has per source, and how many reals stand for the manifold.

    `by_source`: of those sources that have another number.
    """

    per_source: int = Field(ge=0)
    manifold: int = Field(ge=0)
    by_source: dict[str, Annotated[int, Field(ge=0)]] = {}


class Plan(Strict):
    """How many images `gmbench build` makes for an edition of a dataset.

    Attributes:
        roles: of each source, in train, val and test.
        manifold, reserve: real images besides; the reserve is read by runs on fresh images alone.
        unknown: of each sibling of a source.
        candidates: samples drawn for each that is kept, of which those are taken whose brightness, colour and
            smoothness are as the reals'; 1: all are taken.
    """

    edition: int
    roles: dict[str, int]
    manifold: int
    reserve: int = 0
    unknown: int = 0
    candidates: float = 1.0


class DatasetCard(Strict):
    """What a dataset is: its real images, its generators, its size, where it is kept, and its encoders' files.

    `revision`: the commit of its repository on the Hub, once it is published there. `building`: the edition that
    `gmbench build` makes, and `siblings` the sources of role `unknown` that come with it.
    """

    slug: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")
    title: str
    description: str
    resolution: int = Field(ge=1, le=LARGEST_SIDE)
    licence: str
    real: RealImages
    images: Counts
    generators: dict[str, Source]
    embedded: bool = False
    revision: str | None = Field(default=None, pattern=r"^[0-9a-f]{40}$")
    encoders: dict[Literal["sl", "ssl"], str] = {}
    building: Plan | None = None
    siblings: dict[str, Source] = {}

    @property
    def plan(self) -> Plan:
        """The edition that is built; without one of its own, that of the images there are, 70 : 10 : 20."""
        n = self.images.per_source
        shares = {"train": round(0.7 * n), "val": round(0.1 * n), "test": round(0.2 * n)}
        return self.building or Plan(edition=1, roles=shares, manifold=self.images.manifold)

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of all sources, `real` first: the order of labels and of probability columns."""
        return (REAL, *self.generators)

    @property
    def total_images(self) -> int:
        """How many images it has in all, the manifold's included."""
        return self.images.manifold + sum(
            self.images.by_source.get(name, self.images.per_source) for name in self.sources
        )

    @property
    def decoded_bytes(self) -> int:
        """How much room its pixels take in the cache, where a run decodes them."""
        return 3 * self.resolution**2 * self.total_images

    @property
    def folder(self) -> Path:
        """Where an embedded dataset's files are."""
        return catalogue_folder() / "embedded" / self.slug

    @property
    def repository(self) -> str:
        """Its repository on the Hub, in the namespace that `GMBENCH_HUB_NAMESPACE` names (default `gmbench`)."""
        return f"{os.environ.get(NAMESPACE) or 'gmbench'}/{self.slug}"

    def with_sources(self, counts: Mapping[str, int], manifold: int) -> DatasetCard:
        """This card for a dataset that has only some of its sources, so many images of each (`real` included)."""
        most = max(counts.values())
        others = {name: n for name, n in counts.items() if n != most}
        images = Counts(per_source=most, manifold=manifold, by_source=others)
        generators = {name: source for name, source in self.generators.items() if name in counts}
        return self.model_copy(update={"images": images, "generators": generators})


def read_card(path: Path) -> DatasetCard:
    """Reads one card.

    Raises:
        DataError: it cannot be read, is not TOML, or lacks or exceeds what a card says; the message names the field.
    """
    try:
        text = path.read_text(encoding="utf-8")
        # A parser would take minutes for what no card has.
        if any(line.partition("=")[0].count(".") > DEEPEST for line in text.splitlines() if not line.startswith("#")):
            raise RecursionError
        return DatasetCard(**tomllib.loads(text))
    except ValidationError as error:
        raise DataError(f"dataset card {path}: {first_problem(error)}") from error
    except RecursionError as error:
        raise DataError(f"dataset card {path} is nested too deeply. Restore or remove it.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"dataset card {path} is not UTF-8. Restore or remove it.") from error
    # TOML's own errors are ValueErrors; so is a number of more digits than Python reads.
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"dataset card {path} is not TOML: {' '.join(str(error).split())[:200]}") from error


def registered_cards() -> dict[str, DatasetCard]:
    """The cards that come with gmbench by slug."""
    return dict(_cards_in(catalogue_folder() / "cards")[0])


@cache
def _cards_in(folder: Path) -> tuple[dict[str, DatasetCard], dict[str, DataError]]:
    return _read_all({path.stem: path for path in sorted(folder.glob("*.toml"))})


def _imported() -> tuple[dict[str, DatasetCard], dict[str, DataError]]:
    """Of what is in the data folder, as `_read_all`; hidden folders are of imports that are not done."""
    paths = (path for path in sorted(data_folder().glob(f"*/{CARD}")) if not path.parent.name.startswith("."))
    return _read_all({path.parent.name: path for path in paths})


def _read_all(paths: Mapping[str, Path]) -> tuple[dict[str, DatasetCard], dict[str, DataError]]:
    """Cards by slug, and what is wrong with those that cannot be read: one that is broken does not hide the others."""
    cards, problems = {}, {}
    for slug, path in paths.items():
        try:
            card = read_card(path)
            if card.slug != slug:
                raise DataError(
                    f"dataset card {path}: field 'slug': expected '{slug}' as its place says, got '{card.slug}'"
                )
            cards[slug] = card
        except DataError as error:
            problems[slug] = error
    return cards, problems


def dataset_cards() -> dict[str, DatasetCard]:
    """The cards of all known datasets by slug: those that come with gmbench, then those that were imported here.

    Those that cannot be read are left out; `broken_cards` has them.
    """
    registered = registered_cards()
    return registered | {slug: card for slug, card in _imported()[0].items() if slug not in registered}


def broken_cards() -> dict[str, DataError]:
    """What is wrong with those cards, by slug, that cannot be read."""
    broken = _imported()[1] | _cards_in(catalogue_folder() / "cards")[1]
    return {slug: error for slug, error in broken.items() if slug not in dataset_cards()}


def find_dataset(slug: str) -> DatasetCard:
    """The card of one dataset.

    Raises:
        NotFoundError: there is none of that name.
        DataError: its card cannot be read.
    """
    if slug in registered_cards():
        return registered_cards()[slug]
    cards = dataset_cards()
    if slug in (broken := broken_cards()):
        raise broken[slug]
    if slug not in cards:
        raise NotFoundError.of("dataset", slug, cards)
    return cards[slug]
