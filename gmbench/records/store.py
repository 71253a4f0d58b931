"""Records: what one run leaves. A schema, a store on disk, and checks that a record says what its predictions say."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from gmbench.errors import NotFoundError, RecordError
from gmbench.records.schema import SCHEMA_VERSION, Identity, Record, Scores
from gmbench.support.files import first_link, replacing, sha256_file, write_text
from gmbench.support.schema import first_problem

RECORD, PREDICTIONS = "record.json", "predictions.parquet"


def record_folder(results: Path, identity: Identity) -> Path:
    """Where the record of a run is kept below `results`: dataset, setting, entry, seed."""
    return results / identity.dataset / identity.setting / identity.entry / str(identity.seed)


def refuse_links(results: Path) -> None:
    """A record is what lies in its place: a link could lead to one that nobody handed in.

    Raises:
        RecordError: there is a link below this folder; the message names it.
    """
    if (link := first_link(results)) is not None:
        raise _link_error(link)


def _link_error(link: Path) -> RecordError:
    return RecordError(f"{link} is a link. Name the record where it is; in results there are no links.")


def record_folders(path: Path) -> list[Path]:
    """Folders of records: of the one at a path (its folder or one of its files), or of all below, in order.

    Raises:
        NotFoundError: there is none.
        RecordError: there is a link among them, or on the way to one.
    """
    folder = path.parent if path.is_file() else path
    on_the_way = folder.absolute().parents[:3] if (folder / RECORD).exists() else ()
    for place in (path, folder, *on_the_way):
        if place.is_symlink():
            raise _link_error(place)
    refuse_links(folder)
    found = list(_folders_below(folder))
    if not found:
        raise NotFoundError(f"no record at {path}. Expected a record's folder, or a folder that holds some.")
    return found


def _folders_below(folder: Path) -> Iterator[Path]:
    """Every folder at any depth that has a record, in order. The one finder of records: what it finds is on the pages,
    or an error to all commands alike."""
    try:
        names = sorted(os.listdir(folder)) if folder.is_dir() else []
    except OSError as error:
        raise RecordError(f"{folder} cannot be searched for records: {error.strerror}.") from error
    if RECORD in names:
        yield folder
    for name in names:
        if name != RECORD:
            yield from _folders_below(folder / name)


def read_record(folder: Path) -> Record:
    """Reads and checks one record; its predictions file must be the one it was written with.

    Raises:
        RecordError: a file is missing, damaged or altered, or the schema is newer than this gmbench knows.
    """
    path = folder / RECORD
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content["schema_version"]
        if not isinstance(version, int):
            raise ValueError("schema_version is not a number")
    except FileNotFoundError as error:
        raise RecordError(f"{path} is missing.") from error
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        why = " ".join(str(error).split())[:200]
        raise RecordError(f"{path} is damaged ({why}). Remove {folder} and run its command again.") from error
    if version != SCHEMA_VERSION:
        advice = (
            "Update gmbench to read it" if version > SCHEMA_VERSION else f"Remove {folder} and run its command again"
        )
        raise RecordError(f"{path} has schema {version}, this gmbench reads {SCHEMA_VERSION}. {advice}.")
    try:
        record = Record(**content)
    except ValidationError as error:
        raise RecordError(f"{path}: {first_problem(error)}.") from error
    predictions = folder / PREDICTIONS
    if not predictions.is_file():
        raise RecordError(f"{predictions} is missing. Remove {folder} and run its command again.")
    if sha256_file(predictions) != record.predictions_sha256:
        raise RecordError(f"{predictions} is not the file that {RECORD} names (field 'predictions_sha256').")
    return record.at(folder)


def read_predictions(folder: Path, sources: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids (n,), labels (n,) and probabilities (n, sources) of a record.

    Raises:
        RecordError: the file cannot be read, or its columns are not the record's sources.
    """
    import pyarrow
    import pyarrow.parquet as parquet

    path = folder / PREDICTIONS
    try:
        # A third of the time of read_table and to_numpy, which prepare for much data: threads, pandas.
        table = parquet.ParquetFile(path, pre_buffer=False).read(use_threads=False)
        ids = np.array(table.column("id").to_pylist(), dtype=object)
        probabilities = np.stack([np.from_dlpack(table.column(source).combine_chunks()) for source in sources], axis=1)
        label_of = {source: label for label, source in enumerate(sources)}
        labels = np.array([label_of[name] for name in table.column("label").to_pylist()])
    except (OSError, pyarrow.ArrowException, KeyError, ValueError, TypeError, BufferError) as error:
        why = " ".join(str(error).split())[:200]
        raise RecordError(f"{path} cannot be read as predictions: {why}") from error
    if strangers := set(table.column_names) - {"id", "label", *sources}:
        raise RecordError(f"{path} has a column '{min(strangers)}' that is neither id, label nor a source.")
    if not len(ids):
        raise RecordError(f"{path} holds no predictions.")
    if (problem := probabilities_problem(probabilities)) is not None:
        row, what = problem
        raise RecordError(f"{path}: the row of image {ids[row]} {what}.")
    return ids, labels, probabilities


def probabilities_problem(probabilities: np.ndarray) -> tuple[int, str] | None:
    """The first row of (n, sources) that holds no probabilities, and what is wrong with it; None if all do."""
    for what, is_wrong in (
        ("is not finite or below 0", ~np.isfinite(probabilities).all(axis=1) | (probabilities < 0).any(axis=1)),
        ("does not sum to 1", ~np.isclose(probabilities.sum(axis=1), 1, atol=1e-3)),
    ):
        if is_wrong.any():
            return int(is_wrong.argmax()), what
    return None


def write_record(
    folder: Path, record: Record, ids: np.ndarray, labels: np.ndarray, probabilities: np.ndarray
) -> Record:
    """Writes predictions and the record with their sha256; both are whole before either takes its place."""
    import pyarrow
    import pyarrow.parquet as parquet

    sources = record.identity.sources
    columns = {"id": ids.tolist(), "label": [sources[label] for label in labels]}
    columns |= {source: probabilities[:, j].astype(np.float32) for j, source in enumerate(sources)}
    with replacing(folder / RECORD) as record_aside, replacing(folder / PREDICTIONS) as predictions_aside:
        parquet.write_table(pyarrow.table(columns), predictions_aside, compression="zstd")
        record = record.model_copy(update={"predictions_sha256": sha256_file(predictions_aside)})
        record_aside.write_text(_as_text(record), encoding="utf-8", newline="\n")
    return record.at(folder)


def replace_scores(folder: Path, scores: Scores, evaluators_sha256: Mapping[str, str]) -> None:
    """Writes scores that were computed anew into a record; its predictions stay as they are.

    Args:
        evaluators_sha256: digests of the code that computed them, by group of `scores`. Groups that are not among them
            are the record's, and so are their digests.

    Raises:
        RecordError: the record is damaged.
    """
    record = read_record(folder)
    digests = {**record.identity.evaluators_sha256, **evaluators_sha256}
    identity = record.identity.model_copy(update={"evaluators_sha256": digests})
    write_text(folder / RECORD, _as_text(record.model_copy(update={"scores": scores, "identity": identity})))


def _as_text(record: Record) -> str:
    return json.dumps(record.model_dump(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def all_records(
    results: Path, dataset: str | None = None, setting: str | None = None, method: str | None = None
) -> Iterator[tuple[Path, Record]]:
    """Every record below `results` with its folder, ordered by dataset, setting, method and seed.

    Args:
        dataset, setting, method: only those of one; None: of all. Others are not read, so none of them hides these.

    Raises:
        RecordError: one is damaged, or does not lie where its identity says, or there is a link among them.
    """
    refuse_links(results)
    for folder in _folders_below(results):
        names = (*folder.relative_to(results).parts, "", "", "")
        wanted = zip((dataset, setting, method), (*names[:2], names[2].partition("+")[0]), strict=True)
        if any(asked is not None and asked != name for asked, name in wanted):
            continue
        record = read_record(folder)
        expected = record_folder(results, record.identity)
        if expected != folder:
            raise RecordError(
                f"{folder / RECORD} is the record of {expected.relative_to(results)} (field 'identity'). Move it there."
            )
        yield folder, record
