"""Every stored image of a dataset as an audit sees it: its bytes' marks and its pixels."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gmbench.data.cards import ROLES
from gmbench.data.manifest import Manifest, role_files, roles_sha256
from gmbench.data.parquet import open_parquet, read_columns, stored_images
from gmbench.data.png import image_id
from gmbench.errors import DataError
from gmbench.support.progress import Progress

NEEDED_CHUNKS = {"IHDR", "PLTE", "tRNS", "IDAT", "IEND"}


@dataclass(frozen=True, slots=True)
class AuditedFile:
    """What the stored bytes of one image say. `id`: from its pixels; `size`: in bytes."""

    id: str
    kind: str
    metadata: str
    encoder: str
    size: int


@dataclass(frozen=True, eq=False)
class AuditedImages:
    """All images of a dataset, role after role.

    Attributes:
        pixels: memory-mapped uint8 (n, resolution, resolution, 3).
        files: n of them.
        ids, roles, sources: (n,) strings.
        regions: (n,) strings, None where an image has none; None for a dataset without regions.
    """

    pixels: np.ndarray
    files: list[AuditedFile]
    ids: np.ndarray
    roles: np.ndarray
    sources: np.ndarray
    regions: np.ndarray | None


def read_images(folder: Path, manifest: Manifest, resolution: int, kept: Path, progress: Progress) -> AuditedImages:
    files_of = {role: role_files(manifest, role) for role in ROLES}
    for names in files_of.values():
        for name in names:
            _check_rows(folder / name, manifest.files[name].rows)
    rows = {role: sum(manifest.files[name].rows for name in names) for role, names in files_of.items()}
    pixels = np.lib.format.open_memmap(
        kept, mode="w+", dtype=np.uint8, shape=(sum(rows.values()), resolution, resolution, 3)
    )
    files: list[AuditedFile] = []
    columns: dict[str, list[np.ndarray]] = {"id": [], "source": [], "region": []}
    for role in ROLES:
        with progress.phase(f"reading {role}", rows[role]) as phase:
            for name in files_of[role]:
                _read_columns(folder / name, columns)
                for file, image in _read_images(folder / name, resolution):
                    pixels[len(files)] = image
                    files.append(file)
                    phase.advance()
    ids, sources, regions = (np.concatenate(columns[name]) for name in ("id", "source", "region"))
    roles = np.repeat(np.array(ROLES, dtype=object), list(rows.values()))
    if roles_sha256(zip(ids, roles, strict=True)) != manifest.roles_sha256:
        raise DataError(f"{folder}: the roles of the images are not those of the manifest. Restore the files.")
    has_regions = any(region is not None for region in regions)
    return AuditedImages(pixels, files, ids, roles, sources, regions if has_regions else None)


def _check_rows(path: Path, rows: int) -> None:
    """There are as many images as the manifest says, before room is made for them."""
    if (found := open_parquet(path).metadata.num_rows) != rows:
        raise DataError(f"{path} holds {found} images, expected {rows}.")


def _read_columns(path: Path, columns: dict[str, list[np.ndarray]]) -> None:
    """Appends what a file says of its images to `columns`."""
    described = read_columns(path)
    stored = open_parquet(path)
    columns["id"].append(described["id"])
    columns["source"].append(described["source"])
    if "region" in stored.schema_arrow.names:
        columns["region"].append(stored.read(["region"]).column("region").to_numpy(zero_copy_only=False))
    else:
        columns["region"].append(np.full(len(described["id"]), None))


def _read_images(path: Path, resolution: int) -> Iterator[tuple[AuditedFile, np.ndarray]]:
    for images in stored_images(path):
        for id, content in images:
            if not content:
                raise DataError(f"{path}: image {id} is missing.")
            try:
                yield _opened(content, resolution)
            # Decoders of damaged files raise whatever they run into; a bomb is no OSError.
            except Exception as error:
                raise DataError(f"{path}: image {id} cannot be read: {str(error).rstrip('.')}.") from error


def _opened(content: bytes, resolution: int) -> tuple[AuditedFile, np.ndarray]:
    """What a file says, and its pixels; those of another size or colour mode are brought to the dataset's."""
    from PIL import Image

    with Image.open(io.BytesIO(content)) as image:
        kind = f"{image.format} {image.size[0]}x{image.size[1]} {image.mode}"
        chunks = list(_png_chunks(content)) if image.format == "PNG" else []
        native = np.asarray(image)
        alike = image.mode == "RGB" and image.size == (resolution, resolution)
        pixels = native if alike else np.asarray(image.convert("RGB").resize((resolution, resolution)))
    metadata = ", ".join(sorted({name for name, _ in chunks} - NEEDED_CHUNKS))
    return AuditedFile(image_id(native), kind, metadata, _settings(chunks), len(content)), pixels


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
