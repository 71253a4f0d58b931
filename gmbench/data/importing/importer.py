"""Folders of images into a dataset: names matched, every image decoded and checked, roles assigned, files written.

An import goes through the disk piece by piece, so memory does not grow with the number of images (but for some bytes
each), and a stopped one goes on: folders are matched with sources (`source_names`), images are decoded and written as
PNG some hundred at a time, each piece under a name that its files decide (`pieces`); then all ids are sorted, roles
dealt out (`roles`), and the pieces copied into the roles' files. Nothing is left out in silence: what is not taken is
in `quarantine.jsonl`, a line per image or file.
"""

from __future__ import annotations

import errno
import json
import shutil
from collections import Counter
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from gmbench.data.cards import CARD, REAL, DatasetCard
from gmbench.data.folders import data_folder
from gmbench.data.importing.cards import card_toml
from gmbench.data.importing.chunks import convert, parallel, pieces, read_index
from gmbench.data.importing.decoding import Options
from gmbench.data.importing.names import (
    names_of_reals,
    scan,
    source_matcher,
)
from gmbench.data.importing.roles import FEWEST, Decoded
from gmbench.data.manifest import MANIFEST, Manifest, StoredFile, shard_path
from gmbench.data.parquet import image_schema
from gmbench.data.readme import import_readme
from gmbench.errors import DataError, OutputError
from gmbench.support.files import ensure_writable, replacing, sha256_file, write_text
from gmbench.support.progress import Progress

QUARANTINE = "quarantine.jsonl"
MANIFOLD_SHARE = 0.5
ROW_GROUP = 256
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
    folders = scan(origin, source_matcher(card))
    sources = {source for _, source in folders.found}
    missing = [name for name in card.sources if name not in sources]
    report = Report(matched=folders.matched, missing=missing, ignored=folders.ignored)
    if REAL not in sources:
        raise DataError(f"{origin} has no folder of real images; expected one of: {names_of_reals(card)}.")
    if len(sources) < 2:
        raise DataError(f"{origin} has no folder of a source; expected some of: {', '.join(card.sources)}.")

    keys: dict[int, str] = {}
    total = sum(n for _, n in report.matched.values())
    in_order = sorted(folders.found, key=lambda found: (found[1] != REAL, found[1], found[0]))
    with progress.phase("decoding", total) as phase:
        jobs = ((piece, origin, work, options) for piece in pieces(origin, in_order, options.limit_per_source))
        for number, (key, done) in parallel(convert, jobs, workers):
            keys[number] = key
            phase.advance(done)

    images = Decoded.read(work, [keys[number] for number in range(len(keys))], card.classes)
    refused = images.drop_duplicates() + images.drop_small_sources()
    report.images = images.counts()
    report.missing += [name for name in card.sources if name in sources and name not in report.images]
    if REAL not in report.images or len(report.images) < 2:
        _write_quarantine(work / QUARANTINE, images, refused)
        raise DataError(
            f"of the images in {origin}, too few can be used: at least {FEWEST} of `real` and of another source are "
            f"needed. {work / QUARANTINE} says what is wrong with each; --resize and --allow-grey take more."
        )

    roles = images.roles(manifold_share)
    digest = images.digest(roles)
    new = work / f"dataset-{digest[:16]}"
    files = _write_roles(new, images, roles, progress)
    report.quarantined = _write_quarantine(new / QUARANTINE, images, refused)
    _write_about(new, card, files, digest, report, options, manifold_share)
    old = work / "replaced"
    if out.exists():
        out.replace(old)
    new.replace(out)
    shutil.rmtree(work, ignore_errors=True)
    return report


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
    manifold_share: float,
) -> None:
    """The manifest, the README, and the card if nobody registered it."""
    from gmbench.data.cards import registered_cards

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
