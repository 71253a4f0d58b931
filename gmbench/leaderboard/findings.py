"""What a table of accuracies shows, in sentences computed from its entries, and the tests behind them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial

import numpy as np

from gmbench.evaluators.significance import (
    FEWEST_SEEDS,
    LEVEL,
    PairedDifference,
    paired_difference,
    tied_with_best,
    with_new_seeds,
    with_these_seeds,
)
from gmbench.leaderboard.markdown import interval, listed, p_value, percent, signed
from gmbench.records.rows import Entry

ABOUT_TESTS = """\
Methods are compared image by image on the same test images, by the share of seeds in which each is right: p is of an
  exact paired permutation test (McNemar's, with one seed each), intervals of differences are Agresti and Min's. What is
  said of two that were chosen by their scores is corrected for that choice.
- **These seeds, new seeds**: what is said *with these seeds* is about the very models that were fitted, on other images
  like these; *with new seeds* is about the methods, if they were fitted again, by a t-test on the spread over seeds and
  images together, which takes three seeds of each. Neither speaks of other datasets.\
"""


def best_first(entries: Sequence[Entry]) -> list[Entry]:
    """Entries by accuracy, the highest first; of equal ones, by name."""
    return sorted(entries, key=lambda entry: (-entry.accuracies.mean(), entry.name))


Test = Callable[[np.ndarray, np.ndarray], float | None]


def once(test: Test, entries: Sequence[Entry]) -> Test:
    """A test of two arrays of correct attributions that is made once of each two, if these entries keep tests."""
    kept = entries[0].kept if entries else None
    if kept is None:
        return test
    return lambda first, second: kept.value(
        "significance", partial(test, first, second), first, second, test=test.__name__
    )


def tied(entries: Sequence[Entry]) -> list[bool]:
    """For each entry, whether it is the best or, with these seeds, not separated from it (see `tied_with_best`)."""
    return tied_with_best([entry.correct for entry in entries], once(with_these_seeds, entries))


def findings(entries: Sequence[Entry], known: Collection[str]) -> str:
    """What is to be said of entries that were tested on the same images: who leads, and methods against baselines.

    A last sentence names those of the `known` methods that have no record there, of which the others say nothing.
    """
    absent = sorted(set(known) - {entry.method for entry in entries})
    rest = f" **Not run yet, and so not in these sentences: {listed(absent)}.**" if absent else ""
    return f"{leading(entries)} {methods_and_baselines(entries)}{rest}"


def leading(entries: Sequence[Entry]) -> str:
    """Who has the highest accuracy, and whether the tests separate it from the next, with these seeds and with new."""
    first, *others = ranked = best_first(entries)
    score = f"{percent(first.accuracies.mean())} %"
    if not others:
        return f"`{first.name}` is the only one so far ({score})."
    with_new = _with_new_seeds(ranked)
    equals = [entry.name for entry, is_tied in zip(others, tied(ranked)[1:], strict=True) if is_tied]
    if equals:
        return (
            f"`{first.name}` has the highest accuracy ({score}); with these seeds, the tests do not separate it from "
            f"{listed(equals)}. {with_new}"
        )
    below = percent(first.accuracies.mean() - others[0].accuracies.mean())
    return (
        f"`{first.name}` leads with {score}, and with these seeds the tests separate it from all others; the next, "
        f"`{others[0].name}`, lies {below} points below. {with_new}"
    )


def _with_new_seeds(ranked: Sequence[Entry]) -> str:
    """Whether the tests separate the first of some entries from the others with new seeds."""
    first, *others = ranked
    correct = [entry.correct for entry in ranked]
    equals = [
        entry.name
        for entry, is_tied in zip(others, tied_with_best(correct, once(with_new_seeds, ranked))[1:], strict=True)
        if is_tied
    ]
    if len(first.records) < FEWEST_SEEDS or max(len(entry.records) for entry in others) < FEWEST_SEEDS:
        return f"Of new seeds nothing is known: that takes {FEWEST_SEEDS} of each."
    return f"With new seeds, they {f'do not separate it from {listed(equals)}' if equals else 'do so too'}."


def methods_and_baselines(entries: Sequence[Entry]) -> str:
    """How the best of `methods/` compares with the best of `baselines/`, out of all pairs of one with the other."""
    ours, theirs = ([entry for entry in best_first(entries) if entry.kind == kind] for kind in ("method", "baseline"))
    if not ours or not theirs:
        return f"So far there is none of `{'baselines' if ours else 'methods'}/` to compare with."
    found = _difference(ours[0], theirs[0], len(ours) * len(theirs))
    first, second = f"the best of `methods/`, `{ours[0].name}`", f"the best of `baselines/`, `{theirs[0].name}`"
    how_sure = (
        f"difference {signed(found.difference)} points, 95 % interval {interval(found.low, found.high)}, "
        f"{p_value(found.p)}"
    )
    if found.new_seeds is not None:
        new = found.new_seeds
        how_sure += f"; with new seeds {interval(new.low, new.high)}, {p_value(new.p)}"
    if found.p <= LEVEL:
        return f"With these seeds, {first}, lies {'above' if found.difference > 0 else 'below'} {second} ({how_sure})."
    return f"With these seeds, the tests do not tell {first}, from {second} ({how_sure})."


def _difference(first: Entry, second: Entry, chosen_from: int) -> PairedDifference:
    """`paired_difference` of two entries, made once if they keep tests."""
    compute = partial(paired_difference, first.correct, second.correct, chosen_from)
    if first.kept is None:
        return compute()
    pair, name = (first.correct, second.correct), paired_difference.__name__
    dumped = first.kept.value("significance", lambda: compute().model_dump(), *pair, test=name, chosen_from=chosen_from)
    return PairedDifference(**dumped)
