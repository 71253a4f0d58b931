"""Many runs: the missing cells of a matrix of methods, datasets, settings and seeds."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gmbench.data.cards import DatasetCard
from gmbench.errors import CannotRunError
from gmbench.protocol.settings import SETTINGS, TRANSFER
from gmbench.records.schema import entry_name
from gmbench.records.store import RECORD, read_record
from gmbench.registry import Method
from gmbench.runs.runner import Run, perform
from gmbench.support.git import uncommitted
from gmbench.support.progress import Progress

if TYPE_CHECKING:
    from multiprocessing.queues import SimpleQueue

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
    """Performs every run that has no record yet. One that fails does not stop the others.

    A record of code that was in no commit counts as missing once all code is committed: it is made again.

    Args:
        jobs: how many processes run at a time, each with its share of the processor's cores and, on the device
            `cuda`, with one GPU, in turn. Runs of one method, dataset and seed share fits, and so a process.
    """
    swept = Swept()
    endings = _one_by_one(runs, results, progress) if jobs == 1 else _in_processes(runs, results, progress, jobs)
    for number, ended in enumerate(endings, start=1):
        if ended.how == "skipped":
            swept.skipped[ended.name] = ended.text
        elif ended.how == "failed":
            swept.failed[ended.name] = ended.text
            progress.say(f"{number}/{len(runs)} {ended.name}: failed, {ended.text}")
        elif ended.how == "ran":
            swept.ran += 1
            progress.say(f"{number}/{len(runs)} {ended.name}: {ended.text}")
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


def _one_by_one(runs: Sequence[Run], results: Path, progress: Progress) -> Iterator[Ended]:
    for number, run in enumerate(runs, start=1):
        yield _end_of(run, results, progress.named(f"{number}/{len(runs)} {_name(run)}"))


def _end_of(run: Run, results: Path, progress: Progress) -> Ended:
    try:
        with _uncommitted_aside(run, results, progress):
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
def _uncommitted_aside(run: Run, results: Path, progress: Progress) -> Iterator[None]:
    """A record of code that was in no commit is aside while the block runs, if all code is in a commit now."""
    record = _record_of(run, results)
    if uncommitted() != [] or not record.exists() or read_record(record.parent).environment.git_dirty is False:
        yield
        return
    progress.say("its record is of code that was in no commit; made again")
    aside = record.with_name(f".{RECORD}.uncommitted")
    record.replace(aside)
    try:
        yield
    finally:
        if not record.exists():
            aside.replace(record)
        aside.unlink(missing_ok=True)


def _in_processes(runs: Sequence[Run], results: Path, progress: Progress, jobs: int) -> Iterator[Ended]:
    """How the runs end, as they do. A process that is killed takes the runs with it that are not over yet."""
    groups: dict[tuple[str, str, int], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.method.slug, run.dataset.slug, run.seed), []).append(run)
    context = multiprocessing.get_context("spawn")
    gpus: SimpleQueue[str] = context.SimpleQueue()
    for worker in range(jobs):
        gpus.put(_gpu_of(worker, runs[0].device if runs else ""))
    threads = max(1, (os.cpu_count() or 1) // jobs)
    with ProcessPoolExecutor(jobs, context, _begin_process, (gpus, threads)) as pool:
        futures = {pool.submit(_ends_of, group, results, progress.for_process()): group for group in groups.values()}
        try:
            for future in as_completed(futures):
                try:
                    yield from future.result()
                except BrokenProcessPool:
                    for run in futures[future]:
                        yield Ended(_name(run), "failed", "a process was killed (out of memory?); sweep again to go on")
        except BaseException:
            for process in multiprocessing.active_children():
                process.terminate()
            raise


def _gpu_of(worker: int, device: str) -> str:
    """The GPU of a process, as CUDA_VISIBLE_DEVICES names it, by turns; empty: whatever the device says."""
    if device != "cuda":
        return ""
    import torch

    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    visible = given.split(",") if given else [str(index) for index in range(torch.cuda.device_count())]
    return visible[worker % len(visible)]


def _begin_process(gpus: SimpleQueue[str], threads: int) -> None:
    import torch
    from threadpoolctl import threadpool_limits

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The parent ends its processes.
    if gpu := gpus.get():
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    torch.set_num_threads(threads)
    threadpool_limits(threads)


def _ends_of(group: Sequence[Run], results: Path, progress: Progress) -> list[Ended]:
    """Runs one after the other in this process."""
    return [_end_of(run, results, progress.named(_name(run))) for run in group]
