"""Records that lie and methods that misbehave: each ends in one line that names the thing, and never in a record."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_methods import CODE, write_method

import gmbench
from gmbench.errors import MethodError, RecordError
from gmbench.leaderboard.pages import build_pages
from gmbench.records.command import command_of
from gmbench.records.store import read_record
from gmbench.submissions.validate import validate

pytestmark = pytest.mark.usefixtures("only_tiny")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An honest record's."""
    record = gmbench.run("mccloskey18", "tiny", results=tmp_path / "results")
    assert record.folder is not None
    return record.folder


def edited(folder: Path, *keys: str, value: Any) -> None:
    """Changes one field of a record."""
    content = json.loads((folder / "record.json").read_text())
    place = content
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    (folder / "record.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("environment", "hardware"), "a machine\nrm -rf x"),
        (("environment", "hardware"), "<script>alert(1)</script>"),
        (("environment", "hardware"), "a | b"),
        (("environment", "hardware"), "x" * 1000),
        (("environment", "git_commit"), "main"),
        (("environment", "threads"), -1),
        (("identity", "device"), "cpu; touch x"),
        (("identity", "device"), "cpu`touch x`"),
        (("identity", "method"), "../../../x"),
        (("identity", "method"), ""),
        (("identity", "setting"), "nowhere"),
        (("identity", "setting"), "to-tiny"),
        (("identity", "precision"), "8-bit"),
        (("images",), {"test": 5, "guests": 3}),
        (("images",), {"test": 0}),
        (("scores", "nmi"), {"nonsense": {"nmi": 0.5}}),
        (("seconds",), {"fit": -1.0}),
        (("peak_memory_mib",), -5),
        (("scores", "fdr", "ratio"), float("nan")),
        (("scores", "fdr", "ratio"), float("inf")),
        (("scores", "fdr", "ratio"), -1.0),
        (("scores", "fdr", "n"), -50),
        (("scores", "accuracy", "accuracy"), 1.5),
        (("scores", "detection", "auroc"), -0.1),
    ],
)
def test_what_a_record_cannot_say(folder: Path, keys: tuple[str, ...], value: object) -> None:
    """The reader refuses it by field; no page is made of it, and validate says it is wrong."""
    if keys == ("identity", "device"):
        # A semicolon alone is harmless in a line, and is quoted in the command: it is refused where it is compared.
        edited(folder, "identity", "device", value=value)
        (validated,) = validate([folder])
        assert not validated.ok
        return
    edited(folder, *keys, value=value)
    with pytest.raises(RecordError) as error:
        read_record(folder)
    assert str(folder / "record.json") in str(error.value)
    assert "\n" not in str(error.value)
    with pytest.raises(RecordError):
        build_pages(folder.parents[3])
    (validated,) = validate([folder])
    assert not validated.ok


@pytest.mark.parametrize(
    ("role", "n"), [("test", 5), ("train", 999_999), ("train", 5), ("val", 19), ("manifold", 51), ("manifold", None)]
)
def test_images_are_counted(folder: Path, role: str, n: int | None) -> None:
    """As many of each role as the dataset has; as many test images as there are predictions."""
    images = json.loads((folder / "record.json").read_text())["images"]
    edited(folder, "images", value={name: m for name, m in {**images, role: n}.items() if m is not None})
    with pytest.raises(RecordError, match=f"field 'images.{role}'"):
        build_pages(folder.parents[3])
    (validated,) = validate([folder])
    assert f"field 'images.{role}'" in " ".join(validated.problems)


@pytest.mark.parametrize("change", [lambda t: t.take([1, 0, *range(2, len(t))]), lambda t: t.slice(1)])
def test_evaluate_looks_at_the_images_too(command, folder: Path, change: Callable[[Any], Any]) -> None:  # type: ignore[no-untyped-def]
    """As validate does: ids in another order, an image less."""
    import pyarrow.parquet as parquet

    from gmbench.support.files import sha256_file

    path = folder / "predictions.parquet"
    parquet.write_table(change(parquet.read_table(path)), path)
    edited(folder, "predictions_sha256", value=sha256_file(path))
    code, _, err = command("evaluate", str(folder))
    assert (code, err.count("\n")) == (2, 1)
    assert "its test images are not those of dataset tiny" in err


@pytest.mark.parametrize("content", ["[" * 100_000, "{", "null", "[]", b"\xff\xfe"])
def test_what_is_no_record(folder: Path, content: str | bytes) -> None:
    """Nested brackets, other JSON, other encodings: one line."""
    path = folder / "record.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(RecordError, match="is damaged"):
        read_record(folder)


def test_a_record_that_is_a_folder(folder: Path) -> None:
    """One line."""
    (folder / "record.json").unlink()
    (folder / "record.json").mkdir()
    with pytest.raises(RecordError, match="is damaged"):
        read_record(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda table: table.slice(0, 0), "holds no predictions"),
        (lambda table: table.set_column(2, "real", [[-1.0] * len(table)]), "is not finite or below 0"),
        (lambda table: table.set_column(2, "real", [[5.0] * len(table)]), "does not sum to 1"),
        (lambda table: table.set_column(2, "real", [[float("nan")] * len(table)]), "is not finite"),
        (lambda table: table.append_column("extra", [[0.0] * len(table)]), "has a column 'extra'"),
    ],
)
def test_predictions_that_are_none(folder: Path, change: Callable[[Any], Any], words: str) -> None:
    """Even with the digest put right, the row or column is named."""
    import pyarrow.parquet as parquet

    from gmbench.support.files import sha256_file

    path = folder / "predictions.parquet"
    parquet.write_table(change(parquet.read_table(path)), path)
    edited(folder, "predictions_sha256", value=sha256_file(path))
    (validated,) = validate([folder])
    assert any(words in problem for problem in validated.problems)


def test_the_pages_command_is_built_from_the_identity(folder: Path) -> None:
    """What a record says of its command stands on no page, and every part is quoted."""
    edited(folder, "command", value="gmbench run --method mccloskey18 --out x;touch${IFS}y")
    page = build_pages(folder.parents[3])["attribution.md"]
    assert "touch" not in page
    identity = read_record(folder).identity
    assert command_of(identity) in page
    odd = identity.model_copy(update={"given": {"C": "1; touch y"}})
    assert shlex.split(command_of(odd))[-3] == "C=1; touch y"
    assert not validate([folder])[0].ok


class Misbehaving(gmbench.Attributor):
    """Does one thing wrong, as `how` says."""

    def __init__(self, how: str = "") -> None:
        self.how = how

    def fit(self, train: Any, val: Any, context: Any) -> Misbehaving:
        if self.how == "exit":
            raise SystemExit(0)
        if self.how == "pixels":
            train.ids[0] = "mine"
        if self.how == "labels":
            train.labels[:] = 0
        return self

    def predict_proba(self, images: Any) -> Any:
        answer = np.full((len(images), len(images.sources)), 1 / len(images.sources), np.float32)
        return {
            "tensor": lambda: torch.from_numpy(answer),
            "list": answer.tolist,
            "objects": lambda: answer.astype(object),
            "none": lambda: None,
        }.get(self.how, lambda: answer)()

    def embed(self, images: Any) -> Any:
        features = images.pixels()[:, 0, :2].reshape(len(images), 6).astype(np.float32)
        return np.full((len(images), 2), 1e300) if self.how == "huge" else features

    def fit_report(self) -> dict[str, Any]:
        return {"loss": [float("nan")]} if self.how == "report" else {}


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("exit", "fit ended the process"),
        ("tensor", "predict_proba must return a numpy array of numbers, got Tensor"),
        ("list", "predict_proba must return a numpy array of numbers, got list"),
        ("objects", "predict_proba must return a numpy array of numbers, got an array of object"),
        ("none", "predict_proba must return a numpy array of numbers, got NoneType"),
        ("huge", "embed must return numbers of at most"),
        ("report", "fit_report must return what JSON can hold"),
    ],
)
def test_a_method_that_misbehaves_leaves_no_record(tmp_path: Path, how: str, words: str) -> None:
    """What was expected and what came is said, and the process goes on."""
    with pytest.raises(MethodError, match=words):
        gmbench.run(Misbehaving(how), "tiny", results=tmp_path)
    assert not list(tmp_path.rglob("record.json"))


@pytest.mark.parametrize("how", ["pixels", "labels"])
def test_what_is_lent_cannot_be_changed(tmp_path: Path, how: str) -> None:
    """Ids and labels are read-only."""
    with pytest.raises(ValueError, match="read-only"):
        gmbench.run(Misbehaving(how), "tiny", results=tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="a run is watched on Linux")
class TestEnds:
    """What `gmbench run` says of a method that ends its process; each command is a process of its own."""

    @pytest.fixture
    def start(self, tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
        """Begins a run of a method with a line in its `fit` or before its class."""

        def start(line: str, before: str) -> subprocess.Popen[str]:
            method = write_method(tmp_path / "ends", CODE.replace(before, f"{line}\n{before}"))
            asked = ("run", "--method", str(method), "--dataset", "tiny", "--results", str(tmp_path / "out"))
            command = [sys.executable, "-m", "gmbench", *asked]
            # What is begun in the background of a shell ignores Ctrl-C, and so would what it begins.
            heard = signal.signal(signal.SIGINT, signal.SIG_DFL)
            try:
                return subprocess.Popen(
                    command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
                )
            finally:
                signal.signal(signal.SIGINT, heard)

        return start

    @pytest.mark.parametrize(
        ("line", "before", "words"),
        [
            ("        import os; os._exit(0)", "        self.sources_ =", "the method ended the process, exit code 0"),
            ("import os; os._exit(0)", "class Example", "the method ended the process, exit code 0"),
            ("raise SystemExit(0)", "class Example", "its import ended the process (exit 0)"),
            ("        import ctypes; ctypes.string_at(0)", "        self.sources_ =", "signal SIGSEGV (segmentation"),
        ],
    )
    def test_no_record_no_exit_code_0(
        self, start: Callable[..., subprocess.Popen[str]], tmp_path: Path, line: str, before: str, words: str
    ) -> None:
        """One line and exit code 2."""
        out, err = (process := start(line, before)).communicate(timeout=300)
        (said,) = [line for line in err.splitlines() if line.startswith("gmbench: ")]
        assert (process.returncode, out) == (2, "")
        assert words in said
        assert not list((tmp_path / "out").rglob("record.json"))

    @pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_it_can_be_stopped(
        self, start: Callable[..., subprocess.Popen[str]], tmp_path: Path, number: int, code: int
    ) -> None:
        """By the keyboard, which both processes hear, and by a signal to the one that was begun; nobody is left."""
        mark = tmp_path / "mark"
        line = f"        import os, time; open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(300)"
        process = start(line, "        self.sources_ =")
        until = time.monotonic() + 200
        while not mark.exists() and time.monotonic() < until:
            time.sleep(0.2)
        if number == signal.SIGINT:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        _, err = process.communicate(timeout=60)
        assert process.returncode == code
        assert ("stopped. The same command goes on" in err) == (number == signal.SIGINT)
        with pytest.raises(ProcessLookupError):
            os.kill(int(mark.read_text()), 0)
