"""Commands about datasets: build, audit, and the group `data`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from gmbench.cli.options import (
    MAKE,
    Device,
    Json,
    app,
    assignments,
    console,
    emit,
    progress,
)
from gmbench.data.judgements import LARGEST_SIDE
from gmbench.errors import ParameterError

data = typer.Typer(help="Import datasets, publish them, get them from the Hub.", no_args_is_help=True)
app.add_typer(data, name="data", rich_help_panel=MAKE)


@app.command(rich_help_panel=MAKE)
def build(
    dataset: Annotated[str, typer.Argument(help="Slug of an embedded dataset.")],
    work: Annotated[Path, typer.Option(help="Holds the trained generators; a stopped build resumes from it.")],
    out: Annotated[
        Path | None, typer.Option(help="Where the dataset goes (default: its place in the package).")
    ] = None,
    reals: Annotated[
        Path | None, typer.Option(help="Folder with the real images' files (default: found or downloaded).")
    ] = None,
    device: Device = "auto",
) -> None:
    """Make an embedded dataset again: train its generators, sample them, assign roles, write the files."""
    from gmbench.data.cards import find_dataset

    card = find_dataset(dataset)

    from gmbench.building.build import build_dataset
    from gmbench.support.device import resolve_device

    folder = build_dataset(card, work, out or card.folder, reals, resolve_device(device), progress())
    console().print(f"wrote {folder}", highlight=False)


@app.command(rich_help_panel=MAKE)
def audit(
    dataset: Annotated[str, typer.Argument(help="Slug of a dataset (see `gmbench list datasets`).")],
    neighbors_of: Annotated[
        int | None,
        typer.Option(min=1, help="Look for near-duplicates of so many images per source and role (default: of all)."),
    ] = None,
    probe_bound: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="How far from chance (0) to certainty (1) brightness, colour and file size may tell sources.",
        ),
    ] = 0.5,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Check whether a dataset is a fair benchmark. Exit code 1 if a check fails."""
    from gmbench.data.cards import find_dataset

    card = find_dataset(dataset)

    from gmbench.audit.report import audit_dataset
    from gmbench.cli.printing import print_audit
    from gmbench.support.cache import Cache
    from gmbench.support.device import resolve_device

    report = audit_dataset(
        card,
        Cache(),
        progress(),
        neighbors_of=neighbors_of,
        probe_bound=probe_bound,
        device=resolve_device(device),
    )
    emit(report, lambda console: print_audit(console, report))
    if not report.passed:
        raise typer.Exit(1)


class Crop(StrEnum):
    centre = "centre"
    random = "random"


class Labels(StrEnum):
    folders = "folders"
    table = "table"


@data.command("import")
def import_(
    from_: Annotated[
        Path, typer.Option("--from", help="Folder (or .zip, .tar) that holds a folder of images per source.")
    ],
    dataset: Annotated[str | None, typer.Argument(help="Slug of a dataset (see `gmbench list datasets`).")] = None,
    new: Annotated[str | None, typer.Option(help="Name for a dataset that is not registered; writes its card.")] = None,
    real: Annotated[str | None, typer.Option(help="Another name of folders of real images, besides real.")] = None,
    family: Annotated[
        list[str] | None,
        typer.Option(metavar="SOURCE=FAMILY", help="With --new: gan, vae, flow or score. Repeatable."),
    ] = None,
    resolution: Annotated[
        int | None,
        typer.Option(
            min=1, max=LARGEST_SIDE, help="With --new: pixels per side (default: those of the first real image)."
        ),
    ] = None,
    resize: Annotated[bool, typer.Option("--resize", help="Resize square images of another size.")] = False,
    crop: Annotated[
        Crop | None, typer.Option(help="Take a square of images that are not square, or are larger.")
    ] = None,
    allow_grey: Annotated[bool, typer.Option("--allow-grey", help="Take images without colour.")] = False,
    limit_per_source: Annotated[
        int | None, typer.Option(min=1, help="Only so many images of each source, evenly from its folders.")
    ] = None,
    labels: Annotated[
        Labels | None, typer.Option(help="What is right where a metadata.csv beside images contradicts their folder.")
    ] = None,
    keep_splits: Annotated[bool, typer.Option("--keep-splits", help="Folders train, val, test are roles.")] = False,
    test_only: Annotated[bool, typer.Option("--test-only", help="All but the manifold is for testing.")] = False,
    balance: Annotated[bool, typer.Option("--balance", help="As many images of each source in each role.")] = False,
    manifold_share: Annotated[float, typer.Option(help="Share of the reals for the manifold, above 0.")] = 0.5,
    workers: Annotated[int, typer.Option(min=0, help="Processes that decode; 0: one per core.")] = 0,
    replace: Annotated[bool, typer.Option("--replace", help="Take the place of an earlier import.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Only say what would be taken as what.")] = False,
) -> None:
    """Import folders of images as a dataset. A stopped import goes on where it was."""
    import os

    from gmbench.cli.printing import print_import, print_import_check
    from gmbench.data.cards import find_dataset, registered_cards
    from gmbench.data.importing.cards import new_card
    from gmbench.data.importing.decoding import Options
    from gmbench.data.importing.importer import Dealing, check_import, import_dataset

    if (dataset is None) == (new is None) or new in registered_cards():
        raise ParameterError("give either the slug of a registered dataset, or --new with a name of your own.")
    if new is None and (family or resolution):
        raise ParameterError("--family and --resolution go with --new: a registered dataset has its own.")
    if new is not None:
        card = new_card(new, from_, real, resolution, assignments(family or [], "--family"), labels)
        if card.slug in registered_cards():
            raise ParameterError(f"'{new}' would be {card.slug}, which is registered: give --new another name.")
    else:
        card = find_dataset(str(dataset))
    dealing = Dealing(manifold_share, keep_splits, test_only, balance)
    if check:
        checked = check_import(card, from_, real, labels, keep_splits, limit_per_source)
        print_import_check(console(), card, checked[1])
        return
    options = Options(card.resolution, resize, allow_grey, limit_per_source, crop)
    folder, report = import_dataset(
        card, from_, options, progress(), workers or os.cpu_count() or 1, replace, dealing, real, labels
    )
    print_import(console(), card, folder, report)


@data.command()
def remove(dataset: Annotated[str, typer.Argument(help="Slug of a dataset that was imported here.")]) -> None:
    """Remove an imported dataset, and what a stopped import left of it. Records stay."""
    from gmbench.cli.printing import removed
    from gmbench.data.cards import broken_cards, dataset_cards
    from gmbench.data.importing.importer import remove_dataset
    from gmbench.errors import NotFoundError

    known = [*dataset_cards(), *broken_cards()]
    if dataset not in known:
        raise NotFoundError.of("dataset", dataset, known)
    removed(console(), remove_dataset(dataset))


@data.command("sample")
def sample_data(
    dataset: Annotated[str, typer.Argument(help="Slug of a dataset (see `gmbench list datasets`).")],
    source: Annotated[str, typer.Option(help="One of its sources (see `gmbench info`).")],
    n: Annotated[int, typer.Option("-n", min=1, help="How many images.")],
    out: Annotated[Path, typer.Option(help="Gets a folder per source, for `gmbench data import`.")],
    batch_size: Annotated[int, typer.Option(min=1, help="Images at a time.")] = 16,
    steps: Annotated[int | None, typer.Option(min=1, help="Of denoising (default: the pipeline's own).")] = None,
    pipeline: Annotated[str | None, typer.Option(help="Another pipeline: a repository or a folder.")] = None,
    device: Device = "auto",
) -> None:
    """Sample a source that has a public diffusers pipeline. A stopped sampling goes on.

    For other sources, the command of their authors is printed, and the exit code is 1.
    """
    from gmbench.data.cards import find_dataset
    from gmbench.errors import NotFoundError

    card = find_dataset(dataset)
    if source not in card.generators:
        raise NotFoundError.of(f"source of {dataset}", source, card.generators)
    found = card.generators[source]
    if pipeline is None and found.pipeline is None:
        told = found.sample or "no command is known"
        console().print(f"{source} has no diffusers pipeline. With {found.code or 'its code'}:", highlight=False)
        console().print(told, highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(1)

    from gmbench.building.pipelines import sample_source
    from gmbench.support.device import resolve_device

    where = resolve_device(device)
    folder = sample_source(card, source, n, out, where, progress(), batch_size, steps, pipeline)
    console().print(f"{n} images of {source}: {folder}", highlight=False, soft_wrap=True)


@data.command()
def push(
    dataset: Annotated[str, typer.Argument(help="Slug of a dataset that is here.")],
    private: Annotated[bool, typer.Option("--private", help="Make the repository private if it is new.")] = False,
    file_names: Annotated[
        bool, typer.Option("--file-names", help="Upload also which file each image was (files.parquet).")
    ] = False,
) -> None:
    """Upload a dataset to the Hub, into the account that GMBENCH_HUB_NAMESPACE names. A stopped push goes on."""
    from gmbench.data.cards import find_dataset
    from gmbench.data.hub import push_dataset

    card = find_dataset(dataset)
    commit = push_dataset(card, private, progress(), file_names)
    console().print(f'pushed {card.repository}\nto pin it in its card: revision = "{commit}"', highlight=False)


@data.command()
def pull(dataset: Annotated[str, typer.Argument(help="Slug of a dataset (see `gmbench list datasets`).")]) -> None:
    """Download a dataset from the Hub, as far as it is not here, and check it. A stopped pull goes on."""
    from gmbench.data.cards import find_dataset
    from gmbench.data.hub import pull_dataset

    console().print(f"{pull_dataset(find_dataset(dataset), progress())}", highlight=False, soft_wrap=True)


@data.command()
def verify(dataset: Annotated[str, typer.Argument(help="Slug of a dataset that is here.")]) -> None:
    """Check the sha256 of every file of a dataset."""
    from gmbench.data.cards import find_dataset
    from gmbench.data.hub import verified_folder

    folder = verified_folder(find_dataset(dataset))
    console().print(f"every file is that of the manifest: {folder}", highlight=False, soft_wrap=True)


@data.command("list")
def list_data() -> None:
    """List the datasets that are here, with their size and folder."""
    from gmbench.cli.printing import print_data

    print_data(console())


cache_app = typer.Typer(help="What is kept so that work need not be done twice.", no_args_is_help=True)
app.add_typer(cache_app, name="cache", rich_help_panel=MAKE)


@cache_app.command("show")
def show_cache() -> None:
    """Say where the cache is, and how large each kind of work in it."""
    from gmbench.cli.printing import print_cache

    print_cache(console())


@cache_app.command("clear")
def clear_cache(
    kind: Annotated[
        str | None, typer.Argument(help="One kind of work (see `gmbench cache show`); all if none.")
    ] = None,
) -> None:
    """Remove what is kept; it is computed anew when it is needed."""
    from gmbench.support.cache import clear_kept

    console().print(f"removed {clear_kept(kind) / 2**20:,.1f} MiB", highlight=False)
