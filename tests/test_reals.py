"""The real images that embedded datasets are made from: what generators see, and what they do not."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import make_card

from gmbench.building.reals import CELL, PHOTOGRAPHS, RealPools, photographs, real_pools
from gmbench.data.cards import DatasetCard
from gmbench.errors import DataError


@pytest.fixture(scope="module")
def pools() -> RealPools:
    """Crops of the photographs, as for a small dataset."""
    real = {"title": "crops", "licence": "various", "url": "https://example.org", "pool": "photographs"}
    card = make_card(per_source=20).model_dump() | {"real": real, "images": {"per_source": 20, "manifold": 30}}
    return real_pools(DatasetCard(**card))


def test_no_region_is_in_two_pools(pools: RealPools) -> None:
    """Cells that generators see, and those of the three roles, are disjoint."""
    regions = [set(pools.seen.regions), *(set(part.regions) for part in pools.unseen.values())]
    assert sum(len(part) for part in regions) == len(set.union(*regions))
    assert all(regions)


def test_every_photograph_is_in_every_pool(pools: RealPools) -> None:
    """So that no role lacks what another has; counts are equal."""
    for part in (pools.seen, *pools.unseen.values()):
        names, counts = np.unique(part.categories, return_counts=True)
        assert set(names) == set(PHOTOGRAPHS)
        assert len(set(counts)) == 1


def test_crops_come_from_their_regions(pools: RealPools) -> None:
    """The mean colour of a crop lies within what its cell holds, and crops are no flat patches."""
    shipped = dict(photographs())
    for image, region in zip(pools.unseen["test"].images, pools.unseen["test"].regions, strict=True):
        name, row, column = region.split(":")
        top, left = int(row) * CELL, int(column) * CELL
        cell = shipped[name][top : top + CELL, left : left + CELL].astype(float)
        assert image.shape == (32, 32, 3)
        assert (np.abs(image.mean((0, 1)) - cell.mean((0, 1))) < 60).all()
        assert image.std() > 3


def test_a_card_that_cannot_be_built() -> None:
    """A dataset whose reals gmbench does not keep is named."""
    with pytest.raises(DataError, match="tiny cannot be built"):
        real_pools(make_card())
