"""The rows of leaderboards: records of one method on one dataset in one setting, over its seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from gmbench.data.cards import dataset_cards
from gmbench.data.manifest import read_manifest, role_files, role_path
from gmbench.data.parquet import read_columns
from gmbench.errors import RecordError
from gmbench.records.kept import Kept
from gmbench.records.schema import Identity, Record
from gmbench.records.scoring import OF_FEATURES, OF_PREDICTIONS, absent_scores, compared, score_predictions
from gmbench.records.store import RECORD, read_predictions


@dataclass(frozen=True, eq=False)
class Found:
    """A record with its predictions, and where it is."""

    path: Path
    record: Record
    ids: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray

    @property
    def tested(self) -> str:
        """The dataset of its test images."""
        return self.record.identity.tested_on or self.record.identity.dataset

    @property
    def names(self) -> np.ndarray:
        """(images,) name of each test image's source."""
        return np.array(self.record.identity.sources)[self.labels]


def found_of(folder: Path, record: Record) -> Found:
    """A record that was read from a folder, with its predictions.

    Raises:
        RecordError: they cannot be read.
    """
    return Found(folder / RECORD, record, *read_predictions(folder, record.identity.sources))


def row_of(found: Found) -> tuple[str, str, str]:
    """What names the row of a record: dataset, setting and entry."""
    identity = found.record.identity
    return identity.dataset, identity.setting, identity.entry


def check_scores(found: Found, kept: Kept | None = None) -> None:
    """Everything that follows from predictions alone is computed anew, unless it is `kept` of the same predictions.

    Raises:
        RecordError: a score of the record is another; the message names the field.
    """
    sources = found.record.identity.sources

    def recomputed(name: str) -> dict[str, Any]:
        return score_predictions(found.probabilities, found.labels, sources, (name,))[name].model_dump()

    predictions = found.record.predictions_sha256
    try:
        groups = {
            name: kept.value(name, partial(recomputed, name), predictions=predictions, sources=sources)
            if kept is not None
            else recomputed(name)
            for name in OF_PREDICTIONS
        }
    except ValueError as error:
        raise RecordError(f"{found.path}: its predictions cannot be scored: {error}.") from error
    said = found.record.scores.model_dump(include=set(groups))
    for of_score in compared(said, groups):
        if not of_score.is_same:
            raise RecordError(
                f"{found.path}: its predictions give {_short(of_score.now)}, the record says {_short(of_score.before)} "
                f"(field 'scores.{of_score.name}')."
            )


def check_absent(found: Found) -> None:
    """FDR is there, of as many images as there can be, unless the labels say why it cannot.

    Raises:
        RecordError: it is not; the message names the field.
    """
    record, sources = found.record, found.record.identity.sources
    absent = {} if record.predictions_only else absent_scores(found.labels, sources)
    if dict(record.scores.absent) != absent:
        raise RecordError(
            f"{found.path}: expected these reasons for absent scores: {absent}, got {record.scores.absent} (field "
            "'scores.absent')."
        )
    if (record.scores.fdr is None) != (record.predictions_only or "fdr" in absent):
        raise RecordError(
            f"{found.path}: FDR and NMI are for runs, not for predictions alone (field 'predictions_only')."
        )
    half = int(np.bincount(found.labels, minlength=len(sources)).min()) // 2
    if record.scores.fdr is not None and record.scores.fdr.n != half:
        raise RecordError(
            f"{found.path}: half of the smallest source are {half} images, the record says {record.scores.fdr.n} "
            "(field 'scores.fdr.n')."
        )


def check_row(members: list[Found]) -> None:
    """The records of a row are of the same code, parameters and packages.

    Scores that follow from predictions are computed anew, so it does not matter by what code they were made.

    Raises:
        RecordError: two are not; the message names both, and the field.
    """
    for member in members:
        ours, theirs = (set(of.record.scores.nmi) for of in (member, members[0]))
        if ours != theirs:
            raise RecordError(
                f"{member.path} does not belong with {members[0].path}: NMI of {min(ours ^ theirs)} is in one of them "
                "only (field 'scores.nmi'). Run them again."
            )
    evaluators = (f"evaluators_sha256.{name}" for name in OF_FEATURES)
    _check_agreement(members, ("parameters", "method_sha256", "harness_sha256", *evaluators, "packages"))


def check_roles(found: Found) -> None:
    """The roles of the images, and how many images each has, are those of the embedded dataset that is there.

    In `clean` all images of a role are used; some settings take fewer.

    Raises:
        RecordError: they are others.
    """
    identity, images = found.record.identity, found.record.images
    if images.get("test") != len(found.ids):
        raise RecordError(
            f"{found.path}: it says that there are {images.get('test')} test images, its predictions are of "
            f"{len(found.ids)} (field 'images.test')."
        )
    if (folder := _embedded(identity.dataset)) is None:
        return
    manifest = read_manifest(folder)
    for role in ("manifold", "train", "val"):
        there, said = sum(manifest.files[name].rows for name in role_files(manifest, role)), images.get(role)
        if said is None or said > there or (identity.setting == "clean" and said < there):
            raise RecordError(
                f"{found.path}: it says that there are {said} images of role {role}, {identity.dataset} has {there} "
                f"(field 'images.{role}')."
            )
    expected = manifest.roles_sha256
    if identity.roles_sha256 != expected:
        raise RecordError(
            f"{found.path}: its roles are {identity.roles_sha256[:12]}, those of {identity.dataset} are "
            f"{expected[:12]} (field 'identity.roles_sha256'). Run it again."
        )


def check_revisions(found: list[Found]) -> None:
    """One revision of each dataset, whether it was fitted or tested on; of an embedded one, that which is there.

    Raises:
        RecordError: a record is of another revision, or of other roles or sources than another record.
    """
    known: dict[str, tuple[str, str]] = {}
    for member in found:
        for dataset, field, revision in _revisions(member):
            if dataset not in known:
                folder = _embedded(dataset)
                known[dataset] = (
                    (read_manifest(folder).revision, f"{dataset} is now") if folder else (revision, f"{member.path} is")
                )
            expected, where = known[dataset]
            if revision != expected:
                raise RecordError(
                    f"{member.path} is of revision {revision[:12]} of {dataset}, {where} of {expected[:12]} "
                    f"(field 'identity.{field}'). Run it again."
                )
    by_data = sorted(found, key=lambda member: (member.record.identity.dataset, member.tested))
    for _, group in groupby(by_data, key=lambda member: (member.record.identity.dataset, member.tested)):
        _check_agreement(list(group), ("roles_sha256", "sources"))


def _revisions(found: Found) -> Iterator[tuple[str, str, str]]:
    identity = found.record.identity
    yield identity.dataset, "dataset_revision", identity.dataset_revision
    if identity.tested_on is not None:
        yield identity.tested_on, "tested_revision", str(identity.tested_revision)


def check_test_images(found: list[Found]) -> None:
    """Every record is about all test images, with the dataset's labels; embedded datasets say which these are.

    Records of transfer are about those of the sources that both datasets have.

    Raises:
        RecordError: an image is missing, there twice, a stranger or in another's place, or has another label.
    """
    by_dataset = sorted(found, key=lambda member: (member.tested, -len(member.record.identity.sources)))
    for dataset, group in groupby(by_dataset, key=lambda member: member.tested):
        members = list(group)
        expected = None
        if (folder := _embedded(dataset)) is not None:
            columns = read_columns(folder / role_path("test"))
            expected = columns["id"], columns["source"].astype(str), f"dataset {dataset}"
        for member in members:
            ids, names, what = expected or _widest(members, member)
            asked = np.isin(names, _sources_asked(member)) if member.record.identity.tested_on else slice(None)
            if (problem := images_problem(member.ids, ids[asked])) is not None:
                raise RecordError(f"{member.path}: its test images are not those of {what}: {problem} (field 'id').")
            wrong = np.flatnonzero(member.names != names[asked])
            if len(wrong):
                raise RecordError(
                    f"{member.path}: its labels are not those of {what}: {len(wrong)} differ, the first is image "
                    f"{member.ids[wrong[0]]} (field 'label')."
                )


def images_problem(ids: np.ndarray, expected: np.ndarray) -> str | None:
    """What keeps ids from being the expected ones in their order, by name of the first; None if nothing does."""
    if np.array_equal(ids, expected) and len(set(ids)) == len(ids):
        return None
    there, wanted = Counter(ids.tolist()), Counter(expected.tolist())
    for what, names in (
        ("there twice", [id for id in there if there[id] > 1]),
        ("missing", [id for id in wanted if id not in there]),
        ("not among them", [id for id in there if id not in wanted]),
    ):
        if names:
            return f"{len(names)} {'are' if len(names) > 1 else 'is'} {what}, the first is {names[0]}"
    wrong = np.flatnonzero(ids != expected)
    return f"image {ids[wrong[0]]} stands where {expected[wrong[0]]} is expected" if len(wrong) else None


def _sources_asked(found: Found) -> list[str]:
    """The sources of a record of transfer; where both datasets have cards, all that they share."""
    identity = found.record.identity
    fitted, tested = (dataset_cards().get(dataset) for dataset in (identity.dataset, found.tested))
    if fitted is not None and tested is not None:
        shared = set(fitted.sources) & set(tested.sources)
        if shared != set(identity.sources):
            raise RecordError(
                f"{found.path}: {fitted.slug} and {tested.slug} share {len(shared)} sources, the record has "
                f"{len(identity.sources)} (field 'identity.sources'). Run it again."
            )
    return identity.sources


def _embedded(dataset: str) -> Path | None:
    """Where an embedded dataset's files are; None for others."""
    card = dataset_cards().get(dataset)
    return card.folder if card is not None and card.embedded else None


def _widest(members: list[Found], member: Found) -> tuple[np.ndarray, np.ndarray, str]:
    """Ids, names and place of the first record with all sources of this one; the first have the most sources."""
    sources = set(member.record.identity.sources)
    widest = next(other for other in members if sources <= set(other.record.identity.sources))
    return widest.ids, widest.names, str(widest.path)


def _check_agreement(members: list[Found], fields: tuple[str, ...]) -> None:
    first = members[0]
    for member in members:
        for field in fields:
            ours, theirs = (_value(of_record.record.identity, field) for of_record in (member, first))
            if ours != theirs:
                raise RecordError(
                    f"{member.path} does not belong with {first.path}: field 'identity.{field}' "
                    f"is {_short(ours)} and {_short(theirs)}. Run them again."
                )


def _value(identity: Identity, field: str) -> object:
    """A field, or with a dot what is in one by its name."""
    name, _, inner = field.partition(".")
    value = getattr(identity, name)
    return value.get(inner) if inner else value


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
