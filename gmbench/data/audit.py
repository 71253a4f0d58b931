"""Is a benchmark fair? Checks of a stored dataset for what gives sources away, or makes scores better than they are.

An audit reads the files as they are stored and asks nothing of them but that they are whole: what `load_dataset` would
refuse is a failed check here. Near-duplicates are found exactly, group of images by group, so memory does not grow with
the dataset.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from gmbench.cache import Cache
from gmbench.data.card import REAL, ROLES, DatasetCard, Strict
from gmbench.data.encoding import image_id
from gmbench.data.places import available_folder
from gmbench.data.storage import (
    Manifest,
    read_columns,
    read_manifest,
    role_files,
    roles_sha256,
    stored_card,
    verify_files,
)
from gmbench.errors import DataError
from gmbench.evaluators.accuracy import accuracy_interval
from gmbench.neighbors import BATCH, BLOCK_BYTES, nearest
from gmbench.progress import Progress
from gmbench.seeds import seed_from

if TYPE_CHECKING:
    from rich.console import Console

NEAR_DUPLICATE = 4.0
PROBE_BOUND = 0.5
TREES = 100
SCORED = ("train", "val", "test")
NEEDED_CHUNKS = {"IHDR", "PLTE", "tRNS", "IDAT", "IEND"}
STATISTICS = {"mean colour": slice(0, 3), "file size": slice(3, 4), "grey histogram": slice(4, 12)}


class Check(Strict):
    """One question of an audit.

    Attributes:
        expected, found: in words.
        figures: the numbers behind `found`; counts, shares in [0, 1], distances in grey levels (root mean square).
    """

    name: str
    passed: bool
    expected: str
    found: str
    figures: dict[str, Any]


class AuditReport(Strict):
    """What an audit found, and of which dataset. `images`: how many each role has."""

    dataset: str
    revision: str
    gmbench: str
    images: dict[str, int]
    checks: list[Check]

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)


def audit_dataset(
    card: DatasetCard,
    cache: Cache,
    progress: Progress,
    folder: Path | None = None,
    neighbors_of: int | None = None,
    probe_bound: float = PROBE_BOUND,
    device: str = "cpu",
) -> AuditReport:
    """Audits the dataset in `folder` (by default where it is).

    Args:
        neighbors_of: look for near-duplicates of so many images per source and role, the first by id; None: of all.
            They are compared with all images in any case. The work grows with the square of the number of images.
        probe_bound: share in [0, 1] of the way from chance to certainty that the probe on trivial statistics may go.
            Sources do differ in brightness, so some of it is fair; beyond half of it, accuracies say little of
            artifacts.
        device: where neighbours are looked for.

    Raises:
        DataError: a file is missing, altered or cannot be read, or is not as the manifest says.
    """
    folder = folder or available_folder(card, progress)
    manifest = read_manifest(folder)
    if manifest.dataset != card.slug:
        raise DataError(f"{folder} holds '{manifest.dataset}', expected '{card.slug}'.")
    verify_files(folder, manifest)
    card = stored_card(card, manifest)

    with TemporaryDirectory(prefix="audit.", dir=cache.path("audit").parent) as scratch:
        images = _read(folder, manifest, card.resolution, Path(scratch) / "pixels.npy", progress)
        parts = _parts(images, card)
        closest = _closest(images, parts, neighbors_of, device, progress)
        checks = [
            _format(images, card),
            _metadata(images),
            _encoder(images),
            _ids(images),
            *([_regions(images)] if images.regions is not None else []),
            _sources(images, card),
            _balance(images),
            _near("near-duplicates across roles", parts, closest, lambda part, other: part.role != other.role),
            _near("near-duplicates between sources", parts, closest, lambda part, other: part.role == other.role),
            _near("copies of training reals", parts, closest, _could_be_copied),
            _probe(images, probe_bound, progress),
        ]
    counts = Counter(images.roles)
    return AuditReport(
        dataset=card.slug,
        revision=manifest.revision,
        gmbench=version("gmbench"),
        images={role: counts[role] for role in ROLES},
        checks=checks,
    )


def audit_markdown(report: AuditReport) -> str:
    """The checks of a report as a markdown table."""
    from tabulate import tabulate

    rows = [[check.name, check.expected, check.found, _verdict(check)] for check in report.checks]
    return tabulate(rows, ["Check", "Expected", "Found", "Result"], tablefmt="pipe", disable_numparse=True)


def print_audit(console: Console, report: AuditReport) -> None:
    """The checks of a report, and how many passed."""
    from rich.table import Table

    images = sum(report.images.values())
    console.print(
        f"\n[bold]{report.dataset}[/bold], revision {report.revision[:12]}, {images:,} images\n", highlight=False
    )
    table = Table("check", "expected", "found", "result", box=None, pad_edge=False)
    for check in report.checks:
        table.add_row(check.name, check.expected, check.found, _verdict(check), style=None if check.passed else "bold")
    console.print(table, highlight=False)
    passed = sum(check.passed for check in report.checks)
    console.print(f"\n{passed} of {len(report.checks)} checks passed", highlight=False)


def _verdict(check: Check) -> str:
    return "pass" if check.passed else "FAIL"


@dataclass(frozen=True, slots=True)
class _File:
    """What the stored bytes of one image say. `id`: from its pixels; `size`: in bytes."""

    id: str
    kind: str
    metadata: str
    encoder: str
    size: int


@dataclass(frozen=True, eq=False)
class _Images:
    """All images of a dataset, role after role.

    Attributes:
        pixels: memory-mapped uint8 (n, resolution, resolution, 3).
        files: n of them.
        ids, roles, sources: (n,) strings.
        regions: (n,) strings, None where an image has none; None for a dataset without regions.
    """

    pixels: np.ndarray
    files: list[_File]
    ids: np.ndarray
    roles: np.ndarray
    sources: np.ndarray
    regions: np.ndarray | None


def _read(folder: Path, manifest: Manifest, resolution: int, kept: Path, progress: Progress) -> _Images:
    files_of = {role: role_files(manifest, role) for role in ROLES}
    rows = {role: sum(manifest.files[name].rows for name in names) for role, names in files_of.items()}
    pixels = np.lib.format.open_memmap(
        kept, mode="w+", dtype=np.uint8, shape=(sum(rows.values()), resolution, resolution, 3)
    )
    files: list[_File] = []
    columns: dict[str, list[np.ndarray]] = {"id": [], "source": [], "region": []}
    for role in ROLES:
        with progress.phase(f"reading {role}", rows[role]) as phase:
            for name in files_of[role]:
                _read_columns(folder / name, manifest.files[name].rows, columns)
                for file, image in _read_images(folder / name, resolution):
                    pixels[len(files)] = image
                    files.append(file)
                    phase.advance()
    ids, sources, regions = (np.concatenate(columns[name]) for name in ("id", "source", "region"))
    roles = np.repeat(np.array(ROLES, dtype=object), list(rows.values()))
    if roles_sha256(zip(ids, roles, strict=True)) != manifest.roles_sha256:
        raise DataError(f"{folder}: the roles of the images are not those of the manifest. Restore the files.")
    has_regions = any(region is not None for region in regions)
    return _Images(pixels, files, ids, roles, sources, regions if has_regions else None)


def _read_columns(path: Path, rows: int, columns: dict[str, list[np.ndarray]]) -> None:
    """Appends what a file says of its images, of which there must be `rows`, to `columns`."""
    import pyarrow.parquet as parquet

    described = read_columns(path)
    stored = parquet.ParquetFile(path)
    if (found := stored.metadata.num_rows) != rows or not found:
        raise DataError(f"{path} holds {found} images, expected {rows or 'at least one'}.")
    if "image" not in stored.schema_arrow.names:
        raise DataError(f"{path} has no column 'image'.")
    columns["id"].append(described["id"])
    columns["source"].append(described["source"])
    if "region" in stored.schema_arrow.names:
        columns["region"].append(stored.read(["region"]).column("region").to_numpy(zero_copy_only=False))
    else:
        columns["region"].append(np.full(found, None))


def _read_images(path: Path, resolution: int) -> Iterator[tuple[_File, np.ndarray]]:
    import pyarrow.parquet as parquet

    for batch in parquet.ParquetFile(path).iter_batches(batch_size=512, columns=["image", "id"]):
        for image, id in zip(batch.column("image").to_pylist(), batch.column("id").to_pylist(), strict=True):
            try:
                yield _opened((image or {}).get("bytes") or b"", resolution)
            except (ValueError, OSError) as error:
                raise DataError(f"{path}: image {id} cannot be read: {error}.") from error


def _opened(content: bytes, resolution: int) -> tuple[_File, np.ndarray]:
    """What a file says, and its pixels; those of another size or colour mode are brought to the dataset's."""
    from PIL import Image

    with Image.open(io.BytesIO(content)) as image:
        kind = f"{image.format} {image.size[0]}x{image.size[1]} {image.mode}"
        chunks = list(_png_chunks(content)) if image.format == "PNG" else []
        native = np.asarray(image)
        alike = image.mode == "RGB" and image.size == (resolution, resolution)
        pixels = native if alike else np.asarray(image.convert("RGB").resize((resolution, resolution)))
    metadata = ", ".join(sorted({name for name, _ in chunks} - NEEDED_CHUNKS))
    return _File(image_id(native), kind, metadata, _settings(chunks), len(content)), pixels


def _png_chunks(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Name and data of each chunk (PNG specification, section 5.3), and of what follows the last."""
    position, name = 8, ""
    while position < len(content) and name != "IEND":
        length = int.from_bytes(content[position : position + 4], "big")
        name = content[position + 4 : position + 8].decode("latin-1")
        yield name, content[position + 8 : position + 8 + length]
        position += 12 + length
    if position < len(content):
        yield "bytes after the image", content[position:]


def _settings(chunks: list[tuple[str, bytes]]) -> str:
    """How a PNG was written, as far as its headers tell: interlacing (IHDR), class of compression (zlib's FLEVEL)."""
    if not chunks:
        return "unknown"
    data = dict(reversed(chunks))
    interlaced = "interlaced" if data["IHDR"][12] else "not interlaced"
    return f"compression {data['IDAT'][1] >> 6} of 3, {interlaced}"


def _format(images: _Images, card: DatasetCard) -> Check:
    expected = f"PNG {card.resolution}x{card.resolution} RGB"
    kinds = Counter(file.kind for file in images.files)
    return Check(
        name="format",
        passed=set(kinds) == {expected},
        expected=expected,
        found=_listed(kinds) if len(kinds) > 1 else next(iter(kinds)),
        figures={"images": dict(kinds.most_common())},
    )


def _metadata(images: _Images) -> Check:
    carrying = [
        (source, file.metadata) for source, file in zip(images.sources, images.files, strict=True) if file.metadata
    ]
    chunks, sources = Counter(metadata for _, metadata in carrying), Counter(source for source, _ in carrying)
    return Check(
        name="metadata",
        passed=not carrying,
        expected="in no file",
        found=f"{_listed(chunks)} (of {_listed(sources)})" if carrying else "in no file",
        figures={"chunks": dict(chunks), "images": dict(sources)},
    )


def _encoder(images: _Images) -> Check:
    settings = Counter(file.encoder for file in images.files)
    by_source: dict[str, Counter[str]] = {source: Counter() for source in images.sources}
    for source, file in zip(images.sources, images.files, strict=True):
        by_source[source][file.encoder] += 1
    return Check(
        name="encoder settings",
        passed=len(settings) == 1,
        expected="one for all files",
        found=_listed(settings) if len(settings) > 1 else next(iter(settings)),
        figures={"images": {source: dict(counts) for source, counts in by_source.items()}},
    )


def _ids(images: _Images) -> Check:
    in_roles = Counter((file.id, role) for file, role in zip(images.files, images.roles, strict=True))
    roles_of = Counter(id for id, _ in in_roles)
    figures = {
        "in two roles": sum(n > 1 for n in roles_of.values()),
        "twice in a role": sum(n > 1 for n in in_roles.values()),
        "not of their pixels": sum(file.id != id for file, id in zip(images.files, images.ids, strict=True)),
    }
    problems = {what: n for what, n in figures.items() if n}
    return Check(
        name="ids",
        passed=not problems,
        expected="from the pixels, each once",
        found=", ".join(f"{n} {what}" for what, n in problems.items()) or f"{len(roles_of):,} different",
        figures=figures,
    )


def _regions(images: _Images) -> Check:
    assert images.regions is not None
    pairs = {(region, role) for region, role in zip(images.regions, images.roles, strict=True) if region is not None}
    roles_of = Counter(region for region, _ in pairs)
    shared = sorted(region for region, n in roles_of.items() if n > 1)
    unnamed = sum(
        region is None and source == REAL for region, source in zip(images.regions, images.sources, strict=True)
    )
    found = f"{len(shared)} of {len(roles_of)} in two: {_some(shared)}" if shared else f"{len(roles_of)}, each in one"
    return Check(
        name="regions of photographs",
        passed=not shared,
        expected="each in one role",
        found=found + (f"; {unnamed} real images without" if unnamed else ""),
        figures={"regions": len(roles_of), "in two roles": shared, "real images without": unnamed},
    )


def _sources(images: _Images, card: DatasetCard) -> Check:
    present = set(zip(images.roles, images.sources, strict=True))
    in_manifold = sorted({source for role, source in present if role == "manifold"} - {REAL})
    missing = [source for source in card.classes if any((role, source) not in present for role in SCORED)]
    unknown = sorted(set(images.sources) - set(card.classes))
    lists = {"missing": missing, "unknown": unknown, "in the manifold": in_manifold}
    problems = [f"{what}: {_some(names)}" for what, names in lists.items() if names]
    return Check(
        name="sources",
        passed=not problems,
        expected="the card's; only real in the manifold",
        found="; ".join(problems) or f"{len(card.classes)} in train, val and test",
        figures=lists,
    )


def _balance(images: _Images) -> Check:
    counted = Counter(zip(images.roles, images.sources, strict=True))
    counts = {role: {source: counted[role, source] for source in sorted(set(images.sources))} for role in SCORED}
    found = []
    for role, per_source in counts.items():
        fewest, most = (choose(per_source, key=per_source.__getitem__) for choose in (min, max))
        if per_source[fewest] == per_source[most]:
            found.append(f"{role} {per_source[most]}")
        else:
            found.append(f"{role} {per_source[fewest]} ({fewest}) to {per_source[most]} ({most})")
    return Check(
        name="images per source",
        passed=all(len(set(per_source.values())) == 1 for per_source in counts.values()),
        expected="as many of each, in each role",
        found=", ".join(found),
        figures=counts,
    )


@dataclass(frozen=True)
class _Part:
    """The images of one source in one role."""

    role: str
    source: str
    rows: np.ndarray


def _parts(images: _Images, card: DatasetCard) -> list[_Part]:
    """Parts by role, within a role reals first: what an image may not repeat is before it, or in its own role."""
    sources = [*card.classes, *sorted(set(images.sources) - set(card.classes))]
    parts = [
        _Part(role, source, np.flatnonzero((images.roles == role) & (images.sources == source)))
        for role in ROLES
        for source in sources
    ]
    return [part for part in parts if len(part.rows)]


def _closest(
    images: _Images, parts: list[_Part], neighbors_of: int | None, device: str, progress: Progress
) -> list[np.ndarray]:
    """Distances of the images of each part to their nearest ones in each part before it: (n, parts before it).

    In grey levels, root mean square over pixels and channels. Each pair of images is compared once.
    """
    width = images.pixels[0].size
    block = max(BATCH, BLOCK_BYTES // (4 * width))
    queried = [part.rows[:neighbors_of] for part in parts]
    closest = [np.full((len(rows), before), np.inf) for before, rows in enumerate(queried)]
    pairs = sum(len(rows) * sum(len(part.rows) for part in parts[:i]) for i, rows in enumerate(queried))
    with progress.phase("comparing pairs of images", pairs) as phase:
        for j, part in enumerate(parts):
            for first in range(0, len(part.rows), block):
                references = _vectors(images, part.rows[first : first + block])
                for rows, distances in zip(queried[j + 1 :], closest[j + 1 :], strict=True):
                    for start in range(0, len(rows), BATCH):
                        queries = _vectors(images, rows[start : start + BATCH])
                        found = nearest(queries, references, device=device)[1][:, 0] / np.sqrt(width)
                        batch = slice(start, start + len(queries))
                        distances[batch, j] = np.minimum(distances[batch, j], found)
                        phase.advance(len(queries) * len(references))
    return closest


def _vectors(images: _Images, rows: np.ndarray) -> np.ndarray:
    return images.pixels[rows].reshape(len(rows), -1).astype(np.float32)


def _could_be_copied(part: _Part, other: _Part) -> bool:
    return part.source != REAL and other.source == REAL and other.role in ("manifold", "train")


def _near(name: str, parts: list[_Part], closest: list[np.ndarray], compared: Callable[[_Part, _Part], bool]) -> Check:
    """Counts the images of each part that nearly repeat one of an earlier part with which they are `compared`."""
    near: Counter[str] = Counter()
    least = []
    searched = 0
    for i, part in enumerate(parts):
        columns = [j for j, other in enumerate(parts[:i]) if compared(part, other)]
        if columns:
            distances = closest[i][:, columns].min(axis=1)
            near[part.source] += int((distances < NEAR_DUPLICATE).sum())
            least.append(float(distances.min()))
            searched += len(distances)
    nearest_of_all = min(least, default=None)
    repeated = {source: n for source, n in near.items() if n}
    found = f"{sum(repeated.values())} of {searched:,}" + (f" ({_listed(Counter(repeated))})" if repeated else "")
    return Check(
        name=name,
        passed=not repeated,
        expected=f"none closer than {NEAR_DUPLICATE:g} grey levels",
        found=found if nearest_of_all is None else f"{found}; the closest {nearest_of_all:.1f}",
        figures={
            "images": dict(near),
            "searched": searched,
            "closest": nearest_of_all,
            "threshold": NEAR_DUPLICATE,
        },
    )


def _probe(images: _Images, bound: float, progress: Progress) -> Check:
    """What statistics that have nothing to do with artifacts say of the source.

    A random forest: it needs no scaling, finds bands of values and not only directions, and its seed decides it. Trees
    on samples of at most 20,000 images keep the work small where there are millions.
    """
    from sklearn.ensemble import RandomForestClassifier

    statistics = _statistics(images, progress)
    train, test = images.roles == "train", images.roles == "test"
    labels = images.sources.astype(str)

    def correct(columns: slice) -> np.ndarray:
        forest = RandomForestClassifier(
            TREES,
            min_samples_leaf=3,
            max_samples=min(20_000, int(train.sum())),
            random_state=seed_from("audit", "probe"),
        )
        forest.fit(statistics[train, columns], labels[train])
        return forest.predict(statistics[test, columns]) == labels[test]

    chance = 1 / len(set(labels[train]))
    allowed = chance + bound * (1 - chance)
    together = correct(slice(None))
    recall = {source: float(together[labels[test] == source].mean()) for source in np.unique(labels[test]).tolist()}
    low, high = accuracy_interval(together)
    accuracy = float(together.mean())
    alone = {name: float(correct(columns).mean()) for name, columns in STATISTICS.items()}
    telling = max(alone, key=alone.__getitem__)
    return Check(
        name="probe on trivial statistics",
        passed=accuracy <= allowed,
        expected=f"at most {allowed:.1%} attributed",
        found=f"{accuracy:.1%} (95 % interval {low:.1%} to {high:.1%}; chance {chance:.1%}); "
        f"{telling} alone {alone[telling]:.1%}",
        figures={
            "accuracy": accuracy,
            "low": low,
            "high": high,
            "chance": chance,
            "allowed": allowed,
            "bound": bound,
            "recall": recall,
            "alone": alone,
        },
    )


def _statistics(images: _Images, progress: Progress) -> np.ndarray:
    sizes = np.array([file.size for file in images.files])
    starts = range(0, len(sizes), BATCH)
    return np.concatenate(
        [
            trivial_statistics(images.pixels[start : start + BATCH], sizes[start : start + BATCH])
            for start in progress.track(starts, "probing", len(starts))
        ]
    )


def trivial_statistics(pixels: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Mean grey level of each channel, size of the file, shares of pixels in bins of 32 grey levels.

    Args:
        pixels: uint8 (n, height, width, 3).
        sizes: of the images' files, in bytes, (n,).

    Returns:
        float32 (n, 12), columns as in `STATISTICS`.
    """
    statistics = np.empty((len(pixels), 12), dtype=np.float32)
    bins = pixels.mean(axis=3).astype(np.uint8) // 32
    statistics[:, STATISTICS["mean colour"]] = pixels.mean(axis=(1, 2))
    statistics[:, STATISTICS["file size"]] = sizes[:, None]
    statistics[:, STATISTICS["grey histogram"]] = np.stack([(bins == b).mean(axis=(1, 2)) for b in range(8)], axis=1)
    return statistics


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{n} {what}" for what, n in counts.most_common())


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
