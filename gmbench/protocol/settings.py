"""Settings: which images reach a method, and in which state. The same for every method."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from gmbench.data.cards import REAL, ROLES, find_dataset
from gmbench.data.dataset import Dataset, load_dataset
from gmbench.data.images import ImageSet
from gmbench.errors import DataError, NotFoundError
from gmbench.protocol.laundering import laundered
from gmbench.protocol.selection import few_per_source, of_sources, resized
from gmbench.support.cache import Cache
from gmbench.support.progress import Progress

TRANSFER = "to-"


@dataclass(frozen=True)
class Roles:
    """The images of one run. `test` has labels, which only evaluators may see.

    Attributes:
        tested_on: the dataset that `test` is of, if it is not the one that the method is fitted on.
        test_manifold: the reals that stand for the manifold of `test`, if they are not `manifold`.
    """

    manifold: ImageSet
    train: ImageSet
    val: ImageSet
    test: ImageSet
    tested_on: Dataset | None = None
    test_manifold: ImageSet | None = None


@dataclass(frozen=True)
class Setting:
    """How the images of a dataset reach a method.

    Attributes:
        slug: its name.
        words: what it does, in a sentence, as pages and help say it.
        images: the images of a run, from the dataset, the seed, and where derived images are kept.
        on_board: whether leaderboards show it, and `sweep` and `submit` run it unasked.
    """

    slug: str
    words: str
    images: Callable[[Dataset, int, Cache, Progress], Roles]
    on_board: bool = True


def clean(dataset: Dataset, seed: int, cache: Cache, progress: Progress) -> Roles:
    """The paper's protocol: all images, as they are stored."""
    return Roles(dataset["manifold"], dataset["train"], dataset["val"], dataset["test"])


def few_shot_10(dataset: Dataset, seed: int, cache: Cache, progress: Progress) -> Roles:
    """Ten train and ten val images per source, drawn anew for each seed; manifold and test as in `clean`."""
    train, val = (few_per_source(dataset[role], 10, seed) for role in ("train", "val"))
    return Roles(dataset["manifold"], train, val, dataset["test"])


def all_laundered(dataset: Dataset, seed: int, cache: Cache, progress: Progress) -> Roles:
    """Every image, the manifold's too, went through a chain as on a social network."""
    manifold, train, val, test = (laundered(dataset[role], cache, progress) for role in ROLES)
    return Roles(manifold, train, val, test)


def clean_to_laundered(dataset: Dataset, seed: int, cache: Cache, progress: Progress) -> Roles:
    """Fitted as in `clean`, tested on laundered images."""
    test = laundered(dataset["test"], cache, progress)
    return Roles(dataset["manifold"], dataset["train"], dataset["val"], test)


def released_code(dataset: Dataset, seed: int, cache: Cache, progress: Progress) -> Roles:
    """All reals are the manifold, so that a real image projects onto itself, as in the paper's released code.

    Its artifact is then zero, and the class `real` is free. This is here to measure the leak; it never gets onto a
    leaderboard. It is a setting and not a parameter of ManiFPT, since a method is not told which test images are real.
    """
    reals = [dataset["manifold"], *(of_sources(dataset[role], (REAL,)) for role in ("train", "val", "test"))]

    def all_reals() -> Iterator[np.ndarray]:
        for images in reals:
            yield from images.batches()

    shape = (sum(map(len, reals)), *reals[0].size, 3)
    pixels = cache.mapped("pixels", shape, all_reals, reals=[images.digest for images in reals])
    # Under other ids, since an image never projects onto the one with its own id.
    ids = np.array([f"released-{id}" for images in reals for id in images.ids])
    manifold = ImageSet.of(pixels, ids, reals[0].sources, np.zeros(len(ids), np.int64), reals[0].origin)
    return Roles(manifold, dataset["train"], dataset["val"], dataset["test"])


def transfer(test: str, dataset: Dataset, seed: int, cache: Cache, progress: Progress) -> Roles:
    """Fitted on a dataset as in `clean`, tested on the dataset `test`, over the sources that both have (section 4.4).

    The manifold of the test images are the reals of their own dataset. Of two resolutions the smaller one counts: the
    images of the other dataset are resized to it, bicubically with antialiasing.

    Raises:
        DataError: no generative model is in both.
    """
    if test == dataset.card.slug:
        raise DataError(f"transfer needs two datasets, got {test} twice.")
    other = load_dataset(find_dataset(test), cache, progress, for_testing=True)
    common = tuple(source for source in dataset.card.sources if source in other.card.sources)
    if len(common) < 2:
        raise DataError(f"{dataset.card.slug} and {test}: transfer needs a generative model that is in both.")
    size = min(dataset.card.resolution, other.card.resolution)

    def taken(images: ImageSet) -> ImageSet:
        return resized(of_sources(images, common), size, cache, progress)

    manifold, train, val = (taken(dataset[role]) for role in ("manifold", "train", "val"))
    return Roles(manifold, train, val, taken(other["test"]), other, taken(other["manifold"]))


SETTINGS: dict[str, Setting] = {
    setting.slug: setting
    for setting in (
        Setting("clean", "All training images, as they are stored (the paper's protocol).", clean),
        Setting(
            "few-shot-10",
            "Ten training and ten validation images per source, drawn anew for each seed.",
            few_shot_10,
        ),
        Setting(
            "laundered",
            "Every image, also of the manifold, went through a chain as on a social network: resized to 50 to 100 % "
            "and back, sometimes blurred, compressed as JPEG.",
            all_laundered,
        ),
        Setting(
            "clean-to-laundered",
            "Fitted on images as they are stored, tested on images that went through the chain of `laundered`.",
            clean_to_laundered,
        ),
        Setting(
            "released-code",
            "All reals are the manifold, and a real image projects onto itself, as in the paper's released code: its "
            "artifact is zero, and the class `real` is free. Here to measure the leak.",
            released_code,
            on_board=False,
        ),
    )
}
"""All settings by slug, in the order in which they are shown, but for transfer, of which there is one per dataset."""


def find_setting(name: str) -> Setting:
    """The setting of a name; `to-` and a dataset is transfer to it.

    Raises:
        NotFoundError: there is no setting, or no dataset, of that name.
    """
    if name.startswith(TRANSFER):
        other = find_dataset(name.removeprefix(TRANSFER)).slug
        return Setting(name, f"Tested on {other}, over the sources that both datasets have.", partial(transfer, other))
    if name not in SETTINGS:
        raise NotFoundError.of("setting", name, SETTINGS)
    return SETTINGS[name]
