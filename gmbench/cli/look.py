"""Commands that show what there is: list, info, leaderboard, compare, doctor."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from gmbench.cli.options import (
    LOOK,
    app,
    console,
)


class Listed(StrEnum):
    methods = "methods"
    datasets = "datasets"


@app.command("list", rich_help_panel=LOOK)
def list_(what: Annotated[Listed, typer.Argument(help="What to list.")]) -> None:
    """List the methods or the datasets."""
    from gmbench.cli import printing

    {Listed.methods: printing.print_methods, Listed.datasets: printing.print_datasets}[what](console())


@app.command(rich_help_panel=LOOK)
def info(slug: Annotated[str, typer.Argument(help="Slug of a method or a dataset.")]) -> None:
    """Show the card of a method or a dataset."""
    from gmbench.cli.printing import print_info

    print_info(console(), slug)


@app.command(rich_help_panel=LOOK)
def leaderboard(
    folder: Annotated[Path, typer.Option(help="Holds results/ and gets the pages.")] = Path("leaderboards"),
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit code 1 if a page is stale.")] = False,
) -> None:
    """Rebuild the leaderboard pages from the committed records."""
    from gmbench.errors import NotFoundError
    from gmbench.leaderboard.pages import RESULTS, stale_pages, write_pages

    if not (folder / RESULTS).is_dir():
        raise NotFoundError(
            f"no records in {folder / RESULTS}. Run gmbench in a checkout, or name a folder with --folder."
        )
    if check:
        stale = stale_pages(folder)
        for path in stale:
            line = f"{path} is not what the records give. Run: gmbench leaderboard"
            console().print(line, highlight=False, soft_wrap=True)
        raise typer.Exit(1 if stale else 0)
    for path in write_pages(folder):
        console().print(f"wrote {path}", highlight=False)


@app.command(rich_help_panel=LOOK)
def compare(
    first: Annotated[str, typer.Argument(help="A row of the leaderboard, e.g. manifpt-rgb.")],
    second: Annotated[str, typer.Argument(help="Another row.")],
    dataset: Annotated[str, typer.Option(help="Slug of a dataset (see `gmbench list datasets`).")],
    setting: Annotated[str, typer.Option(help="How the images reached the methods.")] = "clean",
    results: Annotated[Path, typer.Option(help="Holds the records.")] = Path("leaderboards/results"),
) -> None:
    """Say whether two methods differ by more than chance, from their records on the same test images."""
    from gmbench.cli import printing
    from gmbench.records import comparison

    printing.print_comparison(console(), comparison.compare(first, second, results, dataset, setting))


@app.command(rich_help_panel=LOOK)
def doctor() -> None:
    """Show what to paste into a bug report: versions, devices, places, datasets."""
    from gmbench.cli.printing import print_diagnosis
    from gmbench.runs.diagnosis import diagnosis

    print_diagnosis(console(), diagnosis())
