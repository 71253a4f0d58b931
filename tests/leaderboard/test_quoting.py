"""Tables and references to quote: figures are the records', text is escaped, what is missing is named."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import numpy as np
import pytest

import gmbench
from gmbench.leaderboard.quoting import latex

pytestmark = pytest.mark.usefixtures("only_tiny")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Two methods, one of them with two seeds."""
    for method, seed in (("durall20", 0), ("durall20", 1), ("mccloskey18", 0)):
        gmbench.run(method, "tiny", seed=seed, results=tmp_path / "results")
    return tmp_path / "results"


def test_a_table_in_three_forms(command, results: Path) -> None:  # type: ignore[no-untyped-def]
    """The same accuracies, which are the mean of the records'; bold is what CSV says is not separated."""
    records = gmbench.read_records(results, method="durall20")
    mean = np.mean([record.scores.accuracy.accuracy for record in records])
    asked = ("table", "--results", str(results))
    found = {form: command(*asked, "--format", form) for form in ("markdown", "latex", "csv")}
    assert [code for code, _, _ in found.values()] == [0, 0, 0]
    rows = {row["method"]: row for row in csv.DictReader(io.StringIO(found["csv"][1]))}
    assert float(rows["durall20"]["accuracy"]) == pytest.approx(mean, abs=1e-6)
    assert (rows["durall20"]["seeds"], rows["mccloskey18"]["seeds"]) == ("2", "1")
    for name, row in rows.items():
        shown = f"{100 * float(row['accuracy']):.1f}"
        interval = f"[{100 * float(row['low']):.1f}, {100 * float(row['high']):.1f}]"
        line = next(line for line in found["markdown"][1].splitlines() if f"`{name}`" in line)
        assert interval in line
        assert (f"**{shown}**" in line) == (row["not_separated"] == "True")
        line = next(line for line in found["latex"][1].splitlines() if line.startswith(name))
        assert interval in line
        assert (rf"\textbf{{{shown}}}" in line) == (row["not_separated"] == "True")
    assert found["latex"][1].splitlines()[1] == r"\toprule"


def test_what_is_not_there_is_named(command, results: Path) -> None:  # type: ignore[no-untyped-def]
    """A row, a dataset and a setting; one line, exit code 2."""
    for asked, words in (
        (("table", "--methods", "yu19"), "no record of 'yu19' there. It has: durall20, mccloskey18"),
        (("table", "--datasets", "gm-photos"), "no records on gm-photos in setting clean. It has: tiny in clean"),
        (("table", "--settings", "laundered", "--datasets", "tiny"), "no records on tiny in setting laundered"),
        (("cite", "yu19"), "no record of 'yu19'"),
    ):
        code, _, err = command(*asked, "--results", str(results))
        assert (code, err.count("\n")) == (2, 1)
        assert words in err


def test_references(command, results: Path) -> None:  # type: ignore[no-untyped-def]
    """The paper, the dataset's revision, and the record behind the row; braces are balanced."""
    code, out, _ = command("cite", "durall20", "--results", str(results))
    assert code == 0
    record = gmbench.read_records(results, method="durall20")[0]
    assert re.findall(r"^@(\w+)\{(.+),$", out, re.M) == [
        ("inproceedings", "durall20"),
        ("misc", "gmbench-tiny"),
        ("software", "gmbench"),
    ]
    for words in (
        "author = {Durall and Keuper and Keuper}",
        "booktitle = {CVPR}",
        "year = {2020}",
        f"Revision {record.identity.dataset_revision}",
        record.predictions_sha256,
    ):
        assert words in out
    assert out.count("{") == out.count("}")


def test_text_is_no_command() -> None:
    """Everything that LaTeX would read as one is escaped."""
    assert latex(r"a_b & 50 % {x} \y") == r"a\_b \& 50 \% \{x\} \textbackslash{}y"
