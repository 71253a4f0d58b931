"""The figures that a reader of one record sees first, with what they mean: the same in the terminal and in reports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gmbench.records.schema import Scores


class Figure(NamedTuple):
    """One figure: what it is, its value, and what a reader compares it with."""

    name: str
    value: str
    words: str


def of_accuracy(scores: Scores, sources: Sequence[str]) -> list[Figure]:
    """Accuracy with its interval and chance; where sources differ in size, also what that does to it."""
    accuracy = scores.accuracy
    images = [sum(counts) for counts in accuracy.confusion]
    found = [
        Figure(
            "accuracy",
            f"{accuracy.accuracy:.1%}",
            f"of {sum(images):,} test images; 95 % interval {accuracy.low:.1%} to {accuracy.high:.1%}",
        ),
        Figure("chance", f"{1 / len(sources):.1%}", f"{len(sources)} sources"),
    ]
    if len(set(images)) > 1:
        largest = sources[images.index(max(images))]
        found += [
            Figure("balanced accuracy", f"{accuracy.balanced:.1%}", "mean recall of the sources, which differ in size"),
            Figure("always the largest", f"{max(images) / sum(images):.1%}", f"the share of {largest}"),
        ]
    return found


def of_detection(scores: Scores, sources: Sequence[str]) -> list[Figure]:
    """Real or generated, beside chance."""
    images = [sum(counts) for counts in scores.accuracy.confusion]
    chance = f"{1 - images[0] / sum(images):.3f}"
    detection = scores.detection
    return [
        Figure("real or generated", f"{detection.auroc:.3f}", "AUROC; 0.5 is chance"),
        Figure("average precision", f"{detection.average_precision:.3f}", f"of generated images; {chance} is chance"),
    ]


def of_calibration(scores: Scores, sources: Sequence[str]) -> list[Figure]:
    """How far confidence lies from accuracy."""
    return [
        Figure("calibration error", f"{scores.calibration.ece:.1%}", f"expected, over {scores.calibration.bins} bins")
    ]


def of_fdr(scores: Scores, sources: Sequence[str]) -> list[Figure]:
    """How far apart sources lie, with the mark of those that are not to be compared; why there is none."""
    fdr = scores.fdr
    if fdr is None:
        return [Figure("FDR", "none", scores.absent["fdr"])] if "fdr" in scores.absent else []
    mark = " †" if fdr.is_biased else ""
    spread = f"± {fdr.sd:.2f} over {fdr.halvings} halvings, n = {fdr.n}, d = {fdr.d}"
    found = [Figure("FDR", f"{fdr.ratio:.2f}{mark}", spread)]
    if fdr.is_biased:
        found.append(Figure("", "", "† n ≤ d: drawn towards 1; do not compare it with others"))
    return found
