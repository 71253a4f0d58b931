"""Folders of images into a dataset: names matched, every image decoded and checked, roles assigned, files written.

An import goes through the disk piece by piece, so memory does not grow with the number of images (but for some bytes
each), and a stopped one goes on: folders are matched with sources (`scanning`, `names`), images are decoded and
written as PNG some hundred at a time, each piece under a name that its files decide (`chunks`); then all ids are
sorted, roles dealt out (`roles`), and the pieces copied into the roles' files. Nothing is left out in silence: what is
not taken is in `quarantine.jsonl`, a line per image or file. `files.parquet` says which file each image was.
"""

from __future__ import annotations

import errno
import json
import shlex
import shutil
from collections import Counter
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from gmbench.data.cards import CARD, REAL, DatasetCard, registered_cards
from gmbench.data.folders import data_folder
from gmbench.data.hub import FILE_NAMES
from gmbench.data.importing.cards import card_toml
from gmbench.data.importing.chunks import converted, pieces, read_index, shares
from gmbench.data.importing.containers import ARCHIVES, is_archive
from gmbench.data.importing.decoding import Options
from gmbench.data.importing.history import unlike
from gmbench.data.importing.names import may_be_real, names_of_reals, printable, source_matcher
from gmbench.data.importing.roles import Decoded
from gmbench.data.importing.scanning import Folders, scan
from gmbench.data.judgements import FEWEST, MANIFOLD_SHARE, SMALL_MANIFOLD
from gmbench.data.manifest import MANIFEST, Manifest, StoredFile, shard_path
from gmbench.data.parquet import image_schema
from gmbench.data.readme import QUARANTINE, import_readme
from gmbench.errors import DataError, OutputError, ParameterError
from gmbench.support.files import ensure_writable, locked, replacing, sha256_file, write_text
from gmbench.support.progress import Progress

ROW_GROUP = 256
SHARD_BYTES = 256 * 2**20
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG)


@dataclass
class Report:
    """What an import found.

    Attributes:
        matched: folder to source and number of images there.
        notes: folder to what else its path or table says.
        joined: source to the places that its images are from, where there are several.
        missing: sources of the card without images.
        ignored: folder, file or link to the reason why nothing was taken from it.
        splits: given splits.
        images: how many of each source were taken, the manifold's among `real`.
        quarantined: reason to how many images or files.
        history: of each source, how many images had which format, size before `--resize`, and changes.
        warnings: what is worth knowing before anyone measures with it.
        reads: how many images are read: those that were matched, or fewer where a limit is given.
    """

    matched: dict[str, tuple[str, int]] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    joined: dict[str, list[str]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    ignored: dict[str, str] = field(default_factory=dict)
    splits: list[str] = field(default_factory=list)
    images: dict[str, int] = field(default_factory=dict)
    quarantined: dict[str, int] = field(default_factory=dict)
    history: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    reads: int = 0


@dataclass(frozen=True)
class Dealing:
    """How images get their roles.

    Attributes:
        manifold_share: of the reals (of those of train, with given splits), for the manifold; above 0, below 1.
        keep_splits: folders called train, val, test and manifold are roles.
        test_only: all images but the manifold's are for testing.
        balance: as many images of each source in each role.
    """

    manifold_share: float = MANIFOLD_SHARE
    keep_splits: bool = False
    test_only: bool = False
    balance: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.manifold_share < 1:
            raise ParameterError(
                f"--manifold-share: a manifold needs reals and leaves some, expected a share above 0 and below 1, got "
                f"{self.manifold_share:g}."
            )


def check_import(
    card: DatasetCard,
    origin: Path,
    real: str | None = None,
    labels: str | None = None,
    keep_splits: bool = False,
    limit: int | None = None,
) -> tuple[Folders, Report]:
    """What would be taken as what; writes nothing.

    Args:
        real: another name of folders with real images.
        labels: see `scan`.
        keep_splits: given splits are roles.
        limit: so many images of each source at most.

    Raises:
        DataError: there is no folder, no real image or no source; a table contradicts its folder; or splits are to be
            kept, and there are none, or images in none of them.
    """
    if not origin.exists():
        raise DataError(f"{origin} does not exist. Give the folder that holds one folder per source.")
    if not origin.is_dir() and not is_archive(origin.name):
        raise DataError(f"{origin} is no folder and no archive that is read ({', '.join(ARCHIVES)}).")
    folders = scan(origin, source_matcher(card, real), labels)
    sources = {found.source for found in folders.found}
    report = Report(
        matched=folders.matched,
        notes=folders.notes,
        joined=folders.joined,
        missing=[name for name in card.generators if name not in sources],
        ignored=folders.ignored,
        splits=folders.splits,
    )
    seen = [*(name for name, why in folders.ignored.items() if "images in a folder" in why), *folders.matched]
    there = f" Found folders: {', '.join(seen[:8]) or 'none with images'}."
    if REAL not in sources:
        raise DataError(f"{origin} has no folder of real images; expected one of: {names_of_reals(card)}.{there}")
    if len(sources) < 2:
        raise DataError(f"{origin} has no folder of a source; expected some of: {', '.join(card.generators)}.{there}")
    if folders.splits and not keep_splits:
        report.warnings.append(
            f"the given splits ({', '.join(folders.splits)}) are pooled and dealt anew; --keep-splits keeps them"
        )
    if keep_splits and not folders.splits:
        raise DataError(f"{origin} has no given splits to keep: expected folders such as train, val and test.")
    if keep_splits and (loose := [found for found in folders.found if not found.split]):
        raise DataError(
            f"{loose[0].place.n} images of {loose[0].source} in {printable(loose[0].place.folder)} are in none of the "
            f"given splits ({', '.join(folders.splits)}). Move them, or leave out --keep-splits."
        )
    report.warnings += _doubtful(card)
    folders.found.sort(key=lambda one: (one.source != REAL, one.source, one.place.folder, one.place.label))
    taken = shares(folders.found, limit)
    report.reads = sum(taken)
    report.notes |= _limited(folders, taken) if limit is not None else {}
    return folders, report


def _doubtful(card: DatasetCard) -> list[str]:
    """A line for each source that nobody registered and whose name speaks of real images."""
    if card.slug in registered_cards():
        return []
    return [
        f"{name} is taken as a generative model, though its name speaks of real images: if they are, say --real "
        f"{shlex.quote(source.title)}"
        for name, source in card.generators.items()
        if may_be_real(source.title)
    ]


def _limited(folders: Folders, taken: list[int]) -> dict[str, str]:
    """How many images of each place are taken, for sources that are from several."""
    of_source: dict[str, list[str]] = {}
    for found, n in zip(folders.found, taken, strict=True):
        of_source.setdefault(found.source, []).append(f"{n} of {printable(found.place.folder)}")
    return {
        f"limit, {source}": ", ".join(each[:4]) + (f" and {len(each) - 4} folders more" if len(each) > 4 else "")
        for source, each in of_source.items()
        if len(each) > 1
    }


def import_dataset(
    card: DatasetCard,
    origin: Path,
    options: Options,
    progress: Progress,
    workers: int = 1,
    replace: bool = False,
    dealing: Dealing | None = None,
    real: str | None = None,
    labels: str | None = None,
) -> tuple[Path, Report]:
    """Imports the images below `origin` as the dataset of a card, into the data folder.

    Folders are matched with sources by name (`source_matcher`). Unless splits are given and kept, roles come from the
    images alone: in each source the lowest ids (of the sha256 of the pixels) are for train, the next for val, then
    test, 70 : 10 : 20; of the reals a share is for the manifold before that.

    Args:
        origin: a folder, or an archive.
        real, labels: see `check_import`.

    Returns:
        The dataset's folder, and what was found.

    Raises:
        DataError: there is no folder, or too little in it; a table contradicts its folder; a given split lacks a
            source; or the dataset was imported before and `replace` is not set.
        OutputError: the data folder cannot be written to, or is full (what is done is kept), or another import of this
            dataset is at it.
    """
    dealing = dealing or Dealing()
    out = data_folder() / card.slug
    work = data_folder() / f".{card.slug}.import"
    folders, report = check_import(card, origin, real, labels, dealing.keep_splits, options.limit_per_source)
    with locked(work.with_suffix(".lock"), f"{card.slug} is being imported or removed"):
        _finish_replacing(work, out)
        if (out / MANIFEST).exists() and not replace:
            raise DataError(
                f"{card.slug} was imported before, into {out}. To put this import in its place, add --replace."
            )
        ensure_writable(work)
        try:
            home = origin if origin.is_dir() else origin.parent
            _import(card, home, folders, report, options, dealing, progress, workers, work, out)
            return out, report
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            raise OutputError(
                f"cannot write to {work}: {error.strerror}. Make room, or set GMBENCH_DATA to a folder elsewhere. What "
                "is done is kept: the same command goes on from there."
            ) from error
        except BrokenProcessPool as error:
            raise DataError(
                f"a worker of the import of {card.slug} died, by lack of memory or in a decoder. What is done is kept: "
                "the same command with --workers 1 goes on from there."
            ) from error


def remove_dataset(slug: str) -> list[Path]:
    """Removes an imported dataset and what a stopped import left of it; the folders that were removed.

    Raises:
        DataError: it was not imported here.
        OutputError: an import is at it, or a folder cannot be removed.
    """
    out, work = data_folder() / slug, data_folder() / f".{slug}.import"
    with locked(work.with_suffix(".lock"), f"{slug} is being imported or removed"):
        there = [folder for folder in (out, work) if folder.is_dir()]
        if not there:
            raise DataError(f"{slug} was not imported here: there is no {out}.")
        for folder in there:
            try:
                # Renamed first, so that a dataset is there as a whole or not at all.
                gone = folder.rename(folder.with_name(f".{slug}.removed")) if folder == out else folder
                shutil.rmtree(gone)
            except OSError as error:
                raise OutputError(f"cannot remove {folder}: {error.strerror}.") from error
    return there


def _finish_replacing(work: Path, out: Path) -> None:
    """Puts back a dataset that a process which was killed had moved away and not replaced yet."""
    if (work / "replaced").is_dir() and not out.exists():
        (work / "replaced").replace(out)


def _import(
    card: DatasetCard,
    origin: Path,
    folders: Folders,
    report: Report,
    options: Options,
    dealing: Dealing,
    progress: Progress,
    workers: int,
    work: Path,
    out: Path,
) -> None:
    keys: dict[int, str] = {}
    with progress.phase("decoding", report.reads) as phase:
        jobs = ((piece, origin, work, options) for piece in pieces(origin, folders.found, options.limit_per_source))
        for number, (key, done) in converted(jobs, workers):
            keys[number] = key
            phase.advance(done)

    images = Decoded.read(work, [keys[number] for number in range(len(keys))], card.sources)
    test_only = dealing.test_only or (dealing.keep_splits and {*folders.splits} <= {"test", "manifold"})
    refused = images.drop_duplicates() + images.drop_small_sources(1 if test_only or dealing.keep_splits else FEWEST)
    report.images = images.counts()
    report.missing += [name for name in card.generators if name not in report.images and name not in report.missing]
    if REAL not in report.images or len(report.images) < 2:
        kinds = _write_quarantine(work / QUARANTINE, images, refused)
        reasons = ", ".join(f"{n:,} {reason}" for reason, n in kinds.items())
        raise DataError(
            f"of the images in {origin}, too few can be used: at least {FEWEST} of `real` and of another source are "
            f"needed. Set aside: {reasons} ({work / QUARANTINE} has each). --resize takes squares of another size, "
            "--crop centre others than squares, --allow-grey those without colour."
        )

    if dealing.keep_splits:
        roles = images.given_roles(dealing.manifold_share)
    elif test_only:
        roles = images.test_roles(dealing.manifold_share)
    else:
        roles = images.roles(dealing.manifold_share)
    if dealing.balance:
        roles, left = images.balanced(roles)
        refused += left
    images.kept[:] = False
    images.kept[np.concatenate(list(roles.values()))] = True
    report.images, report.history = images.counts(), images.history()
    report.warnings += _warnings(images, roles, report)
    digest = images.digest(roles)
    new = work / f"dataset-{digest[:16]}"
    files = _write_roles(new, images, roles, progress)
    _write_names(new / FILE_NAMES, images, roles)
    report.quarantined = _write_quarantine(new / QUARANTINE, images, refused)
    _write_about(new, card, files, digest, report, options, dealing, test_only)
    old = work / "replaced"
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        out.replace(old)
    try:
        new.replace(out)
    except OSError:
        _finish_replacing(work, out)
        raise
    shutil.rmtree(work, ignore_errors=True)


def _warnings(images: Decoded, roles: dict[str, np.ndarray], report: Report) -> list[str]:
    """What differs between sources or is too little, a line each, with what can be done about it."""
    lines = []
    if differing := unlike(report.history):
        lines.append(
            f"sources have unlike histories ({'; '.join(differing)}): methods may learn these and not the models. Give "
            "all the same format, quality and size before import"
        )
    changes = Counter[str]()
    for of_source in report.history.values():
        changes.update(of_source["changes"])
    if applied := [f"{n:,} {change}" for change, n in changes.items()]:
        lines.append(f"not taken as they were stored: {', '.join(applied)}")
    if (n := len(roles["manifold"])) < SMALL_MANIFOLD:
        lines.append(f"the manifold has {n} images: below {SMALL_MANIFOLD}, distances to it say little. Add reals")
    for role in ("train", "test"):
        counts = np.bincount(images.sources[roles[role]], minlength=len(images.classes))
        of_role = {name: int(n) for name, n in zip(images.classes, counts, strict=True) if n}
        if len(set(of_role.values())) > 1:
            fewest, most = (choose(of_role, key=of_role.__getitem__) for choose in (min, max))
            lines.append(
                f"{role} has {of_role[fewest]} images of {fewest} and {of_role[most]} of {most}, so `gmbench audit` "
                "fails its balance: --balance takes as many of each (half of the reals are the manifold's)"
            )
            break
    return lines


def _write_names(path: Path, images: Decoded, roles: dict[str, np.ndarray]) -> None:
    """Writes which file each image was: columns id and file (from the origin). Stays here unless a push asks for it."""
    import pyarrow
    import pyarrow.parquet as parquet

    every = np.concatenate(list(roles.values()))
    columns = {"id": [f"{id:016x}" for id in images.ids[every]], "file": list(map(printable, images.names(every)))}
    with replacing(path) as aside:
        parquet.write_table(pyarrow.table(columns), aside)


def _write_roles(new: Path, images: Decoded, roles: dict[str, np.ndarray], progress: Progress) -> dict[str, StoredFile]:
    """Writes every role's files; those that are there already, from a run that was stopped, are taken as they are."""
    files = {}
    with progress.phase("writing", sum(len(of_role) for of_role in roles.values())) as phase:
        for role, of_role in roles.items():
            shards = max(1, -(-int(images.lengths[of_role].sum()) // SHARD_BYTES))
            for number, part in enumerate(np.array_split(of_role, shards)):
                name = shard_path(role, number, shards)
                if not (new / name).exists():
                    _write_shard(new / name, images, part)
                files[name] = StoredFile(sha256=sha256_file(new / name), rows=len(part))
                phase.advance(len(part))
    return files


def _write_shard(path: Path, images: Decoded, part: np.ndarray) -> None:
    import pyarrow
    import pyarrow.parquet as parquet

    schema = image_schema()
    with replacing(path) as aside, parquet.ParquetWriter(aside, schema) as writer:
        for first in range(0, len(part), ROW_GROUP):
            batch = part[first : first + ROW_GROUP]
            ids = [f"{id:016x}" for id in images.ids[batch]]
            columns = {
                "image": [
                    {"bytes": content, "path": f"{id}.png"}
                    for content, id in zip(images.contents(batch), ids, strict=True)
                ],
                "id": ids,
                "source": [images.classes[source] for source in images.sources[batch]],
                "category": [None] * len(batch),
            }
            writer.write_table(pyarrow.table(columns, schema=schema))


def _write_quarantine(path: Path, images: Decoded, refused: list[tuple[str, str]]) -> dict[str, int]:
    """Writes path and reason of everything that was not taken, a JSON object per line; how many of each kind."""
    kinds = Counter[str]()
    unread = (pair for key in images.keys for pair in read_index(images.work, key)["refused"])
    with replacing(path) as aside, aside.open("w", encoding="utf-8", newline="\n") as file:
        for name, reason in (*unread, *refused):
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
    dealing: Dealing,
    test_only: bool,
) -> None:
    """The manifest, the README, and the card if nobody registered it."""
    manifold = sum(stored.rows for name, stored in files.items() if name.startswith("data/manifold-"))
    outside = report.images | {REAL: report.images[REAL] - manifold}
    provenance = {"command": f"gmbench data import {card.slug} --from DIR", "dealing": asdict(dealing)}
    provenance |= {"options": asdict(options), "report": {k: v for k, v in asdict(report).items() if k != "history"}}
    manifest = Manifest(
        dataset=card.slug,
        files=files,
        roles_sha256=digest,
        sources=outside,
        test_only=test_only,
        history=report.history,
        provenance=provenance,
    )
    stored = card.with_sources(outside, manifold)
    if card.slug not in registered_cards():
        write_text(new / CARD, card_toml(stored))
    write_text(new / "README.md", import_readme(stored, card, manifest))
    write_text(new / MANIFEST, json.dumps(manifest.model_dump(), indent=2) + "\n")
