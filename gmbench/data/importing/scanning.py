"""What is below a folder: which images would be of which source and split, what is ignored and why."""

from __future__ import annotations

import os
import stat
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from gmbench.data.cards import REAL
from gmbench.data.importing.chunks import count, is_wanted
from gmbench.data.importing.containers import PARQUET, TABLES, is_archive, members, parquet_labels, read_table
from gmbench.data.importing.decoding import ARRAYS, IMAGES, Refused
from gmbench.data.importing.names import Match, Matcher, printable, says_no_source, says_only_generated, says_only_real
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
        places: where images are. tables: folder to column and labels of a table there.
        ignored: as in `Folders`.
    """

    places: list[Place] = field(default_factory=list)
    tables: dict[str, tuple[str, dict[str, str]]] = field(default_factory=dict)
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
    found = Survey()
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
                elif not stat.S_ISREG(entry.stat().st_mode) or not _survey_file(folder / entry.name, name, found):
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
            if (table := read_table(path)) is not None:
                found.tables[folder] = table
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


def _places_in(path: Path, name: str, found: Survey) -> Iterator[Place]:
    images, others = Counter[str](), Counter[str]()
    for member in members(path):
        inner = PurePosixPath(member)
        if any(LEFT_BEHIND.fullmatch(part) for part in inner.parts):
            found.ignored.setdefault(printable(f"{name}/{inner}"), "left behind by a tool")
        elif inner.suffix.lower() in IMAGES:
            images[PurePosixPath(name, inner.parent).as_posix()] += 1
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
        DataError: a table contradicts the folders.
    """
    looked = looked or survey(origin)
    folders = Folders(ignored=dict(looked.ignored))
    splits = looked.splits()
    deciding: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for place in (part for whole in looked.places for part in _by_label(origin, whole, looked, labels)):
        of_split = [role for path, role in splits.items() if place.parts[: len(path)] == path]
        folders.splits += [role for role in of_split if role not in folders.splits]
        parts = tuple(p for d, p in enumerate(place.parts, start=1) if place.parts[:d] not in splits)
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
        folders.found.append(Found(place, matched.source, of_split[-1] if of_split else _split_of(place)))
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


def is_number(label: str) -> bool:
    """Whether a label is a whole number, which names no source."""
    return label.lstrip("-").isdecimal()


def _labelled(match: Matcher, parts: tuple[str, ...], label: str) -> Match:
    """What names and a label say together. A label is one more name; 0 is real, another number is not."""
    if label and not is_number(label):
        return match((*parts, label))
    matched = match(parts)
    if not label:
        return matched
    if int(label) == 0:
        where = "" if matched.source in (REAL, None) else f" in a folder of {matched.source}"
        return Match(REAL, (*parts, label), f"labelled 0, which is real{where}")
    if matched.source == REAL:
        return Match(None, note=f"labelled {label}, which is not real, in a folder of reals")
    return matched


def _by_label(origin: Path, place: Place, looked: Survey, labels: str | None) -> Iterable[Place]:
    """A place in parts, one for each label that a table has for its images."""
    if place.label or place.archive or labels == "folders" or not looked.tables:
        return [place]
    tables = [
        (folder, looked.tables[folder][1])
        for folder in (place.folder, *(parent.as_posix() for parent in PurePosixPath(place.folder).parents))
        if folder in looked.tables
    ]
    if not tables:
        return [place]
    of_label: dict[str, list[str]] = defaultdict(list)
    with os.scandir(origin / place.folder) as entries:
        names = sorted(entry.name for entry in entries if not LEFT_BEHIND.fullmatch(entry.name) and is_wanted(entry))
    for name in names:
        path = PurePosixPath(place.folder, name)
        found = [table.get(path.relative_to(folder).as_posix()) for folder, table in tables]
        of_label[next((label for label in found if label is not None), "")].append(name)
    return [
        Place(place.folder, sum(count(origin / place.folder / name) for name in names), names=tuple(names), label=label)
        for label, names in sorted(of_label.items())
    ]


def source_names(looked: Survey, real: str | None) -> list[str]:
    """The names that sources of a dataset that nobody registered have, less those that say only "real".

    They are those of the labels where there are some, else of the first folder below splits and below what all images
    share.
    """
    splits, names = looked.splits(), dict[str, None]()
    paths = []
    for place in looked.places:
        if place.label and not is_number(place.label):
            names[place.label] = None
        elif labels := [
            label for label in looked.tables.get(place.folder, ("", {}))[1].values() if not is_number(label)
        ]:
            names |= dict.fromkeys(label for label in labels if label)
        else:
            paths.append([p for d, p in enumerate(place.parts, start=1) if place.parts[:d] not in splits])
    paths = _below_wrappers(paths, real)
    names |= dict.fromkeys(path[0] for path in paths if path)
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
