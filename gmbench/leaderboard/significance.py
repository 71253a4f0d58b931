"""`significance.md`: which methods differ by more than chance, pair by pair and over datasets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations, groupby

import numpy as np

from gmbench.evaluators.significance import (
    FEWEST_SEEDS,
    LEVEL,
    Ranking,
    accuracy_difference,
    friedman_nemenyi,
    separated,
    with_new_seeds,
    with_these_seeds,
)
from gmbench.leaderboard.findings import ABOUT_TESTS, best_first, once
from gmbench.leaderboard.markdown import MISSING, NO_RECORDS, WRITTEN_BY, listed, p_value, page, signed, table
from gmbench.records.kept import Kept
from gmbench.records.rows import Entry

ABOUT = f"""\
# Significance: which methods differ by more than chance?

- **What is measured**: for each pair of methods, the difference of their accuracies in points, row minus column. Rows
  and columns are sorted by accuracy; below the diagonal the same would stand with the other sign. `*`: with these
  seeds, the tests separate the two (5 %, Holm-corrected for all pairs of the table); `**`: with new seeds too.
- **On what**: the settings `few-shot-10` and `clean` of [attribution.md](attribution.md), the same records.
- **How sure**:
  {ABOUT_TESTS}
- **Ranks**: over all datasets and seeds, each pair of dataset and seed being a block, Friedman's test asks whether the
  methods differ at all, and two whose mean ranks are further apart than Nemenyi's critical difference differ (5 %).
  Seeds of one dataset share its test images, so with few datasets both are surer than they should be.
- **How to reproduce**: the commands of [attribution.md](attribution.md), then `gmbench leaderboard`.

{WRITTEN_BY}
"""
SETTINGS = ("few-shot-10", "clean")
FEWEST_METHODS, FEWEST_BLOCKS = 3, 2


def significance_page(entries: Sequence[Entry]) -> str:
    """The page as markdown."""
    parts = []
    for setting in SETTINGS:
        kept = sorted((entry for entry in entries if entry.setting == setting), key=lambda entry: entry.dataset)
        if not kept:
            continue
        parts.append(f"## Setting `{setting}`")
        for dataset, group in groupby(kept, key=lambda entry: entry.dataset):
            parts.append(_pairs(dataset, best_first(list(group))))
        parts.append(f"### Ranks over datasets and seeds\n\n{_ranks(kept)}")
    return page(ABOUT, *(parts or [NO_RECORDS]))


def _pairs(dataset: str, entries: list[Entry]) -> str:
    correct = [entry.correct for entry in entries]
    with_these = separated(correct, once(with_these_seeds, entries))
    with_new = with_these & separated(correct, once(with_new_seeds, entries))
    marks = with_these.astype(int) + with_new
    rows = [
        [
            f"{i + 1} `{entry.name}`",
            *("" for _ in range(1, i)),
            *([MISSING] if i else []),
            *(
                f"{signed(accuracy_difference(correct[i], correct[j]))}{'*' * marks[i, j]}"
                for j in range(i + 1, len(entries))
            ),
        ]
        for i, entry in enumerate(entries)
    ]
    numbers = [str(i + 1) for i in range(1, len(entries))]
    shown = table(["Row - column", *numbers], rows) if numbers else ""
    return page(f"### {dataset}", _findings(entries, with_these, with_new), shown)


def _findings(entries: list[Entry], with_these: np.ndarray, with_new: np.ndarray) -> str:
    """How many pairs are separated, and how those of a method with a baseline end."""
    pairs = list(combinations(range(len(entries)), 2))
    if not pairs:
        return f"`{entries[0].name}` is the only one so far. There is no pair to compare."
    mixed = [(i, j) for i, j in pairs if {entries[i].kind, entries[j].kind} == {"method", "baseline"}]
    ahead, behind = (
        sum(bool(with_these[i, j]) and entries[i].kind == kind for i, j in mixed) for kind in ("method", "baseline")
    )
    new = f"with new seeds {with_new.sum() // 2}"
    if all(len(entry.records) < FEWEST_SEEDS for entry in entries):
        new = f"of new seeds nothing is known, which takes {FEWEST_SEEDS} of each"
    return (
        f"With these seeds, the tests separate {with_these.sum() // 2} of {len(pairs)} pairs; {new}. In the "
        f"{len(mixed)} pairs of one of `methods/` with one of `baselines/`, with these seeds, the method is ahead in "
        f"{ahead} and the baseline in {behind}; {len(mixed) - ahead - behind} are undecided."
    )


def _ranks(entries: list[Entry]) -> str:
    scores: dict[str, dict[tuple[str, int], float]] = {}
    for entry in entries:
        for record, accuracy in zip(entry.records, entry.accuracies, strict=True):
            scores.setdefault(entry.name, {})[entry.dataset, record.identity.seed] = float(accuracy)
    names, blocks = _complete(scores)
    if len(names) < FEWEST_METHODS or len(blocks) < FEWEST_BLOCKS:
        return f"Too few records: this needs {FEWEST_METHODS} methods with {FEWEST_BLOCKS} datasets or seeds in common."
    ranking = _ranking(np.array([[scores[name][block] for name in names] for block in blocks]), entries[0].kept)
    order = sorted(range(len(names)), key=lambda i: (ranking.mean_ranks[i], names[i]))
    best = ranking.mean_ranks[order[0]]
    near = [names[i] for i in order[1:] if ranking.mean_ranks[i] - best <= ranking.critical_difference]
    left_out = sorted(set(scores) - set(names))
    without = f" (without {listed(left_out)}, for want of records)" if left_out else ""
    differ = "differ" if ranking.p <= LEVEL else "are not found to differ"
    return page(
        f"The {len(names)} methods{without} {differ} on {len(blocks)} blocks (Friedman's chi-square "
        f"{ranking.statistic:.1f}, {p_value(ranking.p)}). `{names[order[0]]}` has the lowest mean rank; within the "
        f"critical difference of it: {listed(near) if near else 'none'}.",
        table(["Method", "Mean rank ↓"], [[f"`{names[i]}`", f"{ranking.mean_ranks[i]:.2f}"] for i in order]),
        f"Critical difference: {ranking.critical_difference:.2f}.",
    )


def _ranking(scores: np.ndarray, kept: Kept | None) -> Ranking:
    """`friedman_nemenyi`, made once if tests are kept: it imports for a second."""
    if kept is None:
        return friedman_nemenyi(scores)
    return Ranking(**kept.value("significance", lambda: friedman_nemenyi(scores).model_dump(), scores, test="ranks"))


def _complete(scores: dict[str, dict[tuple[str, int], float]]) -> tuple[list[str], list[tuple[str, int]]]:
    """As many methods as have enough blocks in common: those with the fewest blocks are left out until it is so."""
    names = sorted(scores, key=lambda name: (-len(scores[name]), name))
    while len(names) > FEWEST_METHODS and len(_common(scores[name] for name in names)) < FEWEST_BLOCKS:
        names.pop()
    return names, _common(scores[name] for name in names)


def _common(blocks: Iterable[dict[tuple[str, int], float]]) -> list[tuple[str, int]]:
    """Blocks that all have."""
    first, *others = blocks
    return sorted(block for block in first if all(block in other for other in others))
