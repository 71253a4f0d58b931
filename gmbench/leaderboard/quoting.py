"""Rows as papers quote them: tables of chosen methods, datasets and settings, and references for them."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from tabulate import tabulate

from gmbench.errors import NotFoundError
from gmbench.leaderboard.findings import tied
from gmbench.leaderboard.markdown import MISSING, percent
from gmbench.records.rows import Entry, read_entries
from gmbench.registry import methods

Format = Literal["markdown", "latex", "csv"]
LATEX = {
    "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}",
}  # fmt: skip


def quoted_table(
    results: Path, wanted: Sequence[str] | None, datasets: Sequence[str] | None, settings: Sequence[str], format: Format
) -> str:
    """Accuracies in % with their 95 % intervals: a row per method, a column per dataset and setting.

    In each column those are bold that the tests, with these seeds, do not separate from the best.

    Args:
        wanted: names of rows (a method's slug, with its changed parameters), or None: all that have a record there.
        datasets: those of the columns, or None: all.

    Raises:
        NotFoundError: a row, dataset or setting has no record.
        RecordError: a record is damaged or at odds with its predictions.
    """
    entries = [entry for entry in read_entries(results) if entry.setting in settings]
    cells = {(entry.name, entry.dataset, entry.setting): entry for entry in entries}
    there = sorted({entry.dataset for entry in entries})
    columns = [(dataset, setting) for setting in settings for dataset in datasets or there]
    for column in columns:
        if not any((entry.dataset, entry.setting) == column for entry in entries):
            found = ", ".join(sorted({f"{entry.dataset} in {entry.setting}" for entry in entries})) or "none at all"
            raise NotFoundError(f"{results} has no records on {column[0]} in setting {column[1]}. It has: {found}.")
    names = list(wanted or sorted({entry.name for entry in entries}))
    for name in names:
        if not any((name, *column) in cells for column in columns):
            known = ", ".join(sorted({entry.name for entry in entries}))
            raise NotFoundError(f"{results} has no record of '{name}' there. It has: {known}.")
    bold = {
        (entry.name, *column): is_tied
        for column in columns
        for of_column in [[cells[name, *column] for name in names if (name, *column) in cells]]
        for entry, is_tied in zip(of_column, tied(of_column), strict=True)
    }
    if format == "csv":
        return _csv(names, columns, cells, bold)
    rows = [
        [name, *(_cell(cells.get((name, *column)), bold.get((name, *column), False), format) for column in columns)]
        for name in names
    ]
    heads = [f"{dataset}, {setting}" for dataset, setting in columns]
    if format == "latex":
        return _latex(heads, rows, names)
    shown = [[f"`{name}`", *values] for name, *values in rows]
    return tabulate(shown, ["Accuracy in %", *heads], tablefmt="pipe", disable_numparse=True) + "\n"


def _cell(entry: Entry | None, is_bold: bool, format: Format) -> str:
    """Mean accuracy, and its interval in brackets."""
    if entry is None:
        return MISSING
    low, high = entry.interval
    mean = percent(float(entry.accuracies.mean()))
    between = f"[{percent(low)}, {percent(high)}]"
    if format == "latex":
        strong = rf"\textbf{{{mean}}}" if is_bold else mean
        return rf"{strong} {{\scriptsize {between}}}"
    return f"{f'**{mean}**' if is_bold else mean} {between}"


def _latex(heads: Sequence[str], rows: Sequence[Sequence[str]], names: Sequence[str]) -> str:
    """A table for the package booktabs."""
    lines = [
        rf"\begin{{tabular}}{{l{'r' * len(heads)}}}",
        r"\toprule",
        " & ".join(["Accuracy in \\%", *map(latex, heads)]) + r" \\",
        r"\midrule",
        *(" & ".join([latex(name), *row[1:]]) + r" \\" for name, row in zip(names, rows, strict=True)),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def _csv(
    names: Sequence[str],
    columns: Sequence[tuple[str, str]],
    cells: dict[tuple[str, str, str], Entry],
    bold: dict[tuple[str, str, str], bool],
) -> str:
    """A line per cell, shares in [0, 1]."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["method", "dataset", "setting", "seeds", "images", "accuracy", "low", "high", "not_separated"])
    for name in names:
        for dataset, setting in columns:
            if (entry := cells.get((name, dataset, setting))) is not None:
                figures = [float(entry.accuracies.mean()), *entry.interval]
                shown = [f"{figure:.6f}" for figure in figures]
                seeds, images = entry.correct.shape
                writer.writerow([name, dataset, setting, seeds, images, *shown, bold[name, dataset, setting]])
    return stream.getvalue()


def latex(text: str) -> str:
    """Text in which nothing is a command of LaTeX."""
    return "".join(LATEX.get(letter, letter) for letter in text)


def references(results: Path, row: str, dataset: str | None = None, setting: str = "clean") -> str:
    """BibTeX of a row's method, of its dataset as it was run on, and of gmbench.

    Raises:
        NotFoundError: there is no such row.
        RecordError: a record is damaged or at odds with its predictions.
    """
    entries = [
        entry
        for entry in read_entries(results, dataset, setting)
        if entry.name == row and (dataset is None or entry.dataset == dataset)
    ]
    if not entries:
        raise NotFoundError(f"{results} has no record of '{row}' in setting {setting}.")
    found = []
    method = methods().get(entries[0].method)
    if method is not None:
        found.append(_of_paper(method.slug, method.card.paper, method.card.year))
    for entry in entries:
        record = entry.records[0]
        commit = record.environment.git_commit or "unknown"
        found.append(
            _entry(
                "misc",
                f"gmbench-{entry.dataset}",
                {
                    "title": f"{{{entry.dataset}}}: a dataset of gmbench",
                    "author": "{The gmbench developers}",
                    "note": f"Revision {record.identity.dataset_revision}",
                },
            )
        )
        found.append(
            _entry(
                "software",
                "gmbench",
                {
                    "title": "{gmbench}: a benchmark suite and leaderboard harness for model attribution",
                    "author": "{The gmbench developers}",
                    "version": version("gmbench"),
                    "note": f"Row {latex(row)} on {entry.dataset}, {setting}: commit {commit}, predictions sha256 "
                    f"{record.predictions_sha256}",
                },
            )
        )
    return "\n".join(dict.fromkeys(found))


def _of_paper(slug: str, paper: str, year: int) -> str:
    """An entry from a card's line, `authors: title, venue year`; the whole line as a title if it has another form."""
    parts = re.fullmatch(r"(?P<authors>[^:]+): (?P<title>.+), (?P<venue>[^,]+)", paper)
    if parts is None:
        return _entry("misc", slug, {"title": f"{{{latex(paper)}}}", "year": str(year)})
    authors = " and ".join(name.strip() for name in parts["authors"].split(","))
    venue = re.sub(rf"\s*\b{year}\b", "", parts["venue"]).strip(" ;") or "preprint"
    fields = {"title": f"{{{latex(parts['title'])}}}", "author": latex(authors), "booktitle": latex(venue)}
    return _entry("inproceedings", slug, fields | {"year": str(year)})


def _entry(kind: str, key: str, fields: dict[str, str]) -> str:
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items()]
    return "\n".join([f"@{kind}{{{key},", *lines, "}", ""])
