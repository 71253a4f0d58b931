"""`nmi.md`: do features cluster by design choices of the generative models? As the paper's Table 5."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np

from gmbench.leaderboard.markdown import (
    HOW_TO_REPRODUCE,
    MISSING,
    NO_RECORDS,
    WRITTEN_BY,
    bold,
    commands,
    details,
    mean_and_sd,
    page,
    table,
)
from gmbench.records.rows import Entry

ABOUT = f"""\
# Design choices: do features cluster by how the generative models are built?

As Table 5 of the ManiFPT paper; its published figures are in [paper.md](paper.md).

- **What is measured**: a method's features of the generated test images are clustered by k-means, k being the number of
  values that a design choice has among the sources (in the column's head). NMI, in [0, 1], says how well clusters and
  values agree: mutual information over the larger of both entropies.
- **The null**, in brackets: the same NMI when the values are dealt out to the sources at random (mean of 100 deals).
  Features that tell sources apart agree with any grouping of sources, so NMI alone shows nothing; only what lies above
  the null can be owed to the design choice.
- **On what**: the setting `clean` of the datasets of [datasets.md](datasets.md), without real images, which have no
  design.
- **How sure**: means over the seeds. In **bold** where NMI lies above the null by more than the standard deviation of
  that gap over the seeds, which takes at least two. Design choices go together (most GANs share several), so a high
  value of one may be owed to another.
{HOW_TO_REPRODUCE}

{WRITTEN_BY}
"""


def nmi_page(entries: Sequence[Entry]) -> str:
    """The page as markdown."""
    kept = sorted(
        (entry for entry in entries if entry.setting == "clean" and entry.records[0].scores.nmi),
        key=lambda entry: (entry.dataset, entry.name),
    )
    if not kept:
        return page(ABOUT, NO_RECORDS)
    sections = [_section(dataset, list(group)) for dataset, group in groupby(kept, key=lambda entry: entry.dataset)]
    return page(ABOUT, *sections)


def gaps(entry: Entry) -> dict[str, np.ndarray]:
    """By design choice, how far NMI lies above the null in each seed."""
    found = [record.scores.nmi for record in entry.records]
    return {choice: np.array([of_seed[choice].nmi - of_seed[choice].null for of_seed in found]) for choice in found[0]}


def is_above(gap: np.ndarray) -> bool:
    """Whether a gap (seeds,) is larger on average than its standard deviation; never of one seed."""
    return len(gap) > 1 and bool(gap.mean() > gap.std(ddof=1))


def _section(dataset: str, entries: list[Entry]) -> str:
    found = {entry.name: gaps(entry) for entry in entries}
    values = {name: score.values for entry in entries for name, score in entry.records[0].scores.nmi.items()}
    rows = [
        [f"`{entry.name}`", *(_cell(entry, choice) for choice in values), mean_and_sd(_mean_gap(found[entry.name]), 3)]
        for entry in entries
    ]
    seeds = [len(entry.records) for entry in entries]
    headers = ["Method", *(f"{choice.replace('_', ' ')} ({k}) ↑" for choice, k in values.items()), "Mean gap ↑"]
    return page(
        f"## {dataset}",
        f"{_widest(found)} {_methods_and_baselines(entries, found)}",
        table(headers, rows),
        f"NMI (null). Mean gap: NMI - null, averaged over the design choices, ± standard deviation over the seeds. "
        f"Seeds: {min(seeds)}{f' to {max(seeds)}' if max(seeds) > min(seeds) else ''}.",
        details("Commands that make these rows", commands(entries)),
    )


def _cell(entry: Entry, choice: str) -> str:
    scores = [record.scores.nmi[choice] for record in entry.records if choice in record.scores.nmi]
    if not scores:
        return MISSING
    nmi, null = (np.array([getattr(score, field) for score in scores]) for field in ("nmi", "null"))
    return bold(f"{nmi.mean():.3f} ({null.mean():.3f})", is_above(nmi - null))


def _mean_gap(found: dict[str, np.ndarray]) -> np.ndarray:
    return np.mean(list(found.values()), axis=0)


def _widest(found: dict[str, dict[str, np.ndarray]]) -> str:
    """Where NMI lies furthest above the null, and in how many cells it does so for sure."""
    cells = [(gap, name, choice) for name, of_entry in found.items() for choice, gap in of_entry.items()]
    gap, name, choice = max(cells, key=lambda cell: cell[0].mean())
    above = sum(is_above(cell[0]) for cell in cells)
    widest = f"`{name}` on {choice.replace('_', ' ')} ({gap.mean():+.3f})"
    return (
        f"NMI lies above the null by more than the spread over the seeds in {above} of {len(cells)} cells; the gap is "
        f"largest for {widest}."
    )


def _methods_and_baselines(entries: list[Entry], found: dict[str, dict[str, np.ndarray]]) -> str:
    """The largest mean gap among `methods/` against the largest among `baselines/`."""
    best = {}
    for kind in ("method", "baseline"):
        of_kind = [(_mean_gap(found[entry.name]), entry.name) for entry in entries if entry.kind == kind]
        if not of_kind:
            return f"So far there is none of `{kind}s/` to compare with."
        best[kind] = max(of_kind, key=lambda of_entry: of_entry[0].mean())
    (ours, our_name), (theirs, their_name) = best["method"], best["baseline"]
    text = (
        f"Averaged over the design choices, the gap is {ours.mean():.3f} for the best of `methods/`, `{our_name}`, and "
        f"{theirs.mean():.3f} for the best of `baselines/`, `{their_name}`"
    )
    if min(len(ours), len(theirs)) < 2:
        return f"{text}; with one seed, there is no telling how sure this difference is."
    spread = float(np.hypot(ours.std(ddof=1), theirs.std(ddof=1)))
    is_more = abs(ours.mean() - theirs.mean()) > spread
    return f"{text}; the difference is {'more than' if is_more else 'within'} its spread over the seeds ({spread:.3f})."
