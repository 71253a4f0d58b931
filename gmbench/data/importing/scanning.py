"""What is below a folder: which images would be of which source and split, what is ignored and why."""

from __future__ import annotations

import os
import stat
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from gmbench.data.cards import REAL, ROLES
from gmbench.data.importing.chunks import count, is_wanted, names_in
from gmbench.data.importing.containers import (
    PARQUET,
    TABLES,
    Labels,
    is_archive,
    members,
    opened,
    parquet_labels,
    read_table,
)
from gmbench.data.importing.decoding import ARRAYS, IMAGES, Refused
from gmbench.data.importing.names import (
    Match,
    Matcher,
    is_number,
    is_real_label,
    names_a_model,
    printable,
    says_no_source,
    says_only_generated,
    says_only_real,
    slugged,
)
from gmbench.data.judgements import LEFT_BEHIND, SPLITS
from gmbench.errors import DataError

READ = ", ".join((*IMAGES, *ARRAYS))


@dataclass(frozen=True)
class Place:
    """Images that lie together.

    Attributes:
        folder: from the origin; that of an archive's members begins with the archive.
        n: how many images. archive: from the origin; empty if there is none.
        names: of its files, where not all of the folder's are meant. label: what a table says of them.
    """

    folder: str
    n: int
    archive: str = ""
    names: tuple[str, ...] | None = None
    label: str = ""

    @property
    def parts(self) -> tuple[str, ...]:
        """The names on its path; an archive is named without its suffix."""
        parts = PurePosixPath(self.folder).parts
        depth = len(PurePosixPath(self.archive).parts) if self.archive else 0
        return tuple(part.partition(".")[0] if i == depth - 1 else part for i, part in enumerate(parts))


@dataclass(frozen=True)
class Found:
    """Images that lie together and are of one source. `split`: the role that their place gives them; empty: none."""

    place: Place
    source: str
    split: str = ""


@dataclass
class Folders:
    """What is below a folder.

    Attributes:
        found: images of sources, by place.
        matched: folder, as it is printed, to source and number of images there.
        notes: folder to what else its path or table says.
        ignored: folder, file or link to the reason why nothing was taken from it.
        joined: source to those places, of more than one, that its images are from.
        splits: given splits, whether or not they are kept.
    """

    found: list[Found] = field(default_factory=list)
    matched: dict[str, tuple[str, int]] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    ignored: dict[str, str] = field(default_factory=dict)
    joined: dict[str, list[str]] = field(default_factory=dict)
    splits: list[str] = field(default_factory=list)


@dataclass
class Survey:
    """The images below a folder before anyone has said whose they are.

    Attributes:
        home: what paths are from: the folder itself, or that of an archive.
        places: where images are. tables: path of a table to its labels. unread: path of a table to why it is not read.
        ignored: as in `Folders`.
    """

    home: Path
    places: list[Place] = field(default_factory=list)
    tables: dict[str, Labels] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)
    ignored: dict[str, str] = field(default_factory=dict)

    def splits(self) -> dict[tuple[str, ...], str]:
        """Folders that are splits, by the names on their path, to their role: all beside them are splits as well."""
        children: dict[tuple[str, ...], set[str]] = defaultdict(set)
        for place in self.places:
            for depth in range(len(place.parts)):
                children[place.parts[:depth]].add(place.parts[depth])
        return {
            (*parent, name): SPLITS[name.casefold()]
            for parent, names in children.items()
            if all(name.casefold() in SPLITS for name in names)
            for name in names
        }


def survey(origin: Path) -> Survey:
    """Looks through a folder, or an archive. Links to folders are followed, but no folder is visited twice."""
    found = Survey(origin if origin.is_dir() else origin.parent)
    if origin.is_file():
        _survey_file(origin, ".", found)
        return found
    seen: set[tuple[int, int]] = set()
    waiting, links = [origin], list[Path]()
    while waiting or links:
        # Links come last, so that a folder is known by its own name.
        folder = waiting.pop() if waiting else links.pop()
        name = folder.relative_to(origin).as_posix()
        try:
            status = folder.stat()
            if (status.st_dev, status.st_ino) in seen:
                found.ignored[printable(name)] = "a link to a folder that is read under another name"
                continue
            seen.add((status.st_dev, status.st_ino))
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            found.ignored[printable(name)] = error.strerror or str(error)
            continue
        n_images, others, left = 0, Counter[str](), list[str]()
        for entry in entries:
            try:
                if LEFT_BEHIND.fullmatch(entry.name):
                    left.append(entry.name)
                elif entry.is_dir():
                    (links if entry.is_symlink() else waiting).append(folder / entry.name)
                elif is_wanted(entry):
                    n_images += count(folder / entry.name)
                elif not stat.S_ISREG(entry.stat().st_mode):
                    found.ignored[printable(f"{name}/{entry.name}")] = "no file"
                elif not _survey_file(folder / entry.name, name, found):
                    others[Path(entry.name).suffix.lower()] += 1
            except OSError as error:
                found.ignored[printable(f"{name}/{entry.name}")] = error.strerror or str(error)
        for suffix, n in others.items():
            found.ignored[printable(f"{name}/*{suffix}")] = f"not read: {n} {suffix or 'without suffix'} (read: {READ})"
        if left:
            shown = ", ".join(map(printable, left[:3])) + (f" and {len(left) - 3} more" if len(left) > 3 else "")
            found.ignored[printable(f"{name}/{left[0]}")] = f"left behind by a tool: {shown}"
        if n_images:
            found.places.append(Place(name, n_images))
    return found


def _survey_file(path: Path, folder: str, found: Survey) -> bool:
    """Looks into a table, an archive or a parquet file; False if it is none."""
    name = PurePosixPath(folder, path.name).as_posix()
    try:
        if path.name.lower() in TABLES:
            _survey_table(path.read_bytes(), name, found)
            return True
        if is_archive(path.name):
            found.places += _places_in(path, name, found)
            return True
        if path.suffix.lower() == PARQUET:
            column, labels = parquet_labels(path)
            if column is None:
                return False
            found.places += [Place(folder, n, names=(path.name,), label=label) for label, n in labels.items()]
            return True
    except Refused as refused:
        found.ignored[printable(name)] = str(refused)
        return True
    return False


def _survey_table(content: bytes, name: str, found: Survey) -> None:
    try:
        if (table := read_table(content, name)) is not None:
            found.tables[name] = table
        else:
            found.ignored[printable(name)] = "a table without labels of files"
    except Refused as refused:
        found.unread[name] = str(refused)


def _places_in(path: Path, name: str, found: Survey) -> Iterator[Place]:
    images, others = Counter[str](), Counter[str]()
    for member in members(path):
        inner = PurePosixPath(member)
        if any(LEFT_BEHIND.fullmatch(part) for part in inner.parts):
            found.ignored.setdefault(printable(f"{name}/{inner}"), "left behind by a tool")
        elif inner.suffix.lower() in IMAGES:
            images[PurePosixPath(name, inner.parent).as_posix()] += 1
        elif inner.name.lower() in TABLES:
            with opened(path) as read:
                _survey_table(read(member), f"{name}/{inner}", found)
        else:
            others[inner.suffix.lower()] += 1
    for suffix, n in others.items():
        found.ignored[printable(f"{name}/*{suffix}")] = f"not read: {n} {suffix or 'without suffix'} in an archive"
    return (Place(folder, n, archive=name) for folder, n in images.items())


def scan(origin: Path, match: Matcher, labels: str | None = None, looked: Survey | None = None) -> Folders:
    """The folders below `origin`, matched with sources by `match`, which is given the names on a folder's path.

    Args:
        labels: what decides where a table beside images contradicts their folder: `folders` or `table`; None: that is
            refused.
        looked: what `survey` found there.

    Raises:
        DataError: a table contradicts the folders, cannot be read, or names none of the images there.
    """
    looked = looked or survey(origin)
    folders = Folders(ignored=dict(looked.ignored))
    if looked.unread and labels != "folders":
        name, why = next(iter(looked.unread.items()))
        raise DataError(f"{printable(name)} {why}. Mend it, or go by the names of folders: --labels folders.")
    folders.ignored |= {printable(name): why for name, why in looked.unread.items()}
    splits = looked.splits()
    paths = {_without_splits(place, splits) for place in looked.places}
    deciding: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    given = set()
    for place in _by_labels(looked, labels, folders):
        of_split = [role for path, role in splits.items() if place.parts[: len(path)] == path]
        parts = _without_splits(place, splits)
        matched = _labelled(match, parts, place.label)
        shown = printable(place.folder) + (f" [{place.label}]" if place.label else "")
        if matched.source is None:
            why = f" ({matched.note})" if matched.note else ""
            folders.ignored[shown] = f"{place.n} images in a folder of no source{why}"
            continue
        plain = _labelled(match, parts, "")
        if labels is None and place.label and plain.source not in (None, matched.source):
            raise DataError(
                f"{shown}: a table there says {matched.source} of {place.n} images in a folder of {plain.source}. Say "
                "which is right: --labels table or --labels folders."
            )
        before = folders.matched.get(shown, (matched.source, 0))[1]
        folders.matched[shown] = (matched.source, before + place.n)
        if matched.note:
            folders.notes[shown] = matched.note
        deciding[matched.source].add(matched.place)
        split = of_split[-1] if of_split else _split_of(place)
        given |= {split} - {""}
        folders.found.append(Found(place, matched.source, split))
        if beside := _beside(matched, parts, paths):
            folders.notes[shown] = ", ".join(filter(None, [matched.note, beside]))
    folders.splits = [role for role in ROLES if role in given]
    folders.joined = {
        source: sorted(printable("/".join(place)) for place in places)
        for source, places in sorted(deciding.items())
        if len(places) > 1
    }
    return folders


def _split_of(place: Place) -> str:
    """The split that a parquet file of the Hub is of, by its name: `train-00000-of-00002.parquet`."""
    if place.names and len(place.names) == 1 and place.names[0].lower().endswith(PARQUET):
        return SPLITS.get(place.names[0].partition("-")[0].partition(".")[0].casefold(), "")
    return ""


def _without_splits(place: Place, splits: dict[tuple[str, ...], str]) -> tuple[str, ...]:
    """The names on a place's path, less those of given splits."""
    return tuple(part for depth, part in enumerate(place.parts, start=1) if place.parts[:depth] not in splits)


def _beside(matched: Match, parts: tuple[str, ...], paths: set[tuple[str, ...]]) -> str:
    """What is odd in a folder that says neither real nor generated, in a model's folder where one beside it does.

    Args:
        paths: of all places.
    """
    if matched.source == REAL:
        return ""
    for depth in range(len(matched.place), len(parts)):
        others = {path[depth] for path in paths if path[:depth] == parts[:depth] != path}
        said = sorted(name for name in others if says_only_generated(name))
        if said and parts[depth] not in said:
            return f"beside '{printable(said[0])}', and does not say whether it is generated or real"
    return ""


def _labelled(match: Matcher, parts: tuple[str, ...], label: str) -> Match:
    """What names and a label say together. A label is one more name; 0 is real, another number is not."""
    if label and not is_number(label):
        return match((*parts, label))
    matched = match(parts)
    if not label:
        return matched
    if is_real_label(label):
        where = "" if matched.source in (REAL, None) else f" in a folder of {matched.source}"
        return Match(REAL, (*parts, label), f"labelled {printable(label)}, which is real{where}")
    if matched.source == REAL:
        return Match(None, note=f"labelled {printable(label)}, which is not real, in a folder of reals")
    return matched


def _by_labels(looked: Survey, labels: str | None, folders: Folders) -> Iterator[Place]:
    """All places, those whose images have labels in a table in parts: one for each label.

    Raises:
        DataError: no label of a table is of an image.
    """
    tables = {} if labels == "folders" else looked.tables
    spelt: dict[str, set[str]] = {name: set() for name in tables}
    for place in looked.places:
        around = {place.folder, *(parent.as_posix() for parent in PurePosixPath(place.folder).parents)}
        mine = [name for name in tables if PurePosixPath(name).parent.as_posix() in around]
        mine.sort(key=len, reverse=True)
        if place.label or not mine:
            yield place
            continue
        of_label: dict[str, list[str]] = defaultdict(list)
        for file in names_in(looked.home, place):
            path = PurePosixPath(place.archive or place.folder, file)
            label = ""
            for name in mine:
                if (said := tables[name].label(PurePosixPath(name).parent.as_posix(), path)) is not None:
                    spelling, label = said
                    spelt[name].add(spelling)
                    break
            of_label[label].append(file)
        for label, files in sorted(of_label.items()):
            n = len(files) if place.archive else sum(count(looked.home / place.folder / file) for file in files)
            yield Place(place.folder, n, place.archive, tuple(files), label)
    for name, known in spelt.items():
        if not known:
            raise DataError(
                f"{printable(name)} labels {len(tables[name].of)} files, and none of them is an image that was found. "
                "Mend its names, or go by those of folders: --labels folders."
            )
        if missing := len(tables[name].of) - len(known):
            folders.ignored[printable(name)] = f"{missing} of {len(tables[name].of)} labels are of no image here"


def source_names(looked: Survey, real: str | None, labels: str | None = None) -> list[str]:
    """The names that sources of a dataset that nobody registered have, less those that say only "real".

    They are those of the labels where there are some, else of the first folder below splits and below what all images
    share. In a folder per source (there is one of reals) folders name sources beside the labels of tables, so that a
    contradiction is seen, unless `labels` is `table`.
    """
    splits, names = looked.splits(), dict[str, None]()
    paths = []
    by_folder = labels != "table" and any(says_only_real(part, real) for place in looked.places for part in place.parts)
    tables = {} if labels == "folders" else looked.tables
    labelled = {PurePosixPath(name).parent.as_posix(): list(table.of.values()) for name, table in tables.items()}
    for place in looked.places:
        around = [place.folder, *(parent.as_posix() for parent in PurePosixPath(place.folder).parents)]
        mine = next((labelled[folder] for folder in around if folder in labelled), [])
        said = [label for label in (*mine, place.label) if label and names_a_model(label)]
        if not by_folder:
            said += [label for label in (*mine, place.label) if says_only_generated(label)]
        if (not said and not says_only_real(place.label, real)) or (by_folder and mine):
            paths.append(list(_without_splits(place, splits)))
        names |= dict.fromkeys(said)
    paths = _below_wrappers(paths, real)
    folders = {path[0] for path in paths if path}
    slugs = {slugged(folder) for folder in folders}
    # A label that spells a folder's name otherwise is that folder's.
    names = dict.fromkeys([*folders, *(label for label in names if slugged(label) not in slugs)])
    return sorted(name for name in names if not says_only_real(name, real) and not says_no_source(name))


def _below_wrappers(paths: list[list[str]], real: str | None) -> list[list[str]]:
    """Paths from the first level on that has reals beside models, if what is above is the same for all, as in an
    archive of one folder; `progan/0_real` beside `progan/1_fake` has no such level."""
    below = paths
    while below and all(below) and len({path[0] for path in below}) == 1:
        below = [path[1:] for path in below]
        firsts = {path[0] for path in below if path}
        models = [name for name in firsts if not says_only_real(name, real) and not says_only_generated(name)]
        if models and any(says_only_real(name, real) for name in firsts):
            return below
    return paths
