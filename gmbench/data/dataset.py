"""Loading a dataset: every role as an ImageSet, checked against its manifest and card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gmbench.cache import Cache
from gmbench.data.card import REAL, ROLES, DatasetCard
from gmbench.data.images import ImageSet
from gmbench.data.storage import (
    decoded_pixels,
    read_columns,
    read_manifest,
    role_path,
    roles_sha256,
    verify_files,
)
from gmbench.errors import DataError
from gmbench.progress import Progress


@dataclass(frozen=True)
class Dataset:
    """A loaded dataset. Every image of `roles` has its label; what a method may see is for the runner to decide."""

    card: DatasetCard
    revision: str
    roles_sha256: str
    roles: Mapping[str, ImageSet]

    def __getitem__(self, role: str) -> ImageSet:
        return self.roles[role]


def load_dataset(card: DatasetCard, cache: Cache, progress: Progress, folder: Path | None = None) -> Dataset:
    """Reads a dataset from `folder` (by default where embedded datasets are), memory-mapped.

    Raises:
        DataError: a file is missing, altered or not as the card says; an image is in two roles, of an unknown source,
            or a generated image stands for the manifold.
    """
    folder = folder or card.folder
    manifest = read_manifest(folder)
    if manifest.dataset != card.slug:
        raise DataError(f"{folder} holds '{manifest.dataset}', expected '{card.slug}'.")
    verify_files(folder, manifest)

    roles: dict[str, ImageSet] = {}
    seen: dict[str, str] = {}
    for role in ROLES:
        path = folder / role_path(role)
        columns = read_columns(path)
        for id in columns["id"]:
            if id in seen:
                raise DataError(f"{folder}: image {id} is in role {seen[id]} and again in {role}; it must be in one.")
            seen[id] = role
        expected = {REAL} if role == "manifold" else set(card.classes)
        if strangers := set(columns["source"]) - expected:
            raise DataError(f"{path}: source '{min(strangers)}' is not one of: {', '.join(sorted(expected))}.")
        if missing := expected - set(columns["source"]):
            raise DataError(f"{path}: no image of source '{min(missing)}'.")
        stored = manifest.files[role_path(role)]
        pixels = decoded_pixels(path, stored, card.resolution, cache, progress)
        label_of = {source: label for label, source in enumerate(card.classes)}
        labels = np.array([label_of[source] for source in columns["source"]], dtype=np.int64)
        origin = f"{card.slug}@{manifest.revision}"
        roles[role] = ImageSet.of(pixels, columns["id"].astype(str), card.classes, labels, origin)

    digest = roles_sha256(seen.items())
    if digest != manifest.roles_sha256:
        raise DataError(f"{folder}: the roles of the images are not those of the manifest. Restore the files.")
    return Dataset(card, manifest.revision, digest, roles)
