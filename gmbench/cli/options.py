"""What all commands share: the application, common options, output."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gmbench.errors import ParameterError

if TYPE_CHECKING:
    from rich.console import Console

    from gmbench.support.progress import Progress

app = typer.Typer(
    name="gmbench",
    help="Which generative model made this image? Benchmark and leaderboards of model attribution.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

RUN, LOOK, SUBMIT, MAKE = "Run", "Look", "Submit", "Datasets and generators"

Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]


Changes = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Changes a parameter. Repeatable.")
]


Repetition = Annotated[int, typer.Option(min=0, help="Which repetition: 0, 1, 2, …")]


Results = Annotated[Path, typer.Option(help="Where records go.")]


Jobs = Annotated[
    int, typer.Option(min=1, help="Runs at a time, each with its share of the cores, or a GPU of its own.")
]


class PrecisionName(StrEnum):
    single = "32-true"
    mixed = "bf16-mixed"


Precision = Annotated[PrecisionName, typer.Option(help="Of the training of networks; bf16-mixed is for recent GPUs.")]


def names(option: str, given: str, all_: list[str]) -> list[str]:
    """The names in a list separated by commas; `all` stands for all of them."""
    names = all_ if given == "all" else [name.strip() for name in given.split(",") if name.strip()]
    if not names:
        raise ParameterError(f"{option}: expected names separated by commas, or all, got '{given}'.")
    return names


def assignments(given: list[str], option: str = "--set") -> dict[str, Any]:
    """Names and values of an option that is given as KEY=VALUE."""
    values = {}
    for assignment in given:
        name, equals, value = assignment.partition("=")
        if not equals or not name:
            raise ParameterError(f"{option}: expected KEY=VALUE, got '{assignment}'.")
        values[name.strip()] = value.strip()
    return values


def write_json(path: Path | None, content: Any) -> None:
    """Writes what a command found into a file, if one is given."""
    if path is None:
        return
    import json

    from gmbench.support.files import write_text

    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    console().print(f"wrote {path}", highlight=False, soft_wrap=True)


def console() -> Console:
    """Standard output."""
    from rich.console import Console

    return Console()


def progress() -> Progress:
    """Progress on standard error."""
    from gmbench.cli.progress import ConsoleProgress

    return ConsoleProgress()
