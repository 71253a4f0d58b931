"""Settings: which images reach a method, and how. The same for every method."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gmbench.data.dataset import Dataset
from gmbench.data.images import ImageSet
from gmbench.errors import NotFoundError


@dataclass(frozen=True)
class Roles:
    """The images of one run. `test` has labels, which only evaluators may see."""

    manifold: ImageSet
    train: ImageSet
    val: ImageSet
    test: ImageSet


def clean(dataset: Dataset, repetition: int) -> Roles:
    """The paper's protocol: all images, as they are stored."""
    return Roles(*(dataset[role] for role in ("manifold", "train", "val", "test")))


def few_shot_10(dataset: Dataset, repetition: int) -> Roles:
    """Ten train and ten val images per source, drawn anew for each repetition; manifold and test as in `clean`."""
    roles = clean(dataset, repetition)
    train, val = (few_per_source(images, 10, repetition) for images in (roles.train, roles.val))
    return Roles(roles.manifold, train, val, roles.test)


def few_per_source(images: ImageSet, n: int, repetition: int) -> ImageSet:
    """`n` images of each source: those whose sha256 of origin, repetition and id comes first."""
    assert images.labels is not None
    keys = np.array([hashlib.sha256(f"{images.origin} {repetition} {id}".encode()).hexdigest() for id in images.ids])
    order = np.lexsort([keys, images.labels])
    ranks = np.zeros(len(images), dtype=np.int64)
    for label in np.unique(images.labels):
        of_label = order[images.labels[order] == label]
        ranks[of_label] = np.arange(len(of_label))
    return images[ranks < n]


Setting = Callable[[Dataset, int], Roles]
SETTINGS: dict[str, Setting] = {"clean": clean, "few-shot-10": few_shot_10}


def find_setting(name: str) -> Setting:
    """What gives the images of a run in a setting, from the dataset and the repetition.

    Raises:
        NotFoundError: there is no setting of that name.
    """
    if name not in SETTINGS:
        raise NotFoundError.of("setting", name, SETTINGS)
    return SETTINGS[name]
