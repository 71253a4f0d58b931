"""How a dataset is stored: one or several parquet files of PNG images per role, a manifest, a README.

The folder is laid out as a dataset repository on the Hugging Face Hub, so `datasets.load_dataset(folder)` reads it
without gmbench. Columns: `image` (PNG), `id` (from the pixels), `source` (`real` or a source of the card), `category`
(what a real image shows, where that is known), and in some datasets `region` (where in a photograph a real image is
from).
"""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gmbench.data.manifest import MANIFEST, Manifest, role_files
from gmbench.data.png import encode_png, image_id
from gmbench.errors import DataError
from gmbench.support.cache import Cache
from gmbench.support.files import replacing
from gmbench.support.progress import Progress


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


def open_parquet(path: Path) -> Any:
    """A role's file, opened.

    Raises:
        DataError: it cannot be read, has no column `image` with the files of images, or no `id` and `source` of text.
    """
    import pyarrow
    import pyarrow.parquet as parquet

    try:
        file = parquet.ParquetFile(path)
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise DataError(f"{path} cannot be read as parquet: {_line(error)}") from error
    types = {field.name: field.type for field in file.schema_arrow}
    for name in ("id", "source"):
        if name not in types or not (
            pyarrow.types.is_string(types[name]) or pyarrow.types.is_large_string(types[name])
        ):
            raise DataError(f"{path}: column '{name}' is {types.get(name, 'missing')}, expected text.")
    image = types.get("image")
    if image is None or not pyarrow.types.is_struct(image) or image.get_field_index("bytes") < 0:
        raise DataError(
            f"{path}: column 'image' is {image or 'missing'}, expected the files of images (struct of bytes)."
        )
    return file


def read_columns(path: Path) -> dict[str, np.ndarray]:
    """The ids, sources and, where there are any, categories of a role, without its images.

    Raises:
        DataError: the file cannot be read, lacks one of the columns, or an image has no id or source.
    """
    import pyarrow

    file = open_parquet(path)
    try:
        # read_table would import pandas, which takes half a second.
        table = file.read(columns=["id", "source", "category"])
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise DataError(f"{path} cannot be read as parquet with id, source and category: {_line(error)}") from error
    for name in ("id", "source"):
        if n := table.column(name).null_count:
            raise DataError(f"{path}: {n} images have no {name}.")
    return {name: np.array(table.column(name).to_pylist(), dtype=object) for name in table.column_names}


def stored_images(path: Path) -> Iterator[list[tuple[str, bytes]]]:
    """Id and file of a role's images, some hundred at a time; the file of an image that is missing is empty.

    Raises:
        DataError: the file cannot be read, or is not as `open_parquet` expects.
    """
    import pyarrow

    file = open_parquet(path)
    try:
        for batch in file.iter_batches(batch_size=512, columns=["image", "id"]):
            images, ids = batch.column("image").to_pylist(), batch.column("id").to_pylist()
            yield [(id, (image or {}).get("bytes") or b"") for image, id in zip(images, ids, strict=True)]
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise DataError(f"{path} cannot be read: {_line(error)}") from error


def decoded_pixels(
    folder: Path, manifest: Manifest, role: str, resolution: int, cache: Cache, progress: Progress
) -> np.ndarray:
    """A role's images as a memory-mapped uint8 array (n, resolution, resolution, 3), decoded once and kept.

    Raises:
        DataError: an image cannot be decoded, has another size or colour mode than the card says, or another id than
            its pixels give; or there are more or fewer images than the manifest says.
    """
    names = role_files(manifest, role)
    for name in names:
        expected = manifest.files[name].rows
        if (rows := open_parquet(folder / name).metadata.num_rows) != expected:
            raise DataError(f"{folder / name} holds {rows} images, expected {expected} (field 'rows' of {MANIFEST}).")
    total = sum(manifest.files[name].rows for name in names)

    def decoded() -> Iterator[np.ndarray]:
        with progress.phase(f"decoding {role}", total) as phase:
            for name in names:
                path = folder / name
                for images in stored_images(path):
                    yield np.stack([_checked(path, content, id, resolution) for id, content in images])
                    phase.advance(len(images))

    if not total:
        return np.empty((0, resolution, resolution, 3), np.uint8)
    digest = " ".join(manifest.files[name].sha256 for name in names)
    return cache.mapped("pixels", (total, resolution, resolution, 3), decoded, sha256=digest, resolution=resolution)


def _checked(path: Path, content: bytes, id: str, resolution: int) -> np.ndarray:
    if not content:
        raise DataError(f"{path}: image {id} is missing.")
    try:
        pixels = _decoded(content, resolution)
    # Decoders of damaged files raise whatever they run into; a bomb is no OSError either.
    except Exception as error:
        raise DataError(f"{path}: image {id} {_line(error)}.") from error
    if image_id(pixels) != id:
        raise DataError(f"{path}: image {id} has other pixels than its id says.")
    return pixels


def _decoded(content: bytes, resolution: int) -> np.ndarray:
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(io.BytesIO(content)) as image:
            if image.mode != "RGB" or image.size != (resolution, resolution):
                came = f"{image.mode} {image.size[0]}x{image.size[1]}"
                raise ValueError(f"is {came}, expected RGB {resolution}x{resolution}")
            return np.asarray(image)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
