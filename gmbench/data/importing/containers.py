"""Archives and tables beside images: their members read one at a time, nothing unpacked to disk."""

from __future__ import annotations

import csv
import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from gmbench.data.importing.decoding import Refused
from gmbench.data.importing.names import is_generated_label, is_real_label
from gmbench.data.judgements import LABEL_COLUMNS, LARGEST_BYTES

ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz")
PARQUET = ".parquet"
TABLES = ("metadata.csv", "metadata.jsonl")
NAME_COLUMNS = ("file_name", "image_path", "file", "path", "filename")
BROKEN = (OSError, EOFError, ValueError, RuntimeError, NotImplementedError, zipfile.BadZipFile, tarfile.TarError)


def is_archive(name: str) -> bool:
    """Whether a file is an archive that is read, by its name."""
    return name.lower().endswith(ARCHIVES)


def members(path: Path) -> list[str]:
    """The files in an archive, by name; what points out of it is left out.

    Raises:
        Refused: it is damaged.
    """
    try:
        if path.suffix.lower() == ".zip":
            with zipfile.ZipFile(path) as archive:
                names = [entry.filename for entry in archive.infolist() if not entry.is_dir()]
        else:
            with tarfile.open(path) as tar:
                names = [entry.name.removeprefix("./") for entry in tar if entry.isreg()]
    except BROKEN as error:
        raise Refused(f"corrupt: {error}") from error
    return sorted(name for name in names if ".." not in PurePosixPath(name).parts and not name.startswith("/"))


@contextmanager
def opened(path: Path) -> Iterator[Callable[[str], bytes]]:
    """Gives a function that reads a member of an archive by its name.

    Raises (the function):
        Refused: the member is damaged, or larger than any image here can be.
    """
    with zipfile.ZipFile(path) if path.suffix.lower() == ".zip" else tarfile.open(path) as archive:

        def read(name: str) -> bytes:
            try:
                if isinstance(archive, zipfile.ZipFile):
                    with archive.open(name) as stream:
                        content = stream.read(LARGEST_BYTES + 1)
                else:
                    found = archive.extractfile(_tar_member(archive, name))
                    assert found is not None
                    content = found.read(LARGEST_BYTES + 1)
            except (*BROKEN, KeyError) as error:
                raise Refused(f"corrupt: {error}") from error
            if len(content) > LARGEST_BYTES:
                raise Refused("file of more bytes than any image here can have")
            return content

        yield read


def _tar_member(archive: tarfile.TarFile, name: str) -> tarfile.TarInfo:
    try:
        return archive.getmember(name)
    except KeyError:
        return archive.getmember(f"./{name}")


@dataclass(frozen=True)
class Labels:
    """What a table beside images says of these. `of`: a file's path, as the table spells it, to its label."""

    of: Mapping[str, str]

    def label(self, folder: str, path: PurePosixPath) -> tuple[str, str] | None:
        """How the table spells a path from the origin, and its label; None if it does not name it.

        A table in `folder` names files from there, or from any folder around it; with backslashes, or without suffix.
        """
        for home in (PurePosixPath(folder), *PurePosixPath(folder).parents):
            name = path.relative_to(home)
            for spelling in (name.as_posix(), name.as_posix().replace("/", "\\"), name.with_suffix("").as_posix()):
                if spelling in self.of:
                    return spelling, self.of[spelling]
        return None


def read_table(content: bytes, name: str) -> Labels | None:
    """The labels of a table beside images; None for a table without labels, such as one of captions.

    Raises:
        Refused: it cannot be read, or says two things of one file.
    """
    try:
        text = content.decode("utf-8-sig")
        if name.lower().endswith(".csv"):
            header = text.partition("\n")[0]
            delimiter = max(",;\t", key=header.count)
            rows: list[Mapping[str, Any]] = list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter))
        else:
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    except (ValueError, csv.Error, RecursionError) as error:
        raise Refused(f"corrupt: {' '.join(str(error).split())[:100]}") from error
    if not rows or not all(isinstance(row, dict) for row in rows):
        return None
    rows = [{str(column).strip().casefold(): value for column, value in row.items()} for row in rows]
    named = next((column for column in NAME_COLUMNS if column in rows[0]), None)
    labelled = [column for column in LABEL_COLUMNS if column in rows[0]]
    if named is None or not labelled:
        return None
    labels: dict[str, str] = {}
    for row in rows:
        file = str(row.get(named) or "").strip().removeprefix("./")
        label = _label_of([str(row[column]).strip() for column in labelled if row.get(column) is not None], file)
        if file and label and labels.setdefault(file, label) != label:
            raise Refused(f"says both {labels[file]} and {label} of {file}")
    return Labels(labels)


def _label_of(said: list[str], file: str) -> str:
    """The label of a row from its columns of labels: what says "real", else the first that names a model."""
    said = [label for label in said if label]
    reals = [label for label in said if is_real_label(label)]
    generated = [label for label in said if is_generated_label(label)]
    if reals and generated:
        raise Refused(f"says both {reals[0]} and {generated[0]} of {file}")
    return next(iter(reals or [label for label in said if label not in generated] or generated), "")


def parquet_labels(path: Path) -> tuple[str | None, dict[str, int]]:
    """Column of images of a parquet file of the Hub (None: there is none), and how many rows each label has.

    A label that is a number has the name that the Hub's metadata give it; without labels, all rows are of the label "".

    Raises:
        Refused: it is damaged.
    """
    import pyarrow
    import pyarrow.parquet as parquet

    try:
        file = parquet.ParquetFile(path)
        image, label, names = _columns(file)
        if image is None:
            return None, {}
        if label is None:
            return image, {"": file.metadata.num_rows}
        counts: dict[str, int] = {}
        for batch in file.iter_batches(columns=[label]):
            for value in batch.column(0).to_pylist():
                counts[_named(value, names)] = counts.get(_named(value, names), 0) + 1
        return image, counts
    except (*BROKEN, pyarrow.ArrowException, RecursionError) as error:
        raise Refused(f"corrupt: {' '.join(str(error).split())[:100]}") from error


def parquet_images(path: Path, label: str) -> Iterator[tuple[int, bytes]]:
    """Row and file of the images of one label in a parquet file; what is no image is empty.

    Raises:
        Refused: it is damaged.
    """
    import pyarrow
    import pyarrow.parquet as parquet

    try:
        file = parquet.ParquetFile(path)
        image, labelled, names = _columns(file)
        if image is None:
            raise Refused("no column of images")
        row = 0
        for batch in file.iter_batches(batch_size=64, columns=[image, *([labelled] if labelled else [])]):
            images = batch.column(image).to_pylist()
            labels = batch.column(labelled).to_pylist() if labelled else [""] * len(images)
            for content, value in zip(images, labels, strict=True):
                if _named(value, names) == label:
                    yield row, (content.get("bytes") if isinstance(content, dict) else content) or b""
                row += 1
    except (*BROKEN, pyarrow.ArrowException, RecursionError) as error:
        raise Refused(f"corrupt: {' '.join(str(error).split())[:100]}") from error


def _columns(file: Any) -> tuple[str | None, str | None, list[str]]:
    """Columns of images and of labels, and the names that labels which are numbers have."""
    import pyarrow

    schema = file.schema_arrow
    images = [
        field.name
        for field in schema
        if pyarrow.types.is_binary(field.type)
        or (pyarrow.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0)
    ]
    label = next((column for column in LABEL_COLUMNS if column in schema.names), None)
    about: Any = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    for key in ("info", "features", label, "names"):
        about = about.get(key) if isinstance(about, dict) else None
    names = about
    return (images[0] if images else None), label, names if isinstance(names, list) else []


def _named(value: Any, names: list[str]) -> str:
    if isinstance(value, int) and 0 <= value < len(names):
        return str(names[value])
    return "" if value is None else str(value)
