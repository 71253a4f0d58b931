"""Commands that show what there is: list, info, leaderboard, compare, doctor."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gmbench.cli.options import (
    BOARD_RESULTS,
    LOOK,
    Json,
    Results,
    app,
    console,
    elsewhere,
    emit,
    names,
    progress,
    require_records,
)
from gmbench.errors import NotFoundError

if TYPE_CHECKING:
    from rich.console import Console


class Listed(StrEnum):
    methods = "methods"
    datasets = "datasets"
    settings = "settings"


@app.command("list", rich_help_panel=LOOK)
def list_(
    what: Annotated[Listed | None, typer.Argument(help="What to list (default: all three).")] = None,
    json: Json = False,
) -> None:
    """List the methods, the datasets and the settings."""
    from gmbench.cli import printing
    from gmbench.data.cards import broken_cards, dataset_cards
    from gmbench.data.locations import state_in_words
    from gmbench.protocol.settings import SETTINGS
    from gmbench.registry import broken_methods, methods

    chosen = [what] if what else list(Listed)
    found = {
        Listed.methods: lambda: (
            [
                {"slug": slug, "title": method.title, "looks_at": method.card.looks_at, "folder": method.folder}
                for slug, method in methods().items()
            ]
            + [{"slug": slug, "problem": str(error)} for slug, error in broken_methods().items()]
        ),
        Listed.datasets: lambda: (
            [
                {
                    "slug": slug,
                    "title": card.title,
                    "resolution": card.resolution,
                    "sources": list(card.sources),
                    "images": card.total_images,
                    "state": state_in_words(card),
                }
                for slug, card in dataset_cards().items()
            ]
            + [{"slug": slug, "state": f"damaged: {error}"} for slug, error in broken_cards().items()]
        ),
        Listed.settings: lambda: [
            {"slug": setting.slug, "words": setting.words, "on_board": setting.on_board}
            for setting in SETTINGS.values()
        ],
    }
    printers = {
        Listed.methods: printing.print_methods,
        Listed.datasets: printing.print_datasets,
        Listed.settings: printing.print_settings,
    }

    def show(console: Console) -> None:
        for number, each in enumerate(chosen):
            if number:
                console.print()
            printers[each](console)

    emit({each.value: found[each]() for each in chosen}, show)


@app.command(rich_help_panel=LOOK)
def info(
    slug: Annotated[str, typer.Argument(help="Slug of a method or a dataset.")],
    json: Json = False,
) -> None:
    """Show the card of a method or a dataset."""
    from gmbench.cli.printing import print_info
    from gmbench.data.cards import dataset_cards
    from gmbench.registry import methods

    known = methods()[slug].card if slug in methods() else dataset_cards().get(slug)
    emit(known, lambda console: print_info(console, slug)) if known else print_info(console(), slug)


@app.command(rich_help_panel=LOOK)
def leaderboard(
    results: Results = BOARD_RESULTS,
    out: Annotated[Path | None, typer.Option(help="Where pages go (default: beside the folder of records).")] = None,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit code 1 if a page is stale.")] = False,
) -> None:
    """Rebuild the leaderboard pages from the committed records."""
    from gmbench.leaderboard.pages import stale_pages, write_pages

    require_records(results)
    folder = out or results.parent
    if check:
        stale = stale_pages(results, folder)
        for path in stale:
            line = f"{path} is not what the records give. Run: gmbench leaderboard"
            console().print(line, highlight=False, soft_wrap=True)
        raise typer.Exit(1 if stale else 0)
    for path in write_pages(results, folder):
        console().print(f"wrote {path}", highlight=False)


@app.command(rich_help_panel=LOOK)
def compare(
    first: Annotated[str, typer.Argument(help="A row of the leaderboard, e.g. manifpt-rgb.")],
    second: Annotated[str, typer.Argument(help="Another row.")],
    dataset: Annotated[str, typer.Option(help="Slug of a dataset (see `gmbench list datasets`).")],
    setting: Annotated[str, typer.Option(help="How the images reached the methods.")] = "clean",
    results: Results = BOARD_RESULTS,
    json: Json = False,
) -> None:
    """Say whether two methods differ by more than chance, from their records on the same test images."""
    from gmbench.cli import printing
    from gmbench.records import comparison

    require_records(results)
    try:
        found = comparison.compare(first, second, results, dataset, setting)
    except NotFoundError as error:
        raise NotFoundError(f"{error}{elsewhere(results)}") from error
    document = {
        "first": found.first.name,
        "second": found.second.name,
        "dataset": dataset,
        "setting": setting,
        "images": found.images,
        "paired": found.paired,
        "verdict": found.verdict,
    }
    emit(document, lambda console: printing.print_comparison(console, found))


class TableFormat(StrEnum):
    markdown = "markdown"
    latex = "latex"
    csv = "csv"


@app.command(rich_help_panel=LOOK)
def table(
    methods: Annotated[str, typer.Option(help="Rows of the leaderboard, separated by commas, or all.")] = "all",
    datasets: Annotated[str, typer.Option(help="Slugs, separated by commas, or all that have records.")] = "all",
    settings: Annotated[str, typer.Option(help="Settings, separated by commas.")] = "clean",
    format_: Annotated[TableFormat, typer.Option("--format", help="latex is for booktabs.")] = TableFormat.markdown,
    results: Results = BOARD_RESULTS,
) -> None:
    """Print a table to quote: accuracies with intervals, in bold what the tests do not separate from the best."""
    from gmbench.leaderboard.quoting import quoted_table

    require_records(results)
    rows = None if methods == "all" else names("--methods", methods, [])
    columns = None if datasets == "all" else names("--datasets", datasets, [])
    text = quoted_table(results, rows, columns, names("--settings", settings, []), format_.value)
    typer.echo(text, nl=False)


@app.command(rich_help_panel=LOOK)
def cite(
    row: Annotated[str, typer.Argument(help="A row of the leaderboard, e.g. manifpt-rgb.")],
    dataset: Annotated[str | None, typer.Option(help="Of one dataset (default: of all that it was run on).")] = None,
    setting: Annotated[str, typer.Option(help="How the images reached the method.")] = "clean",
    results: Results = BOARD_RESULTS,
) -> None:
    """Print BibTeX of a row: its method, its dataset with revision, and gmbench with commit and digest."""
    from gmbench.leaderboard.quoting import references

    require_records(results)
    typer.echo(references(results, row, dataset, setting), nl=False)


class Shown(StrEnum):
    artifacts = "artifacts"
    spectra = "spectra"
    neighbours = "neighbours"


class SpaceName(StrEnum):
    rgb = "rgb"
    freq = "freq"
    sl = "sl"
    ssl = "ssl"


@app.command(rich_help_panel=LOOK)
def show(
    what: Annotated[
        Shown, typer.Argument(help="Images with projection and artifact, artifacts' mean spectra, or nearest reals.")
    ],
    dataset: Annotated[str, typer.Option(help="Slug of a dataset (see `gmbench list datasets`).")],
    space: Annotated[SpaceName, typer.Option(help="In which the nearest real image is looked for.")] = SpaceName.rgb,
    source: Annotated[list[str] | None, typer.Option(help="A source (default: all). Repeatable.")] = None,
    n: Annotated[int, typer.Option("-n", min=1, help="Images of each source.")] = 3,
    out: Annotated[Path, typer.Option(help="The picture, a PNG file.")] = Path("show.png"),
) -> None:
    """Draw a dataset's artifacts, spectra or nearest neighbours, as the paper's figures 3 to 6 do."""
    from gmbench.data.cards import find_dataset
    from gmbench.report.show import show as draw

    draw(what.value, find_dataset(dataset), space.value, source or [], n, out, progress())
    console().print(f"wrote {out}", highlight=False, soft_wrap=True)


@app.command(rich_help_panel=LOOK)
def report(
    records: Annotated[
        list[Path], typer.Argument(help="Records, up to four: folders, or the paths that `run` prints.")
    ],
    out: Annotated[Path, typer.Option(help="The page, one HTML file that needs no other.")] = Path("report.html"),
) -> None:
    """Show what a run did as a page: scores, confusions, features, mistakes, artifacts, spectra, training."""
    from gmbench.records.store import record_folders
    from gmbench.report.report import write_report

    folders = [folder for path in records for folder in record_folders(path)]
    write_report(folders, out, progress())
    console().print(f"wrote {out}", highlight=False, soft_wrap=True)


@app.command(rich_help_panel=LOOK)
def doctor(json: Json = False) -> None:
    """Show what to paste into a bug report: versions, devices, places, datasets."""
    from gmbench.cli.printing import print_diagnosis
    from gmbench.runs.diagnosis import diagnosis

    facts = diagnosis()
    emit(facts, lambda console: print_diagnosis(console, facts))
