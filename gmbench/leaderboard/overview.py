"""`README.md`: one table on one screen, and what it shows in three sentences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gmbench.leaderboard.markdown import MISSING, NO_RECORDS, WRITTEN_BY, page, percent, table
from gmbench.protocol.settings import TRANSFER
from gmbench.records.rows import Entry

RANKED = ("few-shot-10", "clean-to-laundered", "clean")
SOLVED = 0.9
ABOUT = f"""\
# Which generative model made this image?

Each figure is a mean over the embedded datasets, so that it says little of any one; intervals, tests, seeds and the
command that makes each row are on the pages: [attribution](attribution.md), [transfer](transfer.md), [NMI](nmi.md),
[significance](significance.md), [the paper's own tables](paper.md), [datasets](datasets.md).

{WRITTEN_BY}
"""
COLUMNS = """\
- **Rank**: the place by accuracy, averaged over datasets and the settings `few-shot-10`, `clean-to-laundered`, `clean`.
- **Few-shot**, **Laundered**, **Transfer**, **Clean**: accuracy in % fitted on ten images a source; fitted on clean and
  tested on recompressed images; fitted on one dataset and tested on another, over the sources that both have; with all
  images as they are.
- **FDR**: of `clean`; † where a dataset has n ≤ d images, which draws it towards 1.
- **Seconds**: of fitting and asking in `clean`, on the machines of the records, which differ.

A row is there for methods with their own parameters; a dash: not on all datasets yet.\
"""


def overview_page(entries: Sequence[Entry]) -> str:
    """The page as markdown."""
    shown = [entry for entry in entries if entry.name == entry.method]
    names = sorted({entry.name for entry in shown})
    if not names:
        return page(ABOUT, NO_RECORDS)
    places = _places(shown)
    ranks = {name: float(np.mean(places[name])) for name in names if name in places}
    order = sorted(names, key=lambda name: (ranks.get(name, np.inf), name))
    means = {setting: _means(shown, setting) for setting in RANKED}
    transfer = _means(shown, TRANSFER)
    rows = [
        [
            f"`{name}`",
            f"{ranks[name]:.1f}" if name in ranks else MISSING,
            *(_share(of_setting.get(name)) for of_setting in (means[RANKED[0]], means[RANKED[1]], transfer)),
            _fdr(shown, name),
            _seconds(shown, name),
            _share(means["clean"].get(name)),
        ]
        for name in order
    ]
    headers = ["Method", "Rank ↓", "Few-shot ↑", "Laundered ↑", "Transfer ↑", "FDR ↑", "Seconds ↓", "Clean ↑"]
    return page(ABOUT, _sentences(means, transfer, len(names)), table(headers, rows), COLUMNS)


def _means(entries: Sequence[Entry], setting: str) -> dict[str, float]:
    """By method, its accuracy averaged over the cells of a setting, of methods that have all of them."""
    cells: dict[tuple[str, str], dict[str, float]] = {}
    for entry in entries:
        if entry.setting == setting or (setting == TRANSFER and entry.tested_on is not None):
            cells.setdefault((entry.dataset, entry.setting), {})[entry.name] = float(entry.accuracies.mean())
    everywhere = set.intersection(*(set(of_cell) for of_cell in cells.values())) if cells else set()
    return {name: float(np.mean([of_cell[name] for of_cell in cells.values()])) for name in everywhere}


def _places(entries: Sequence[Entry]) -> dict[str, list[float]]:
    """By method that has all of them, its place in each cell that is ranked, from 1; equals share theirs."""
    from scipy.stats import rankdata

    cells: dict[tuple[str, str], dict[str, float]] = {}
    for entry in entries:
        if entry.setting in RANKED:
            cells.setdefault((entry.dataset, entry.setting), {})[entry.name] = float(entry.accuracies.mean())
    everywhere = sorted(set.intersection(*(set(of_cell) for of_cell in cells.values()))) if cells else []
    found: dict[str, list[float]] = {name: [] for name in everywhere}
    for of_cell in cells.values():
        for name, rank in zip(everywhere, rankdata([-of_cell[name] for name in everywhere]), strict=True):
            found[name].append(float(rank))
    return found


def _share(value: float | None) -> str:
    return MISSING if value is None else percent(value)


def _fdr(entries: Sequence[Entry], name: str) -> str:
    scores = [
        record.scores.fdr
        for entry in entries
        if (entry.name, entry.setting) == (name, "clean")
        for record in entry.records
        if record.scores.fdr is not None
    ]
    if not scores:
        return MISSING
    mark = " †" if any(fdr.is_biased for fdr in scores) else ""
    return f"{np.mean([fdr.ratio for fdr in scores]):.1f}{mark}"


def _seconds(entries: Sequence[Entry], name: str) -> str:
    spent = [
        sum(seconds for what, seconds in record.seconds.items() if what != "evaluate")
        for entry in entries
        if (entry.name, entry.setting) == (name, "clean")
        for record in entry.records
        if record.seconds
    ]
    return f"{np.mean(spent):.0f}" if spent else MISSING


def _sentences(means: dict[str, dict[str, float]], transfer: dict[str, float], known: int) -> str:
    """Who leads with few images, who on other datasets, and how much is left to gain in `clean`."""
    said = []
    for words, of_setting in (("With ten images a source", means["few-shot-10"]), ("On another dataset", transfer)):
        if len(of_setting) > 1:
            (first, best), (second, next_) = sorted(of_setting.items(), key=lambda item: (-item[1], item[0]))[:2]
            few = f" (of the {len(of_setting)} that were run everywhere)" if len(of_setting) < known else ""
            said.append(f"{words}, `{first}` has {percent(best)} % on average, `{second}` {percent(next_)} %{few}.")
    if clean := means["clean"]:
        solved = sum(value >= SOLVED for value in clean.values())
        best = max(clean.values())
        said.append(
            f"In `clean` the best has {percent(best)} %, and {solved} of {len(clean)} methods have at least "
            f"{percent(SOLVED)}."
        )
    return " ".join(said)
