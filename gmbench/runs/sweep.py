"""Many runs: the missing cells of a matrix of methods, datasets, settings and seeds."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from typing import Literal

from gmbench.data.cards import DatasetCard
from gmbench.errors import CannotRunError
from gmbench.protocol.settings import SETTINGS, TRANSFER
from gmbench.records.schema import entry_name
from gmbench.records.store import RECORD, read_record
from gmbench.registry import Method
from gmbench.runs.runner import Run, perform
from gmbench.support.git import uncommitted
from gmbench.support.processes import in_processes
from gmbench.support.progress import Progress

BOARD = tuple(setting.slug for setting in SETTINGS.values() if setting.on_board)
"""The settings that the leaderboard shows, less transfer."""


@dataclass
class Swept:
    """How the runs of a matrix ended: how many were run or there before, which were skipped or failed, and why."""

    ran: int = 0
    were_there: int = 0
    skipped: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Ended:
    """How one run ended; `text`: its result, or why there is none."""

    name: str
    how: Literal["ran", "was there", "skipped", "failed"]
    text: str = ""


@dataclass(frozen=True)
class Planned:
    """A run of a matrix, and whether it has a record; one of other code or data is replaced when it is run."""

    name: str
    is_there: bool


def sweep(runs: Sequence[Run], results: Path, progress: Progress, jobs: int = 1) -> Swept:
    """Performs every run that has no record yet. One that fails, or that ends its process, does not stop the others.

    A record of code that was in no commit counts as missing once all code is committed: it is made again.

    Args:
        jobs: how many processes run at a time. If there are several, each has its share of the processor's cores and,
            on the device `cuda`, one GPU, in turn. Runs of one method, dataset and seed share fits, and so are
            done one after the other.
    """
    swept = Swept()
    is_committed = uncommitted() == []
    total = len(runs)
    if jobs == 1:
        numbered = enumerate(runs, start=1)
        named = [(run, progress.named(f"{number}/{total} {_name(run)}")) for number, run in numbered]
        chains, begin = [named], None
    else:
        groups: dict[tuple[str, str, int], list[tuple[Run, Progress]]] = {}
        for run in runs:
            group = groups.setdefault((run.method.slug, run.dataset.slug, run.seed), [])
            group.append((run, progress.for_process().named(_name(run))))
        chains = list(groups.values())
        gpus = [_gpu_of(worker, runs[0].device if runs else "") for worker in range(jobs)]
        begin = partial(_begin_process, gpus, max(1, (os.cpu_count() or 1) // jobs))
    tasks = ([(run, results, shown, is_committed) for run, shown in chain] for chain in chains)
    for number, done in enumerate(in_processes(_end_of, tasks, jobs, begin), start=1):
        ended = done.result
        if done.ended is not None:
            run = done.task[0]
            _put_back(_record_of(run, results))
            ended = Ended(_name(run), "failed", f"its process ended, {done.ended}; the same command goes on")
        if ended.how == "skipped":
            swept.skipped[ended.name] = ended.text
        elif ended.how == "failed":
            swept.failed[ended.name] = ended.text
            progress.say(f"{number}/{total} {ended.name}: failed, {ended.text}")
        elif ended.how == "ran":
            swept.ran += 1
            progress.say(f"{number}/{total} {ended.name}: {ended.text}")
        else:
            swept.were_there += 1
    return swept


def matrix(
    methods: Sequence[Method],
    datasets: Sequence[DatasetCard],
    settings: Sequence[str],
    seeds: int,
    device: str,
    precision: str = "32-true",
) -> Iterator[Run]:
    """All runs, the first seed of each before the second of any; no dataset is transferred to itself."""
    for seed, dataset, setting, method in product(range(seeds), datasets, settings, methods):
        if setting != TRANSFER + dataset.slug:
            yield Run(method, dataset, setting, seed, None, device, precision)


def plan(runs: Sequence[Run], results: Path) -> list[Planned]:
    """What a sweep of these runs would do, without doing it."""
    return [Planned(_name(run), _record_of(run, results).exists()) for run in runs]


def _record_of(run: Run, results: Path) -> Path:
    entry = entry_name(run.method.slug, run.given or {}, run.precision)
    return results / run.dataset.slug / run.setting / entry / str(run.seed) / RECORD


def _name(run: Run) -> str:
    return f"{run.method.slug} {run.dataset.slug} {run.setting} {run.seed}"


def _end_of(run: Run, results: Path, progress: Progress, is_committed: bool) -> Ended:
    try:
        with _uncommitted_aside(_record_of(run, results), progress, is_committed):
            outcome = perform(run, results, progress)
    except CannotRunError as error:
        return Ended(_name(run), "skipped", str(error))
    except Exception as error:
        return Ended(_name(run), "failed", f"{type(error).__name__}: {error}")
    if outcome.was_there:
        return Ended(_name(run), "was there")
    accuracy, seconds = outcome.record.scores.accuracy.accuracy, sum(outcome.record.seconds.values())
    return Ended(_name(run), "ran", f"{accuracy:.1%} in {seconds:.0f} s")


@contextmanager
def _uncommitted_aside(record: Path, progress: Progress, is_committed: bool) -> Iterator[None]:
    """A record of code that was in no commit is aside while the block runs, if all code is in a commit now."""
    if not is_committed or not record.exists() or read_record(record.parent).environment.git_dirty is False:
        yield
        return
    progress.say("its record is of code that was in no commit; made again")
    record.replace(_aside(record))
    try:
        yield
    finally:
        _put_back(record)


def _aside(record: Path) -> Path:
    return record.with_name(f".{RECORD}.uncommitted")


def _put_back(record: Path) -> None:
    """What is aside takes its place again, if nothing else has."""
    if _aside(record).exists() and not record.exists():
        _aside(record).replace(record)
    _aside(record).unlink(missing_ok=True)


def _gpu_of(worker: int, device: str) -> str:
    """The GPU of a process, as CUDA_VISIBLE_DEVICES names it, by turns; empty: whatever the device says."""
    if device != "cuda":
        return ""
    import torch

    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    visible = given.split(",") if given else [str(index) for index in range(torch.cuda.device_count())]
    return visible[worker % len(visible)]


def _begin_process(gpus: Sequence[str], threads: int, worker: int) -> None:
    import torch
    from threadpoolctl import threadpool_limits

    if gpu := gpus[worker]:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    torch.set_num_threads(threads)
    threadpool_limits(threads)
