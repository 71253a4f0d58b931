"""Many runs: the missing cells of a matrix of methods, datasets, settings and repetitions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from gmbench.data.card import DatasetCard
from gmbench.errors import CannotRunError
from gmbench.progress import Progress
from gmbench.registry import Method
from gmbench.runner import Run, perform
from gmbench.settings import TRANSFER

SETTINGS = ("clean", "few-shot-10", "laundered", "clean-to-laundered")
"""Those that the leaderboard shows, less transfer."""


@dataclass
class Swept:
    """How the runs of a matrix ended: how many were run or there before, which were skipped or failed, and why."""

    ran: int = 0
    were_there: int = 0
    skipped: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def sweep(runs: Sequence[Run], results: Path, progress: Progress) -> Swept:
    """Performs every run that has no record yet. One that fails does not stop the others."""
    swept = Swept()
    for number, run in enumerate(runs, start=1):
        name = f"{run.method.slug} {run.dataset.slug} {run.setting} {run.repetition}"
        try:
            outcome = perform(run, results, progress)
        except CannotRunError as error:
            swept.skipped[name] = str(error)
        except Exception as error:
            swept.failed[name] = f"{type(error).__name__}: {error}"
            progress.say(f"{number}/{len(runs)} {name}: failed, {swept.failed[name]}")
        else:
            swept.were_there += outcome.was_there
            swept.ran += not outcome.was_there
            if not outcome.was_there:
                accuracy, seconds = outcome.record.scores.accuracy.accuracy, sum(outcome.record.seconds.values())
                progress.say(f"{number}/{len(runs)} {name}: {accuracy:.1%} in {seconds:.0f} s")
    return swept


def matrix(
    methods: Sequence[Method],
    datasets: Sequence[DatasetCard],
    settings: Sequence[str],
    seeds: int,
    device: str,
    precision: str = "32-true",
) -> Iterator[Run]:
    """All runs, the first repetition of each before the second of any; no dataset is transferred to itself."""
    for repetition, dataset, setting, method in product(range(seeds), datasets, settings, methods):
        if setting != TRANSFER + dataset.slug:
            yield Run(method, dataset, setting, repetition, None, device, precision)
