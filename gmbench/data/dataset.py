"""Loading a dataset: every role as an ImageSet, checked against its manifest and card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gmbench.data.cards import REAL, ROLES, DatasetCard
from gmbench.data.hub import available_folder
from gmbench.data.images import ImageSet
from gmbench.data.manifest import Manifest, read_manifest, role_files, roles_sha256, stored_card, verify_files
from gmbench.data.parquet import decoded_pixels, read_columns
from gmbench.errors import DataError
from gmbench.support.cache import Cache
from gmbench.support.progress import Progress


@dataclass(frozen=True)
class Dataset:
    """A loaded dataset. Every image of `roles` has its label; what a method may see is for the runner to decide.

    `folder`: where its files are.
    """

    card: DatasetCard
    folder: Path
    revision: str
    roles_sha256: str
    roles: Mapping[str, ImageSet]

    def __getitem__(self, role: str) -> ImageSet:
        return self.roles[role]

    def _repr_html_(self) -> str:
        """How a notebook shows it: what it is, its roles, and its first test images."""
        from gmbench.support.html import heading, paragraph, table

        counts = [(role, f"{len(images):,}") for role, images in self.roles.items()]
        about = paragraph(f"{self.card.description} Revision {self.revision[:12]}.")
        shown = self.roles["test"]._repr_html_() if "test" in self.roles else ""
        return heading(self.card.title, 3) + about + table(["role", "images"], counts, numbers=[1]) + shown


def load_dataset(
    card: DatasetCard, cache: Cache, progress: Progress, folder: Path | None = None, for_testing: bool = False
) -> Dataset:
    """Reads a dataset from `folder`, memory-mapped; by default from where it is, pulled from the Hub if it has to be.

    The dataset's card is that of what is there: it names fewer sources than `card` if some are missing.

    Args:
        for_testing: a dataset without images for training will do; its roles train and val are empty.

    Raises:
        DataError: a file is missing, altered or not as the card says; an image is in two roles, of an unknown source,
            or a generated image stands for the manifold; or the dataset is for testing only.
        UnavailableError: the dataset is not here and cannot be had.
    """
    folder = folder or available_folder(card, progress)
    manifest = read_manifest(folder)
    if manifest.dataset != card.slug:
        raise DataError(f"{folder} holds '{manifest.dataset}', expected '{card.slug}'.")
    verify_files(folder, manifest)
    card = stored_card(card, manifest)
    if manifest.test_only and not for_testing:
        raise DataError(
            f"{card.slug} is for testing only. Test on it what is fitted on another dataset: gmbench transfer --train "
            f"DATASET --test {card.slug}."
        )

    roles: dict[str, ImageSet] = {}
    seen: dict[str, str] = {}
    for role in ROLES:
        expected = {REAL} if role == "manifold" else set(card.sources)
        if manifest.test_only and role in ("train", "val"):
            expected = set()
        ids, sources = _described(folder, manifest, role, expected)
        for id in ids:
            if id in seen:
                raise DataError(f"{folder}: image {id} is in role {seen[id]} and again in {role}; it must be in one.")
            seen[id] = role
        pixels = decoded_pixels(folder, manifest, role, card.resolution, cache, progress)
        label_of = {source: label for label, source in enumerate(card.sources)}
        labels = np.array([label_of[source] for source in sources], dtype=np.int64)
        origin = f"{card.slug}@{manifest.revision}"
        roles[role] = ImageSet.of(pixels, ids.astype(str), card.sources, labels, origin)

    digest = roles_sha256(seen.items())
    if digest != manifest.roles_sha256:
        raise DataError(f"{folder}: the roles of the images are not those of the manifest. Restore the files.")
    return Dataset(card, folder, manifest.revision, digest, roles)


def _described(folder: Path, manifest: Manifest, role: str, expected: set[str]) -> tuple[np.ndarray, np.ndarray]:
    """Ids and sources of a role's images; there must be some of each expected source, and no others."""
    ids, sources = [], []
    for name in role_files(manifest, role):
        columns = read_columns(folder / name)
        if strangers := set(columns["source"]) - expected:
            raise DataError(
                f"{folder / name}: source '{min(strangers)}' is not one of: {', '.join(sorted(expected)) or 'none'}."
            )
        ids.append(columns["id"])
        sources.append(columns["source"])
    if missing := expected - set(np.concatenate(sources)):
        raise DataError(f"{folder / name}: no image of source '{min(missing)}'.")
    return np.concatenate(ids), np.concatenate(sources)
