"""`attribution.md`: accuracy and FDR of every method, as the paper's Table 2."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

import numpy as np
from tabulate import tabulate

from gmbench.leaderboard.entries import Entry

ABOUT = """\
# Attribution: which generative model made this image?

Each method is fitted on the training images of all sources (`real` is one of them), chosen on the validation images,
and asked about the test images. All methods see the same images in the same roles. Tables are sorted by accuracy.

- **Accuracy**: share of test images attributed to their true source, in %, mean ± standard deviation over the seeds.
  Higher is better.
- **95 %**: bootstrap interval of that mean over test images.
- **FDR**: Fréchet distance ratio of the method's features, mean ± standard deviation over the seeds, from random halves
  of n images per source with d features. Higher is better. It depends on n and d, and a few
  extreme values of hand-made features can rule it; compare it between methods with care.
- **Recall**: accuracy per source, in %, mean over the seeds.

Written by `gmbench leaderboard` from the records in `results/`; do not edit by hand.
"""

SETTINGS_IN_WORDS = {
    "clean": "all training images, as they are stored (the paper's protocol)",
    "few-shot-10": "ten training and ten validation images per source, drawn anew for each seed",
}


def attribution_page(entries: Iterable[Entry]) -> str:
    """The page as markdown."""
    parts = [ABOUT]
    by_setting = sorted(entries, key=lambda entry: (entry.setting, entry.dataset))
    for setting, in_setting in groupby(by_setting, key=lambda entry: entry.setting):
        parts.append(f"## Setting `{setting}`\n\n{SETTINGS_IN_WORDS.get(setting, '')}".rstrip() + "\n")
        for dataset, group in groupby(in_setting, key=lambda entry: entry.dataset):
            parts.append(
                _dataset_section(dataset, sorted(group, key=lambda entry: (-entry.accuracies.mean(), entry.name)))
            )
    if len(parts) == 1:
        parts.append("There are no records yet.\n")
    return "\n".join(parts)


def _dataset_section(dataset: str, entries: list[Entry]) -> str:
    first = entries[0].records[0]
    sources = entries[0].sources
    chance = 100 / len(sources)
    scores = [
        [
            f"`{entry.name}`",
            _mean_and_sd(100 * entry.accuracies, 1),
            f"{100 * entry.interval[0]:.1f} to {100 * entry.interval[1]:.1f}",
            _mean_and_sd(entry.fdrs, 2),
            entry.records[0].scores.fdr.n,
            entry.records[0].scores.fdr.d,
            len(entry.records),
        ]
        for entry in entries
    ]
    recalls = [[f"`{entry.name}`", *(f"{100 * entry.recall[source]:.0f}" for source in sources)] for entry in entries]
    commands = "\n".join(
        f"{record.command}  # {record.environment.hardware}" for entry in entries for record in entry.records
    )
    return "\n\n".join(
        [
            f"### {dataset}",
            f"{len(sources)} sources, {first.images['test']} test images, {first.images['train']} training images, "
            f"chance {chance:.1f} %. Dataset revision `{first.identity.dataset_revision[:12]}`.",
            _table(["Method", "Accuracy % ↑", "95 %", "FDR ↑", "n", "d", "Seeds"], scores),
            "Recall per source:",
            _table(["Method", *(f"`{source}`" for source in sources)], recalls),
            "<details><summary>Commands that make these rows</summary>\n\n```\n" + commands + "\n```\n\n</details>\n",
        ]
    )


def _mean_and_sd(values: np.ndarray, digits: int) -> str:
    sd = f" ± {values.std(ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{values.mean():.{digits}f}{sd}"


def _table(headers: list[str], rows: list[list]) -> str:
    align = ["left", *["right"] * (len(headers) - 1)]
    return tabulate(rows, headers, tablefmt="pipe", colalign=align, disable_numparse=True)
