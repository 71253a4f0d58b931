"""Import of a folder of images against a plain loop with Pillow: `pytest -s benchmarks/test_import.py`."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

FEW, MANY, SIZE = 2000, 20_000, 64
IMPORT = """
import resource, sys, time
from pathlib import Path
from gmbench.data.importing.decoding import Options
from gmbench.data.importing.importer import import_dataset
from gmbench.data.importing.cards import new_card
from gmbench.support.progress import Progress

if __name__ == "__main__":
    origin, workers = Path(sys.argv[1]), int(sys.argv[2])
    started = time.perf_counter()
    card = new_card("speed", origin, None, None)
    import_dataset(card, origin, Options(card.resolution), Progress(), workers, replace=True)
    seconds = time.perf_counter() - started
    peaks = [resource.getrusage(who).ru_maxrss // 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(seconds, *peaks)
"""


def write_folder(folder: Path, n: int) -> Path:
    """`n` PNG images of smooth shapes with noise, half of them real."""
    random = np.random.default_rng(0)
    for number in range(n):
        path = folder / ("real" if number % 2 else "model") / f"{number:06d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = random.integers(30, 220, (SIZE // 8, SIZE // 8, 3), dtype=np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((SIZE, SIZE), Image.Resampling.BICUBIC))
        Image.fromarray(smooth + random.integers(0, 20, smooth.shape, dtype=np.uint8)).save(path)
    return folder


def imported(folder: Path, workers: int) -> tuple[float, int, int]:
    """Seconds of an import in its own process, and peak memory in MiB of that process and of its largest worker."""
    script = folder.parent / "run_import.py"
    script.write_text(IMPORT)
    environment = os.environ | {"GMBENCH_DATA": str(folder.parent / f"data-{folder.name}")}
    command = [sys.executable, str(script), str(folder), str(workers)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    seconds, main, worker = done.stdout.split()
    return float(seconds), int(main), int(worker)


def plain_loop(folder: Path, out: Path) -> float:
    """Seconds of what one would write: open, to RGB, save as PNG."""
    out.mkdir()
    started = time.perf_counter()
    for path in folder.rglob("*.png"):
        with Image.open(path) as image:
            image.convert("RGB").save(out / path.name, optimize=True)
    return time.perf_counter() - started


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A few images, and ten times as many."""
    home = tmp_path_factory.mktemp("import")
    return write_folder(home / "few", FEW), write_folder(home / "many", MANY)


def test_speed_and_memory(folders: tuple[Path, Path], tmp_path: Path) -> None:
    """Images per second; and ten times as many images need no more memory, but for some bytes each."""
    few, many = folders
    workers = os.cpu_count() or 1
    plain = plain_loop(few, tmp_path / "plain")
    seconds, small, small_worker = imported(few, workers)
    more_seconds, large, large_worker = imported(many, workers)
    print(
        f"\nimages/s: plain loop {FEW / plain:.0f}, import with {workers} workers {FEW / seconds:.0f} of {FEW} and "
        f"{MANY / more_seconds:.0f} of {MANY}\npeak memory in MiB, main and worker: {small} and {small_worker} for "
        f"{FEW}, {large} and {large_worker} for {MANY}"
    )
    assert large <= small + 64
    assert large_worker <= small_worker + 32
