"""The generative models that gmbench trains itself, read from `catalogue.toml`."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from gmbench.errors import NotFoundError


@dataclass(frozen=True)
class GeneratorCard:
    """What a generative model is: its family (gan, vae, flow or score), paper and six design choices."""

    name: str
    title: str
    family: str
    paper: str
    choices: dict[str, str]
    location: str


@cache
def catalogue() -> dict[str, GeneratorCard]:
    """All generative models by name, read from `catalogue.toml`."""
    text = Path(__file__).with_name("catalogue.toml").read_text(encoding="utf-8")
    return {
        name: GeneratorCard(name, entry["title"], entry["family"], entry["paper"], entry["choices"], entry["class"])
        for name, entry in tomllib.loads(text).items()
    }


def find_generator(name: str) -> GeneratorCard:
    """The card of one generative model.

    Raises:
        NotFoundError: there is none of that name.
    """
    if name not in catalogue():
        raise NotFoundError.of("generator", name, catalogue())
    return catalogue()[name]
