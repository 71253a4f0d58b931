"""`--json`: one document on standard output whatever happens, and everything else on standard error."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

RECORD = ("run", "--method", "durall20", "--dataset", "tiny", "--device", "cpu", "--results")


@pytest.fixture
def record(command, only_tiny: None, tmp_path: Path) -> Path:  # type: ignore[no-untyped-def]
    """The folder of a record."""
    code, out, _ = command(*RECORD, str(tmp_path), "--json")
    assert code == 0
    return Path(json.loads(out)["folder"])


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        (("list",), "methods"),
        (("list", "settings"), "settings"),
        (("info", "durall20"), "title"),
        (("info", "tiny"), "resolution"),
        (("doctor",), "packages"),
        (("audit", "tiny"), "checks"),
        (("evaluate", "{record}"), None),
        (("validate", "{record}"), "records"),
        (
            ("sweep", "--methods", "durall20", "--settings", "clean", "--seeds", "1", "--results", "{results}"),
            "were_there",
        ),
        (("sweep", "--methods", "durall20", "--seeds", "1", "--results", "{results}", "--dry-run"), "runs"),
        (("check", "durall20"), None),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_every_command_gives_one_document(  # type: ignore[no-untyped-def]
    command, record: Path, tmp_path: Path, arguments: tuple[str, ...], key: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list or an object with what the command is about; progress is not in it."""
    import gmbench.submissions.check

    monkeypatch.setattr(gmbench.submissions.check, "_tried", lambda method, progress: [])
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    code, out, _ = command(*(word.format(record=record, results=tmp_path) for word in arguments), "--json")
    assert code in (0, 1)
    document = json.loads(out)
    assert isinstance(document, list) if key is None else key in document


def test_a_run_and_a_comparison(command, record: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """The record as it is on disk; the verdict in words and numbers."""
    code, out, _ = command(*RECORD, str(tmp_path), "--json")
    said = json.loads(out)
    assert code == 0
    assert said["was_there"]
    assert said["record"] == json.loads((record / "record.json").read_text())
    assert command("run", "--method", "mccloskey18", *RECORD[3:], str(tmp_path))[0] == 0
    asked = ("compare", "durall20", "mccloskey18", "--dataset", "tiny", "--results", str(tmp_path))
    said = json.loads(command(*asked, "--json")[1])
    assert said["images"] == 36
    assert set(said["paired"]) >= {"difference", "p"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("info", "no-such-thing"), "no method or dataset named 'no-such-thing'"),
        (("run", "--method", "durall20"), "See gmbench run --help"),
        (("run", "--nosuch"), "--nosuch"),
        (("validate", "nowhere"), "nowhere"),
    ],
)
def test_failures_are_documents_too(command, arguments: tuple[str, ...], words: str) -> None:  # type: ignore[no-untyped-def]
    """An object with `error`, exit code 2, and the line on standard error."""
    code, out, err = command(*arguments, "--json")
    assert code == 2
    assert words in json.loads(out)["error"]
    assert words in err
    assert err.count("\n") == 1


def test_what_a_dry_run_would_do(command, record: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Each run by name, those with a record counted; nothing is run."""
    before = sorted(tmp_path.rglob("*"))
    asked = (
        "sweep",
        "--methods",
        "durall20",
        "--settings",
        "clean,few-shot-10",
        "--seeds",
        "2",
        "--results",
        str(tmp_path),
    )
    code, out, _ = command(*asked, "--dry-run")
    assert code == 0
    assert out.splitlines() == [
        "durall20 tiny few-shot-10 0",
        "durall20 tiny clean 1",
        "durall20 tiny few-shot-10 1",
        "3 of 4 runs to do, 1 with a record",
    ]
    assert sorted(tmp_path.rglob("*")) == before


def test_a_pipe_that_closes_early() -> None:
    """Exit code 141, as of a command that the pipe's signal ended, and no traceback."""
    code = "import sys; sys.argv = ['gmbench', 'list']; from gmbench.cli.app import main; main()"
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert done.returncode == 141
    assert done.stderr == ""


def test_version_and_help(command) -> None:  # type: ignore[no-untyped-def]
    """`--version`, `-h`, and the groups of help in the order in which one needs them."""
    assert command("--version")[1].startswith("gmbench 0.")
    out = command("-h")[1]
    places = [out.index(f" {name} ") for name in ("Run", "Look", "Ask", "Submit", "Datasets and generators")]
    assert places == sorted(places)


def test_a_device_that_is_not_there(command) -> None:  # type: ignore[no-untyped-def]
    """What is there is said."""
    code, _, err = command("run", "--method", "durall20", "--dataset", "gm-photos", "--device", "cuda:7")
    assert code == 2
    assert "sees none here. It sees: cpu" in err


def test_a_misspelt_setting_is_refused_before_torch_is_imported() -> None:
    """It takes no time."""
    code = (
        "import sys\n"
        "sys.argv = ['gmbench', 'run', '--method', 'durall20', '--dataset', 'gm-photos', '--setting', 'x']\n"
        "from gmbench.cli.app import main\n"
        "try: main()\n"
        "except SystemExit as end: assert end.code == 2 and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
