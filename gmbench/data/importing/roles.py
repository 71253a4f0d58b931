"""All images of an import, and which of them gets which role."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gmbench.data.cards import REAL, ROLES
from gmbench.data.importing.chunks import read_index

FEWEST = 5
SHARES = {"train": 0.7, "val": 0.1, "test": 0.2}


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
    kept: np.ndarray

    @classmethod
    def read(cls, work: Path, keys: list[str], classes: tuple[str, ...]) -> Decoded:
        """The images of the pieces that `convert` wrote into `work`."""
        parts = [_columns(number, read_index(work, key), classes) for number, key in enumerate(keys)]
        return cls(work, keys, classes, *map(np.concatenate, zip(*parts, strict=True)))

    def drop_duplicates(self) -> list[tuple[str, str]]:
        """Keeps the first of equal images; path and reason of the others."""
        by_id = np.argsort(self.ids, kind="stable")
        again = np.flatnonzero(np.r_[False, self.ids[by_id][1:] == self.ids[by_id][:-1]])
        firsts: dict[int, int] = {}
        for place in again:
            firsts[by_id[place]] = firsts.get(by_id[place - 1], by_id[place - 1])
        self.kept[list(firsts)] = False
        paths = self._paths(np.array([*firsts, *firsts.values()], np.int64))
        return [
            (paths[image], f"duplicate: the same pixels as {paths[first]}") for image, first in sorted(firsts.items())
        ]

    def drop_small_sources(self) -> list[tuple[str, str]]:
        """Drops sources with too few images to have some in every role."""
        counts = np.bincount(self.sources[self.kept], minlength=len(self.classes))
        small = [name for name, n in zip(self.classes, counts, strict=True) if 0 < n < FEWEST + (name == REAL)]
        self.kept &= ~np.isin(self.sources, [self.classes.index(name) for name in small])
        return [(name, f"source with fewer than {FEWEST + (name == REAL)} images that can be used") for name in small]

    def counts(self) -> dict[str, int]:
        """How many images of each source are kept."""
        counts = np.bincount(self.sources[self.kept], minlength=len(self.classes))
        return {name: int(n) for name, n in zip(self.classes, counts, strict=True) if n}

    def roles(self, manifold_share: float) -> dict[str, np.ndarray]:
        """The images of each role, in the order of their ids."""
        dealt: dict[str, list[np.ndarray]] = {role: [] for role in ROLES}
        for source, name in enumerate(self.classes):
            mine = np.flatnonzero(self.kept & (self.sources == source))
            mine = mine[np.argsort(self.ids[mine])]
            if name == REAL and len(mine):
                n = min(max(1, round(manifold_share * len(mine))), len(mine) - FEWEST)
                dealt["manifold"].append(mine[:n])
                mine = mine[n:]
            if not len(mine):
                continue
            test, val = (max(1, round(SHARES[role] * len(mine))) for role in ("test", "val"))
            train = len(mine) - test - val
            for role, part in zip(("train", "val", "test"), np.split(mine, [train, train + val]), strict=True):
                dealt[role].append(part)
        joined = {
            role: np.concatenate([*parts, np.empty(0, np.int64)]).astype(np.int64) for role, parts in dealt.items()
        }
        return {role: images[np.argsort(self.ids[images])] for role, images in joined.items()}

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
    """What `Decoded` knows of a piece's images: ids, pieces, rows, starts, lengths, sources, kept."""
    n = len(index["ids"])
    lengths = np.array(index["lengths"], np.int64)
    return (
        np.array([int(id, 16) for id in index["ids"]], np.uint64),
        np.full(n, number, np.int32),
        np.arange(n, dtype=np.int32),
        np.cumsum(lengths) - lengths,
        lengths,
        np.full(n, classes.index(index["source"]), np.int16),
        np.ones(n, bool),
    )
