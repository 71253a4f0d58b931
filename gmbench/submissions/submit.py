"""`gmbench submit`: the records that a row of the leaderboard needs, by running a method or from its predictions."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

from gmbench.attributors import METHOD_FOLDERS
from gmbench.data.cards import DatasetCard
from gmbench.errors import ParameterError
from gmbench.leaderboard.pages import update_pages
from gmbench.protocol.settings import TRANSFER
from gmbench.registry import Method
from gmbench.runs.runner import Run
from gmbench.runs.sweep import BOARD, Swept, matrix, sweep
from gmbench.submissions.reading import read_findings
from gmbench.support.git import uncommitted
from gmbench.support.progress import Progress


@dataclass(frozen=True)
class Submitted:
    """What a submission left.

    Attributes:
        swept: how the runs ended.
        pages: those that were written anew.
        to_commit: folders to commit.
    """

    swept: Swept
    pages: list[Path]
    to_commit: list[Path]


def submit(
    method: Method,
    datasets: Sequence[DatasetCard],
    seeds: int,
    device: str,
    results: Path,
    progress: Progress,
    jobs: int = 1,
    allow_dirty: bool = False,
) -> Submitted:
    """Runs a method on datasets in every setting, and from each to each that shares a generative model with it.

    Records that are there already stay, unless they are of code that was in no commit. The pages are built anew if no
    run failed.

    Raises:
        ParameterError: the method has no code, its card, README or imports are not fit to be proposed, or the checkout
            has changes that are in no commit (and not `allow_dirty`).
    """
    if method.card.attributor is None:
        raise ParameterError(f"{method.slug} has no code to run. Hand in its predictions with --predictions FILE.")
    require_fitness(method)
    if (changed := uncommitted()) and not allow_dirty:
        raise ParameterError(
            f"{', '.join(changed[:3])}{' and others' if len(changed) > 3 else ''}: not in a commit, so nobody could "
            "get back the code of these records. Commit first (or --allow-dirty, for records that you do not propose)."
        )
    runs = runs_of(method, datasets, seeds, device)
    progress.say(
        f"{len(runs)} runs (datasets: {len(datasets)}; settings: {len(BOARD)}, and transfer between datasets that "
        f"share a generative model; seeds: {seeds})"
    )
    swept = sweep(runs, results, progress, jobs)
    pages = [] if swept.failed else update_pages(results, results.parent)
    return Submitted(swept, pages, _to_commit(method, results.parent))


def require_fitness(method: Method) -> None:
    """A method's card, README and imports are fit to be proposed.

    Raises:
        ParameterError: they are not; the message says which and why.
    """
    for finding in read_findings(method):
        if not finding.ok:
            raise ParameterError(
                f"{method.slug} is not fit to be proposed ({finding.check}): {finding.message}. "
                f"Then: gmbench check {method.name}"
            )


def runs_of(method: Method, datasets: Sequence[DatasetCard], seeds: int, device: str) -> list[Run]:
    """What the leaderboard needs of a method: all settings on each dataset, and transfer where it can be."""
    runs = list(matrix([method], datasets, BOARD, seeds, device))
    for one, other in permutations(datasets, 2):
        if set(one.generators) & set(other.generators):
            runs += matrix([method], [one], [TRANSFER + other.slug], seeds, device)
    return runs


def _to_commit(method: Method, leaderboards: Path) -> list[Path]:
    """The method's folder if it lies in the project, and the leaderboards."""
    ours = [method.folder] if method.folder.resolve().parent in METHOD_FOLDERS else []
    return [Path(os.path.relpath(path)) for path in (*ours, leaderboards)]
