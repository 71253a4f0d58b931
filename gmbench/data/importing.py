"""Folders of images into a dataset: names matched, every image decoded and checked, roles assigned, files written.

An import goes through the disk piece by piece, so memory does not grow with the number of images (but for some bytes
each), and a stopped one goes on: images are decoded and written as PNG some hundred at a time, each piece under a name
that its files decide; then all ids are sorted, roles dealt out, and the pieces copied into the roles' files. Nothing is
left out in silence: what is not taken is in `quarantine.jsonl`, a line per image or file.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import signal
import stat
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from gmbench.cache import content_key
from gmbench.data.card import CARD, REAL, ROLES, UNKNOWN, Counts, DatasetCard, RealImages, Source, data_folder
from gmbench.data.decoding import ARRAYS, FORMATS, IMAGES, Options, Refused, array_rows, arrays, decode, fitting
from gmbench.data.reals import SHARES
from gmbench.data.storage import (
    MANIFEST,
    Manifest,
    StoredFile,
    encode_png,
    hub_metadata,
    image_id,
    image_schema,
    shard_path,
)
from gmbench.errors import DataError, OutputError
from gmbench.files import ensure_writable, replacing, sha256_file, write_text
from gmbench.progress import Progress

REAL_NAMES = ("real", "reals", "real-images", "0_real")
SAYS_NOTHING = re.compile(r"samples?|images?|generated|fakes?|pngs?|\d+k|(32|64|256)(x(32|64|256))?")
QUARANTINE = "quarantine.jsonl"
MANIFOLD_SHARE = 0.5
FEWEST = 5
PIECE = 256
SHARD_BYTES = 256 * 2**20
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG)


@dataclass
class Report:
    """What an import found.

    Attributes:
        matched: folder to source and number of images there.
        missing: sources of the card without images.
        ignored: folder, file or link to the reason why nothing was taken from it.
        images: how many of each source were taken, the manifold's among `real`.
        quarantined: reason to how many images or files.
    """

    matched: dict[str, tuple[str, int]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    ignored: dict[str, str] = field(default_factory=dict)
    images: dict[str, int] = field(default_factory=dict)
    quarantined: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Piece:
    """Some files of one source in one folder, or one file of arrays. `most`: so many images at most."""

    source: str
    folder: str
    names: tuple[str, ...]
    most: int


def import_dataset(
    card: DatasetCard,
    origin: Path,
    options: Options,
    progress: Progress,
    workers: int = 1,
    replace: bool = False,
    manifold_share: float = MANIFOLD_SHARE,
) -> tuple[Path, Report]:
    """Imports the images below `origin` as the dataset of a card, into the data folder.

    Folders are matched with sources by name (`source_matcher`). Roles come from the images alone: in each source the
    lowest ids (of the sha256 of the pixels) are for train, the next for val, then test, 70 : 10 : 20; of the reals a
    share is for the manifold before that.

    Returns:
        The dataset's folder, and what was found.

    Raises:
        DataError: there is no folder, or too little in it; or the dataset was imported before and `replace` is not set.
        OutputError: the data folder cannot be written to, or is full; what is done is kept.
    """
    out = data_folder() / card.slug
    if not origin.is_dir():
        raise DataError(f"no folder {origin}. Give the folder that holds one folder per source.")
    if (out / MANIFEST).exists() and not replace:
        raise DataError(f"{card.slug} was imported before, into {out}. To put this import in its place, add --replace.")
    work = data_folder() / f".{card.slug}.import"
    ensure_writable(work)
    try:
        return out, _import(card, origin, options, progress, workers, manifold_share, work, out)
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise OutputError(
            f"cannot write to {work}: {error.strerror}. Make room, or set GMBENCH_DATA to a folder elsewhere. What is "
            "done is kept: the same command goes on from there."
        ) from error
    except BrokenProcessPool as error:
        raise DataError(
            f"a worker of the import of {card.slug} died, by lack of memory or in a decoder. What is done is kept: the "
            "same command with --workers 1 goes on from there."
        ) from error


def _import(
    card: DatasetCard,
    origin: Path,
    options: Options,
    progress: Progress,
    workers: int,
    manifold_share: float,
    work: Path,
    out: Path,
) -> Report:
    report = Report()
    folders = list(scan(origin, source_matcher(card), report))
    sources = {source for source, _ in report.matched.values()}
    report.missing = [name for name in card.sources if name not in sources]
    if REAL not in sources:
        raise DataError(f"{origin} has no folder of real images; expected one of: {_names(card)}.")
    if len(sources) < 2:
        raise DataError(f"{origin} has no folder of a source; expected some of: {', '.join(card.sources)}.")

    keys: dict[int, str] = {}
    total = sum(n for _, n in report.matched.values())
    with progress.phase("decoding", total) as phase:
        jobs = ((piece, origin, work, options) for piece in pieces(origin, folders, options.limit_per_source))
        for number, (key, done) in _parallel(convert, jobs, workers):
            keys[number] = key
            phase.advance(done)
    order = [keys[number] for number in range(len(keys))]
    del keys

    images = _Images.read(work, order, card.classes)
    refused = images.drop_duplicates(work) + images.drop_small_sources(card)
    report.missing += [name for name in card.sources if name in sources and name not in images.counts(card)]
    roles = images.roles(card, manifold_share)
    report.images = images.counts(card)
    if REAL not in report.images or len(report.images) < 2:
        _write_quarantine(work / QUARANTINE, work, order, refused)
        raise DataError(
            f"of the images in {origin}, too few can be used: at least {FEWEST} of `real` and of another source are "
            f"needed. {work / QUARANTINE} says what is wrong with each; --resize and --allow-grey take more."
        )

    new = work / f"dataset-{images.digest(roles)[:16]}"
    files = _write_roles(new, work, order, images, roles, card, progress)
    report.quarantined = _write_quarantine(new / QUARANTINE, work, order, refused)
    _write_about(new, card, files, images.digest(roles), report, options, manifold_share)
    old = work / "replaced"
    if out.exists():
        out.replace(old)
    new.replace(out)
    shutil.rmtree(work, ignore_errors=True)
    return report


def new_card(name: str, origin: Path, real: str | None, resolution: int | None) -> DatasetCard:
    """A card for a dataset that nobody registered: a source per folder in `origin`, named after it.

    Args:
        real: the folder with the real images; None: the one that is named so.
        resolution: of the images, in pixels; None: that of the first real image.

    Raises:
        DataError: `name` is not a slug, no folder holds real images, or none of these can be read.
    """
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        raise DataError(f"'{name}' cannot name a dataset: expected small letters, digits and single hyphens.")
    folders = sorted(path.name for path in origin.iterdir() if path.is_dir()) if origin.is_dir() else []
    wanted = [real] if real else REAL_NAMES
    reals = [folder for folder in folders if normalised(folder) in {normalised(each) for each in wanted}]
    if len(reals) != 1:
        raise DataError(
            f"{origin} has {len(reals) or 'no'} folder of real images ({', '.join(wanted)}); name it with --real."
        )
    slugs = {folder: _slug(folder) for folder in folders if folder not in reals}
    sources = {
        slug: Source(title=_printable(folder), family="unknown", paper=UNKNOWN, aliases=[_printable(folder)])
        for folder, slug in slugs.items()
    }
    if resolution is None:
        resolution = _first_size(origin / reals[0])
    return DatasetCard(
        slug=name,
        title=name,
        description="Imported from a folder per source.",
        resolution=resolution,
        licence=UNKNOWN,
        real=RealImages(title=_printable(reals[0]), licence=UNKNOWN, url=UNKNOWN, aliases=[_printable(reals[0])]),
        images=Counts(per_source=0, manifold=0),
        sources=sources,
    )


# Names


def normalised(name: str) -> str:
    """A name without what differs between spellings: `StyleGAN-2`, `stylegan_2 samples` and `stylegan2` are one."""
    words = [word for word in re.split(r"[\W_]+", _plain(name)) if word]
    return "".join([word for word in words if not SAYS_NOTHING.fullmatch(word)] or words)


def _plain(name: str) -> str:
    return unicodedata.normalize("NFKD", name).casefold().replace("β", "beta").replace("+", "p")


def source_matcher(card: DatasetCard) -> Callable[[tuple[str, ...]], str | None]:
    """Gives the source of a folder by the names on its path; None if there is none.

    The last name that is a generative model's decides, so `gan/dcgan` is `dcgan`. A name of real images decides only if
    there is none of a model, so `celebahq/ddpm` and `ddpm/celebahq` are both `ddpm`.
    """
    models = {
        normalised(alias): name
        for name, source in card.sources.items()
        for alias in (*source.aliases, source.title, name)
    }
    reals = {normalised(alias) for alias in (*REAL_NAMES, *card.real.aliases)}

    def match(path: tuple[str, ...]) -> str | None:
        names = [normalised(part) for part in path]
        for name in reversed(names):
            if name in models:
                return models[name]
        return REAL if reals & set(names) else None

    return match


def _names(card: DatasetCard) -> str:
    return ", ".join([*REAL_NAMES, *card.real.aliases])


def _printable(name: str) -> str:
    """A file's name as text; bytes that are none become a question mark."""
    return os.fsencode(name).decode("utf-8", "replace")


def _slug(name: str) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", _plain(name)).strip("-")
    if not slug or slug == REAL:
        raise DataError(
            f"the folder '{_printable(name)}' gives no name for a source: rename it with letters or digits."
        )
    return slug


def _first_size(folder: Path) -> int:
    from PIL import Image

    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in IMAGES and path.is_file():
            try:
                with Image.open(path, formats=FORMATS) as image:
                    return image.size[0]
            except (OSError, Image.DecompressionBombError):
                continue
    raise DataError(f"{folder} has no image that can be read. Give the size of the images with --resolution.")


# Folders


def scan(origin: Path, match: Callable[[tuple[str, ...]], str | None], report: Report) -> Iterator[tuple[str, str]]:
    """Each folder below `origin` with images of a source, and the source; fills `matched` and `ignored` of a report.

    Links to folders are followed, but no folder is visited twice.
    """
    seen: set[tuple[int, int]] = set()
    waiting, links = [origin], list[Path]()
    while waiting or links:
        # Links come last, so that a folder is known by its own name.
        folder = waiting.pop() if waiting else links.pop()
        name = folder.relative_to(origin).as_posix()
        try:
            status = folder.stat()
            if (status.st_dev, status.st_ino) in seen:
                report.ignored[_printable(name)] = "a link to a folder that is read under another name"
                continue
            seen.add((status.st_dev, status.st_ino))
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            report.ignored[_printable(name)] = error.strerror or str(error)
            continue
        found, others = 0, Counter[str]()
        for entry in entries:
            try:
                if entry.is_dir():
                    (links if entry.is_symlink() else waiting).append(folder / entry.name)
                elif _is_wanted(entry):
                    found += _count(folder / entry.name)
                else:
                    others[Path(entry.name).suffix.lower()] += 1
            except OSError as error:
                report.ignored[_printable(f"{name}/{entry.name}")] = error.strerror or str(error)
        for suffix, n in others.items():
            report.ignored[_printable(f"{name}/*{suffix}")] = f"{n} files that are no images"
        if not found:
            continue
        if (source := match(folder.relative_to(origin).parts)) is None:
            report.ignored[_printable(name)] = f"{found} images in a folder of no source"
            continue
        report.matched[_printable(name)] = (source, found)
        yield name, source


def _is_wanted(entry: os.DirEntry[str]) -> bool:
    return Path(entry.name).suffix.lower() in IMAGES + ARRAYS and stat.S_ISREG(entry.stat().st_mode)


def _wanted(folder: Path) -> Iterator[str]:
    for entry in os.scandir(folder):
        with suppress(OSError):
            if not entry.is_dir() and _is_wanted(entry):
                yield entry.name


def _count(path: Path) -> int:
    """How many images a file holds; one that cannot be read counts as one."""
    if path.suffix.lower() in IMAGES:
        return 1
    try:
        return sum(n for _, n, _ in arrays(path)) or 1
    except (Refused, OSError):
        return 1


def pieces(origin: Path, folders: Iterable[tuple[str, str]], limit: int | None) -> Iterator[Piece]:
    """The files of all folders in pieces of at most 256 images, or of one file of arrays, in a fixed order."""
    left: dict[str, int] = {}
    for folder, source in sorted(folders, key=lambda found: (found[1] != REAL, found[1], found[0])):
        names = sorted(_wanted(origin / folder))
        alone = [name for name in names if Path(name).suffix.lower() in ARRAYS]
        images = [name for name in names if name not in set(alone)]
        groups = [tuple(images[start : start + PIECE]) for start in range(0, len(images), PIECE)]
        for group in [*groups, *((name,) for name in alone)]:
            have = left.get(source, limit) if limit is not None else None
            n = len(group) if group[0] not in alone else _count(origin / folder / group[0])
            most = n if have is None else min(n, have)
            if have is not None:
                left[source] = have - most
            if most:
                yield Piece(source, folder, group[:most], most)


# Pieces


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


def _parallel(function: Callable[..., Any], jobs: Iterator[tuple[Any, ...]], workers: int) -> Iterator[tuple[int, Any]]:
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


# Roles


@dataclass(eq=False)
class _Images:
    """All images that were decoded, in the order of pieces: a few bytes each.

    Attributes:
        ids: (n,) the 16 hexadecimal digits of each id, as uint64.
        pieces, rows: (n,) where an image is: number of the piece, and its place in there.
        sources: (n,) index of `classes`.
        kept: (n,) whether it is still wanted.
    """

    classes: tuple[str, ...]
    order: list[str]
    ids: np.ndarray
    pieces: np.ndarray
    rows: np.ndarray
    sources: np.ndarray
    kept: np.ndarray

    @classmethod
    def read(cls, work: Path, order: list[str], classes: tuple[str, ...]) -> _Images:
        ids, pieces, rows, sources = [], [], [], []
        for number, key in enumerate(order):
            index = _index(work, key)
            n = len(index["ids"])
            ids.append(np.array([int(id, 16) for id in index["ids"]], dtype=np.uint64))
            pieces.append(np.full(n, number, np.int32))
            rows.append(np.arange(n, dtype=np.int32))
            sources.append(np.full(n, classes.index(index["source"]), np.int16))
        kept = [np.ones(len(part), bool) for part in ids]
        return cls(classes, order, *(np.concatenate(parts) for parts in (ids, pieces, rows, sources, kept)))

    def drop_duplicates(self, work: Path) -> list[tuple[str, str]]:
        """Keeps the first of equal images; path and reason of the others."""
        by_id = np.argsort(self.ids, kind="stable")
        again = np.flatnonzero(np.r_[False, self.ids[by_id][1:] == self.ids[by_id][:-1]])
        firsts: dict[int, int] = {}
        for place in again:
            firsts[by_id[place]] = firsts.get(by_id[place - 1], by_id[place - 1])
        self.kept[list(firsts)] = False
        return [
            (self.path(work, image), f"duplicate: the same pixels as {self.path(work, first)}")
            for image, first in sorted(firsts.items())
        ]

    def drop_small_sources(self, card: DatasetCard) -> list[tuple[str, str]]:
        """Drops sources with too few images to have some in every role."""
        counts = np.bincount(self.sources[self.kept], minlength=len(self.classes))
        small = [name for name, n in zip(card.classes, counts, strict=True) if 0 < n < FEWEST + (name == REAL)]
        self.kept &= ~np.isin(self.sources, [card.classes.index(name) for name in small])
        return [(name, f"source with fewer than {FEWEST + (name == REAL)} images that can be used") for name in small]

    def counts(self, card: DatasetCard) -> dict[str, int]:
        """How many images of each source are kept."""
        counts = np.bincount(self.sources[self.kept], minlength=len(self.classes))
        return {name: int(n) for name, n in zip(card.classes, counts, strict=True) if n}

    def roles(self, card: DatasetCard, manifold_share: float) -> dict[str, np.ndarray]:
        """The images of each role, in the order of their ids."""
        dealt: dict[str, list[np.ndarray]] = {role: [] for role in ROLES}
        for source, name in enumerate(self.classes):
            mine = np.flatnonzero(self.kept & (self.sources == source))
            mine = mine[np.argsort(self.ids[mine])]
            if name == REAL and len(mine):
                n = min(max(1, round(manifold_share * len(mine))), len(mine) - FEWEST)
                dealt["manifold"].append(mine[:n])
                mine = mine[n:]
            if not len(mine):
                continue
            test, val = (max(1, round(SHARES[role] * len(mine))) for role in ("test", "val"))
            train = len(mine) - test - val
            for role, part in zip(("train", "val", "test"), np.split(mine, [train, train + val]), strict=True):
                dealt[role].append(part)
        joined = {
            role: np.concatenate([*parts, np.empty(0, np.int64)]).astype(np.int64) for role, parts in dealt.items()
        }
        return {role: images[np.argsort(self.ids[images])] for role, images in joined.items()}

    def digest(self, roles: dict[str, np.ndarray]) -> str:
        """As `storage.roles_sha256`, an image after the other."""
        role_of = np.full(len(self.ids), -1, np.int8)
        for number, role in enumerate(ROLES):
            role_of[roles[role]] = number
        digest = hashlib.sha256()
        wanted = np.flatnonzero(role_of >= 0)
        for place, image in enumerate(wanted[np.argsort(self.ids[wanted])]):
            digest.update(f"{chr(10) if place else ''}{self.ids[image]:016x} {ROLES[role_of[image]]}".encode())
        return digest.hexdigest()

    def path(self, work: Path, image: int) -> str:
        """The path of an image, as it was found."""
        return _index(work, self.order[self.pieces[image]])["paths"][self.rows[image]]


def _index(work: Path, key: str) -> dict[str, Any]:
    return json.loads((work / f"{key}.json").read_text(encoding="utf-8"))


# Files


def _write_roles(
    new: Path,
    work: Path,
    order: list[str],
    images: _Images,
    roles: dict[str, np.ndarray],
    card: DatasetCard,
    progress: Progress,
) -> dict[str, StoredFile]:
    """Writes every role's files; those that are there already, from a run that was stopped, are taken as they are."""
    lengths = np.concatenate([np.array(_index(work, key)["lengths"], np.int64) for key in order])
    starts = np.concatenate([np.cumsum([0, *_index(work, key)["lengths"]])[:-1] for key in order]).astype(np.int64)
    files = {}
    with progress.phase("writing", sum(len(of_role) for of_role in roles.values())) as phase:
        for role, of_role in roles.items():
            shards = max(1, -(-int(lengths[of_role].sum()) // SHARD_BYTES))
            for number, part in enumerate(np.array_split(of_role, shards)):
                name = shard_path(role, number, shards)
                if not (new / name).exists():
                    _write_shard(new / name, part, images, work, order, starts, lengths, card.classes)
                files[name] = StoredFile(sha256=sha256_file(new / name), rows=len(part))
                phase.advance(len(part))
    return files


def _write_shard(
    path: Path,
    part: np.ndarray,
    images: _Images,
    work: Path,
    order: list[str],
    starts: np.ndarray,
    lengths: np.ndarray,
    classes: tuple[str, ...],
) -> None:
    import pyarrow
    import pyarrow.parquet as parquet

    schema = image_schema()
    with replacing(path) as aside, parquet.ParquetWriter(aside, schema) as writer:
        for first in range(0, len(part), PIECE):
            batch = part[first : first + PIECE]
            contents: dict[int, bytes] = {}
            for number in np.unique(images.pieces[batch]):
                with (work / f"{order[number]}.bin").open("rb") as file:
                    for image in batch[images.pieces[batch] == number]:
                        file.seek(starts[image])
                        contents[int(image)] = file.read(lengths[image])
            ids = [f"{images.ids[image]:016x}" for image in batch]
            columns = {
                "image": [
                    {"bytes": contents[int(image)], "path": f"{id}.png"} for image, id in zip(batch, ids, strict=True)
                ],
                "id": ids,
                "source": [classes[images.sources[image]] for image in batch],
                "category": [None] * len(batch),
            }
            writer.write_table(pyarrow.table(columns, schema=schema))


def _write_quarantine(path: Path, work: Path, order: list[str], refused: list[tuple[str, str]]) -> dict[str, int]:
    """Writes path and reason of everything that was not taken, a JSON object per line; how many of each kind."""
    kinds = Counter[str]()
    with replacing(path) as aside, aside.open("w", encoding="utf-8", newline="\n") as file:
        for name, reason in (*(pair for key in order for pair in _index(work, key)["refused"]), *refused):
            kinds[reason.partition(":")[0]] += 1
            file.write(json.dumps({"file": name, "reason": reason}) + "\n")
    return dict(kinds)


def _write_about(
    new: Path,
    card: DatasetCard,
    files: dict[str, StoredFile],
    digest: str,
    report: Report,
    options: Options,
    manifold_share: float,
) -> None:
    """The manifest, the README, and the card if nobody registered it."""
    from gmbench.data.card import registered_cards

    manifold = sum(stored.rows for name, stored in files.items() if name.startswith("data/manifold-"))
    outside = report.images | {REAL: report.images[REAL] - manifold}
    provenance = {"command": f"gmbench data import {card.slug} --from DIR", "manifold_share": manifold_share}
    provenance |= {"options": asdict(options), "report": asdict(report)}
    manifest = Manifest(dataset=card.slug, files=files, roles_sha256=digest, sources=outside, provenance=provenance)
    stored = card.with_sources(outside, manifold)
    if card.slug not in registered_cards():
        write_text(new / CARD, card_toml(stored))
    write_text(new / "README.md", import_readme(stored, card, manifest))
    write_text(new / MANIFEST, json.dumps(manifest.model_dump(), indent=2) + "\n")


def card_toml(card: DatasetCard) -> str:
    """A card as the file that `read_card` reads."""
    import tomli_w

    return tomli_w.dumps(card.model_dump(exclude_defaults=True))


def import_readme(stored: DatasetCard, card: DatasetCard, manifest: Manifest) -> str:
    """The README of an imported dataset, with the metadata that the Hub reads.

    Args:
        stored: the card of what is there. card: the card of the whole dataset.
    """
    rows = "\n".join(
        f"| `{name}` | {source.family} | {source.paper} | {source.licence or UNKNOWN} | {manifest.sources[name]:,} |"
        for name, source in stored.sources.items()
    )
    missing = ", ".join(f"`{name}`" for name in card.sources if name not in stored.sources)
    size = f"{stored.resolution}x{stored.resolution}"
    licence = {"license": "other", "license_name": json.dumps(stored.licence)}
    return f"""{hub_metadata(stored.title, licence, "data/{role}-*")}# {stored.title}

{stored.description}

- **Sources**: {len(stored.sources)} of {len(card.sources)}{f"; missing: {missing}" if missing else ""}.
- **Real images**: {stored.real.title}. Licence: {stored.real.licence}, {stored.real.url}.
- **Images**: {manifest.sources[REAL]:,} real and {stored.images.manifold:,} manifold reals; each source is
  divided 70 : 10 : 20 into the roles train, val and test.
- **Format**: PNG, {size}, RGB. Columns `image`, `id` (from the pixels), `source`, `category`.
- **Revision**: `{manifest.revision}`; `manifest.json` has the sha256 of every file, `{QUARANTINE}` what was
  not taken and why.

| source | family | paper | licence | images |
|---|---|---|---|---|
{rows}
"""
