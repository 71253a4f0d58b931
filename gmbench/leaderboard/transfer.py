"""`transfer.md`: fitted on one dataset, tested on another, as the paper's Table 4."""

from __future__ import annotations

from collections.abc import Sequence

from gmbench.leaderboard.findings import ABOUT_TESTS, best_first, findings, tied
from gmbench.leaderboard.markdown import (
    HOW_TO_REPRODUCE,
    MISSING,
    NO_RECORDS,
    WRITTEN_BY,
    bold,
    commands,
    details,
    interval,
    listed,
    mean_and_sd,
    page,
    percent,
    signed,
    table,
)
from gmbench.records.rows import Entry, methods_of

ABOUT = f"""\
# Transfer: fitted on one dataset, tested on another

As Table 4 of the ManiFPT paper; its published figures are in [paper.md](paper.md).

- **What is measured**: whether what a method learnt of a generative model on the images of dataset A holds for the same
  kind of model trained on the images of dataset B. It is fitted and chosen on A, and attributes the test images of B.
- **On what**: the sources that both datasets have; images of other sources are left out on both sides.
- **How sure**: mean ± standard deviation over the seeds, and an interval over the test images. In **bold**, the highest
  accuracy and those that the tests, with these seeds, do not separate from it (5 %, Holm-corrected for all pairs).
  {ABOUT_TESTS}
{HOW_TO_REPRODUCE}

Columns:

- **On B %** ↑: accuracy on the test images of B, mean ± standard deviation over the seeds.
- **95 %**: interval of that mean over the test images of B: Wilson's, for as many images as the seeds are worth.
- **On A %** ↑: accuracy in the setting `clean` on the test images of A that are of these sources, choosing among these
  alone. There the method was fitted on all sources of A.
- **B - A** ↑: the difference of these two in points: what the change of dataset costs.

{WRITTEN_BY}
"""


def transfer_page(entries: Sequence[Entry]) -> str:
    """The page as markdown."""
    at_home = {(entry.dataset, entry.name): entry for entry in entries if entry.setting == "clean"}
    directions: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        if entry.tested_on is not None:
            directions.setdefault((entry.dataset, entry.tested_on), []).append(entry)
    if not directions:
        return page(ABOUT, NO_RECORDS)
    parts, known = [ABOUT], methods_of(entries)
    for one, other in sorted({(min(direction), max(direction)) for direction in directions}):
        parts.append(f"## {one} and {other}")
        for fitted, tested in ((one, other), (other, one)):
            parts.append(f"### Fitted on {fitted}, tested on {tested}")
            found = best_first(directions.get((fitted, tested), []))
            parts.append(_direction(found, at_home, known) if found else NO_RECORDS)
    return page(*parts)


def _direction(entries: list[Entry], at_home: dict[tuple[str, str], Entry], known: list[str]) -> str:
    sources, identity = entries[0].sources, entries[0].records[0].identity
    rows = [
        [
            f"`{entry.name}`",
            bold(mean_and_sd(100 * entry.accuracies, 1), is_tied),
            interval(*entry.interval),
            *_home(entry, at_home.get((entry.dataset, entry.name))),
            len(entry.records),
        ]
        for entry, is_tied in zip(entries, tied(entries), strict=True)
    ]
    return page(
        f"{len(sources)} sources: {listed(sources)}. {len(entries[0].labels):,} test images; chance is "
        f"{percent(1 / len(sources))} %. Revisions `{identity.dataset_revision[:12]}` (fitted on) and "
        f"`{str(identity.tested_revision)[:12]}` (tested on).",
        findings(entries, known),
        table(["Method", "On B % ↑", "95 %", "On A % ↑", "B - A ↑", "Seeds"], rows),
        details("Commands that make these rows", commands(entries)),
    )


def _home(entry: Entry, home: Entry | None) -> tuple[str, str]:
    """Accuracy on the dataset it was fitted on, and the difference."""
    if home is None:
        return MISSING, MISSING
    accuracies = home.accuracies_among(entry.sources)
    return mean_and_sd(100 * accuracies, 1), signed(entry.accuracies.mean() - accuracies.mean())
