"""Files of images into pieces, and each piece into PNG files and an index, by several processes at a time.

The processes import this module anew, so it stays clear of all that takes long to import.
"""

from __future__ import annotations

import io
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import PIL

from gmbench.data.importing.containers import PARQUET, members, opened, parquet_images
from gmbench.data.importing.decoding import (
    ARRAYS,
    IMAGES,
    Options,
    Picture,
    Refused,
    array_rows,
    arrays,
    decode,
    fitting,
    is_image,
)
from gmbench.data.importing.decoding import __file__ as decoding_file
from gmbench.data.judgements import LEFT_BEHIND
from gmbench.data.png import encode_png, image_id
from gmbench.errors import DataError
from gmbench.support.cache import content_key
from gmbench.support.files import replacing, sha256_file, write_text
from gmbench.support.processes import in_processes, one_by_one

if TYPE_CHECKING:
    from gmbench.data.importing.scanning import Found, Place

PIECE = 256


@dataclass(frozen=True)
class Piece:
    """Some files of one source in one folder, or one file of many images. `most`: so many images at most.

    `split`: the role that is given to them. `archive`: what the files are members of; empty: they are files. `label`:
    of the rows of a parquet file that are meant.
    """

    source: str
    folder: str
    names: tuple[str, ...]
    most: int
    split: str = ""
    archive: str = ""
    label: str = ""


def pieces(origin: Path, found: Iterable[Found], limit: int | None) -> Iterator[Piece]:
    """The images that a scan found, in pieces of at most 256 files or of one file of many images.

    Args:
        limit: so many images of a source at most, evenly from its places; None: all.
    """
    found = list(found)
    for one, most in zip(found, shares(found, limit), strict=True):
        place, left = one.place, most
        names = names_in(origin, place)
        alone = [name for name in names if _holds_many(name)]
        images = [name for name in names if not _holds_many(name)]
        groups = [tuple(images[start : start + PIECE]) for start in range(0, len(images), PIECE)]
        for group in [*groups, *((name,) for name in alone)]:
            n = len(group)
            if _holds_many(group[0]):
                n = place.n if group[0].endswith(PARQUET) else count(origin / place.folder / group[0])
            taken = min(n, left)
            left -= taken
            if taken:
                yield Piece(one.source, place.folder, group[:taken], taken, one.split, place.archive, place.label)


def shares(found: Sequence[Found], limit: int | None) -> list[int]:
    """How many images of each place are taken: all, or as evenly as the places of its source allow."""
    taken = [one.place.n if limit is None else 0 for one in found]
    for source in {one.source for one in found} if limit is not None else ():
        mine = [i for i, one in enumerate(found) if one.source == source]
        left = min(limit or 0, sum(found[i].place.n for i in mine))
        while left:
            open_ = [i for i in mine if taken[i] < found[i].place.n]
            each = max(left // len(open_), 1)
            for i in open_:
                more = min(each, found[i].place.n - taken[i], left)
                taken[i] += more
                left -= more
    return taken


def is_wanted(entry: os.DirEntry[str]) -> bool:
    """Whether a file is of images: by its name, or by its first bytes if it has no suffix."""
    if not stat.S_ISREG(entry.stat().st_mode):
        return False
    suffix = Path(entry.name).suffix.lower()
    return is_image(Path(entry.path)) if not suffix else suffix in IMAGES + ARRAYS


def names_in(origin: Path, place: Place) -> list[str]:
    """The files of images at a place: names in its folder, or paths in its archive."""
    if place.names is not None:
        return list(place.names)
    if place.archive:
        inner = PurePosixPath(place.folder).relative_to(place.archive)
        return [
            name
            for name in members(origin / place.archive)
            if PurePosixPath(name).parent == inner
            and PurePosixPath(name).suffix.lower() in IMAGES
            and not LEFT_BEHIND.fullmatch(PurePosixPath(name).name)
        ]
    found = []
    for entry in os.scandir(origin / place.folder):
        with suppress(OSError):
            if not entry.is_dir() and not LEFT_BEHIND.fullmatch(entry.name) and is_wanted(entry):
                found.append(entry.name)
    return sorted(found)


def files_of_images(origin: Path, place: Place) -> Iterator[Path | io.BytesIO]:
    """The files of images at a place, for who wants to look at some; arrays and what is damaged are left out."""
    home = origin if origin.is_dir() else origin.parent
    with suppress(Refused, OSError), ExitStack() as stack:
        read = stack.enter_context(opened(home / place.archive)) if place.archive else None
        for name in names_in(home, place):
            if read is not None:
                yield io.BytesIO(read(name))
            elif name.endswith(PARQUET):
                yield from (
                    io.BytesIO(content) for _, content in parquet_images(home / place.folder / name, place.label)
                )
            elif not _holds_many(name):
                yield home / place.folder / name


def _holds_many(name: str) -> bool:
    return Path(name).suffix.lower() in (*ARRAYS, PARQUET)


def count(path: Path) -> int:
    """How many images a file holds; one that cannot be read counts as one."""
    if path.suffix.lower() not in ARRAYS:
        return 1
    try:
        return sum(n for _, n, _ in arrays(path)) or 1
    except (Refused, OSError):
        return 1


def convert(piece: Piece, origin: Path, work: Path, options: Options) -> tuple[str, int]:
    """Decodes a piece's images and writes them into `work`, unless that was done before; its key, and how many.

    `<key>.bin` holds the PNG files one after the other, `<key>.json` their ids, lengths, paths, kinds, sizes and
    changes, and what was refused.
    """
    folder = origin / piece.folder
    files = [origin / piece.archive] if piece.archive else [folder / name for name in piece.names]
    stats = [(path.name, status.st_size, status.st_mtime_ns) for path in files for status in [_status(path)]]
    parts = {"piece": asdict(piece), "stats": ascii(stats), "options": asdict(options), "pillow": PIL.__version__}
    key = content_key(code=sha256_file(Path(decoding_file)), **parts)
    done = work / f"{key}.json"
    if done.exists():
        return key, piece.most
    index: dict[str, Any] = {"source": piece.source, "split": piece.split, "refused": []}
    index |= {column: [] for column in ("ids", "lengths", "paths", "kinds", "sizes", "changes")}
    with replacing(work / f"{key}.bin") as aside, aside.open("wb") as file, ExitStack() as stack:
        for path, images in _files_of(piece, origin, options, index["refused"], stack):
            try:
                for place, picture in images:
                    content = encode_png(picture.pixels)
                    file.write(content)
                    index["ids"].append(image_id(picture.pixels))
                    index["lengths"].append(len(content))
                    index["paths"].append(path + place)
                    index["kinds"].append(picture.kind)
                    index["sizes"].append(picture.size)
                    index["changes"].append(picture.changes)
            except Refused as refused:
                index["refused"].append([path, str(refused)])
    write_text(done, json.dumps(index))
    return key, piece.most


Images = Iterator[tuple[str, Picture]]


def _files_of(
    piece: Piece, origin: Path, options: Options, refused: list[list[str]], stack: ExitStack
) -> Iterator[tuple[str, Images]]:
    """Each file of a piece by its path from the origin, with its images and their place in it."""
    if not piece.archive:
        for name in piece.names:
            path = f"{piece.folder}/{name}"
            yield path, _images_of(origin / path, piece, options, refused, path)
        return
    read = stack.enter_context(opened(origin / piece.archive))
    for name in piece.names:
        yield f"{piece.archive}/{name}", _image_in(read, name, options)


def _image_in(read: Callable[[str], bytes], name: str, options: Options) -> Images:
    yield "", decode(read(name), options)


def _status(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError:
        return os.stat_result((0,) * 10)


def _images_of(path: Path, piece: Piece, options: Options, refused: list[list[str]], name: str) -> Images:
    """The images of a file with their place in it; those of many that are not taken are added to `refused`."""
    if not _holds_many(path.name):
        yield "", decode(path, options)
        return
    for taken, (place, take) in enumerate(_rows_of(path, piece.label, options)):
        if taken == piece.most:
            return
        try:
            picture = take()
        except Refused as problem:
            refused.append([name + place, str(problem)])
            continue
        yield place, picture


def _rows_of(path: Path, label: str, options: Options) -> Iterator[tuple[str, Callable[[], Picture]]]:
    """The images of a file of many: their place in it, and what decodes them."""
    if path.suffix.lower() == PARQUET:
        for row, content in parquet_images(path, label):
            yield f"[{row}]", partial(decode, content, options)
        return
    for member, _, shape in arrays(path):
        for row, pixels in enumerate(array_rows(path, member, shape)):
            yield f"[{member}:{row}]" if member else f"[{row}]", partial(fitting, pixels, options)


def read_index(work: Path, key: str) -> dict[str, Any]:
    """What `convert` wrote of a piece: source, ids, lengths, paths, refused."""
    return json.loads((work / f"{key}.json").read_text(encoding="utf-8"))


def converted(jobs: Iterable[tuple[Piece, Path, Path, Options]], workers: int) -> Iterator[tuple[int, tuple[str, int]]]:
    """Number and result of `convert` for each job, as they are done.

    Raises:
        DataError: a file ended the process that read it; the message says which files it was at.
    """
    chains = ([job] for job in jobs)
    for done in one_by_one(convert, chains) if workers == 1 else in_processes(convert, chains, workers):
        if done.ended is not None:
            piece: Piece = done.task[0]
            others = f" and {len(piece.names) - 1} others" if len(piece.names) > 1 else ""
            raise DataError(
                f"{piece.archive or piece.folder}: the process that read {piece.names[0]}{others} ended, {done.ended}. "
                "Make room in memory, or take out the file that it cannot read; the same command goes on."
            )
        yield done.chain, done.result
