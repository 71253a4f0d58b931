"""`gmbench validate`: is each record what it says it is? The checks of the leaderboard, record by record. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

from gmbench.data.cards import dataset_cards
from gmbench.errors import GmbenchError, RecordError
from gmbench.records.command import cell_of
from gmbench.records.identity import random_state_of
from gmbench.records.integrity import (
    Found,
    check_absent,
    check_revisions,
    check_roles,
    check_row,
    check_scores,
    check_test_images,
    found_of,
    row_of,
)
from gmbench.records.scoring import OF_FEATURES
from gmbench.records.store import read_record, record_folder, record_folders
from gmbench.registry import methods
from gmbench.submissions.copies import copies
from gmbench.support.digests import evaluator_sha256, harness_sha256
from gmbench.support.schema import Strict

RESULTS = "results"


class Validated(Strict):
    """What is to be said of one record.

    Attributes:
        folder: where it is.
        problems: what is wrong, each with file and field; a record with any gets onto no page.
        warnings: what a reader should know, such as code that has changed since.
    """

    folder: str
    problems: list[str]
    warnings: list[str]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def validate(paths: Sequence[Path]) -> list[Validated]:
    """Checks every record at or below some paths, in the order of their folders.

    Raises:
        NotFoundError: there is no record at a path.
    """
    asked = {folder: path for path in paths for folder in record_folders(path)}
    folders = sorted(asked)
    found: list[Found] = []
    problems: dict[Path, list[str]] = {folder: [] for folder in folders}
    warnings: dict[Path, list[str]] = {folder: [] for folder in folders}
    for folder in folders:
        try:
            member = found_of(folder, read_record(folder))
        except RecordError as error:
            problems[folder].append(str(error))
            continue
        found.append(member)
        problems[folder] += _problems(member, asked[folder])
        warnings[folder] += _warnings(member)
    for path, other, is_problem in copies(found):
        said = f"{path}: its predictions are those of {other}"
        if is_problem:
            problems[path.parent].append(f"{said}, which is of another method (field 'predictions_sha256').")
        else:
            warnings[path.parent].append(f"{said}: a method in which nothing is random, or a copy.")
    for _, row in groupby(sorted(found, key=row_of), key=row_of):
        members = list(row)
        if (problem := _said(check_row, members)) is not None:
            problems[members[0].path.parent].append(problem)
    for member, problem in _at_odds(found):
        if problem not in problems[member.path.parent]:
            problems[member.path.parent].append(problem)
    return [Validated(folder=str(folder), problems=problems[folder], warnings=warnings[folder]) for folder in folders]


def _at_odds(found: list[Found]) -> Iterator[tuple[Found, str]]:
    """Records that are of other images than the first record of their dataset is, each with what differs."""
    for dataset in {dataset for member in found for dataset in _datasets(member)}:
        first, *others = (member for member in found if dataset in _datasets(member))
        for member in others:
            if (problem := _said(check_revisions, [first, member])) is not None:
                yield member, problem
    for _, group in groupby(sorted(found, key=_data_of), key=_data_of):
        first, *others = group
        for member in others:
            if (problem := _said(check_test_images, [first, member])) is not None:
                yield member, problem


def _datasets(found: Found) -> tuple[str, ...]:
    identity = found.record.identity
    return (identity.dataset, *([identity.tested_on] if identity.tested_on else []))


def _data_of(found: Found) -> tuple[str, str]:
    return found.record.identity.dataset, found.tested


def _problems(found: Found, asked: Path) -> Iterator[str]:
    yield from _place_and_name(found, asked)
    yield from _command(found)
    for check in (check_scores, check_absent, check_roles):
        if (problem := _said(check, found)) is not None:
            yield problem
    for check_all in (check_revisions, check_test_images):
        if (problem := _said(check_all, [found])) is not None:
            yield problem
    yield from _kind(found)


def _said(check: Callable[..., None], about: Found | list[Found]) -> str | None:
    """What a check of the leaderboard has to say."""
    try:
        check(about)
    except RecordError as error:
        return str(error)
    return None


def _place_and_name(found: Found, asked: Path) -> Iterator[str]:
    """The record lies where its identity says, right below the folder of records; its random state follows.

    The folder of records is `asked`, or is around it, or is called `results` in it.
    """
    identity = found.record.identity
    expected = record_folder(Path(), identity)
    folder, top = found.path.parent.absolute(), (asked.parent if asked.is_file() else asked).absolute()
    if folder.parts[-len(expected.parts) :] != expected.parts:
        yield f"{found.path} is the record of {expected} (field 'identity'). Move it there."
    else:
        if not _are_records(Path(*folder.parts[: -len(expected.parts)]), top):
            yield (
                f"{found.path} is in no place of {asked}: expected {expected} right below it, or below a folder "
                f"'{RESULTS}' in it (field 'identity'). Move it there, or name the folder that holds it."
            )
    expected_state = random_state_of(identity.dataset, identity.method, identity.seed)
    if identity.random_state != expected_state:
        yield (
            f"{found.path}: seed {identity.seed} has random state {expected_state}, got {identity.random_state} "
            "(field 'identity.random_state')."
        )


def _are_records(home: Path, top: Path) -> bool:
    """Whether `home` is the folder of records for who asks for `top`: the same, around it, or its first `results`."""
    if home == top or not home.is_relative_to(top):
        return True
    names = (top.name, *home.relative_to(top).parts)
    return RESULTS in names and names.index(RESULTS) == len(names) - 1


def _command(found: Found) -> Iterator[str]:
    """The command can be read, and is about the cell that the record is of."""
    identity, command = found.record.identity, found.record.command
    try:
        named = cell_of(command)
    except ValueError as error:
        yield f"{found.path}: '{command}' cannot be read as a command: {error} (field 'command')."
        return
    expected: dict[str, object] = {
        "method": identity.method,
        "dataset": identity.dataset,
        "setting": identity.setting,
        "seed": str(identity.seed),
    }
    if not found.record.predictions_only:
        expected |= {
            "device": identity.device,
            "precision": identity.precision,
            "set": {name: str(value) for name, value in identity.given.items()},
        }
    for name, value in expected.items():
        if named.get(name) != value:
            yield (
                f"{found.path}: the command says {name} {named.get(name)}, the record is of {value} (field 'command')."
            )


def _kind(found: Found) -> Iterator[str]:
    """Predictions that were handed in have no features, and belong to a method without code; all others have both."""
    record = found.record
    if record.of_object:
        yield f"{found.path}: its method was an object, whose code nobody has (field 'of_object'). Submit a method."
        return
    if record.predictions_only and record.scores.nmi:
        yield f"{found.path}: FDR and NMI are for runs, not for predictions alone (field 'predictions_only')."
    method = methods().get(record.identity.method)
    if method is not None and record.predictions_only != (method.card.attributor is None):
        has = "has no" if method.card.attributor is None else "has"
        yield f"{found.path}: {method.slug} {has} code to run (field 'predictions_only')."
    if method is None or method.source_sha256 != record.identity.method_sha256:
        return
    try:
        expected = method.parameters(record.identity.given)
    except GmbenchError as error:
        yield f"{found.path}: {error} (field 'identity.given')."
        return
    if expected != record.identity.parameters:
        yield (
            f"{found.path}: the card gives {expected}, the record says {record.identity.parameters} "
            "(field 'identity.parameters')."
        )


def _warnings(found: Found) -> Iterator[str]:
    """What has changed since, and what of the run's circumstances cannot be known."""
    identity, made_in = found.record.identity, found.record.environment
    method = methods().get(identity.method)
    if method is None:
        yield f"method {identity.method} is not here: its code cannot be compared."
    elif method.source_sha256 != identity.method_sha256:
        yield f"{method.folder} has changed since. Run again: {found.record.command}"
    if not found.record.predictions_only:
        if identity.harness_sha256 != harness_sha256():
            yield f"the harness has changed since. Run again: {found.record.command}"
        made_by = identity.evaluators_sha256
        if changed := [name for name in OF_FEATURES if made_by.get(name) != evaluator_sha256(name)]:
            yield (
                f"the code of {' and '.join(changed)} has changed since, so these scores may have. Run again: "
                f"{found.record.command}"
            )
    if made_in.git_commit is None:
        yield "it was made outside a checkout: only digests tell with what code (field 'environment.git_commit')."
    elif made_in.git_dirty:
        yield "the code had changes that are in no commit (field 'environment.git_dirty')."
    for dataset in filter(None, (identity.dataset, identity.tested_on)):
        card = dataset_cards().get(dataset)
        if card is None or not card.embedded:
            yield f"{dataset} is not embedded: its revision and test images are compared with other records alone."
