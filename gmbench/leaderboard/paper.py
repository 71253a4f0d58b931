"""`paper.md`: the figures that the ManiFPT paper prints, beside those made here, and its errata."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gmbench.leaderboard.errata import errata, true_averages
from gmbench.leaderboard.markdown import MISSING, WRITTEN_BY, mean_and_sd, page, percent, table
from gmbench.records.rows import Entry

FIGURES = Path(__file__).with_name("paper.json")
ABOUT = """\
# The paper's figures

- **What is here**: the figures of the paper, copied as they stand:
  {source}.
  Columns named *here* have what the records of this repository give for the same method, with its default parameters,
  on a dataset of the same name: mean ± standard deviation over the seeds. There is no such column where there is no
  record on that dataset yet.
- **How to compare**: figures here are of gmbench's protocol, in which no real image is its own projection, and of the
  generative models listed in [datasets.md](datasets.md). They need not equal the paper's.
- **How sure, and how to reproduce a figure made here**: [attribution.md](attribution.md), [transfer.md](transfer.md),
  [nmi.md](nmi.md).

{written_by}

## Errata

What the text says, beside what the tables say (computed from them) and the released code does:

{errata}
"""


def paper_page(entries: Sequence[Entry]) -> str:
    """The page as markdown."""
    paper = json.loads(FIGURES.read_text(encoding="utf-8"))
    found = "\n".join(f"- {erratum}" for erratum in errata(paper))
    return page(
        ABOUT.format(source=paper["source"], written_by=WRITTEN_BY, errata=found),
        _attribution(paper["table2_attribution"], entries),
        _transfer(paper["table4_transfer_accuracy"], entries),
        _nmi(paper["table5_nmi"], entries),
    )


def _attribution(published: dict[str, Any], entries: Sequence[Entry]) -> str:
    clean = {(entry.dataset, entry.name): entry for entry in entries if entry.setting == "clean"}
    parts = ["## Table 2: attribution\n\nAccuracy in %, and Fréchet distance ratio (FDR); setting `clean`."]
    for dataset in next(iter(published.values())):
        is_here = any(place[0] == dataset for place in clean)
        headers = ["Method", "Accuracy % ↑", *["here"] * is_here, "FDR ↑", *["here"] * is_here]
        rows = []
        for method, of_dataset in published.items():
            figures, entry = of_dataset[dataset], clean.get((dataset, method))
            accuracy, fdr = f"{figures['accuracy']:.1f} ± {figures['accuracy_sd']:.1f}", f"{figures['fdr']:.1f}"
            ours = (MISSING, MISSING)
            if entry is not None:
                fdrs = np.array([of_run.ratio for record in entry.records if (of_run := record.scores.fdr) is not None])
                ours = (mean_and_sd(100 * entry.accuracies, 1), mean_and_sd(fdrs, 1) if len(fdrs) else MISSING)
            rows.append([f"`{method}`", accuracy, *ours[:1] * is_here, fdr, *ours[1:] * is_here])
        parts.append(f"### {dataset}\n\n{table(headers, rows)}")
    return page(*parts)


def _transfer(published: dict[str, dict[str, float]], entries: Sequence[Entry]) -> str:
    here = {(f"{entry.dataset}->{entry.tested_on}", entry.name): entry for entry in entries if entry.tested_on}
    headers = ["Method"]
    rows = [[f"`{method}`"] for method in published]
    for direction in next(iter(published.values())):
        is_here = any(place[0] == direction for place in here)
        headers += [direction.replace("->", " → "), *["here"] * is_here]
        for row, (method, figures) in zip(rows, published.items(), strict=True):
            entry = here.get((direction, method))
            ours = percent(entry.accuracies.mean()) if entry is not None else MISSING
            row += [f"{figures[direction]:.1f}", *[ours] * is_here]
    about = "Accuracy in % (↑), fitted on the first dataset and tested on the second."
    return f"## Table 4: transfer\n\n{about}\n\n{table(headers, rows)}\n"


def _nmi(published: dict[str, Any], entries: Sequence[Entry]) -> str:
    true = true_averages(published)
    choices = list(true)
    rows = []
    for method, values in published["values"].items():
        rows.append([f"`{method}`", "paper", *(f"{values[choice]:.3f}" for choice in choices)])
        rows += [
            [f"`{method}`", entry.dataset, *(_mean_nmi(entry, choice) for choice in choices)]
            for entry in entries
            if entry.name == method and entry.setting == "clean" and entry.records[0].scores.nmi
        ]
    for name, average in (("printed", published["printed_average"]), ("true", true)):
        rows.append([f"average, {name}", "paper", *(f"{average[choice]:.3f}" for choice in choices)])
    headers = ["Features", "Where", *(f"{choice.replace('_', ' ')} ↑" for choice in choices)]
    return (
        "## Table 5: alignment with design choices\n\nNMI with `max` normalisation. The paper does not say on which "
        "dataset; figures made here are of the dataset in the column *Where*. They say little without the null, "
        f"which is in [nmi.md](nmi.md).\n\n{table(headers, rows, left=['Where'])}\n"
    )


def _mean_nmi(entry: Entry, choice: str) -> str:
    found = [record.scores.nmi[choice].nmi for record in entry.records if choice in record.scores.nmi]
    return f"{np.mean(found):.3f}" if found else MISSING
