"""Work that need not be done twice, kept by what it was made from.

Everything here can be deleted at any time. The folder is `GMBENCH_CACHE` if that is set, else the user's cache folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np

from gmbench.errors import NotFoundError, OutputError
from gmbench.support.files import replacing, write_text


def cache_folder() -> Path:
    """Where cached work is kept."""
    import platformdirs

    return Path(os.environ.get("GMBENCH_CACHE") or platformdirs.user_cache_dir("gmbench"))


def content_key(**parts: Any) -> str:
    """A name of 32 hexadecimal digits for work that is decided by `parts` (JSON values) alone."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def kept_sizes() -> dict[str, tuple[int, int]]:
    """Number of files and bytes of each kind of work that is kept."""
    folder = cache_folder()
    if not folder.is_dir():
        return {}
    found = {}
    for kind in sorted(path for path in folder.iterdir() if path.is_dir()):
        sizes = [size for path in kind.rglob("*") if (size := _size(path)) is not None]
        found[kind.name] = (len(sizes), sum(sizes))
    return found


def clear_kept(kind: str | None = None) -> int:
    """Removes what is kept of one kind of work, or of all; how many bytes that were.

    Raises:
        NotFoundError: nothing of that kind is kept.
        OutputError: something cannot be removed.
    """
    sizes = kept_sizes()
    if kind is not None and kind not in sizes:
        raise NotFoundError.of("kind of cached work", kind, sizes)
    chosen = list(sizes) if kind is None else [kind]
    for name in chosen:
        try:
            shutil.rmtree(cache_folder() / name)
        except OSError as error:
            raise OutputError(f"cannot remove {cache_folder() / name}: {error.strerror}.") from error
    return sum(sizes[name][1] for name in chosen)


def _size(path: Path) -> int | None:
    """Bytes of a file; None if it is none, or has gone meanwhile."""
    try:
        return path.stat().st_size if path.is_file() else None
    except OSError:
        return None


def load_array(path: Path, mmap_mode: Literal["r"] | None = None) -> np.ndarray | None:
    """The array of a `.npy` file; None if there is none, or if it is damaged."""
    try:
        return np.load(path, mmap_mode=mmap_mode, allow_pickle=False)
    except (OSError, EOFError, ValueError):
        return None


class Cache:
    """Arrays and files kept by content."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or cache_folder()

    def path(self, kind: str, suffix: str = "", **parts: Any) -> Path:
        """The file for work of a `kind` that `parts` decide; its folder exists, the file may not.

        Raises:
            OutputError: the cache's folder cannot be made.
        """
        path = self.folder / kind / f"{content_key(**parts)}{suffix}"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"cannot write to the cache at {self.folder}: {error.strerror}. Set GMBENCH_CACHE to a folder."
            ) from error
        return path

    def kept(self, kind: str, **parts: Any) -> np.ndarray | None:
        """The array of a `kind` that `parts` decide, if it is kept."""
        return load_array(self.path(kind, ".npy", **parts))

    def array(self, kind: str, compute: Callable[[], np.ndarray], **parts: Any) -> np.ndarray:
        """The array of a `kind` that `parts` decide: read if it is kept, computed and kept if not."""
        if (kept := self.kept(kind, **parts)) is not None:
            return kept
        result = compute()
        save_array(self.path(kind, ".npy", **parts), result)
        return result

    def json(self, kind: str, compute: Callable[[], Any], **parts: Any) -> Any:
        """The JSON value of a `kind` that `parts` decide, as `array`; where nothing can be kept, it is computed."""
        try:
            path = self.path(kind, ".json", **parts)
        except OutputError:
            return compute()
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            result = compute()
        with suppress(OutputError):
            write_text(path, json.dumps(result))
        return result

    def mapped(
        self,
        kind: str,
        shape: tuple[int, ...],
        batches: Callable[[], Iterator[np.ndarray]],
        dtype: type[np.generic] = np.uint8,
        **parts: Any,
    ) -> np.ndarray:
        """The array of a `kind` that `parts` decide, memory-mapped: written batch by batch if it is not kept."""
        path = self.path(kind, ".npy", **parts)
        if (kept := load_array(path, mmap_mode="r")) is not None:
            return kept
        with replacing(path) as aside, aside.open("wb") as file:
            _write_header(file, np.dtype(dtype), shape)
            rows = 0
            for batch in batches():
                if batch.shape[1:] != shape[1:]:
                    raise ValueError(f"a batch of shape {batch.shape} is no part of {shape}")
                file.write(np.ascontiguousarray(batch, dtype).data)
                rows += len(batch)
            if rows != shape[0]:
                raise ValueError(f"{rows} rows came, {shape[0]} were expected")
        return np.load(path, mmap_mode="r")


def save_array(path: Path, array: np.ndarray) -> None:
    """Writes an array as a `.npy` file, whole or not at all.

    It is written as any file: on a full disk a memory map ends the process, and numpy's own writer does not say why.

    Raises:
        OSError: there is no room.
    """
    array = np.ascontiguousarray(array)
    with replacing(path) as aside, aside.open("wb") as file:
        _write_header(file, array.dtype, array.shape)
        file.write(array.data)


def _write_header(file: BinaryIO, dtype: np.dtype, shape: tuple[int, ...]) -> None:
    description = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, description)
