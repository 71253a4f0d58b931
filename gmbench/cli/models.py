"""Commands that keep a fitted method and ask it: fit, attribute."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gmbench.cli.options import (
    MODELS,
    Changes,
    Device,
    Json,
    Precision,
    PrecisionName,
    Seed,
    app,
    assignments,
    console,
    emit,
    progress,
)
from gmbench.errors import ParameterError


@app.command(rich_help_panel=MODELS)
def fit(
    method: Annotated[str, typer.Option(help="Slug of a method, or a path to its folder.")],
    dataset: Annotated[str, typer.Option(help="Slug of a dataset (see `gmbench list datasets`).")],
    out: Annotated[Path, typer.Option(help="The model's folder.")],
    setting: Annotated[str, typer.Option(help="How the images reach the method.")] = "clean",
    seed: Seed = 0,
    set_: Changes = None,
    device: Device = "auto",
    precision: Precision = PrecisionName.single,
    json: Json = False,
) -> None:
    """Fit a method on a dataset and keep it, to be asked about other images."""
    from gmbench.data.cards import find_dataset
    from gmbench.protocol.settings import find_setting
    from gmbench.registry import find_method

    found_method, card, given = find_method(method), find_dataset(dataset), assignments(set_ or [])
    found_method.parameters(given)
    find_setting(setting)

    from gmbench.cli.printing import print_model
    from gmbench.runs.models import fit_model
    from gmbench.runs.runner import Run
    from gmbench.support.device import resolve_device

    asked = Run(found_method, card, setting, seed, given, resolve_device(device), precision.value)
    model = fit_model(asked, out, progress())
    emit({"folder": out, "model": model.kept}, lambda console: print_model(console, model))


@app.command(rich_help_panel=MODELS)
def attribute(
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders that hold some.")],
    model: Annotated[Path, typer.Option(help="A folder that `gmbench fit` made.")],
    resize: Annotated[bool, typer.Option("--resize", help="Bring images of another size to the model's.")] = False,
    crops: Annotated[
        int | None, typer.Option(min=1, help="Of larger images, look at so many crops and pool the answers.")
    ] = None,
    prior: Annotated[
        list[str] | None,
        typer.Option(metavar="SOURCE=P", help="What is known before looking, e.g. real=0.99. Repeatable."),
    ] = None,
    together: Annotated[bool, typer.Option("--together", help="One verdict: all images are of one origin.")] = False,
    explain: Annotated[
        Path | None, typer.Option(help="A PNG with each image, its nearest real one, and the difference.")
    ] = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Say which generative model made each image, how sure that is, and how strong the evidence.

    Exit code 1 if an image could not be read or does not fit.
    """
    if resize and crops:
        raise ParameterError("--resize and --crops: give one of them.")
    beliefs = {name: _probability(name, value) for name, value in assignments(prior or [], "--prior").items()}

    from gmbench.cli.printing import print_answers
    from gmbench.runs.asking import ask, explain_answers
    from gmbench.runs.models import load_model
    from gmbench.support.device import resolve_device

    bar = progress()
    loaded = load_model(model, resolve_device(device), bar)
    loaded.prior(beliefs)
    asked = ask(loaded, images, bar, resize=resize, crops=crops, prior=beliefs)
    verdict = loaded.of_one_origin(asked.answers, beliefs) if together and asked.answers else None
    emit(
        {"answers": asked.answers, "refused": asked.refused, "together": verdict},
        lambda console: print_answers(console, loaded, asked, verdict),
    )
    if explain is not None and asked.answers:
        explain_answers(loaded, asked, explain, bar)
        console().print(f"wrote {explain}", highlight=False, soft_wrap=True)
    if asked.refused:
        raise typer.Exit(1)


def _probability(name: str, value: str) -> float:
    try:
        return float(value)
    except ValueError as error:
        raise ParameterError(f"--prior {name}={value}: expected a probability.") from error
