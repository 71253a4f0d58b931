"""Numbers and tables in markdown, the same on every page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np
from tabulate import tabulate

from gmbench.records.command import command_of
from gmbench.records.rows import Entry
from gmbench.records.schema import Environment

MISSING = "-"
NO_RECORDS = "There are no records yet."
WRITTEN_BY = "Written by `gmbench leaderboard` from the records in `results/`; do not edit by hand."
HOW_TO_REPRODUCE = """\
- **How to reproduce a row**: the commands below each table, at the commit beside them. Records: `results/`.
  A network is trained to the same predictions only on the hardware and with the threads that are named there
  (`OMP_NUM_THREADS=1` for one), and with the versions of packages in the record. With others, sums are rounded
  otherwise, and it ends elsewhere, as with another seed.\
"""


def page(*parts: str) -> str:
    """Parts with an empty line between them."""
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def table(headers: Sequence[str], rows: Sequence[Sequence[object]], left: Iterable[str] = ()) -> str:
    """A table whose columns are right-aligned, but for the first and those whose headers are in `left`.

    Cells are not padded, so that a new row changes no other.
    """
    wanted = {headers[0], *left}
    align = ["left" if header in wanted else "right" for header in headers]
    head, rule, *lines = tabulate(rows, headers, tablefmt="pipe", colalign=align, disable_numparse=True).splitlines()
    return "\n".join(re.sub(" +", " ", line) for line in (head, re.sub("-+", "---", rule), *lines))


def details(summary: str, *parts: str) -> str:
    """Parts that a reader opens."""
    return "\n\n".join([f"<details><summary>{summary}</summary>", *parts, "</details>"])


def mean_and_sd(values: np.ndarray, digits: int) -> str:
    """Mean ± standard deviation of values (n,); the mean alone of one."""
    sd = f" ± {values.std(ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{values.mean():.{digits}f}{sd}"


def percent(share: float) -> str:
    """A share, or a difference of shares, in %, one digit."""
    return f"{100 * share:.1f}"


def signed(difference: float) -> str:
    """A difference of shares in percentage points, with its sign."""
    return f"{100 * difference:+.1f}"


def interval(low: float, high: float) -> str:
    """An interval of shares, or of their differences, in % or percentage points."""
    return f"{percent(low)} to {percent(high)}"


def p_value(p: float) -> str:
    """A probability of at least 0.001, or that it is less."""
    return f"p = {p:.3f}" if p >= 0.001 else "p < 0.001"


def bold(text: str, is_bold: bool = True) -> str:
    """The text in bold type, or as it is."""
    return f"**{text}**" if is_bold else text


def listed(names: Sequence[str]) -> str:
    """Names as code, with commas and a last `and`."""
    return joined(f"`{name}`" for name in names)


def joined(parts: Iterable[str]) -> str:
    """Parts of a sentence with commas and a last `and`."""
    *others, last = parts
    return f"{', '.join(others)} and {last}" if others else last


def commands(entries: Iterable[Entry]) -> str:
    """What makes the records of entries again, with the hardware, threads and commit that they were made with."""
    lines = []
    for entry in entries:
        for record in entry.records:
            command = command_of(record.identity, predictions="FILE" if record.predictions_only else None)
            lines.append(f"{command}  # {_made_in(record.environment)}")
    return "\n".join(["```", *lines, "```"])


def _made_in(environment: Environment) -> str:
    parts = [environment.hardware]
    if environment.threads:  # Nobody states any where predictions are handed in.
        parts.append(f"{environment.threads} thread{'s' if environment.threads > 1 else ''}")
    parts.append(f"commit {environment.git_commit[:12]}" if environment.git_commit else "no commit")
    return ", ".join(parts)
