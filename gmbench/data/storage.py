"""How a dataset is stored: one or several parquet files of PNG images per role, a manifest, a README.

The folder is laid out as a dataset repository on the Hugging Face Hub, so `datasets.load_dataset(folder)` reads it
without gmbench. Columns: `image` (PNG), `id` (from the pixels), `source` (`real` or a source of the card), `category`
(what a real image shows, where that is known), and in some datasets `region` (where in a photograph a real image is
from).
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from gmbench.cache import Cache
from gmbench.data.card import ROLES, DatasetCard, Strict, first_problem
from gmbench.data.encoding import encode_png, image_id
from gmbench.errors import DataError
from gmbench.files import replacing, sha256_file, write_text
from gmbench.progress import Progress

MANIFEST = "manifest.json"


class StoredFile(Strict):
    """One role's file: sha256 of its bytes and number of images."""

    sha256: str
    rows: int


class Manifest(Strict):
    """What a stored dataset consists of, and how it was made.

    `sources`: how many images of each source there are outside the manifold, where not all of the card's are there.
    """

    dataset: str
    files: dict[str, StoredFile]
    roles_sha256: str
    sources: dict[str, int] = {}
    encoders: dict[str, str] = {}
    provenance: dict[str, Any] = {}

    @property
    def sha256(self) -> dict[str, str]:
        """Of every file of images and every encoder, by its path."""
        return {path: stored.sha256 for path, stored in self.files.items()} | self.encoders

    @property
    def revision(self) -> str:
        """Names the content: 40 hexadecimal digits from the sha256 of the images' and the encoders' files."""
        text = "\n".join(f"{path} {sha256}" for path, sha256 in sorted(self.sha256.items()))
        return hashlib.sha256(text.encode()).hexdigest()[:40]


def role_path(role: str) -> str:
    """Where a role's images are kept in a dataset's folder."""
    return f"data/{role}.parquet"


def shard_path(role: str, number: int, of: int) -> str:
    """Where the images of a role are kept that are too many for one file."""
    return f"data/{role}-{number:05d}-of-{of:05d}.parquet"


def role_files(manifest: Manifest, role: str) -> list[str]:
    """The names of a role's files, in order: `data/train.parquet`, or all its shards.

    Raises:
        DataError: the manifest names none, or only some of the shards.
    """
    if role_path(role) in manifest.files:
        return [role_path(role)]
    names = sorted(name for name in manifest.files if name.startswith(f"data/{role}-"))
    if not names:
        raise DataError(f"the {MANIFEST} of {manifest.dataset} names no {role_path(role)}. Restore the file.")
    if expected := {shard_path(role, number, len(names)) for number in range(len(names))} - set(names):
        raise DataError(f"the {MANIFEST} of {manifest.dataset} names no {min(expected)}. Restore the file.")
    return names


def stored_card(card: DatasetCard, manifest: Manifest) -> DatasetCard:
    """The card of what is stored: with fewer sources than the dataset's card where some are missing.

    Raises:
        DataError: there are sources that the card does not know.
    """
    if not manifest.sources:
        return card
    if strangers := set(manifest.sources) - set(card.classes):
        raise DataError(f"the {MANIFEST} of {card.slug} has a source '{min(strangers)}' that its card does not know.")
    manifold = sum(manifest.files[name].rows for name in role_files(manifest, "manifold"))
    return card.with_sources(manifest.sources, manifold)


def roles_sha256(roles: Iterable[tuple[str, str]]) -> str:
    """A digest of which image (id) has which role."""
    return hashlib.sha256("\n".join(sorted(f"{id} {role}" for id, role in roles)).encode()).hexdigest()


def hub_metadata(title: str, licence: Mapping[str, str], role_files: str) -> str:
    """The first lines of a dataset's README, which the Hub and `datasets` read.

    Args:
        licence: fields of the Hub's metadata by name, as YAML.
        role_files: pattern of a role's files; `{role}` stands for its name.
    """
    licences = "\n".join(f"{name}: {value}" for name, value in licence.items())
    configs = "\n".join(f"  - split: {role}\n    path: {role_files.format(role=role)}" for role in ROLES)
    return f"""---
pretty_name: {json.dumps(title)}
{licences}
task_categories:
- image-classification
tags:
- model-attribution
- image-forensics
configs:
- config_name: default
  data_files:
{configs}
---
"""


def image_schema() -> Any:
    """The columns of a role's file as an Arrow schema, with which `datasets` reads them as images and texts."""
    import pyarrow

    image = pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})
    texts = {name: pyarrow.string() for name in ("id", "source", "category")}
    # What `datasets.Features.arrow_schema` gives; importing `datasets` for it takes a second.
    features = {"image": {"_type": "Image"}} | {name: {"dtype": "string", "_type": "Value"} for name in texts}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return pyarrow.schema({"image": image} | texts, metadata=metadata)


def write_role(
    path: Path,
    pixels: np.ndarray,
    sources: Sequence[str],
    categories: Sequence[str | None],
    regions: Sequence[str | None] | None = None,
) -> list[str]:
    """Writes uint8 RGB images (n, height, width, 3) of one role, in the order of their ids, which it returns."""
    import datasets

    ids = [image_id(image) for image in pixels]
    order = sorted(range(len(ids)), key=ids.__getitem__)
    columns = {
        "image": [{"bytes": encode_png(pixels[i]), "path": f"{ids[i]}.png"} for i in order],
        "id": [ids[i] for i in order],
        "source": [sources[i] for i in order],
        "category": [categories[i] for i in order],
    }
    if regions is not None:
        columns["region"] = [regions[i] for i in order]
    texts = {name: datasets.Value("string") for name in columns if name != "image"}
    features = datasets.Features({"image": datasets.Image()} | texts)
    datasets.disable_progress_bars()
    table = datasets.Dataset.from_dict(columns, features=features)
    with replacing(path) as aside:
        table.to_parquet(aside)
    return [ids[i] for i in order]


def write_manifest(folder: Path, card: DatasetCard, ids: dict[str, list[str]], provenance: dict[str, Any]) -> Manifest:
    """Describes the role files of a folder, given the ids in each, and the encoders there."""
    files = {
        role_path(role): StoredFile(sha256=sha256_file(folder / role_path(role)), rows=len(ids[role])) for role in ROLES
    }
    digest = roles_sha256((id, role) for role in ROLES for id in ids[role])
    encoders = {path: sha256_file(folder / path) for path in card.encoders.values()}
    manifest = Manifest(dataset=card.slug, files=files, roles_sha256=digest, encoders=encoders, provenance=provenance)
    write_text(folder / MANIFEST, json.dumps(manifest.model_dump(), indent=2) + "\n")
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a dataset's folder.

    Raises:
        DataError: there is none, or it is not one.
    """
    path = folder / MANIFEST
    try:
        return Manifest(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise DataError(f"{folder} holds no dataset: {MANIFEST} is missing.") from error
    except (ValueError, TypeError) as error:
        problem = first_problem(error) if isinstance(error, ValidationError) else str(error)
        raise DataError(f"{path} is damaged: {problem}. Restore the file.") from error


def verify_files(folder: Path, manifest: Manifest) -> None:
    """Checks that every role's file and every encoder is there with the bytes that the manifest names.

    Raises:
        DataError: a role is missing, or a file is missing, truncated or altered; the message names it.
    """
    for role in ROLES:
        role_files(manifest, role)
    for name, expected in manifest.sha256.items():
        path = folder / name
        if not path.is_file():
            raise DataError(f"{path} is missing. Restore the file.")
        if (digest := sha256_file(path)) != expected:
            raise DataError(
                f"{path} is not the file of the manifest: expected sha256 {expected[:12]}…, got {digest[:12]}…. "
                "Restore the file."
            )


def read_columns(path: Path) -> dict[str, np.ndarray]:
    """The ids, sources and categories of a role, without its images.

    Raises:
        DataError: the file cannot be read, or lacks one of the columns.
    """
    import pyarrow
    import pyarrow.parquet as parquet

    try:
        # read_table would import pandas, which takes half a second.
        table = parquet.ParquetFile(path).read(columns=["id", "source", "category"])
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{path} cannot be read as parquet with id, source and category: {_line(error)}") from error
    return {name: np.array(table.column(name).to_pylist(), dtype=object) for name in table.column_names}


def decoded_pixels(
    folder: Path, manifest: Manifest, role: str, resolution: int, cache: Cache, progress: Progress
) -> np.ndarray:
    """A role's images as a memory-mapped uint8 array (n, resolution, resolution, 3), decoded once and kept.

    Raises:
        DataError: an image cannot be decoded, has another size or colour mode than the card says, or another id than
            its pixels give; or there are more or fewer images than the manifest says.
    """
    import pyarrow.parquet as parquet

    names = role_files(manifest, role)
    for name in names:
        expected = manifest.files[name].rows
        if (rows := parquet.ParquetFile(folder / name).metadata.num_rows) != expected:
            raise DataError(f"{folder / name} holds {rows} images, expected {expected} (field 'rows' of {MANIFEST}).")
    total = sum(manifest.files[name].rows for name in names)

    def decoded() -> Iterator[np.ndarray]:
        with progress.phase(f"decoding {role}", total) as phase:
            for name in names:
                path = folder / name
                for batch in parquet.ParquetFile(path).iter_batches(batch_size=512, columns=["image", "id"]):
                    images, ids = batch.column("image").to_pylist(), batch.column("id").to_pylist()
                    yield np.stack(
                        [_checked(path, image["bytes"], id, resolution) for image, id in zip(images, ids, strict=True)]
                    )
                    phase.advance(len(ids))

    digest = " ".join(manifest.files[name].sha256 for name in names)
    return cache.mapped("pixels", (total, resolution, resolution, 3), decoded, sha256=digest, resolution=resolution)


def _checked(path: Path, content: bytes, id: str, resolution: int) -> np.ndarray:
    try:
        pixels = _decoded(content, resolution)
    except (ValueError, OSError) as error:
        raise DataError(f"{path}: image {id} {_line(error)}.") from error
    if image_id(pixels) != id:
        raise DataError(f"{path}: image {id} has other pixels than its id says.")
    return pixels


def _decoded(content: bytes, resolution: int) -> np.ndarray:
    from PIL import Image

    with Image.open(io.BytesIO(content)) as image:
        if image.mode != "RGB" or image.size != (resolution, resolution):
            raise ValueError(f"is {image.mode} {image.size[0]}x{image.size[1]}, expected RGB {resolution}x{resolution}")
        return np.asarray(image)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
