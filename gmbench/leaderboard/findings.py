"""What a table of accuracies shows, in two sentences computed from its entries, and the tests behind them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from gmbench.evaluators.significance import LEVEL, PairedDifference, paired_difference, tied_with_best
from gmbench.leaderboard.markdown import interval, listed, p_value, percent, signed
from gmbench.records.rows import Entry

ABOUT_TESTS = """\
Methods are compared image by image on the same test images, by the share of seeds in which each is right: intervals
  of differences are bootstraps over images, p is of an exact paired permutation test (McNemar's, with one seed each).
  They speak of these seeds and of images like these, not of other datasets.\
"""


def best_first(entries: Sequence[Entry]) -> list[Entry]:
    """Entries by accuracy, the highest first; of equal ones, by name."""
    return sorted(entries, key=lambda entry: (-entry.accuracies.mean(), entry.name))


def tied(entries: Sequence[Entry]) -> list[bool]:
    """For each entry, whether it is the best or not separated from it (see `tied_with_best`)."""
    return tied_with_best([entry.correct for entry in entries])


def difference(first: Entry, second: Entry) -> PairedDifference:
    """Accuracy of the first minus that of the second, on the same images."""
    return paired_difference(first.correct, second.correct)


def findings(entries: Sequence[Entry], known: Collection[str]) -> str:
    """Two sentences on entries that were tested on the same images: who leads, and methods against baselines.

    A third one names those of the `known` methods that have no record there, of which the two say nothing.
    """
    absent = sorted(set(known) - {entry.method for entry in entries})
    rest = f" **Not run yet, and so not in these sentences: {listed(absent)}.**" if absent else ""
    return f"{leading(entries)} {methods_and_baselines(entries)}{rest}"


def leading(entries: Sequence[Entry]) -> str:
    """Who has the highest accuracy, and whether the tests separate it from the next."""
    first, *others = ranked = best_first(entries)
    score = f"{percent(first.accuracies.mean())} %"
    if not others:
        return f"`{first.name}` is the only one so far ({score})."
    equals = [entry.name for entry, is_tied in zip(ranked, tied(ranked), strict=True) if is_tied and entry is not first]
    if equals:
        return f"`{first.name}` has the highest accuracy ({score}); the tests do not separate it from {listed(equals)}."
    found = difference(first, others[0])
    return (
        f"`{first.name}` leads with {score}, and the tests separate it from all others; the next, `{others[0].name}`, "
        f"lies {percent(found.difference)} points below (95 % interval {interval(found.low, found.high)})."
    )


def methods_and_baselines(entries: Sequence[Entry]) -> str:
    """How the best of `methods/` compares with the best of `baselines/`.

    The two are chosen by their scores, so p is multiplied by the number of pairs they were chosen from (Bonferroni).
    """
    ours, theirs = ([entry for entry in best_first(entries) if entry.kind == kind] for kind in ("method", "baseline"))
    if not ours or not theirs:
        return f"So far there is none of `{'baselines' if ours else 'methods'}/` to compare with."
    found = difference(ours[0], theirs[0])
    p = min(1.0, found.p * len(ours) * len(theirs))
    first, second = f"the best of `methods/`, `{ours[0].name}`", f"the best of `baselines/`, `{theirs[0].name}`"
    how_sure = (
        f"difference {signed(found.difference)} points, 95 % interval {interval(found.low, found.high)}; {p_value(p)}, "
        "corrected for the choice of the two"
    )
    if p <= LEVEL:
        return f"T{first[1:]}, lies {'above' if found.difference > 0 else 'below'} {second} ({how_sure})."
    return f"The tests do not tell {first}, from {second} ({how_sure})."
