"""What all commands share: the application, common options, output."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextvars import ContextVar
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.core

from gmbench.errors import NotFoundError, ParameterError

if TYPE_CHECKING:
    from rich.console import Console

    from gmbench.support.progress import Progress

RUN, LOOK, MODELS, SUBMIT, MAKE = PANELS = "Run", "Look", "Ask", "Submit", "Datasets and generators"


class Commands(typer.core.TyperGroup):
    """Commands in the order of their panels, in which one needs them."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(super().list_commands(ctx), key=lambda name: PANELS.index(self.commands[name].rich_help_panel))  # type: ignore[attr-defined]


app = typer.Typer(
    name="gmbench",
    cls=Commands,
    help="Which generative model made this image? Benchmark and leaderboards of model attribution.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


def _show_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"gmbench {version('gmbench')}")
        raise typer.Exit


@app.callback()
def gmbench(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Which generative model made this image? Benchmark and leaderboards of model attribution."""


Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]


Changes = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Changes a parameter. Repeatable.")
]


Seed = Annotated[int, typer.Option(min=0, help="Decides everything random: 0, 1, 2, …")]


Results = Annotated[Path, typer.Option(help="The folder of records.")]
OWN_RESULTS, BOARD_RESULTS = Path("results"), Path("leaderboards/results")


def require_records(results: Path) -> None:
    """The folder of records that a command reads is there.

    Raises:
        NotFoundError: it is not; the message says where records are.
    """
    if not results.is_dir():
        advice = elsewhere(results) or " Run gmbench in a checkout, or name a folder with --results."
        raise NotFoundError(f"no records in {results}.{advice}")


def elsewhere(results: Path) -> str:
    """Where a user's own records are, if a command that shows records reads others; to be said after an error."""
    if results == OWN_RESULTS or not OWN_RESULTS.is_dir():
        return ""
    return f" Your own runs are in {OWN_RESULTS}: --results {OWN_RESULTS}"


Jobs = Annotated[
    int, typer.Option(min=1, help="Runs at a time, each with its share of the cores, or a GPU of its own.")
]


DryRun = Annotated[bool, typer.Option("--dry-run", help="Say which runs there would be, and do none.")]


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


def _ask_for_json(asked: bool) -> bool:
    as_json.set(asked)
    return asked


as_json: ContextVar[bool] = ContextVar("json", default=False)
Json = Annotated[
    bool,
    typer.Option("--json", callback=_ask_for_json, help="One JSON document on standard output (docs/json.md)."),
]


def emit(result: Any, printer: Callable[[Console], None]) -> None:
    """Says a result: one JSON document on standard output where `--json` asks for it, else as the printer does.

    Args:
        result: what is made of dicts, lists, plain values, dataclasses, pydantic models and paths.
    """
    if as_json.get():
        from pydantic_core import to_json

        sys.stdout.write(to_json(result, indent=2, inf_nan_mode="null").decode() + "\n")
    else:
        printer(console())


def console() -> Console:
    """Standard output, or standard error where a JSON document has the former to itself."""
    from rich.console import Console

    class Output(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    return Output(stderr=as_json.get())


def progress() -> Progress:
    """Progress on standard error."""
    from gmbench.cli.progress import ConsoleProgress

    return ConsoleProgress()
