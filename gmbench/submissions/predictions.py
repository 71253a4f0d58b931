"""Predictions that somebody hands in, of a method without published code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gmbench.data.cards import ROLES, DatasetCard
from gmbench.data.dataset import load_dataset
from gmbench.errors import ParameterError, RecordError
from gmbench.leaderboard.pages import update_pages
from gmbench.protocol.settings import find_setting
from gmbench.records.command import command_of
from gmbench.records.identity import identity_of
from gmbench.records.integrity import images_problem
from gmbench.records.schema import SCHEMA_VERSION, Record, Scores
from gmbench.records.scoring import OF_PREDICTIONS, score_predictions
from gmbench.records.store import probabilities_problem, record_folder, write_record
from gmbench.registry import Method
from gmbench.runs.environment import environment
from gmbench.runs.sweep import Swept
from gmbench.submissions.submit import Submitted, _to_commit, require_fitness
from gmbench.support.cache import Cache
from gmbench.support.files import ensure_writable
from gmbench.support.progress import Progress

NOT_STATED = "not stated"


def submit_predictions(
    method: Method,
    predictions: Path,
    dataset: DatasetCard,
    setting: str,
    seed: int,
    results: Path,
    progress: Progress,
) -> Submitted:
    """Scores probabilities that somebody hands in, and leaves a record that says so.

    Args:
        predictions: a parquet file with a column `id`, the test images in the order of the dataset, and a column of
            probabilities for each source; each row sums to 1.

    Raises:
        ParameterError: the method has code, which is then to be run, or its card or README is not fit to be proposed.
        RecordError: an image is missing, there twice, a stranger or out of order; a column is missing or unknown; or
            rows are no probabilities. Nothing is written.
    """
    if method.card.attributor is not None:
        raise ParameterError(f"{method.slug} has code, so it is run: gmbench submit {method.slug}")
    require_fitness(method)
    ensure_writable(results)
    loaded = load_dataset(dataset, Cache(), progress)
    roles = find_setting(setting).images(loaded, seed, Cache(), progress)
    test, sources = roles.test, list(roles.test.sources)
    assert test.labels is not None
    probabilities = read_submission(predictions, test.ids, sources)
    identity = identity_of(
        loaded,
        roles,
        setting,
        seed,
        method=method.slug,
        method_sha256=method.source_sha256,
        scored_by=OF_PREDICTIONS,
        device=NOT_STATED,
    )
    scores = score_predictions(probabilities, test.labels, sources)
    scored_in = environment("cpu").model_copy(update={"hardware": NOT_STATED, "threads": 0})
    record = Record(
        schema_version=SCHEMA_VERSION,
        identity=identity,
        images={role: len(getattr(roles, role)) for role in ROLES},
        scores=Scores(**scores, fdr=None, nmi={}),
        training={},
        environment=scored_in,
        command=command_of(identity, method.name, predictions.name),
        seconds={},
        peak_memory_mib=None,
        predictions_sha256="",
        predictions_only=True,
    )
    write_record(record_folder(results, identity), record, test.ids, test.labels, probabilities)
    return Submitted(Swept(ran=1), update_pages(results, results.parent), _to_commit(method, results.parent))


def read_submission(path: Path, ids: np.ndarray, sources: Sequence[str]) -> np.ndarray:
    """Probabilities float32 (n, sources) of the test images `ids` (n,) from a file that somebody hands in.

    Raises:
        RecordError: see `submit_predictions`.
    """
    import pyarrow
    import pyarrow.parquet as parquet

    try:
        table = parquet.ParquetFile(path).read()
    except (OSError, pyarrow.ArrowException) as error:
        raise RecordError(f"{path} cannot be read as parquet: {' '.join(str(error).split())}") from error
    for what, names in (
        ("lacks", {"id", *sources} - set(table.column_names)),
        ("has an unknown", set(table.column_names) - {"id", *sources}),
    ):
        if names:
            raise RecordError(f"{path} {what} column '{min(names)}'. Expected id, {', '.join(sources)}.")
    given = np.array(table.column("id").to_pylist(), dtype=object).astype(str)
    if (problem := images_problem(given, ids)) is not None:
        raise RecordError(f"{path}: the ids are not those of the test images in their order: {problem}.")
    try:
        columns = [table.column(source).to_numpy().astype(np.float32) for source in sources]
    except (ValueError, TypeError) as error:
        raise RecordError(f"{path}: probabilities must be numbers: {error}.") from error
    probabilities = np.stack(columns, axis=1)
    if (wrong := probabilities_problem(probabilities)) is not None:
        row, what = wrong
        raise RecordError(f"{path}: the row of image {ids[row]} {what}.")
    return probabilities
