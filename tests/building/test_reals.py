"""The real images that embedded datasets are made from: which role each has, and what is trained on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_images import write_fashion_mnist

from conftest import make_card
from gmbench.building import reals
from gmbench.building.reals import (
    CELL,
    PHOTOGRAPHS,
    RealPools,
    Reals,
    RealSplit,
    distinct,
    fashion_mnist,
    is_near,
    photographs,
    real_pools,
    split_reals,
)
from gmbench.data.cards import DatasetCard, Plan, find_dataset
from gmbench.data.judgements import NEAR_DUPLICATE
from gmbench.errors import DataError

PLAN = Plan(edition=2, roles={"train": 14, "val": 4, "test": 24}, manifold=60, reserve=12)
HELD_OUT = ("val", "test", "reserve")


def card_of(slug: str, plan: Plan = PLAN) -> DatasetCard:
    """An embedded dataset's card with a small plan."""
    return find_dataset(slug).model_copy(update={"building": plan})


@pytest.fixture(scope="module")
def photograph_pools() -> RealPools:
    """Crops of the photographs, as for a small dataset."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reals, "FREE_CROPS", 300)
        return real_pools(card_of("gm-photos"))


@pytest.fixture(scope="module", params=["gm-garments", "gm-accessories", "gm-photos"])
def split(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RealSplit:
    """The split of a small edition of each embedded dataset."""
    folder = tmp_path_factory.mktemp("fashion")
    write_fashion_mnist(folder, 60)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reals, "FREE_CROPS", 300)
        small = {slug: card_of(slug) for slug in ("gm-garments", "gm-accessories", "gm-photos")}
        patch.setattr(reals, "registered_cards", lambda: small)
        return split_reals(small[request.param], folder)


def near(images: np.ndarray, others: np.ndarray) -> bool:
    """Whether any pair differs by less than the bound, pixel by pixel."""
    for image in images.astype(float):
        if (((others - image) ** 2).mean(axis=(1, 2, 3)) < NEAR_DUPLICATE**2).any():
            return True
    return False


def test_counts_are_the_plans(split: RealSplit) -> None:
    """Of every role, exactly."""
    found = {role: len(images) for role, images in split.of_role.items()}
    assert found == {"manifold": 60, "train": 14, "val": 4, "test": 24, "reserve": 12}


def test_no_image_region_or_near_duplicate_is_in_two_roles(split: RealSplit) -> None:
    """Pair by pair of roles."""
    roles = list(split.of_role.values())
    for place, part in enumerate(roles):
        for other in roles[place + 1 :]:
            assert not near(part.images, other.images)
            if part.regions is not None and other.regions is not None:
                assert not set(part.regions) & set(other.regions)


def test_nothing_held_out_reaches_a_trainer(split: RealSplit) -> None:
    """Neither an image of val, test or reserve, nor one near it, nor a crop of its region; the manifold does."""
    for role in HELD_OUT:
        held_out = split.of_role[role]
        assert not near(held_out.images, split.training.images)
        if held_out.regions is not None and split.training.regions is not None:
            assert not set(held_out.regions) & set(split.training.regions)
    trained_on = {image.tobytes() for image in split.training.images}
    assert all(image.tobytes() in trained_on for image in split.of_role["manifold"].images)


def test_what_the_other_grey_set_holds_out_reaches_no_trainer_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training image of one set that is a held-out image of the other, one level brighter, is left out."""
    write_fashion_mnist(tmp_path, 60)
    small = {slug: card_of(slug) for slug in ("gm-garments", "gm-accessories")}
    monkeypatch.setattr(reals, "registered_cards", lambda: small)
    held_out = split_reals(small["gm-accessories"], tmp_path).of_role["test"].images[0]
    images = {"train": 0}

    def with_a_copy(split: str, categories: list[str], size: int, folder: Path | None = None) -> Reals:
        found = fashion_mnist(split, categories, size, folder)
        if split == "train" and "Shirt" in categories:
            found.images[7] = np.where(held_out < 255, held_out + 1, held_out)
            images["train"] = len(found)
        return found

    monkeypatch.setattr(reals, "fashion_mnist", with_a_copy)
    training = split_reals(small["gm-garments"], tmp_path).training.images
    assert not near(held_out[None], training)
    assert len(training) < images["train"]


def test_the_first_editions_test_regions_keep_their_role() -> None:
    """Of the photographs, every region that the first edition tested on is in the pool of role test alone."""
    import pyarrow.parquet as parquet

    stored = find_dataset("gm-photos").folder / "data" / "test.parquet"
    before = {region for region in parquet.read_table(stored)["region"].to_pylist() if region}
    plan = Plan(edition=2, roles={"train": 350, "val": 100, "test": 600}, manifold=2000, reserve=300)
    pools = real_pools(card_of("gm-photos", plan))
    assert len(before) > 20
    for role in ("train", "val", "reserve"):
        assert not before & set(pools.of_role[role].regions)
    assert not before & set(pools.free.regions)


def test_no_region_is_in_two_pools(photograph_pools: RealPools) -> None:
    """Cells that are free, and those of the roles, are disjoint."""
    parts = (photograph_pools.free, *photograph_pools.of_role.values())
    regions = [set(part.regions) for part in parts]
    assert sum(len(part) for part in regions) == len(set.union(*regions))
    assert all(regions)


def test_every_photograph_is_in_every_pool(photograph_pools: RealPools) -> None:
    """So that no role lacks what another has; counts are equal."""
    for part in (photograph_pools.free, *photograph_pools.of_role.values()):
        names, counts = np.unique(part.categories, return_counts=True)
        assert set(names) == set(PHOTOGRAPHS)
        assert len(set(counts)) == 1


def test_crops_come_from_their_regions(photograph_pools: RealPools) -> None:
    """The mean colour of a crop lies within what its cell holds, and crops are no flat patches."""
    shipped = dict(photographs())
    test = photograph_pools.of_role["test"]
    for image, region in zip(test.images, test.regions, strict=True):
        name, row, column = region.split(":")
        top, left = int(row) * CELL, int(column) * CELL
        cell = shipped[name][top : top + CELL, left : left + CELL].astype(float)
        assert image.shape == (32, 32, 3)
        assert (np.abs(image.mean((0, 1)) - cell.mean((0, 1))) < 60).all()
        assert image.std() > 3


def test_near_is_a_root_mean_square_below_four_levels() -> None:
    """Exactly four levels apart is not near, a little less is."""
    image = np.full((1, 8, 8, 1), 100, np.uint8)
    less = image + 4
    less[0, 0, 0, 0] -= 1
    np.testing.assert_array_equal(is_near(np.concatenate([image + 4, less, image]), image), [False, True, True])


def test_distinct_keeps_the_first_of_near_duplicates() -> None:
    """Within the images, and against those before; too few are an error that says how many."""
    random = np.random.default_rng(0)
    images = random.integers(0, 250, (5, 8, 8, 1)).astype(np.uint8)
    images[2] = images[0] + 1
    images[3] = images[4] + 2
    parts = Reals(images, np.full(5, None))
    np.testing.assert_array_equal(distinct(parts, 3, [], "x").images, images[[0, 1, 3]])
    before = [Reals(images[:1], np.full(1, None))]
    np.testing.assert_array_equal(distinct(parts, 2, before, "x").images, images[[1, 3]])
    with pytest.raises(DataError, match="'x' gave 2 distinct images, expected 3: it repeats itself"):
        distinct(parts, 3, before, "x")


def test_a_card_that_cannot_be_built() -> None:
    """A dataset whose reals gmbench does not keep is named."""
    with pytest.raises(DataError, match="tiny cannot be built"):
        real_pools(make_card())
