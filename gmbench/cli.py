"""The command line: one command per verb, no logic. Heavy imports happen inside the commands."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from gmbench.errors import GmbenchError, ParameterError

app = typer.Typer(
    name="gmbench",
    help="Which generative model made this image? Benchmark and leaderboards of model attribution.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


STOPPED = 130


generators = typer.Typer(help="Train generative models and sample them.", no_args_is_help=True)
app.add_typer(generators, name="generators")
data = typer.Typer(help="Import datasets, publish them, get them from the Hub.", no_args_is_help=True)
app.add_typer(data, name="data")


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


class Listed(StrEnum):
    methods = "methods"
    datasets = "datasets"


@app.command()
def run(
    method: Annotated[
        str, typer.Option(help="Slug of a method (see `gmbench list methods`), or a path to its folder.")
    ],
    dataset: Annotated[str, typer.Option(help="Slug of a dataset (see `gmbench list datasets`).")],
    setting: Annotated[
        str, typer.Option(help="How the images reach the method: clean, few-shot-10, laundered, clean-to-laundered.")
    ] = "clean",
    seed: Repetition = 0,
    set_: Changes = None,
    device: Device = "auto",
    precision: Precision = PrecisionName.single,
    out: Results = Path("results"),
) -> None:
    """Fit a method on a dataset, attribute the test images, and leave a record of the scores."""
    _perform(method, dataset, setting, seed, set_, device, precision, out)


@app.command()
def transfer(
    method: Annotated[str, typer.Option(help="Slug of a method, or a path to its folder.")],
    train: Annotated[str, typer.Option(help="The dataset to fit on.")],
    test: Annotated[str, typer.Option(help="The dataset to attribute the test images of.")],
    seed: Repetition = 0,
    set_: Changes = None,
    device: Device = "auto",
    precision: Precision = PrecisionName.single,
    out: Results = Path("results"),
) -> None:
    """Fit a method on one dataset and attribute another one's test images, over the sources that both have."""
    from gmbench.settings import TRANSFER

    _perform(method, train, TRANSFER + test, seed, set_, device, precision, out)


@app.command()
def sweep(
    methods: Annotated[str, typer.Option(help="Slugs, separated by commas, or all.")] = "all",
    datasets: Annotated[str, typer.Option(help="Slugs, separated by commas, or all embedded ones.")] = "all",
    settings: Annotated[
        str,
        typer.Option(
            help="Settings, separated by commas (to-DATASET is transfer to it), or all of the leaderboard but transfer."
        ),
    ] = "all",
    seeds: Annotated[int, typer.Option(min=1, help="How many repetitions.")] = 3,
    device: Device = "auto",
    precision: Precision = PrecisionName.single,
    jobs: Jobs = 1,
    out: Results = Path("results"),
) -> None:
    """Run the missing cells of a matrix. A cell that fails does not stop the others. Exit code 1 if one failed."""
    from gmbench.data.card import dataset_cards, find_dataset
    from gmbench.registry import find_method
    from gmbench.registry import methods as known
    from gmbench.settings import find_setting
    from gmbench.sweep import SETTINGS, matrix
    from gmbench.sweep import sweep as perform_all

    chosen_methods = [find_method(slug) for slug in _names("--methods", methods, list(known()))]
    embedded = [card.slug for card in dataset_cards().values() if card.embedded]
    chosen_datasets = [find_dataset(slug) for slug in _names("--datasets", datasets, embedded)]
    chosen_settings = _names("--settings", settings, list(SETTINGS))
    for setting in chosen_settings:
        find_setting(setting)

    from gmbench.device import resolve_device
    from gmbench.report import print_swept

    where = resolve_device(device)
    runs = list(matrix(chosen_methods, chosen_datasets, chosen_settings, seeds, where, precision.value))
    swept = perform_all(runs, out, _progress(), jobs)
    print_swept(_console(), swept)
    if swept.failed:
        raise typer.Exit(1)


@app.command()
def evaluate(
    paths: Annotated[list[Path], typer.Argument(help="Records, or folders that hold some.")],
    write: Annotated[bool, typer.Option("--write", help="Replace the scores of each record by these.")] = False,
) -> None:
    """Compute scores anew from a record's predictions and cached features. Exit code 1 if they differ.

    FDR and NMI need features; where these are no longer in the cache, both stay as they are.
    """
    from gmbench.provenance import evaluators_sha256
    from gmbench.records import record_folders, replace_scores
    from gmbench.report import print_evaluation, print_evaluations
    from gmbench.scoring import evaluate as evaluate_record

    folders = [folder for path in paths for folder in record_folders(path)]
    progress = _progress()
    evaluations = {folder: evaluate_record(folder, progress) for folder in folders}
    if len(evaluations) == 1:
        print_evaluation(_console(), *evaluations.values())
    else:
        print_evaluations(_console(), evaluations)
    if write:
        digests = evaluators_sha256()
        for folder, evaluation in evaluations.items():
            replace_scores(folder, evaluation.scores, {name: digests[name] for name in evaluation.computed})
        _console().print(f"wrote {len(evaluations)} records", highlight=False)
    elif any(evaluation.differing for evaluation in evaluations.values()):
        raise typer.Exit(1)


@app.command("list")
def list_(what: Annotated[Listed, typer.Argument(help="What to list.")]) -> None:
    """List the methods or the datasets."""
    from gmbench import report

    {Listed.methods: report.print_methods, Listed.datasets: report.print_datasets}[what](_console())


@app.command()
def info(slug: Annotated[str, typer.Argument(help="Slug of a method or a dataset.")]) -> None:
    """Show the card of a method or a dataset."""
    from gmbench.report import print_info

    print_info(_console(), slug)


@app.command()
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
            _console().print(line, highlight=False, soft_wrap=True)
        raise typer.Exit(1 if stale else 0)
    for path in write_pages(folder):
        _console().print(f"wrote {path}", highlight=False)


@app.command()
def compare(
    first: Annotated[str, typer.Argument(help="A row of the leaderboard, e.g. manifpt-rgb.")],
    second: Annotated[str, typer.Argument(help="Another row.")],
    dataset: Annotated[str, typer.Option(help="Slug of a dataset (see `gmbench list datasets`).")],
    setting: Annotated[str, typer.Option(help="How the images reached the methods.")] = "clean",
    results: Annotated[Path, typer.Option(help="Holds the records.")] = Path("leaderboards/results"),
) -> None:
    """Say whether two methods differ by more than chance, from their records on the same test images."""
    from gmbench import report
    from gmbench.leaderboard import comparison

    report.print_comparison(_console(), comparison.compare(first, second, results, dataset, setting))


@app.command()
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
    from gmbench.data.card import find_dataset

    card = find_dataset(dataset)

    from gmbench.device import resolve_device
    from gmbench.generators.build import build_dataset

    folder = build_dataset(card, work, out or card.folder, reals, resolve_device(device), _progress())
    _console().print(f"wrote {folder}", highlight=False)


@app.command()
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
    json: Annotated[Path | None, typer.Option(help="A file for the report.")] = None,
) -> None:
    """Check whether a dataset is a fair benchmark. Exit code 1 if a check fails."""
    from gmbench.data.card import find_dataset
    from gmbench.files import ensure_writable, write_text

    card = find_dataset(dataset)
    if json is not None:
        ensure_writable(json.parent)

    from gmbench.cache import Cache
    from gmbench.data.audit import audit_dataset, print_audit
    from gmbench.device import resolve_device

    report = audit_dataset(
        card,
        Cache(),
        _progress(),
        neighbors_of=neighbors_of,
        probe_bound=probe_bound,
        device=resolve_device(device),
    )
    print_audit(_console(), report)
    if json is not None:
        write_text(json, report.model_dump_json(indent=2) + "\n")
        _console().print(f"wrote {json}", highlight=False, soft_wrap=True)
    if not report.passed:
        raise typer.Exit(1)


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Slug of the method: lower case, with hyphens.")],
    kind: Annotated[str, typer.Option(help="network, features, or predictions (a method without published code).")] = (
        "network"
    ),
    out: Annotated[Path | None, typer.Option(help="Where its folder goes (default: methods/ of the checkout).")] = None,
) -> None:
    """Write a method that runs at once, to be changed into yours."""
    from gmbench.scaffold import new_method

    for path in new_method(name, kind, out):
        _console().print(f"wrote {path}", highlight=False, soft_wrap=True)
    given = name if out is None else out / name.replace("-", "_")
    _console().print(f"Change it, then: gmbench check {given}", highlight=False, soft_wrap=True)


@app.command()
def check(
    names: Annotated[
        list[str] | None, typer.Argument(help="Slugs or folders of methods (default: all that changed).")
    ] = None,
    against: Annotated[str, typer.Option(help="The branch or commit that changes count from.")] = "main",
    json: Annotated[Path | None, typer.Option(help="A file for what was found.")] = None,
) -> None:
    """Check whether methods are fit to be proposed. Exit code 1 if one is not."""
    from gmbench.checking import changed_methods, print_checked
    from gmbench.checking import check as check_method

    chosen = names or changed_methods(against)
    checked = [of_method for name in chosen for of_method in check_method(name, _progress())]
    print_checked(_console(), checked)
    _write_json(json, [of_method.model_dump() for of_method in checked])
    if not all(of_method.ok for of_method in checked):
        raise typer.Exit(1)


@app.command()
def submit(
    method: Annotated[str, typer.Argument(help="Slug of a method, or a path to its folder.")],
    datasets: Annotated[str, typer.Option(help="Slugs, separated by commas, or all embedded ones.")] = "all",
    seeds: Annotated[int, typer.Option(min=1, help="How many repetitions.")] = 3,
    device: Device = "auto",
    jobs: Jobs = 1,
    allow_dirty: Annotated[bool, typer.Option("--allow-dirty", help="Also with code that is in no commit.")] = False,
    folder: Annotated[Path, typer.Option(help="Holds results/ and gets the pages.")] = Path("leaderboards"),
    predictions: Annotated[
        Path | None, typer.Option(help="A parquet file of probabilities, of a method without published code.")
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="With --predictions: what they are of.")] = None,
    setting: Annotated[str, typer.Option(help="With --predictions: how the images reached the method.")] = "clean",
    seed: Annotated[int, typer.Option(min=0, help="With --predictions: which repetition.")] = 0,
) -> None:
    """Run what the leaderboard needs of a method, and rebuild the pages. Exit code 1 if a run failed."""
    from gmbench.data.card import dataset_cards, find_dataset
    from gmbench.registry import find_method

    if (predictions is None) != (dataset is None):
        raise ParameterError("--predictions and --dataset go together; to run the method, name --datasets.")
    found = find_method(method)

    from gmbench import submitting
    from gmbench.device import resolve_device
    from gmbench.report import print_submitted

    if predictions is not None:
        submitted = submitting.submit_predictions(
            found, predictions, find_dataset(str(dataset)), setting, seed, folder, _progress()
        )
    else:
        embedded = [card.slug for card in dataset_cards().values() if card.embedded]
        cards = [find_dataset(slug) for slug in _names("--datasets", datasets, embedded)]
        submitted = submitting.submit(
            found, cards, seeds, resolve_device(device), folder, _progress(), jobs, allow_dirty
        )
    print_submitted(_console(), found, submitted)
    if submitted.swept.failed:
        raise typer.Exit(1)


@app.command()
def validate(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Records, or folders that hold some (default: leaderboards/results).")
    ] = None,
    rerun: Annotated[
        bool, typer.Option("--rerun", help="Run one of them again, chosen at random, and compare.")
    ] = False,
    device: Annotated[str, typer.Option(help="With --rerun: auto, cpu, cuda, cuda:N or mps.")] = "auto",
    json: Annotated[Path | None, typer.Option(help="A file for what was found.")] = None,
) -> None:
    """Check whether records are what they say they are. Exit code 1 if one is not."""
    from gmbench.validation import print_validated
    from gmbench.validation import validate as validate_records

    validated = validate_records(paths or [Path("leaderboards/results")])
    print_validated(_console(), validated)
    _write_json(json, [of_record.model_dump() for of_record in validated])
    if not all(of_record.ok for of_record in validated):
        raise typer.Exit(1)
    if not rerun:
        return

    from gmbench import rerun as rerunning
    from gmbench.device import resolve_device
    from gmbench.report import print_rerun

    folder = rerunning.choose([Path(of_record.folder) for of_record in validated])
    if folder is None:
        _console().print("none can be run again: expected a run on an embedded dataset", highlight=False)
        return
    again = rerunning.rerun(folder, resolve_device(device), _progress())
    print_rerun(_console(), again)
    if not again.holds:
        raise typer.Exit(1)


@app.command()
def doctor() -> None:
    """Show what to paste into a bug report: versions, devices, places, datasets."""
    from gmbench.doctor import diagnosis, print_diagnosis

    print_diagnosis(_console(), diagnosis())


@generators.command("list")
def list_generators() -> None:
    """List the generative models that gmbench can train."""
    from gmbench.report import print_generators

    print_generators(_console())


@generators.command()
def train(
    name: Annotated[str, typer.Argument(help="A generative model (see `gmbench generators list`).")],
    images: Annotated[str, typer.Option(help="What to train on: a dataset, or a folder of square images.")],
    out: Annotated[Path, typer.Option(help="The model's folder; a stopped training resumes from it.")],
    steps: Annotated[int, typer.Option(min=1, help="Training steps.")] = 5000,
    batch_size: Annotated[int, typer.Option(min=2, help="Images per step.")] = 64,
    seed: Annotated[int, typer.Option(min=0, help="Decides the trained weights.")] = 0,
    set_: Changes = None,
    device: Device = "auto",
) -> None:
    """Train a generative model on real images."""
    from gmbench.generators import find_generator

    find_generator(name)

    from gmbench.device import resolve_device
    from gmbench.generators.images import training_images
    from gmbench.generators.train import TrainingPlan, generator_parameters, train_generator

    parameters = generator_parameters(name, _assignments(set_ or []))
    plan = TrainingPlan(name, steps, seed, batch_size, parameters)
    found = training_images(images, _progress())
    described = train_generator(plan, found, out, device=resolve_device(device), progress=_progress())
    seconds = described["seconds"]
    _console().print(f"trained {name} on {len(found)} images in {seconds} s: {out}", highlight=False)


@generators.command()
def sample(
    folder: Annotated[Path, typer.Argument(help="A trained model's folder.")],
    n: Annotated[int, typer.Option("-n", min=1, help="How many images.")],
    out: Annotated[Path, typer.Option(help="A folder for PNG files, or a file that ends in .parquet.")],
    seed: Annotated[int, typer.Option(min=0, help="Decides the images.")] = 0,
    device: Device = "auto",
) -> None:
    """Sample a trained generative model."""
    from gmbench.device import resolve_device
    from gmbench.generators.images import write_samples
    from gmbench.generators.train import sample_generator

    images = sample_generator(folder, n, seed, device=resolve_device(device), progress=_progress())
    write_samples(images, out, folder.resolve().name)
    _console().print(f"wrote {n} images to {out}", highlight=False)


@data.command("import")
def import_(
    from_: Annotated[Path, typer.Option("--from", help="Folder that holds a folder of images per source.")],
    dataset: Annotated[str | None, typer.Argument(help="Slug of a dataset (see `gmbench list datasets`).")] = None,
    new: Annotated[str | None, typer.Option(help="Name for a dataset that is not registered; writes its card.")] = None,
    real: Annotated[str | None, typer.Option(help="With --new: the folder of real images (default: real).")] = None,
    resolution: Annotated[
        int | None, typer.Option(min=1, help="With --new: pixels per side (default: those of the first real image).")
    ] = None,
    resize: Annotated[bool, typer.Option("--resize", help="Resize square images of another size.")] = False,
    allow_grey: Annotated[bool, typer.Option("--allow-grey", help="Take images without colour.")] = False,
    limit_per_source: Annotated[
        int | None, typer.Option(min=1, help="Only the first so many images of each source, by path.")
    ] = None,
    manifold_share: Annotated[float, typer.Option(min=0, max=1, help="Share of the reals for the manifold.")] = 0.5,
    workers: Annotated[int, typer.Option(min=0, help="Processes that decode; 0: one per core.")] = 0,
    replace: Annotated[bool, typer.Option("--replace", help="Take the place of an earlier import.")] = False,
) -> None:
    """Import folders of images as a dataset. A stopped import goes on where it was."""
    import os

    from gmbench.data.card import find_dataset, registered_cards
    from gmbench.data.decoding import Options
    from gmbench.data.importing import import_dataset, new_card
    from gmbench.report import print_import

    if (dataset is None) == (new is None) or new in registered_cards():
        raise ParameterError("give either the slug of a registered dataset, or --new with a name of your own.")
    card = find_dataset(dataset) if dataset else new_card(str(new), from_, real, resolution)
    options = Options(card.resolution, resize, allow_grey, limit_per_source)
    folder, report = import_dataset(
        card, from_, options, _progress(), workers or os.cpu_count() or 1, replace, manifold_share
    )
    print_import(_console(), card, folder, report)


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
    from gmbench.data.card import find_dataset
    from gmbench.errors import NotFoundError

    card = find_dataset(dataset)
    if source not in card.sources:
        raise NotFoundError.of(f"source of {dataset}", source, card.sources)
    found = card.sources[source]
    if pipeline is None and found.pipeline is None:
        told = found.sample or "no command is known"
        _console().print(f"{source} has no diffusers pipeline. With {found.code or 'its code'}:", highlight=False)
        _console().print(told, highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(1)

    from gmbench.data.sampling import sample_source
    from gmbench.device import resolve_device

    where = resolve_device(device)
    folder = sample_source(card, source, n, out, where, _progress(), batch_size, steps, pipeline)
    _console().print(f"{n} images of {source}: {folder}", highlight=False, soft_wrap=True)


@data.command()
def push(
    dataset: Annotated[str, typer.Argument(help="Slug of a dataset that is here.")],
    private: Annotated[bool, typer.Option("--private", help="Make the repository private if it is new.")] = False,
) -> None:
    """Upload a dataset to the Hub, into the account that GMBENCH_HUB_NAMESPACE names. A stopped push goes on."""
    from gmbench.data.card import find_dataset
    from gmbench.data.hub import push_dataset

    card = find_dataset(dataset)
    commit = push_dataset(card, private, _progress())
    _console().print(f'pushed {card.repository}\nto pin it in its card: revision = "{commit}"', highlight=False)


@data.command()
def pull(dataset: Annotated[str, typer.Argument(help="Slug of a dataset (see `gmbench list datasets`).")]) -> None:
    """Download a dataset from the Hub, as far as it is not here, and check it. A stopped pull goes on."""
    from gmbench.data.card import find_dataset
    from gmbench.data.hub import pull_dataset

    _console().print(f"{pull_dataset(find_dataset(dataset), _progress())}", highlight=False, soft_wrap=True)


@data.command()
def verify(dataset: Annotated[str, typer.Argument(help="Slug of a dataset that is here.")]) -> None:
    """Check the sha256 of every file of a dataset."""
    from gmbench.data.card import find_dataset
    from gmbench.data.hub import verified_folder

    folder = verified_folder(find_dataset(dataset))
    _console().print(f"every file is that of the manifest: {folder}", highlight=False, soft_wrap=True)


@data.command("list")
def list_data() -> None:
    """List the datasets that are here, with their size and folder."""
    from gmbench.report import print_data

    print_data(_console())


def main() -> None:
    """Runs a command. What users can get wrong ends in one line on stderr and exit code 2."""
    code = 0
    try:
        code = app(standalone_mode=False) or 0
    except GmbenchError as error:
        _fail(str(error), 2)
    except (KeyboardInterrupt, typer.Abort):
        code = STOPPED
    except Exception as error:
        # Usage errors come from click or, in later releases, from typer's own copy of it.
        if not hasattr(error, "format_message"):
            raise
        _fail(f"{error.format_message()} See gmbench --help.", 2)
    if code == STOPPED:
        _fail("stopped. The same command goes on from where it was.", STOPPED)
    sys.exit(code)


def _perform(
    method: str,
    dataset: str,
    setting: str,
    seed: int,
    set_: list[str] | None,
    device: str,
    precision: PrecisionName,
    out: Path,
) -> None:
    from gmbench.data.card import find_dataset
    from gmbench.registry import find_method

    found_method, card, given = find_method(method), find_dataset(dataset), _assignments(set_ or [])
    found_method.parameters(given)

    from gmbench.device import resolve_device
    from gmbench.report import print_outcome
    from gmbench.runner import Run, perform

    asked = Run(found_method, card, setting, seed, given, resolve_device(device), precision.value)
    print_outcome(_console(), perform(asked, out, _progress()))


def _names(option: str, given: str, all_: list[str]) -> list[str]:
    """The names in a list separated by commas; `all` stands for all of them."""
    names = all_ if given == "all" else [name.strip() for name in given.split(",") if name.strip()]
    if not names:
        raise ParameterError(f"{option}: expected names separated by commas, or all, got '{given}'.")
    return names


def _write_json(path: Path | None, content: Any) -> None:
    if path is None:
        return
    import json

    from gmbench.files import write_text

    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    _console().print(f"wrote {path}", highlight=False, soft_wrap=True)


def _fail(message: str, code: int) -> None:
    sys.stderr.write("gmbench: " + " ".join(message.split()) + "\n")
    sys.exit(code)


def _assignments(given: list[str]) -> dict[str, Any]:
    values = {}
    for assignment in given:
        name, equals, value = assignment.partition("=")
        if not equals or not name:
            raise ParameterError(f"--set: expected KEY=VALUE, got '{assignment}'.")
        values[name.strip()] = value.strip()
    return values


def _console() -> Any:
    from rich.console import Console

    return Console()


def _progress() -> Any:
    from rich.console import Console

    from gmbench.progress import Progress

    return Progress(Console(stderr=True))


if __name__ == "__main__":
    main()
