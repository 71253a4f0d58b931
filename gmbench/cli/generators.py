"""The group of commands `generators`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gmbench.cli.options import (
    MAKE,
    Changes,
    Device,
    app,
    assignments,
    console,
    progress,
)

generators = typer.Typer(help="Train generative models and sample them.", no_args_is_help=True)
app.add_typer(generators, name="generators", rich_help_panel=MAKE)


@generators.command("list")
def list_generators() -> None:
    """List the generative models that gmbench can train."""
    from gmbench.cli.printing import print_generators

    print_generators(console())


@generators.command()
def train(
    name: Annotated[str, typer.Argument(help="A generative model (see `gmbench generators list`).")],
    images: Annotated[str, typer.Option(help="What to train on: a dataset, or a folder of square images.")],
    out: Annotated[Path, typer.Option(help="The model's folder; a stopped training resumes from it.")],
    steps: Annotated[int, typer.Option(min=1, help="Training steps.")] = 5000,
    batch_size: Annotated[int, typer.Option(min=2, help="Images per step.")] = 64,
    seed: Annotated[int, typer.Option(min=0, help="Decides the trained weights.")] = 0,
    set_: Changes = None,
    minutes: Annotated[float | None, typer.Option(min=0, help="Stop after so many, even before all steps.")] = None,
    device: Device = "auto",
) -> None:
    """Train a generative model on real images."""
    from gmbench.data.catalogue import find_generator

    find_generator(name)

    from gmbench.building.images import training_images
    from gmbench.generators.training import TrainingPlan, generator_parameters, train_generator
    from gmbench.support.device import resolve_device

    parameters = generator_parameters(name, assignments(set_ or []))
    plan = TrainingPlan(name, steps, seed, batch_size, parameters)
    found = training_images(images, progress())
    described = train_generator(plan, found, out, device=resolve_device(device), progress=progress(), minutes=minutes)
    seconds = described["seconds"]
    console().print(f"trained {name} on {len(found)} images in {seconds} s: {out}", highlight=False)


@generators.command()
def sample(
    model: Annotated[
        str, typer.Argument(help="A trained model's folder, or one that comes with a dataset, as gm-garments/dcgan.")
    ],
    n: Annotated[int, typer.Option("-n", min=1, help="How many images.")],
    out: Annotated[Path, typer.Option(help="A folder for PNG files, or a file that ends in .parquet.")],
    seed: Annotated[int, typer.Option(min=0, help="Decides the images.")] = 0,
    device: Device = "auto",
) -> None:
    """Sample a trained generative model."""
    from gmbench.building.drawing import draw_from_dataset
    from gmbench.building.images import write_samples
    from gmbench.data.cards import dataset_cards
    from gmbench.generators.training import sample_generator
    from gmbench.support.device import resolve_device

    where = resolve_device(device)
    if Path(model).exists() or model.partition("/")[0] not in dataset_cards():
        images = sample_generator(Path(model), n, seed, device=where, progress=progress())
    else:
        images = draw_from_dataset(model, n, seed, device=where, progress=progress())
    write_samples(images, out, Path(model).resolve().name)
    console().print(f"wrote {n} images to {out}", highlight=False)
