"""Commands for those who hand in a method: new, check, submit, validate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gmbench.cli.options import (
    BOARD_RESULTS,
    SUBMIT,
    Device,
    DryRun,
    Jobs,
    Json,
    Results,
    app,
    console,
    emit,
    names,
    progress,
)
from gmbench.errors import ParameterError


@app.command(rich_help_panel=SUBMIT)
def new(
    name: Annotated[str, typer.Argument(help="Slug of the method: lower case, with hyphens.")],
    kind: Annotated[str, typer.Option(help="network, features, or predictions (a method without published code).")] = (
        "network"
    ),
    out: Annotated[Path | None, typer.Option(help="Where its folder goes (default: methods/ of the checkout).")] = None,
) -> None:
    """Write a method that runs at once, to be changed into yours."""
    from gmbench.submissions.new import new_method

    for path in new_method(name, kind, out):
        console().print(f"wrote {path}", highlight=False, soft_wrap=True)
    given = name if out is None else out / name.replace("-", "_")
    console().print(f"Change it, then: gmbench check {given}", highlight=False, soft_wrap=True)


@app.command(rich_help_panel=SUBMIT)
def check(
    names: Annotated[
        list[str] | None, typer.Argument(help="Slugs or folders of methods (default: all that changed).")
    ] = None,
    against: Annotated[str, typer.Option(help="The branch or commit that changes count from.")] = "main",
    json: Json = False,
) -> None:
    """Check whether methods are fit to be proposed. Exit code 1 if one is not."""
    from gmbench.cli.printing import print_checked
    from gmbench.submissions.branch import Branch
    from gmbench.submissions.check import BRANCH, Checked
    from gmbench.submissions.check import check as check_method

    branch = None if names else Branch(against)
    checked = [] if branch is None else [Checked(method=BRANCH, findings=branch.findings())]
    for name in names or ([] if branch is None else branch.methods):
        checked += check_method(name, progress())
    emit(checked, lambda console: print_checked(console, checked))
    if not all(of_method.ok for of_method in checked):
        raise typer.Exit(1)


@app.command(rich_help_panel=SUBMIT)
def submit(
    method: Annotated[str, typer.Argument(help="Slug of a method, or a path to its folder.")],
    datasets: Annotated[str, typer.Option(help="Slugs, separated by commas, or all embedded ones.")] = "all",
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds: 0, 1, 2, …")] = 3,
    device: Device = "auto",
    jobs: Jobs = 1,
    dry_run: DryRun = False,
    allow_dirty: Annotated[bool, typer.Option("--allow-dirty", help="Also with code that is in no commit.")] = False,
    results: Results = BOARD_RESULTS,
    predictions: Annotated[
        Path | None, typer.Option(help="A parquet file of probabilities, of a method without published code.")
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="With --predictions: what they are of.")] = None,
    setting: Annotated[str, typer.Option(help="With --predictions: how the images reached the method.")] = "clean",
    seed: Annotated[int, typer.Option(min=0, help="With --predictions: of which seed.")] = 0,
) -> None:
    """Run what the leaderboard needs of a method, and rebuild the pages. Exit code 1 if a run failed."""
    from gmbench.data.cards import dataset_cards, find_dataset
    from gmbench.registry import find_method

    if (predictions is None) != (dataset is None):
        raise ParameterError("--predictions and --dataset go together; to run the method, name --datasets.")
    found = find_method(method)

    from gmbench.cli.printing import print_planned, print_submitted
    from gmbench.runs.sweep import plan
    from gmbench.submissions.predictions import submit_predictions
    from gmbench.submissions.submit import runs_of
    from gmbench.submissions.submit import submit as submit_runs
    from gmbench.support.device import resolve_device

    if predictions is not None:
        submitted = submit_predictions(
            found, predictions, find_dataset(str(dataset)), setting, seed, results, progress()
        )
    else:
        embedded = [card.slug for card in dataset_cards().values() if card.embedded]
        cards = [find_dataset(slug) for slug in names("--datasets", datasets, embedded)]
        if dry_run:
            planned = plan(runs_of(found, cards, seeds, resolve_device(device)), results)
            print_planned(console(), planned)
            return
        submitted = submit_runs(found, cards, seeds, resolve_device(device), results, progress(), jobs, allow_dirty)
    print_submitted(console(), found, submitted)
    if submitted.swept.failed:
        raise typer.Exit(1)


@app.command(rich_help_panel=SUBMIT)
def validate(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Records, or folders that hold some (default: leaderboards/results).")
    ] = None,
    rerun: Annotated[
        bool, typer.Option("--rerun", help="Run one of them again, chosen at random, and compare.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show only records that are wrong.")] = False,
    device: Annotated[str, typer.Option(help="With --rerun: auto, cpu, cuda, cuda:N or mps.")] = "auto",
    json: Json = False,
) -> None:
    """Check whether records are what they say they are. Exit code 1 if one is not."""
    from gmbench.cli.printing import print_validated
    from gmbench.submissions.validate import validate as validate_records

    validated = validate_records(paths or [BOARD_RESULTS])
    ok = all(of_record.ok for of_record in validated)
    if not rerun or not ok:
        emit({"records": validated}, lambda console: print_validated(console, validated, quiet))
        raise typer.Exit(0 if ok else 1)
    if not json:
        print_validated(console(), validated, quiet)

    from gmbench.cli.printing import print_rerun
    from gmbench.runs.reproduce import choose
    from gmbench.runs.reproduce import rerun as run_again
    from gmbench.support.device import resolve_device

    folder = choose([Path(of_record.folder) for of_record in validated])
    if folder is None:
        why = "none can be run again: expected a run on an embedded dataset"
        emit({"records": validated, "rerun": None}, lambda console: console.print(why, highlight=False))
        return
    again = run_again(folder, resolve_device(device), progress())
    emit({"records": validated, "rerun": again}, lambda console: print_rerun(console, again))
    if not again.holds:
        raise typer.Exit(1)
