"""What of the paper's text and tables does not hold, computed from its tables; only what the text says is copied."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from gmbench.leaderboard.markdown import joined

HAND_CRAFTED = ("mccloskey18", "nataraj19", "durall20", "dzanic20")
NETWORKS = ("wang20", "marra18", "marra19", "yu19")
EXISTING = HAND_CRAFTED + NETWORKS
VARIANTS = ("manifpt-rgb", "manifpt-freq", "manifpt-sl", "manifpt-ssl")
ROUNDING = 6e-4
RELEASED = (
    "The released code takes each real image for its own projection, so that the artifact of a real image is zero and "
    "the class real is free."
)


def errata(paper: Mapping[str, Any]) -> list[str]:
    """A sentence for each, from `paper.json`."""
    attribution, said = paper["table2_attribution"], paper["text"]
    accuracy, fdr = (_by_dataset(attribution, figure) for figure in ("accuracy", "fdr"))
    return [
        _averages(paper["table5_nmi"]),
        "The text says that FDRs are significantly higher for learned representations (wang20 and below) than for "
        f"hand-crafted ones; {_exceptions(fdr, NETWORKS + VARIANTS)}.",
        "The text says that hand-crafted features perform worse than learned ones (it names marra18 and yu19); "
        f"{_exceptions(accuracy, ('marra18', 'yu19'))}.",
        _margins(accuracy, said["margins"], said["average_margin"]),
        _transfer(paper["table4_transfer_accuracy"]),
        _models(paper["table1_datasets"]["gm-celeba"], said["gm-celeba_models"]),
        RELEASED,
    ]


def true_averages(table: Mapping[str, Any]) -> dict[str, float]:
    """The means of the rows of table 5, by design choice."""
    rows = list(table["values"].values())
    return {choice: float(np.mean([row[choice] for row in rows])) for choice in rows[0]}


def _averages(table: Mapping[str, Any]) -> str:
    printed, true = table["printed_average"], true_averages(table)
    wrong = [choice for choice in true if abs(printed[choice] - true[choice]) > ROUNDING]
    names = joined(choice.replace("_", " ") for choice in wrong)
    return (
        f"Table 5's printed average is not the mean of its rows for {names}: the means are "
        f"{joined(f'{true[choice]:.3f}' for choice in wrong)}, printed are "
        f"{joined(f'{printed[choice]:.3f}' for choice in wrong)}."
    )


def _exceptions(by_dataset: Mapping[str, Mapping[str, float]], learned: tuple[str, ...]) -> str:
    """On which datasets which of the learned methods lie below all hand-crafted ones, or below the best of them."""
    parts = []
    for dataset, figures in by_dataset.items():
        of_hand = {name: figures[name] for name in HAND_CRAFTED}
        lowest, best = min(of_hand.values()), max(of_hand, key=lambda name: of_hand[name])
        below_all = [name for name in learned if figures[name] < lowest]
        below_best = [name for name in learned if lowest <= figures[name] < of_hand[best]]
        limits = f"all hand-crafted methods ({lowest:.1f} to {of_hand[best]:.1f})"
        found = [
            f"{_named(names, figures)} {'lie' if len(names) > 1 else 'lies'} below {what}"
            for names, what in ((below_all, limits), (below_best, _named([best], figures)))
            if names
        ]
        parts += [f"on {dataset} {' and '.join(found)}"] if found else []
    return joined(parts)


def _margins(by_dataset: Mapping[str, Mapping[str, float]], said: list[float], average: float) -> str:
    margins, lower = {}, []
    for dataset, figures in by_dataset.items():
        best = max(EXISTING, key=lambda name: figures[name])
        margins[dataset] = max(figures[name] for name in VARIANTS) - figures[best]
        if behind := [name for name in VARIANTS if figures[name] < figures[best]]:
            lower.append(f"on {dataset} {_named(behind, figures)} lie below {_named([best], figures)}")
    left_out = [f"{dataset} ({margin:.1f})" for dataset, margin in margins.items() if round(margin, 1) not in said]
    return (
        f"The text gives the margins over existing methods in each dataset as {joined(f'{m:.1f}' for m in said)}, "
        f"{average:.2f} on average: {joined(left_out)} is left out, and the average over all four datasets is "
        f"{np.mean(list(margins.values())):.2f}. They are margins of the best variant: {joined(lower)}."
    )


def _transfer(table: Mapping[str, Mapping[str, float]]) -> str:
    parts = []
    for direction in table[VARIANTS[0]]:
        figures = {name: row[direction] for name, row in table.items()}
        best = max(EXISTING, key=lambda name: figures[name])
        behind = [name for name in VARIANTS if figures[name] <= figures[best]]
        part = f"{len(VARIANTS) - len(behind)} on {direction.replace('->', ' → ')}"
        if behind:
            verb = "lies" if len(behind) == 1 else "lie"
            part += f" ({_named(behind, figures)} {verb} below {_named([best], figures)})"
        parts.append(part)
    return (
        "The text says that the manifold methods outperform existing methods in both transfer scenarios; of the "
        f"four variants, as many do: {joined(parts)}."
    )


def _models(table: Mapping[str, Any], said: Mapping[str, int]) -> str:
    counts = {family: len(table[family]) for family in said}
    spelled = [", ".join(f"{count} {family}" for family, count in each.items()) for each in (said, counts)]
    return (
        f"The appendix says that gm-celeba has {sum(said.values())} models ({spelled[0]}); "
        f"Table 1 lists {sum(counts.values())} ({spelled[1]})."
    )


def _by_dataset(table: Mapping[str, Mapping[str, Any]], figure: str) -> dict[str, dict[str, float]]:
    datasets = next(iter(table.values()))
    return {dataset: {name: row[dataset][figure] for name, row in table.items()} for dataset in datasets}


def _named(names: Iterable[str], figures: Mapping[str, float]) -> str:
    return joined(f"{name} ({figures[name]:.1f})" for name in names)
