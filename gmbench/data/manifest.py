"""What a stored dataset consists of: its files with their sha256, its roles, and how it was made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import Field, ValidationError, field_validator

from gmbench.data.cards import ROLES, DatasetCard
from gmbench.errors import DataError
from gmbench.support.files import sha256_file, write_text
from gmbench.support.schema import Strict, first_problem

MANIFEST = "manifest.json"


class StoredFile(Strict):
    """One role's file: sha256 of its bytes and number of images."""

    sha256: str
    rows: int = Field(ge=0)


class Manifest(Strict):
    """What a stored dataset consists of, and how it was made.

    `sources`: how many images of each source there are outside the manifold, where not all of the card's are there.
    `test_only`: roles train and val are empty. `history`: of each source, how many images had which format, size and
    changes before they were imported; empty where that is not known.
    """

    dataset: str
    files: dict[str, StoredFile]
    roles_sha256: str
    sources: dict[str, int] = {}
    encoders: dict[str, str] = {}
    test_only: bool = False
    history: dict[str, dict[str, dict[str, int]]] = {}
    provenance: dict[str, Any] = {}

    @field_validator("files", "encoders")
    @classmethod
    def _is_inside(cls, paths: dict[str, Any]) -> dict[str, Any]:
        """No file of a dataset is outside of its folder."""
        for path in paths:
            if path.startswith(("/", "\\")) or ".." in PurePosixPath(path).parts or ":" in path:
                raise ValueError(f"'{path}' is not a path in the dataset's folder")
        return paths

    @property
    def sha256(self) -> dict[str, str]:
        """Of every file of images and every encoder, by its path."""
        return {path: stored.sha256 for path, stored in self.files.items()} | self.encoders

    @property
    def revision(self) -> str:
        """Names the content: 40 hexadecimal digits from the sha256 of the images' and the encoders' files."""
        text = "\n".join(f"{path} {sha256}" for path, sha256 in sorted(self.sha256.items()))
        return hashlib.sha256(text.encode()).hexdigest()[:40]


def role_path(role: str) -> str:
    """Where a role's images are kept in a dataset's folder."""
    return f"data/{role}.parquet"


def shard_path(role: str, number: int, of: int) -> str:
    """Where the images of a role are kept that are too many for one file."""
    return f"data/{role}-{number:05d}-of-{of:05d}.parquet"


def role_files(manifest: Manifest, role: str) -> list[str]:
    """The names of a role's files, in order: `data/train.parquet`, or all its shards.

    Raises:
        DataError: the manifest names none, or only some of the shards.
    """
    if role_path(role) in manifest.files:
        return [role_path(role)]
    names = sorted(name for name in manifest.files if name.startswith(f"data/{role}-"))
    if not names:
        raise DataError(f"the {MANIFEST} of {manifest.dataset} names no {role_path(role)}. Restore the file.")
    if expected := {shard_path(role, number, len(names)) for number in range(len(names))} - set(names):
        raise DataError(f"the {MANIFEST} of {manifest.dataset} names no {min(expected)}. Restore the file.")
    return names


def stored_card(card: DatasetCard, manifest: Manifest) -> DatasetCard:
    """The card of what is stored: with fewer sources than the dataset's card where some are missing.

    Raises:
        DataError: there are sources that the card does not know.
    """
    if not manifest.sources:
        return card
    if strangers := set(manifest.sources) - set(card.sources):
        raise DataError(f"the {MANIFEST} of {card.slug} has a source '{min(strangers)}' that its card does not know.")
    manifold = sum(manifest.files[name].rows for name in role_files(manifest, "manifold"))
    return card.with_sources(manifest.sources, manifold)


def roles_sha256(roles: Iterable[tuple[str, str]]) -> str:
    """A digest of which image (id) has which role."""
    return hashlib.sha256("\n".join(sorted(f"{id} {role}" for id, role in roles)).encode()).hexdigest()


def write_manifest(folder: Path, card: DatasetCard, ids: dict[str, list[str]], provenance: dict[str, Any]) -> Manifest:
    """Describes the role files of a folder, given the ids in each, and the encoders there."""
    files = {
        role_path(role): StoredFile(sha256=sha256_file(folder / role_path(role)), rows=len(of_role))
        for role, of_role in ids.items()
    }
    digest = roles_sha256((id, role) for role in ROLES for id in ids[role])
    encoders = {path: sha256_file(folder / path) for path in card.encoders.values()}
    manifest = Manifest(dataset=card.slug, files=files, roles_sha256=digest, encoders=encoders, provenance=provenance)
    write_text(folder / MANIFEST, json.dumps(manifest.model_dump(), indent=2) + "\n")
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a dataset's folder.

    Raises:
        DataError: there is none, or it is not one.
    """
    path = folder / MANIFEST
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it holds no JSON object")
        return Manifest(**content)
    except FileNotFoundError as error:
        raise DataError(f"{folder} holds no dataset: {MANIFEST} is missing.") from error
    except (OSError, ValueError, TypeError, RecursionError) as error:
        problem = first_problem(error) if isinstance(error, ValidationError) else _line(error)
        raise DataError(f"{path} is damaged: {problem}. Restore the file.") from error


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def verify_files(folder: Path, manifest: Manifest) -> None:
    """Checks that every role's file and every encoder is there with the bytes that the manifest names.

    Raises:
        DataError: a role is missing, or a file is missing, truncated or altered; the message names it.
    """
    for role in ROLES:
        role_files(manifest, role)
    for name, expected in manifest.sha256.items():
        path = folder / name
        if not path.is_file():
            raise DataError(f"{path} is missing. Restore the file.")
        if (digest := sha256_file(path)) != expected:
            raise DataError(
                f"{path} is not the file of the manifest: expected sha256 {expected[:12]}…, got {digest[:12]}…. "
                "Restore the file."
            )
