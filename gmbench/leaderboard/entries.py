"""The rows of leaderboards: records of one method on one dataset in one setting, over its repetitions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Literal

import numpy as np

from gmbench.attributors import METHOD_FOLDERS
from gmbench.data.card import REAL, DatasetCard, Strict, dataset_cards
from gmbench.data.storage import read_columns, read_manifest, role_path
from gmbench.errors import RecordError
from gmbench.evaluators.accuracy import accuracy_interval
from gmbench.records import RECORD, Identity, Record, all_records, read_predictions
from gmbench.registry import methods
from gmbench.scoring import OF_FEATURES, compared, score_predictions

BASELINES, METHODS = METHOD_FOLDERS


@dataclass(frozen=True, eq=False)
class Entry:
    """All repetitions of one method (with its parameters) on one dataset in one setting.

    Attributes:
        records: one per repetition, in their order; their scores are those that the predictions give.
        labels: (images,) source of each test image.
        probabilities: (repetitions, images, sources).
    """

    records: tuple[Record, ...]
    labels: np.ndarray
    probabilities: np.ndarray

    @property
    def name(self) -> str:
        return self.records[0].identity.entry

    @property
    def dataset(self) -> str:
        """The dataset that the method was fitted on."""
        return self.records[0].identity.dataset

    @property
    def tested_on(self) -> str | None:
        """The dataset of the test images where that is another one (transfer)."""
        return self.records[0].identity.tested_on

    @property
    def setting(self) -> str:
        return self.records[0].identity.setting

    @property
    def sources(self) -> list[str]:
        return self.records[0].identity.sources

    @property
    def method(self) -> str:
        """The slug of its method."""
        return self.records[0].identity.method

    @property
    def kind(self) -> Literal["method", "baseline"] | None:
        """Whether its method competes (`methods/`) or is compared with (`baselines/`); None for one from elsewhere."""
        method = methods().get(self.method)
        home = method.folder.parent if method else None
        return "method" if home == METHODS else "baseline" if home == BASELINES else None

    @property
    def families(self) -> dict[str, str]:
        """The family of each source, as the dataset's card says: `real` its own, `other` where there is no card."""
        card = dataset_cards().get(self.tested_on or self.dataset)
        return {source: _family(card, source) for source in self.sources}

    @cached_property
    def correct(self) -> np.ndarray:
        """(repetitions, images) whether each test image was attributed to its source."""
        return self.probabilities.argmax(axis=2) == self.labels

    @property
    def accuracies(self) -> np.ndarray:
        """Accuracy of each repetition, in [0, 1]."""
        return self.correct.mean(axis=1)

    @cached_property
    def interval(self) -> tuple[float, float]:
        """95 % interval over test images of the accuracy averaged over these repetitions."""
        return accuracy_interval(self.correct)

    @property
    def confusion(self) -> np.ndarray:
        """(sources, sources) counts over all repetitions; row: true source, column: attributed source."""
        return np.sum([record.scores.accuracy.confusion for record in self.records], axis=0)

    @property
    def recall(self) -> dict[str, float]:
        """Recall of each source, averaged over repetitions."""
        recalls = [record.scores.accuracy.recall for record in self.records]
        return {source: float(np.mean([recall[source] for recall in recalls])) for source in self.sources}

    def accuracies_among(self, sources: Sequence[str]) -> np.ndarray:
        """Accuracy of each repetition on the test images of some of its sources, choosing among these alone."""
        columns = [self.sources.index(source) for source in sources]
        asked = np.isin(self.labels, columns)
        predicted = np.array(columns)[self.probabilities[:, asked][:, :, columns].argmax(axis=2)]
        return (predicted == self.labels[asked]).mean(axis=1)


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


def read_entries(results: Path) -> list[Entry]:
    """All entries below `results`, ordered by dataset, setting and name.

    Raises:
        RecordError: a record is damaged, its scores do not follow from its predictions, its test images are not the
            dataset's, or records that belong together were made from different data, code or parameters.
    """
    # Decoding and resampling run side by side, the rest waits its turn: four threads take longer than two.
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda of_record: found_of(*of_record), all_records(results)))
        check_revisions(found)
        check_test_images(found)
        for member in found:
            check_roles(member)
        list(pool.map(check_scores, found))
    entries = []
    for _, group in groupby(sorted(found, key=row_of), key=row_of):
        members = sorted(group, key=lambda member: member.record.identity.repetition)
        check_row(members)
        probabilities = np.stack([member.probabilities for member in members])
        entries.append(Entry(tuple(member.record for member in members), members[0].labels, probabilities))
    return entries


def methods_of(entries: Iterable[Entry]) -> list[str]:
    """Slugs of the methods that are the project's own (`baselines/`, `methods/`) and have a record, in order."""
    return sorted({entry.method for entry in entries if entry.kind is not None})


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


def _family(card: DatasetCard | None, source: str) -> str:
    if source == REAL:
        return REAL
    return card.sources[source].family if card is not None and source in card.sources else "other"


def check_scores(found: Found) -> None:
    """Everything that follows from predictions alone is computed anew.

    Raises:
        RecordError: a score of the record is another; the message names the field.
    """
    try:
        recomputed: dict[str, Strict] = score_predictions(
            found.probabilities, found.labels, found.record.identity.sources
        )
    except ValueError as error:
        raise RecordError(f"{found.path}: its predictions cannot be scored: {error}.") from error
    groups = {name: of_group.model_dump() for name, of_group in recomputed.items()}
    said = found.record.scores.model_dump(include=set(groups))
    for of_score in compared(said, groups):
        if not of_score.is_same:
            raise RecordError(
                f"{found.path}: its predictions give {_short(of_score.now)}, the record says {_short(of_score.before)} "
                f"(field 'scores.{of_score.name}')."
            )


def check_row(members: list[Found]) -> None:
    """The records of a row are of the same code, parameters and packages.

    Scores that follow from predictions are computed anew, so it does not matter by what code they were made.

    Raises:
        RecordError: two are not; the message names both, and the field.
    """
    evaluators = (f"evaluators_sha256.{name}" for name in OF_FEATURES)
    _check_agreement(members, ("parameters", "method_sha256", "harness_sha256", *evaluators, "packages"))


def check_roles(found: Found) -> None:
    """The roles of the images are those of the embedded dataset that is there.

    Raises:
        RecordError: they are others.
    """
    identity = found.record.identity
    if (folder := _embedded(identity.dataset)) is None:
        return
    expected = read_manifest(folder).roles_sha256
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
        shared = set(fitted.classes) & set(tested.classes)
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
