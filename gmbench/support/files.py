"""Writing files so that nobody ever sees half of one: write aside, then rename."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from gmbench.errors import OutputError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)
"""What the system says of a disk that is full or read-only, and of a file that is larger than it may be."""


def ensure_writable(folder: Path) -> None:
    """Makes a folder, and makes sure that files can be written there, before anything long begins.

    Raises:
        OutputError: it cannot be made or written to.
    """
    probe = folder / f".gmbench-{os.getpid()}"
    with replacing(probe):
        pass
    probe.unlink()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a path in the same folder to write to; it replaces `path` if the block ends well, and is removed if not.

    Raises:
        OutputError: the folder cannot be made or written to.
        OSError: there is no room, or no right to write (`NO_ROOM`); it names `path`.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    except OSError as error:
        raise OutputError(
            f"cannot write to {path.parent}: {error.strerror}. Choose another folder or change its permissions."
        ) from error
    os.close(handle)
    aside = Path(name)
    try:
        yield aside
        aside.chmod(0o644)
        aside.replace(path)
    except OSError as error:
        if error.errno in NO_ROOM and error.filename is None:
            error.filename = str(path)
        raise
    finally:
        aside.unlink(missing_ok=True)


def first_link(folder: Path) -> Path | None:
    """The first symbolic link below a folder, at any depth, in order of names; None if there is none.

    A link can lead out of what a digest, a check or a reader looks at.
    """
    for here, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted([*folders, *files]):
            if (path := Path(here, name)).is_symlink():
                return path
    return None


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text with Unix line ends, whole or not at all."""
    with replacing(path) as aside:
        aside.write_text(text, encoding="utf-8", newline="\n")


def sha256_file(path: Path) -> str:
    """Hexadecimal sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Keeps other processes out of a piece of work for as long as the block runs; the lock ends with the process.

    Args:
        path: a file that stands for the work; it is there only while somebody is at it.
        what: the work in words, for who comes second.

    Raises:
        OutputError: another process is at it (says which), or the file cannot be made.
    """
    with _taken(path, what):
        try:
            yield
        finally:
            # Before the lock ends, so that nobody waits on a file that is gone; see `_taken`.
            with suppress(OSError):
                path.unlink(missing_ok=True)


@contextmanager
def _taken(path: Path, what: str) -> Iterator[None]:
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("a+", encoding="utf-8")
        except OSError as error:
            raise OutputError(
                f"cannot write to {path.parent}: {error.strerror}. Choose another folder or change its permissions."
            ) from error
        with file:
            if not _lock(file):
                file.seek(0)
                who = file.read().strip() or "another process"
                raise OutputError(f"{what}: {who} is at it. Wait until that has ended, or stop it.")
            try:
                mine = os.path.samestat(os.fstat(file.fileno()), path.stat())
            except FileNotFoundError:
                mine = False
            if not mine:
                # Who had it before has removed the file since it was opened.
                continue
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}, since {time.strftime('%H:%M:%S')}")
            file.flush()
            yield
            return


def _lock(file: TextIO) -> bool:
    """Locks a file until it is closed; False if another process has."""
    try:
        import fcntl
    except ImportError:
        import msvcrt

        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError:
            return False
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
