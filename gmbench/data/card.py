"""Dataset cards: what a dataset is, readable without loading it."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gmbench.errors import DataError, NotFoundError
from gmbench.generators import find_generator

Family = Literal["gan", "vae", "flow", "score"]
ROLES = ("manifold", "train", "val", "test")
REAL = "real"
CARDS = Path(__file__).parent / "cards"
EMBEDDED = Path(__file__).parent / "embedded"


class Strict(BaseModel):
    """A model that refuses what it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SourceTraining(Strict):
    """How gmbench trained a generator: steps, images per step, constructor parameters."""

    steps: int
    batch_size: int = 64
    parameters: dict[str, int | float | str | bool] = {}


class Source(Strict):
    """One generative model of a dataset. A `generator` that gmbench trains itself brings family, paper and choices."""

    title: str
    family: Family
    paper: str
    choices: dict[str, str] = {}
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


class RealImages(Strict):
    """Where the real images come from, and under which licence. `pool`: those that gmbench makes datasets from."""

    title: str
    licence: str
    url: str
    pool: Literal["fashion-mnist", "photographs"] | None = None
    categories: list[str] = []


class Counts(Strict):
    """How many images a dataset has per source, and how many reals stand for the manifold."""

    per_source: int
    manifold: int


class DatasetCard(Strict):
    """What a dataset is: its real images, its sources, its size, where it is kept, and its encoders' files."""

    slug: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")
    title: str
    description: str
    resolution: int
    licence: str
    real: RealImages
    images: Counts
    sources: dict[str, Source]
    embedded: bool = False
    encoders: dict[Literal["sl", "ssl"], str] = {}

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of all sources, `real` first: the order of labels and of probability columns."""
        return (REAL, *self.sources)

    @property
    def folder(self) -> Path:
        """Where an embedded dataset's files are."""
        return EMBEDDED / self.slug


def read_card(path: Path) -> DatasetCard:
    """Reads one card.

    Raises:
        DataError: it is not TOML, or lacks or exceeds what a card says; the message names the field.
    """
    try:
        return DatasetCard(**tomllib.loads(path.read_text(encoding="utf-8")))
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"dataset card {path} is not TOML: {error}") from error
    except ValidationError as error:
        raise DataError(f"dataset card {path}: {first_problem(error)}") from error


def first_problem(error: ValidationError) -> str:
    """The first thing that a schema found wrong, in one line: field, what was expected, what came."""
    problem = error.errors()[0]
    field = ".".join(str(part) for part in problem["loc"]) or "file"
    came = repr(problem["input"])
    return f"field '{field}': {problem['msg']}, got {came if len(came) <= 60 else came[:57] + '...'}"


@cache
def dataset_cards() -> dict[str, DatasetCard]:
    """The cards of all known datasets by slug."""
    cards = [read_card(path) for path in sorted(CARDS.glob("*.toml"))]
    return {card.slug: card for card in cards}


def find_dataset(slug: str) -> DatasetCard:
    """The card of one dataset.

    Raises:
        NotFoundError: there is none of that name.
    """
    cards = dataset_cards()
    if slug not in cards:
        raise NotFoundError.of("dataset", slug, cards)
    return cards[slug]
