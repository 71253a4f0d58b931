"""Curves and clouds of points, drawn by matplotlib on white, in colours that colour-blind people can tell apart."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gmbench.errors import MissingExtraError
from gmbench.support.html import svg

try:
    import matplotlib
    from matplotlib.figure import Figure
except ModuleNotFoundError as error:
    raise MissingExtraError.of("matplotlib", "report") from error

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#000000", "#8c8c8c")
"""Okabe and Ito's palette, its yellow left out: on white it cannot be seen."""
MARKERS = "o^sDvPX*"
BINS = 10


def _figure(width: float, height: float, columns: int = 1) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(1, columns)
    for ax in np.atleast_1d(axes):
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.25, linewidth=0.6)
    return figure, axes


def _as_svg(figure: Figure) -> str:
    """The same bytes for the same figure: no date, and names that do not depend on chance."""
    stream = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "gmbench", "svg.fonttype": "path"}):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return svg(stream.getvalue())


def style(number: int) -> dict[str, Any]:
    """Colour and marker of the n-th of many: neighbours differ in colour, those that share one in marker."""
    return {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number // len(COLOURS) % len(MARKERS)]}


def reliability(probabilities: np.ndarray, labels: np.ndarray) -> tuple[str, list[tuple[float, float, int]]]:
    """Accuracy against confidence in bins of equal width, and risk against coverage.

    Args:
        probabilities: (n, sources). labels: (n,).

    Returns:
        The drawing, and per bin that is not empty: mean confidence, accuracy, and how many images it has.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == labels
    bin_of = np.minimum((confidence * BINS).astype(int), BINS - 1)
    points = [
        (float(confidence[bin_of == b].mean()), float(right[bin_of == b].mean()), int((bin_of == b).sum()))
        for b in range(BINS)
        if (bin_of == b).any()
    ]
    order = np.argsort(-confidence, kind="stable")
    risk = np.cumsum(~right[order]) / np.arange(1, len(order) + 1)
    figure, (left, other) = _figure(9, 3.6, 2)
    left.plot([0, 1], [0, 1], color="#8c8c8c", linestyle="--", linewidth=1)
    left.plot([p[0] for p in points], [p[1] for p in points], color=COLOURS[0], marker="o")
    left.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1.02), ylim=(0, 1.02), title="Reliability")
    other.plot(np.arange(1, len(order) + 1) / len(order), risk, color=COLOURS[3])
    other.set(xlabel="share of images kept", ylabel="error rate", xlim=(0, 1.02), title="Risk and coverage")
    other.set_ylim(bottom=0)
    return _as_svg(figure), points


def cloud(places: np.ndarray, names: Sequence[str], groups: Sequence[str], title: str) -> str:
    """Points (n, 2) in colours and markers of their groups.

    Args:
        groups: (n,) of each point. names: the groups in the order of their legend.
    """
    figure, ax = _figure(9, 6)
    of = np.asarray(groups)
    for number, name in enumerate(names):
        chosen = places[of == name]
        ax.scatter(*chosen.T, s=9, alpha=0.7, linewidths=0, label=name, rasterized=True, **style(number))
    ax.set(title=title, xticks=[], yticks=[])
    ax.spines[["left", "bottom"]].set_visible(False)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, markerscale=2, fontsize=9)
    return _as_svg(figure)


def curves(named: Mapping[str, Sequence[float]], ylabel: str, title: str) -> str:
    """Values per epoch."""
    figure, ax = _figure(7, 3.4)
    for number, (name, values) in enumerate(named.items()):
        ax.plot(range(1, len(values) + 1), values, label=name, markersize=3, **style(number))
    ax.set(xlabel="epoch", ylabel=ylabel, title=title)
    if len(named) > 1:
        ax.legend(frameon=False)
    return _as_svg(figure)


def profiles(named: Mapping[str, np.ndarray], title: str) -> str:
    """Mean spectra by frequency, as differences from those of real images."""
    figure, ax = _figure(9, 4.4)
    for number, (name, values) in enumerate(named.items()):
        frequency = np.arange(1, len(values) + 1) / (2 * len(values))
        ax.plot(
            frequency,
            values,
            label=name,
            linewidth=1.2,
            markevery=max(1, len(values) // 6),
            markersize=4,
            **style(number),
        )
    ax.axhline(0, color="#8c8c8c", linewidth=1)
    ax.set(xlabel="cycles per pixel", ylabel="decibel above real", title=title)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=9)
    return _as_svg(figure)
