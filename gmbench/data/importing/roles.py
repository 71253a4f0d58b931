"""All images of an import, and which of them gets which role."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gmbench.data.cards import REAL, ROLES
from gmbench.data.importing.chunks import read_index
from gmbench.data.judgements import FEWEST, SHARES
from gmbench.errors import DataError


@dataclass(eq=False)
class Decoded:
    """All images that were decoded, in the order of pieces: a few bytes each.

    Attributes:
        work: folder with the pieces. keys: their names there.
        classes: names of all sources, `real` first.
        ids: (n,) the 16 hexadecimal digits of each id, as uint64.
        pieces, rows: (n,) where an image is: number of the piece, and its place in there.
        starts, lengths: (n,) where its PNG is in the piece's file, in bytes.
        sources: (n,) index of `classes`.
        splits: (n,) index of `ROLES`, the role that is given; -1: none.
        kept: (n,) whether it is still wanted.
    """

    work: Path
    keys: list[str]
    classes: tuple[str, ...]
    ids: np.ndarray
    pieces: np.ndarray
    rows: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    sources: np.ndarray
    splits: np.ndarray
    kept: np.ndarray

    @classmethod
    def read(cls, work: Path, keys: list[str], classes: tuple[str, ...]) -> Decoded:
        """The images of the pieces that `convert` wrote into `work`."""
        parts = [_columns(number, read_index(work, key), classes) for number, key in enumerate(keys)]
        return cls(work, keys, classes, *map(np.concatenate, zip(*parts, strict=True)))

    def drop_duplicates(self) -> list[tuple[str, str]]:
        """Keeps the first of equal images, but none of such as are in two sources; path and reason of the others."""
        by_id = np.argsort(self.ids, kind="stable")
        again = np.flatnonzero(np.r_[False, self.ids[by_id][1:] == self.ids[by_id][:-1]])
        firsts: dict[int, int] = {}
        for place in again:
            firsts[by_id[place]] = firsts.get(by_id[place - 1], by_id[place - 1])
        in_two = {first: image for image, first in firsts.items() if self.sources[image] != self.sources[first]}
        self.kept[[*firsts, *in_two]] = False
        paths = self._paths(np.array([*firsts, *firsts.values()], np.int64))
        kinds = {image: "in two sources" if first in in_two else "duplicate" for image, first in firsts.items()}
        kinds |= dict.fromkeys(in_two, "in two sources")
        return [
            (paths[image], f"{kinds[image]}: the same pixels as {paths[other]}")
            for image, other in sorted((firsts | in_two).items())
        ]

    def drop_small_sources(self, fewest: int = FEWEST) -> list[tuple[str, str]]:
        """Drops sources with too few images to have some in every role."""
        counts = np.bincount(self.sources[self.kept], minlength=len(self.classes))
        small = [name for name, n in zip(self.classes, counts, strict=True) if 0 < n < fewest + (name == REAL)]
        self.kept &= ~np.isin(self.sources, [self.classes.index(name) for name in small])
        return [(name, f"source with fewer than {fewest + (name == REAL)} images that can be used") for name in small]

    def counts(self) -> dict[str, int]:
        """How many images of each source are kept."""
        counts = np.bincount(self.sources[self.kept], minlength=len(self.classes))
        return {name: int(n) for name, n in zip(self.classes, counts, strict=True) if n}

    def roles(self, manifold_share: float) -> dict[str, np.ndarray]:
        """The images of each role, in the order of their ids: train, val and test 70 : 10 : 20, source by source."""
        dealt: dict[str, list[np.ndarray]] = {role: [] for role in ROLES}
        for name, mine in self._by_source():
            if name == REAL:
                n = min(max(1, round(manifold_share * len(mine))), len(mine) - FEWEST)
                dealt["manifold"].append(mine[:n])
                mine = mine[n:]
            test, val = (max(1, round(SHARES[role] * len(mine))) for role in ("test", "val"))
            train = len(mine) - test - val
            for role, part in zip(("train", "val", "test"), np.split(mine, [train, train + val]), strict=True):
                dealt[role].append(part)
        return self._in_order(dealt)

    def given_roles(self, manifold_share: float) -> dict[str, np.ndarray]:
        """The roles that the splits give. Where none is given for the manifold, it is a share of the reals of train, or
        of test if there is no train; where none is for val, an eighth of train.

        Raises:
            DataError: images of a source are in no split, or a source lacks a split that others have.
        """
        dealt: dict[str, list[np.ndarray]] = {role: [] for role in ROLES}
        given = {role for code, role in enumerate(ROLES) if (self.splits[self.kept] == code).any()}
        expected = given - {"manifold"}
        for name, mine in self._by_source():
            parts = {role: mine[self.splits[mine] == code] for code, role in enumerate(ROLES)}
            if lacking := sorted(role for role in expected if not len(parts[role])):
                raise DataError(f"source {name} has no image that can be used in the given split {lacking[0]}.")
            if n := int((self.splits[mine] < 0).sum()):
                raise DataError(f"{n} images of {name} are in none of the given splits ({', '.join(sorted(given))}).")
            if name == REAL and "manifold" not in given:
                where = "train" if "train" in given else "test"
                n = min(max(1, round(manifold_share * len(parts[where]))), len(parts[where]) - 1)
                parts["manifold"], parts[where] = parts[where][:n], parts[where][n:]
            if "train" in given and "val" not in given:
                n = max(1, round(len(parts["train"]) * SHARES["val"] / (SHARES["train"] + SHARES["val"])))
                parts["train"], parts["val"] = parts["train"][:-n], parts["train"][-n:]
            for role, part in parts.items():
                dealt[role].append(part)
        return self._in_order(dealt)

    def test_roles(self, manifold_share: float) -> dict[str, np.ndarray]:
        """A share of the reals for the manifold, all else for test."""
        dealt: dict[str, list[np.ndarray]] = {role: [] for role in ROLES}
        for name, mine in self._by_source():
            n = min(max(1, round(manifold_share * len(mine))), len(mine) - 1) if name == REAL else 0
            dealt["manifold"].append(mine[:n])
            dealt["test"].append(mine[n:])
        return self._in_order(dealt)

    def balanced(self, roles: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], list[tuple[str, str]]]:
        """As many images of each source in each role, the lowest ids; and a line for what is left out."""
        kept, left = {"manifold": roles["manifold"]}, []
        for role in ("train", "val", "test"):
            of_role = roles[role]
            counts = np.bincount(self.sources[of_role], minlength=len(self.classes))
            fewest = int(counts[counts > 0].min()) if len(of_role) else 0
            parts = [of_role[self.sources[of_role] == source] for source in range(len(self.classes))]
            kept[role] = np.sort(np.concatenate([part[:fewest] for part in parts])) if len(of_role) else of_role
            kept[role] = kept[role][np.argsort(self.ids[kept[role]])]
            left += [
                (name, f"balanced: {len(part) - fewest} more in {role} than other sources have")
                for name, part in zip(self.classes, parts, strict=True)
                if len(part) > fewest
            ]
        return kept, left

    def _by_source(self) -> Iterator[tuple[str, np.ndarray]]:
        """Each source that has images, with these in the order of their ids."""
        for source, name in enumerate(self.classes):
            mine = np.flatnonzero(self.kept & (self.sources == source))
            if len(mine):
                yield name, mine[np.argsort(self.ids[mine])]

    def _in_order(self, dealt: dict[str, list[np.ndarray]]) -> dict[str, np.ndarray]:
        joined = {
            role: np.concatenate([*parts, np.empty(0, np.int64)]).astype(np.int64) for role, parts in dealt.items()
        }
        return {role: images[np.argsort(self.ids[images])] for role, images in joined.items()}

    def names(self, images: np.ndarray) -> list[str]:
        """The paths that some images had, from the origin, in their order."""
        found = self._paths(images)
        return [found[image] for image in images]

    def history(self) -> dict[str, dict[str, dict[str, int]]]:
        """Of each source, how many of the images that are kept had which format, size, and changes."""
        counts: dict[str, dict[str, Counter[str]]] = {}
        for number, key in enumerate(self.keys):
            index = read_index(self.work, key)
            kept = self.kept[self.pieces == number]
            of_source = counts.setdefault(
                index["source"], {"formats": Counter(), "sizes": Counter(), "changes": Counter()}
            )
            for i in np.flatnonzero(kept):
                of_source["formats"][index["kinds"][i]] += 1
                of_source["sizes"][index["sizes"][i]] += 1
                of_source["changes"].update(index["changes"][i])
        return {
            name: {what: dict(sorted(counted.items())) for what, counted in counts[name].items()}
            for name in self.classes
            if name in counts and counts[name]["formats"]
        }

    def digest(self, roles: dict[str, np.ndarray]) -> str:
        """As `storage.roles_sha256`, an image after the other."""
        role_of = np.full(len(self.ids), -1, np.int8)
        for number, role in enumerate(ROLES):
            role_of[roles[role]] = number
        digest = hashlib.sha256()
        wanted = np.flatnonzero(role_of >= 0)
        for place, image in enumerate(wanted[np.argsort(self.ids[wanted])]):
            digest.update(f"{chr(10) if place else ''}{self.ids[image]:016x} {ROLES[role_of[image]]}".encode())
        return digest.hexdigest()

    def contents(self, images: np.ndarray) -> list[bytes]:
        """The PNG files of some images, in their order."""
        found: dict[int, bytes] = {}
        for key, of_piece in self._by_piece(images):
            with (self.work / f"{key}.bin").open("rb") as file:
                for image in of_piece:
                    file.seek(self.starts[image])
                    found[image] = file.read(self.lengths[image])
        return [found[image] for image in images]

    def _paths(self, images: np.ndarray) -> dict[int, str]:
        """The paths of some images, as they were found."""
        return {
            image: paths[self.rows[image]]
            for key, of_piece in self._by_piece(images)
            for paths in [read_index(self.work, key)["paths"]]
            for image in of_piece
        }

    def _by_piece(self, images: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """Name of each piece that some images are in, and those in there: no piece is opened twice."""
        for number in np.unique(self.pieces[images]):
            yield self.keys[number], images[self.pieces[images] == number]


def _columns(number: int, index: dict[str, Any], classes: tuple[str, ...]) -> tuple[np.ndarray, ...]:
    """What `Decoded` knows of a piece's images: ids, pieces, rows, starts, lengths, sources, splits, kept."""
    n = len(index["ids"])
    lengths = np.array(index["lengths"], np.int64)
    return (
        np.array([int(id, 16) for id in index["ids"]], np.uint64),
        np.full(n, number, np.int32),
        np.arange(n, dtype=np.int32),
        np.cumsum(lengths) - lengths,
        lengths,
        np.full(n, classes.index(index["source"]), np.int16),
        np.full(n, ROLES.index(index["split"]) if index["split"] else -1, np.int8),
        np.ones(n, bool),
    )
