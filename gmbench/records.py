"""Records: what one run leaves. A schema, a store on disk, and checks that a record says what its predictions say."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from pydantic import ValidationError

from gmbench.data.card import Strict, first_problem
from gmbench.errors import NotFoundError, RecordError
from gmbench.evaluators.accuracy import Accuracy
from gmbench.evaluators.calibration import Calibration
from gmbench.evaluators.detection import Detection
from gmbench.evaluators.fdr import FDR
from gmbench.evaluators.nmi import Alignment
from gmbench.files import replacing, sha256_file, write_text

SCHEMA_VERSION = 3
LONGEST_CHANGES = 120
RECORD, PREDICTIONS = "record.json", "predictions.parquet"


class Scores(Strict):
    """What the evaluators say of a run.

    Attributes:
        fdr: None where there are predictions only, since it needs features.
        nmi: alignment with each design choice of the sources, by its name; needs features too.
    """

    accuracy: Accuracy
    detection: Detection
    calibration: Calibration
    fdr: FDR | None
    nmi: dict[str, Alignment]


class Environment(Strict):
    """Where a run was made, as far as it should not change the result."""

    gmbench: str
    git_commit: str | None
    git_dirty: bool | None
    python: str
    platform: str
    hardware: str
    threads: int


class Identity(Strict):
    """What decides a run's result. Two runs with equal identities are the same run.

    `given` are those of `parameters` that differ from the method's defaults. `tested_on` is another dataset than the
    one that the method was fitted on. `harness_sha256` is of the code that decides predictions and features,
    `evaluators_sha256` of the code that made each group of `Scores`. `precision` is that of the training of networks.
    """

    dataset: str
    dataset_revision: str
    roles_sha256: str
    setting: str
    tested_on: str | None
    tested_revision: str | None
    method: str
    method_sha256: str
    parameters: dict[str, bool | int | float | str]
    given: dict[str, bool | int | float | str]
    repetition: int
    seed: int
    sources: list[str]
    harness_sha256: str
    evaluators_sha256: dict[str, str]
    packages: dict[str, str]
    device: str
    precision: str = "32-true"

    @property
    def entry(self) -> str:
        """The name of this row: the method's slug, and what was changed from its default."""
        return entry_name(self.method, self.given, self.precision)


def entry_name(method: str, given: Mapping[str, bool | int | float | str], precision: str) -> str:
    """The name of a row: the method's slug, and what was changed from its default."""
    changed = given if precision == "32-true" else {**given, "precision": precision}
    changes = "+".join(f"{name}={quote(str(value), safe='')}" for name, value in changed.items())
    if len(changes) > LONGEST_CHANGES:
        changes = hashlib.sha256(changes.encode()).hexdigest()[:16]
    return f"{method}+{changes}" if changes else method


class Record(Strict):
    """Scores of one run, and everything needed to run it again.

    `predictions_only`: somebody handed in the predictions, and there is no code to run again.
    """

    schema_version: int
    identity: Identity
    images: dict[str, int]
    scores: Scores
    training: dict[str, Any]
    environment: Environment
    command: str
    seconds: dict[str, float]
    peak_memory_mib: int | None
    predictions_sha256: str
    predictions_only: bool = False


def record_folder(results: Path, identity: Identity) -> Path:
    """Where the record of a run is kept below `results`: dataset, setting, entry, repetition."""
    return results / identity.dataset / identity.setting / identity.entry / str(identity.repetition)


def record_folders(path: Path) -> list[Path]:
    """Folders of records: of the one at a path (its folder or one of its files), or of all below, in order.

    Raises:
        NotFoundError: there is none.
    """
    folder = path.parent if path.is_file() else path
    found = sorted(record.parent for record in folder.rglob(RECORD))
    if not found:
        raise NotFoundError(f"no record at {path}. Expected a record's folder, or a folder that holds some.")
    return found


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
    except (ValueError, TypeError, KeyError) as error:
        raise RecordError(f"{path} is damaged ({error}). Remove {folder} and run its command again.") from error
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
    return record


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
    except (OSError, pyarrow.ArrowException, KeyError, ValueError) as error:
        raise RecordError(f"{path} cannot be read as predictions: {error}") from error
    return ids, labels, probabilities


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
    return record


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


def all_records(results: Path) -> Iterator[tuple[Path, Record]]:
    """Every record below `results` with its folder, ordered by dataset, setting, method and repetition.

    Raises:
        RecordError: one is damaged, or does not lie where its identity says.
    """
    for path in sorted(results.glob(f"*/*/*/*/{RECORD}")):
        folder = path.parent
        record = read_record(folder)
        expected = record_folder(results, record.identity)
        if expected != folder:
            raise RecordError(f"{path} is the record of {expected.relative_to(results)} (field 'identity').")
        yield folder, record
