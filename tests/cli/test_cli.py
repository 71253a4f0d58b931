"""The command line as users meet it: what it prints, how it fails, what it imports."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from made_methods import write_method

from conftest import use_catalogue
from gmbench.data.cards import dataset_cards, find_dataset
from gmbench.records.store import read_record
from gmbench.registry import methods

GARMENTS = ("--dataset", "gm-garments")


class TestRun:
    """`gmbench run` on the embedded data."""

    def test_a_run_ends_with_scores_and_the_path_of_its_record(self, command, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
        """The table's accuracy is the record's, above chance; the second time it is read, not run."""
        arguments = ("run", "--method", "mccloskey18", *GARMENTS, "--results", str(tmp_path))
        code, out, err = command(*arguments)
        assert code == 0
        path = tmp_path / "gm-garments" / "clean" / "mccloskey18" / "0"
        record = read_record(path)
        assert str(path / "record.json") in out
        assert f"{record.scores.accuracy.accuracy:.1%}" in out
        assert record.scores.accuracy.accuracy > 1.5 / len(record.identity.sources)
        for phase in ("decoding", "features of 5,950 images", "fitting", "evaluating"):
            assert phase in err
        code, out, err = command(*arguments)
        assert code == 0
        assert "recorded before" in out
        assert "fitting" not in err

    def test_setting_seed_and_parameters(self, command, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
        """All of them are in the record and in its place."""
        code, out, _ = command(
            "run", "--method", "durall20", *GARMENTS, "--setting", "few-shot-10", "--seed", "2",
            "--set", "variant=paper", "--set", "C=1", "--device", "cpu", "--results", str(tmp_path),
        )  # fmt: skip
        assert code == 0
        record = read_record(tmp_path / "gm-garments" / "few-shot-10" / "durall20+variant=paper+C=1.0" / "2")
        assert record.identity.given == {"variant": "paper", "C": 1.0}
        assert "few-shot-10, seed 2" in out

    def test_a_network_end_to_end(self, command, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
        """ManiFPT projects, trains and scores, better than chance after a single epoch on ten images per source."""
        code, _, err = command(
            "run", "--method", "manifpt-freq", *GARMENTS, "--setting", "few-shot-10", "--set", "epochs=2",
            "--results", str(tmp_path),
        )  # fmt: skip
        assert code == 0
        (path,) = tmp_path.rglob("record.json")
        record = read_record(path.parent)
        assert record.scores.accuracy.accuracy > 1 / len(record.identity.sources)
        assert record.scores.fdr.d == 64
        assert record.training["best_epoch"] in (1, 2)
        assert len(record.training["loss"]) == len(record.training["val_accuracy"]) == 2
        assert record.converged is False
        for phase in ("projecting", "training"):
            assert phase in err

    def test_a_method_outside_the_project(self, command, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
        """A path to a folder works where a slug does."""
        folder = write_method(tmp_path / "mine")
        code, out, _ = command("run", "--method", str(folder), *GARMENTS, "--results", str(tmp_path / "results"))
        assert code == 0
        assert "mine on gm-garments" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "--method", "manifpt-rbg", *GARMENTS), "no method named 'manifpt-rbg'. Nearest: manifpt-rgb"),
        (("run", "--method", "durall20", "--dataset", "gm-garment"), "no dataset named 'gm-garment'. Nearest: gm-gar"),
        (("run", "--method", "durall20", *GARMENTS, "--setting", "few"), "no setting named 'few'. There is: clean, "),
        (("run", "--method", "durall20", *GARMENTS, "--set", "gama=1"), "named 'gama'. Nearest: gamma"),
        (("run", "--method", "durall20", *GARMENTS, "--set", "gamma=x"), "'gamma': expected float of at least"),
        (("run", "--method", "durall20", *GARMENTS, "--set", "gamma"), "--set: expected KEY=VALUE, got 'gamma'"),
        (("run", "--method", "durall20", *GARMENTS, "--seed", "-1"), "--seed"),
        (("run", "--method", "durall20", *GARMENTS, "--seed", "one"), "--seed"),
        (("run", "--method", "durall20", *GARMENTS, "--device", "warp"), "device 'warp': expected auto, cpu, cuda"),
        (("run", "--method", "durall20", *GARMENTS, "--device", "meta"), "device 'meta': expected auto, cpu, cuda"),
        (("run", "--method", "durall20", *GARMENTS, "--device", "cpu:0"), "device 'cpu:0': expected auto, cpu, cuda"),
        (("run", "--method", "durall20", *GARMENTS, "--set", "C=inf"), "'C': expected float of at least"),
        (("run", "--method", "durall20", *GARMENTS, "--results", "/dev/null/x"), "cannot write to /dev/null/x"),
        (("run", "--method", "durall20"), "--dataset"),
        (("run", "--method", "./nowhere", *GARMENTS), "no method in nowhere"),
        (("info", "durall21"), "no method or dataset named 'durall21'. Nearest: durall20"),
        (("list", "cats"), "cats"),
        (("leaderboard", "--results", "/nowhere/results"), "no records in /nowhere/results"),
        (("build", "gm-nothing", "--work", "/tmp"), "no dataset named 'gm-nothing'"),
        (("fly",), "fly"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(command, arguments: tuple[str, ...], words: str) -> None:  # type: ignore[no-untyped-def]
    """It names the thing, what was expected, what came; no traceback."""
    code, out, err = command(*arguments)
    assert code == 2
    assert out == ""
    assert err.startswith("gmbench: ")
    assert err.count("\n") == 1
    assert words in err


def test_altered_data_is_one_line_and_leaves_everything_as_it_was(  # type: ignore[no-untyped-def]
    command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The damaged file is named; it is not touched, and no record appears."""
    shutil.copytree(find_dataset("gm-garments").folder, tmp_path / "embedded" / "gm-garments")
    use_catalogue(monkeypatch, tmp_path / "embedded")
    path = tmp_path / "embedded" / "gm-garments" / "data" / "val.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    before = path.read_bytes()
    code, _, err = command("run", "--method", "durall20", *GARMENTS, "--results", str(tmp_path / "results"))
    assert code == 2
    assert "val.parquet is not the file of the manifest" in err
    assert err.count("\n") == 1
    assert path.read_bytes() == before
    assert not list((tmp_path / "results").rglob("*.json"))


def test_a_cache_that_is_no_folder_is_one_line(command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    """The variable to change is named."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GMBENCH_CACHE", str(tmp_path / "file"))
    code, _, err = command("run", "--method", "durall20", *GARMENTS, "--results", str(tmp_path / "results"))
    assert code == 2
    assert "Set GMBENCH_CACHE to a folder" in err
    assert err.count("\n") == 1


def test_a_newer_record_in_the_way_is_one_line(command, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Running does not replace what only a newer gmbench can read."""
    arguments = ("run", "--method", "durall20", *GARMENTS, "--results", str(tmp_path))
    assert command(*arguments)[0] == 0
    (path,) = tmp_path.rglob("record.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 99}))
    code, _, err = command(*arguments)
    assert code == 2
    assert "schema 99" in err
    assert err.count("\n") == 1


def test_a_terminal_of_80_columns_is_wide_enough(command, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    """Tables wrap inside their columns; no slug is cut."""
    monkeypatch.setenv("COLUMNS", "80")
    for arguments, names in [
        (("list", "methods"), methods()),
        (("list", "datasets"), dataset_cards()),
        (("info", "gm-garments"), find_dataset("gm-garments").sources),
        (("info", "manifpt-rgb"), ("network", "learning_rate")),
    ]:
        code, out, _ = command(*arguments)
        assert code == 0
        lines = [line for line in out.splitlines() if not line.startswith("code and README:")]
        assert max(map(len, lines)) <= 80
        for name in names:
            assert name in out


@pytest.mark.parametrize("arguments", [["--help"], ["list", "methods"], ["list", "datasets"], ["info", "manifpt-rgb"]])
def test_light_commands_import_nothing_heavy(arguments: list[str]) -> None:
    """Neither torch nor datasets, nor any method, for help, lists and cards."""
    code = (
        "import sys\nfrom gmbench.cli.app import main\n"
        f"sys.argv = ['gmbench', *{arguments!r}]\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code, stop.code\n"
        "heavy = {'torch', 'torchvision', 'datasets', 'sklearn', 'scipy', 'faiss', 'pyarrow', 'pandas', 'PIL'}\n"
        "loaded = heavy & set(sys.modules) | {m for m in sys.modules if m.startswith('gmbench.attributors.')}\n"
        "assert not loaded, loaded\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)


def test_the_leaderboard_imports_no_torch(tmp_path: Path) -> None:
    """Pages are rebuilt without it."""
    (tmp_path / "results").mkdir()
    code = (
        "import sys\nfrom pathlib import Path\nfrom gmbench.leaderboard.pages import write_pages\n"
        "write_pages(Path('results'), Path())\nassert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    assert "There are no records yet" in (tmp_path / "attribution.md").read_text()


def test_the_committed_pages_are_those_of_the_committed_records() -> None:
    """`leaderboards/*.md` are what the command writes, byte for byte."""
    from gmbench.leaderboard.pages import stale_pages

    boards = Path(__file__).parents[2] / "leaderboards"

    assert stale_pages(boards / "results", boards) == [], "run `gmbench leaderboard`"


def test_ctrl_c_ends_quietly(tmp_path: Path) -> None:
    """A stopped run says how to go on, without a traceback, and leaves no record."""
    code = (
        "import gmbench.runs.runner, sys\n"
        "def stop(*_): raise KeyboardInterrupt\n"
        "gmbench.runs.runner._measure = stop\n"
        "from gmbench.cli.app import main\n"
        "sys.argv = ['gmbench', 'run', '--method', 'durall20', '--dataset', 'gm-garments', '--results', "
        f"{str(tmp_path)!r}]\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ)
    assert done.returncode == 130
    assert done.stderr.splitlines()[-1] == "gmbench: stopped. The same command goes on from where it was."
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.rglob("record.json"))


def test_what_is_chance_is_said(command, only_tiny: None, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Average precision has its chance level, FDR of more features than images its mark; as the page has."""
    code, out, _ = command("run", "--method", "mccloskey18", "--dataset", "tiny", "--results", str(tmp_path))
    assert code == 0
    assert re.search(r"average precision +0\.\d{3} +of generated images; 0\.667 is chance", out)
    assert re.search(r"FDR +[\d.]+ † +± [\d.]+ over \d+ halvings, n = 6, d = 64", out)
    assert "† n ≤ d: drawn towards 1" in out
    assert "balanced accuracy" not in out


def test_sources_of_different_sizes(tmp_path: Path, command, only_tiny: None) -> None:  # type: ignore[no-untyped-def]
    """Then the mean recall is beside the accuracy, and what always naming the largest source would give."""
    from rich.console import Console

    import gmbench
    from gmbench.cli.printing import print_outcome
    from gmbench.evaluators.accuracy import attribution_accuracy
    from gmbench.runs.runner import Outcome

    record = gmbench.run("mccloskey18", "tiny", results=tmp_path)
    labels = np.repeat([0, 1, 2], [15, 30, 35])
    accuracy = attribution_accuracy(np.eye(3)[np.full(80, 2)], labels, record.identity.sources)
    scores = record.scores.model_copy(update={"accuracy": accuracy})
    console = Console(record=True, width=120, file=(tmp_path / "out").open("w"))
    print_outcome(console, Outcome(record.model_copy(update={"scores": scores}), tmp_path, False))
    out = console.export_text()
    assert re.search(r"balanced accuracy +33.3%", out)
    assert re.search(r"always the largest +43.8% +the share of noisy", out)
    assert re.search(r"average precision .*; 0.812 is chance", out)
