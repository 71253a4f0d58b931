"""Disks and outputs that take no more: one line that names the thing, exit code 2, and the same command goes on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from gmbench.cli.progress import ConsoleProgress
from gmbench.records.store import read_record
from gmbench.support.cache import Cache, load_array, save_array
from gmbench.support.files import NO_ROOM, write_text

Disk = Callable[[str], Path]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Gives a small disk of its own; asked again, the same with another size."""
    folder = tmp_path / "disk"

    def of_size(size: str) -> Path:
        options = f"{'remount,' if folder.is_dir() else ''}size={size}"
        folder.mkdir(exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        if not shutil.which("mount") or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("no tmpfs can be mounted here")
        return folder

    yield of_size
    subprocess.run(["umount", str(folder)], check=False, capture_output=True)


def test_a_mapped_array_on_a_full_disk(disk: Disk) -> None:
    """An error that names the file, and not a bus error; nothing is left, and with room it is written."""
    cache, pixels = Cache(disk("320k")), np.arange(4 * 2**18, dtype=np.uint8).reshape(4, 2**18)

    def mapped() -> np.ndarray:
        return cache.mapped("images", pixels.shape, lambda: iter([pixels[:1], pixels[1:]]), name="x")

    with pytest.raises(OSError, match="No space left on device") as error:
        mapped()
    assert error.value.errno in NO_ROOM
    assert Path(error.value.filename).parent == cache.folder / "images"
    assert not list((cache.folder / "images").iterdir())
    disk("8m")
    np.testing.assert_array_equal(mapped(), pixels)
    assert isinstance(mapped(), np.memmap)


def test_batches_that_are_no_part_of_the_array(tmp_path: Path) -> None:
    """Too few rows, or of another shape."""
    cache = Cache(tmp_path)
    for batch, words in ((np.zeros((2, 4)), "2 rows came, 3 were expected"), (np.zeros((3, 5)), "is no part of")):
        with pytest.raises(ValueError, match=words):
            cache.mapped("images", (3, 4), lambda batch=batch: iter([batch]), name="x")


@pytest.mark.parametrize("array", [np.zeros((0, 3), np.float32), np.arange(6.0).reshape(2, 3).T, np.float32(3)])
def test_arrays_come_back(tmp_path: Path, array: np.ndarray) -> None:
    """Empty ones, those in another order, a single number."""
    save_array(tmp_path / "a.npy", array)
    found = load_array(tmp_path / "a.npy")
    assert found is not None
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype


@pytest.mark.parametrize("what", ["cache", "results"])
def test_a_run_goes_on_once_there_is_room(  # type: ignore[no-untyped-def]
    command, disk: Disk, tmp_path: Path, only_tiny: None, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Whether the cache is full or where records go: no record, nothing half-written, one line; then a record."""
    full = disk("320k" if what == "cache" else "4k")
    monkeypatch.setenv("GMBENCH_CACHE", str(full if what == "cache" else tmp_path / "cache"))
    out = tmp_path / "results" if what == "cache" else full
    asked = ("run", "--method", "mccloskey18", "--dataset", "tiny", "--results", str(out))
    code, printed, err = command(*asked)
    (line,) = [line for line in err.splitlines() if line.startswith("gmbench: ")]
    assert (code, printed) == (2, "")
    assert str(full) in line
    assert "No space left on device. Make room; the same command goes on." in line
    assert not [path for path in out.rglob("*") if path.is_file()]
    assert not list(full.rglob("*.part"))
    disk("64m")
    assert command(*asked)[0] == 0
    assert read_record(out / "tiny" / "clean" / "mccloskey18" / "0").scores.accuracy.accuracy > 0


def test_a_page_keeps_its_text(disk: Disk) -> None:
    """What is written anew on a full disk stays as it was."""
    page = disk("8k") / "page.md"
    page.write_text("before")
    with pytest.raises(OSError, match="No space left") as error:
        write_text(page, "x" * 20_000)
    assert error.value.filename == str(page)
    assert page.read_text() == "before"
    assert list(page.parent.iterdir()) == [page]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
class TestOutput:
    """Standard output and error that are full."""

    def run(self, *arguments: str, out: str = os.devnull, err: str | None = None) -> tuple[int, str]:
        with open(out, "w") as stdout, open(err or os.devnull, "w") as stderr:
            done = subprocess.run(
                [sys.executable, "-m", "gmbench", *arguments],
                stdout=stdout,
                stderr=stderr if err else subprocess.PIPE,
                text=True,
                check=False,
            )
        return done.returncode, done.stderr or ""

    @pytest.mark.parametrize("json", [(), ("--json",)])
    def test_of_an_answer(self, json: tuple[str, ...]) -> None:
        """One line."""
        code, err = self.run("list", "methods", *json, out="/dev/full")
        assert code == 2
        assert err == ("gmbench: cannot write output: No space left on device. Make room; the same command goes on.\n")

    def test_of_messages(self) -> None:
        """Only the exit code is left to say it."""
        assert self.run("list", "nosuch", err="/dev/full")[0] == 2

    def test_of_progress(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The work goes on."""
        gone_on = False
        with suppress(OSError), open("/dev/full", "w") as full:
            monkeypatch.setattr(sys, "stderr", full)
            assert list(ConsoleProgress().track([1, 2], "counting", 2)) == [1, 2]
            ConsoleProgress().say("done")
            monkeypatch.undo()
            gone_on = True
        assert gone_on
