"""Commands that run methods: run, transfer, sweep, evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gmbench.cli.options import (
    OWN_RESULTS,
    RUN,
    Changes,
    Device,
    DryRun,
    Jobs,
    Json,
    Precision,
    PrecisionName,
    Results,
    Seed,
    app,
    assignments,
    console,
    emit,
    names,
    progress,
)


@app.command(rich_help_panel=RUN)
def run(
    method: Annotated[
        str, typer.Option(help="Slug of a method (see `gmbench list methods`), or a path to its folder.")
    ],
    dataset: Annotated[str, typer.Option(help="Slug of a dataset (see `gmbench list datasets`).")],
    setting: Annotated[
        str, typer.Option(help="How the images reach the method: clean, few-shot-10, laundered, clean-to-laundered.")
    ] = "clean",
    seed: Seed = 0,
    set_: Changes = None,
    device: Device = "auto",
    precision: Precision = PrecisionName.single,
    results: Results = OWN_RESULTS,
    json: Json = False,
) -> None:
    """Fit a method on a dataset, attribute the test images, and leave a record of the scores."""
    _perform(method, dataset, setting, seed, set_, device, precision, results)


@app.command(rich_help_panel=RUN)
def transfer(
    method: Annotated[str, typer.Option(help="Slug of a method, or a path to its folder.")],
    train: Annotated[str, typer.Option(help="The dataset to fit on.")],
    test: Annotated[str, typer.Option(help="The dataset to attribute the test images of.")],
    seed: Seed = 0,
    set_: Changes = None,
    device: Device = "auto",
    precision: Precision = PrecisionName.single,
    results: Results = OWN_RESULTS,
    json: Json = False,
) -> None:
    """Fit a method on one dataset and attribute another one's test images, over the sources that both have."""
    from gmbench.protocol.settings import TRANSFER

    _perform(method, train, TRANSFER + test, seed, set_, device, precision, results)


@app.command(rich_help_panel=RUN)
def sweep(
    methods: Annotated[str, typer.Option(help="Slugs, separated by commas, or all.")] = "all",
    datasets: Annotated[str, typer.Option(help="Slugs, separated by commas, or all embedded ones.")] = "all",
    settings: Annotated[
        str,
        typer.Option(
            help="Settings, separated by commas (to-DATASET is transfer to it), or all of the leaderboard but transfer."
        ),
    ] = "all",
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds: 0, 1, 2, …")] = 3,
    device: Device = "auto",
    precision: Precision = PrecisionName.single,
    jobs: Jobs = 1,
    results: Results = OWN_RESULTS,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Run the missing cells of a matrix. A cell that fails does not stop the others. Exit code 1 if one failed."""
    from gmbench.data.cards import dataset_cards, find_dataset
    from gmbench.protocol.settings import find_setting
    from gmbench.registry import find_method
    from gmbench.registry import methods as known
    from gmbench.runs.sweep import BOARD, matrix, plan
    from gmbench.runs.sweep import sweep as perform_all

    chosen_methods = [find_method(slug) for slug in names("--methods", methods, list(known()))]
    embedded = [card.slug for card in dataset_cards().values() if card.embedded]
    chosen_datasets = [find_dataset(slug) for slug in names("--datasets", datasets, embedded)]
    chosen_settings = names("--settings", settings, list(BOARD))
    for setting in chosen_settings:
        find_setting(setting)

    from gmbench.cli.printing import print_planned, print_swept
    from gmbench.support.device import resolve_device

    where = resolve_device(device)
    runs = list(matrix(chosen_methods, chosen_datasets, chosen_settings, seeds, where, precision.value))
    if dry_run:
        planned = plan(runs, results)
        emit({"runs": planned}, lambda console: print_planned(console, planned))
        return
    swept = perform_all(runs, results, progress(), jobs)
    emit(swept, lambda console: print_swept(console, swept))
    if swept.failed:
        raise typer.Exit(1)


@app.command(rich_help_panel=RUN)
def evaluate(
    paths: Annotated[list[Path], typer.Argument(help="Records, or folders that hold some.")],
    write: Annotated[bool, typer.Option("--write", help="Replace the scores of each record by these.")] = False,
    json: Json = False,
) -> None:
    """Compute scores anew from a record's predictions and cached features. Exit code 1 if they differ.

    FDR and NMI need features; where these are no longer in the cache, both stay as they are.
    """
    from gmbench.cli.printing import print_evaluation, print_evaluations
    from gmbench.records.integrity import check_test_images, found_of
    from gmbench.records.scoring import evaluate as evaluate_record
    from gmbench.records.store import read_record, record_folders, replace_scores
    from gmbench.support.digests import evaluator_sha256

    bar = progress()
    folders = [folder for path in paths for folder in record_folders(path)]
    check_test_images([found_of(folder, read_record(folder)) for folder in folders])
    evaluations = {folder: evaluate_record(folder, bar) for folder in folders}
    emit(
        [
            {
                "record": folder,
                "with_features": evaluation.with_features,
                "scores": evaluation.scores,
                "differing": [score._asdict() for score in evaluation.differing],
            }
            for folder, evaluation in evaluations.items()
        ],
        lambda console: (
            print_evaluation(console, *evaluations.values())
            if len(evaluations) == 1
            else print_evaluations(console, evaluations)
        ),
    )
    if write:
        for folder, evaluation in evaluations.items():
            digests = {name: evaluator_sha256(name) for name in evaluation.computed}
            replace_scores(folder, evaluation.scores, digests)
        console().print(f"wrote {len(evaluations)} record{'s' if len(evaluations) > 1 else ''}", highlight=False)
    elif any(evaluation.differing for evaluation in evaluations.values()):
        raise typer.Exit(1)


def _perform(
    method: str,
    dataset: str,
    setting: str,
    seed: int,
    set_: list[str] | None,
    device: str,
    precision: PrecisionName,
    results: Path,
) -> None:
    from gmbench.data.cards import find_dataset
    from gmbench.protocol.settings import find_setting
    from gmbench.registry import find_method

    found_method, card, given = find_method(method), find_dataset(dataset), assignments(set_ or [])
    found_method.parameters(given)
    find_setting(setting)

    from gmbench.support.processes import watched

    is_over = watched()
    from gmbench.cli.printing import print_outcome
    from gmbench.runs.runner import Run, perform
    from gmbench.support.device import resolve_device

    asked = Run(found_method, card, setting, seed, given, resolve_device(device), precision.value)
    outcome = perform(asked, results, progress())
    document = {"folder": outcome.folder, "was_there": outcome.was_there, "record": outcome.record}
    emit(document, lambda console: print_outcome(console, outcome))
    is_over()
