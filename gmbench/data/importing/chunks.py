"""Files of images into pieces, and each piece into PNG files and an index, by several processes at a time.

The processes import this module anew, so it stays clear of all that takes long to import.
"""

from __future__ import annotations

import json
import os
import signal
import stat
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from gmbench.data.importing.decoding import ARRAYS, IMAGES, Options, Refused, array_rows, arrays, decode, fitting
from gmbench.data.png import encode_png, image_id
from gmbench.support.cache import content_key
from gmbench.support.files import replacing, write_text

PIECE = 256


@dataclass(frozen=True)
class Piece:
    """Some files of one source in one folder, or one file of arrays. `most`: so many images at most."""

    source: str
    folder: str
    names: tuple[str, ...]
    most: int


def pieces(origin: Path, folders: Iterable[tuple[str, str]], limit: int | None) -> Iterator[Piece]:
    """The files of folders, each with its source, in pieces of at most 256 images or of one file of arrays.

    Args:
        limit: so many images of a source at most; None: all.
    """
    left: dict[str, int] = {}
    for folder, source in folders:
        names = sorted(_wanted(origin / folder))
        alone = [name for name in names if Path(name).suffix.lower() in ARRAYS]
        images = [name for name in names if Path(name).suffix.lower() not in ARRAYS]
        groups = [tuple(images[start : start + PIECE]) for start in range(0, len(images), PIECE)]
        for group in [*groups, *((name,) for name in alone)]:
            have = left.get(source, limit) if limit is not None else None
            n = count(origin / folder / group[0]) if len(group) == 1 else len(group)
            most = n if have is None else min(n, have)
            if have is not None:
                left[source] = have - most
            if most:
                yield Piece(source, folder, group[:most], most)


def is_wanted(entry: os.DirEntry[str]) -> bool:
    """Whether a file is of images, by its name."""
    return Path(entry.name).suffix.lower() in IMAGES + ARRAYS and stat.S_ISREG(entry.stat().st_mode)


def _wanted(folder: Path) -> Iterator[str]:
    for entry in os.scandir(folder):
        with suppress(OSError):
            if not entry.is_dir() and is_wanted(entry):
                yield entry.name


def count(path: Path) -> int:
    """How many images a file holds; one that cannot be read counts as one."""
    if path.suffix.lower() in IMAGES:
        return 1
    try:
        return sum(n for _, n, _ in arrays(path)) or 1
    except (Refused, OSError):
        return 1


def convert(piece: Piece, origin: Path, work: Path, options: Options) -> tuple[str, int]:
    """Decodes a piece's images and writes them into `work`, unless that was done before; its key, and how many.

    `<key>.bin` holds the PNG files one after the other, `<key>.json` their ids, lengths and paths, and what was
    refused.
    """
    folder = origin / piece.folder
    stats = [(name, status.st_size, status.st_mtime_ns) for name in piece.names for status in [_status(folder / name)]]
    key = content_key(piece=asdict(piece), stats=ascii(stats), options=asdict(options))
    done = work / f"{key}.json"
    if done.exists():
        return key, piece.most
    index: dict[str, Any] = {"source": piece.source, "ids": [], "lengths": [], "paths": [], "refused": []}
    with replacing(work / f"{key}.bin") as aside, aside.open("wb") as file:
        for name in piece.names:
            path = f"{piece.folder}/{name}"
            try:
                for place, pixels in _images_of(folder / name, piece.most, options, index["refused"], path):
                    content = encode_png(pixels)
                    file.write(content)
                    index["ids"].append(image_id(pixels))
                    index["lengths"].append(len(content))
                    index["paths"].append(path + place)
            except Refused as refused:
                index["refused"].append([path, str(refused)])
    write_text(done, json.dumps(index))
    return key, piece.most


def _status(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError:
        return os.stat_result((0,) * 10)


def _images_of(
    path: Path, most: int, options: Options, refused: list[list[str]], name: str
) -> Iterator[tuple[str, np.ndarray]]:
    """The images of a file with their place in it; those of an array that are not taken are added to `refused`."""
    if path.suffix.lower() in IMAGES:
        yield "", decode(path, options)
        return
    taken = 0
    for member, _, shape in arrays(path):
        for row, pixels in enumerate(array_rows(path, member, shape)):
            if taken == most:
                return
            taken += 1
            place = f"[{member}:{row}]" if member else f"[{row}]"
            try:
                checked = fitting(pixels, options)
            except Refused as problem:
                refused.append([name + place, str(problem)])
                continue
            yield place, checked


def read_index(work: Path, key: str) -> dict[str, Any]:
    """What `convert` wrote of a piece: source, ids, lengths, paths, refused."""
    return json.loads((work / f"{key}.json").read_text(encoding="utf-8"))


def parallel(function: Callable[..., Any], jobs: Iterator[tuple[Any, ...]], workers: int) -> Iterator[tuple[int, Any]]:
    """Number and result of each job as they are done; only a few wait at a time."""
    if workers == 1:
        for number, job in enumerate(jobs):
            yield number, function(*job)
        return
    pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=_ignore_interrupt)
    waiting: dict[Future[Any], int] = {}
    try:
        for number, job in enumerate(jobs):
            waiting[pool.submit(function, *job)] = number
            if len(waiting) >= 4 * workers:
                yield from _done(waiting)
        while waiting:
            yield from _done(waiting)
    finally:
        pool.shutdown(cancel_futures=True)


def _done(waiting: dict[Future[Any], int]) -> Iterator[tuple[int, Any]]:
    for future in wait(waiting, return_when=FIRST_COMPLETED).done:
        yield waiting.pop(future), future.result()


def _ignore_interrupt() -> None:
    """An interrupt from the keyboard reaches all processes; the first one decides."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
