"""The real images that the embedded datasets and their generators are made from."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gmbench.data.cards import REAL, DatasetCard, registered_cards
from gmbench.data.judgements import NEAR_DUPLICATE
from gmbench.errors import DataError, MissingExtraError
from gmbench.support.seeds import seed_from

FASHION_MNIST_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
FASHION_SHARES = {"train": 0.5, "reserve": 0.2, "val": 0.1, "test": 0.2}
HELD_OUT = ("test", "val", "reserve")
PHOTOGRAPHS = {
    "astronaut": "public domain (NASA)",
    "chelsea": "CC0 (Stéfan van der Walt)",
    "coffee": "CC0 (Rachel Michetti)",
    "rocket": "public domain (SpaceX)",
    "motorcycle": "use and publication permitted by vision.middlebury.edu/stereo/data (Scharstein et al. 2014)",
    "hubble": "public domain (NASA, ESA)",
    "retina": "CC0 (Mikael Häggström)",
    "ihc": "no known copyright restrictions (human colonic glands)",
    "china": "CC BY 2.0 (danielbuechele)",
    "flower": "CC BY 2.0 (vultilion)",
    "grace_hopper": "public domain (United States Navy)",
}
CELL, CROP = 64, 48
FLAT = 10.0
FIRST_EDITION_CELLS = {"free": 0.6, "train": 0.28, "val": 0.04, "test": 0.08}
CELL_SHARES = {"test": 0.2, "val": 0.06, "train": 0.12, "reserve": 0.1, "free": 0.52}
FREE_CROPS = 24_000
ROWS_AT_ONCE = 2_000
DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")


@dataclass(frozen=True)
class Reals:
    """Real images uint8 (n, size, size, channels), the category of each (n,), and where known the region (n,)."""

    images: np.ndarray
    categories: np.ndarray
    regions: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.images)

    def take(self, rows: np.ndarray | list[int]) -> Reals:
        """Some of the images."""
        rows = np.asarray(rows, dtype=None if len(rows) else int)
        regions = None if self.regions is None else self.regions[rows]
        return Reals(self.images[rows], self.categories[rows], regions)

    @classmethod
    def joined(cls, parts: list[Reals]) -> Reals:
        """The images of all parts; regions, if all have them."""
        regions = [part.regions for part in parts if part.regions is not None]
        return cls(
            np.concatenate([part.images for part in parts]),
            np.concatenate([part.categories for part in parts]),
            np.concatenate(regions) if len(regions) == len(parts) else None,
        )


@dataclass(frozen=True)
class RealPools:
    """Real images to draw from: `free` of any role but the manifold, and those that only one role may have."""

    free: Reals
    of_role: dict[str, Reals]


@dataclass(frozen=True)
class RealSplit:
    """The real images of a dataset, by role, and those that its generators and encoders are trained on.

    `of_role`: manifold, train, val, test and reserve. `training`: uint8 images of role manifold or of none, none of
    them a near-duplicate of an image that is held out (val, test, reserve) in any dataset made from the same reals.
    """

    of_role: dict[str, Reals]
    training: Reals


def split_reals(card: DatasetCard, folder: Path | None = None) -> RealSplit:
    """The split of an embedded dataset's real images: once and for all, decided by the cards alone.

    No image, and of photographs no region, is in two roles, nor are near-duplicates.

    Raises:
        DataError: the card's real images are none that gmbench can make a dataset from, or are not in `folder`, or are
            too few.
    """
    of_role, free = _held_out(card, folder)
    others = [other for other in registered_cards().values() if other.real.pool == card.real.pool != "photographs"]
    barred = [reals for other in others if other.slug != card.slug for reals in _held_out(other, folder)[0].values()]
    barred += of_role.values()
    plan, pools = card.plan, real_pools(card, folder)
    kept = free.take(~is_near(free.images, np.concatenate([reals.images for reals in barred])))
    before = [*of_role.values()]
    of_role["train"] = distinct(
        _shuffled(pools.of_role["train"], card.slug, "train"), plan.roles["train"], before, REAL
    )
    of_role["manifold"] = distinct(_shuffled(kept, card.slug, "manifold"), plan.manifold, [*of_role.values()], REAL)
    return RealSplit({role: of_role[role] for role in ("manifold", "train", "val", "test", "reserve")}, kept)


def _held_out(card: DatasetCard, folder: Path | None) -> tuple[dict[str, Reals], Reals]:
    """The images of roles test, val and reserve, and the pool that is free."""
    pools, plan = real_pools(card, folder), card.plan
    chosen: dict[str, Reals] = {}
    for role in HELD_OUT:
        n = plan.reserve if role == "reserve" else plan.roles[role]
        chosen[role] = distinct(_shuffled(pools.of_role[role], card.slug, role), n, [*chosen.values()], REAL)
    return chosen, pools.free


def _shuffled(reals: Reals, slug: str, role: str) -> Reals:
    return reals.take(np.random.default_rng(seed_from(slug, REAL, role)).permutation(len(reals)))


def is_near(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which of uint8 images (n, h, w, c) differ from one of the others by less than 4 levels (root mean square)."""
    starts = range(0, len(images), ROWS_AT_ONCE)
    parts = [_near(images[start : start + ROWS_AT_ONCE], others).any(axis=1) for start in starts]
    return np.concatenate([np.zeros(0, bool), *parts])


def _near(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which pairs are that near, (n, m); products of levels are exact in float64."""
    flat, against = (part.reshape(len(part), -1).astype(np.float64) for part in (images, others))
    lengths, other_lengths = (np.square(part).sum(axis=1) for part in (flat, against))
    return lengths[:, None] + other_lengths - 2 * (flat @ against.T) < NEAR_DUPLICATE**2 * flat.shape[1]


def distinct(reals: Reals, n: int, before: list[Reals], source: str) -> Reals:
    """The first `n` images that are no near-duplicates of each other or of the images `before`.

    Raises:
        DataError: there are fewer.
    """
    chosen: list[Reals] = []
    kept = [part.images for part in before]
    for start in range(0, len(reals), ROWS_AT_ONCE):
        part = reals.take(np.arange(start, min(start + ROWS_AT_ONCE, len(reals))))
        is_new = ~is_near(part.images, np.concatenate(kept)) if kept else np.ones(len(part), bool)
        among = _near(part.images, part.images)
        rows: list[int] = []
        for row in np.flatnonzero(is_new):
            if not among[row, rows].any():
                rows.append(int(row))
        chosen.append(part.take(rows))
        kept.append(chosen[-1].images)
        if sum(map(len, chosen)) >= n:
            return Reals.joined(chosen).take(np.arange(n))
    found = sum(map(len, chosen))
    raise DataError(f"'{source}' gave {found} distinct images, expected {n}: it repeats itself.")


def real_pools(card: DatasetCard, folder: Path | None = None) -> RealPools:
    """The real images of an embedded dataset's card, dealt into pools; which is decided by the card's slug.

    Raises:
        DataError: the card's real images are none that gmbench can make a dataset from, or are not in `folder`.
    """
    if card.real.pool == "fashion-mnist":
        return _fashion_mnist_pools(card, folder)
    if card.real.pool == "photographs":
        return _photograph_pools(card)
    raise DataError(f"{card.slug} cannot be built: gmbench does not keep its real images.")


def _fashion_mnist_pools(card: DatasetCard, folder: Path | None) -> RealPools:
    """Free: the images that Fashion-MNIST has for training; its test images are dealt out to the roles.

    The pools of val and test are those of the first edition, of whose pool of train the reserve is a part.
    """
    free = fashion_mnist("train", card.real.categories, card.resolution, folder)
    rest = fashion_mnist("t10k", card.real.categories, card.resolution, folder)
    rest = rest.take(np.random.default_rng(seed_from(card.slug, "unseen")).permutation(len(rest)))
    ends = np.cumsum([round(share * len(rest)) for share in FASHION_SHARES.values()])
    starts = [0, *ends[:-1]]
    of_role = {
        role: rest.take(np.arange(start, end)) for role, start, end in zip(FASHION_SHARES, starts, ends, strict=True)
    }
    return RealPools(free, of_role)


def fashion_mnist(split: str, categories: list[str], size: int, folder: Path | None = None) -> Reals:
    """Images of some Fashion-MNIST classes (MIT licence), resized bilinearly, one channel.

    Args:
        split: `train` (60,000 images of ten classes) or `t10k` (10,000).
        folder: where the four `*-ubyte.gz` files are; without it Debian's package `dataset-fashion-mnist` is used if
            it is installed, and torchvision downloads them otherwise.

    Raises:
        DataError: the files are not in `folder`.
    """
    from PIL import Image

    folder = folder or (DEBIAN_FASHION_MNIST if DEBIAN_FASHION_MNIST.is_dir() else _download_fashion_mnist())
    try:
        with gzip.open(folder / f"{split}-images-idx3-ubyte.gz") as file:
            pixels = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28)
        with gzip.open(folder / f"{split}-labels-idx1-ubyte.gz") as file:
            labels = np.frombuffer(file.read(), np.uint8, offset=8)
    except FileNotFoundError as error:
        raise DataError(f"{folder} does not hold Fashion-MNIST: {error.filename} is missing.") from error
    names = np.array(FASHION_MNIST_CLASSES)[labels]
    kept = np.isin(names, categories)
    resized = [Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR) for image in pixels[kept]]
    return Reals(np.stack([np.asarray(image) for image in resized])[..., None], names[kept])


def _download_fashion_mnist() -> Path:
    from torchvision.datasets import FashionMNIST

    from gmbench.support.cache import cache_folder

    root = cache_folder() / "downloads"
    FashionMNIST(root, download=True)
    return root / "FashionMNIST" / "raw"


def photographs() -> Iterator[tuple[str, np.ndarray]]:
    """The colour photographs that scikit-image, scikit-learn and matplotlib ship: name and uint8 (height, width, 3).

    Raises:
        MissingExtraError: one of these packages is not installed.
    """
    from PIL import Image

    try:
        import skimage.data
        from matplotlib.cbook import get_sample_data
        from sklearn.datasets import load_sample_image
    except ModuleNotFoundError as error:
        raise MissingExtraError.of(error.name or "scikit-image", "generators") from error

    with Image.open(get_sample_data("grace_hopper.jpg", asfileobj=False)) as portrait:
        grace_hopper = np.asarray(portrait.convert("RGB"))
    shipped: dict[str, Callable[[], np.ndarray]] = {
        "motorcycle": lambda: skimage.data.stereo_motorcycle()[0],
        "hubble": skimage.data.hubble_deep_field,
        "ihc": skimage.data.immunohistochemistry,
        "china": lambda: load_sample_image("china.jpg"),
        "flower": lambda: load_sample_image("flower.jpg"),
        "grace_hopper": lambda: grace_hopper,
    }
    for name in PHOTOGRAPHS:
        yield name, shipped.get(name, getattr(skimage.data, name, None))()  # type: ignore[misc]


def _photograph_pools(card: DatasetCard) -> RealPools:
    """Crops of every photograph from cells of 64 pixels, which no two pools share.

    Cells are dealt by their shares, those first that the first edition tested on: they stay with role test. Crops are
    squares of 48 pixels, resized bicubically to the dataset's resolution; almost flat ones are left out.
    """
    plan = card.plan
    wanted = {role: 3 * n for role, n in plan.roles.items()} | {"reserve": 3 * plan.reserve}
    wanted["free"] = max(FREE_CROPS, 3 * plan.manifold)
    drawn: dict[str, list[Reals]] = {pool: [] for pool in CELL_SHARES}
    for name, photograph in photographs():
        random = np.random.default_rng(seed_from(card.slug, name))
        first = _dealt(_textured_cells(photograph), FIRST_EDITION_CELLS, random)
        cells = [cell for pool in ("test", "val", "train", "free") for cell in first[pool]]
        for pool, own in _cut(cells, CELL_SHARES).items():
            n = max(1, -(-wanted[pool] // len(PHOTOGRAPHS)))
            crops, regions = zip(*(_crop(photograph, own, card.resolution, random) for _ in range(n)), strict=True)
            labels = np.array([f"{name}:{row}:{column}" for row, column in regions])
            drawn[pool].append(Reals(np.stack(crops), np.full(n, name), labels))
    pools = {pool: Reals.joined(parts) for pool, parts in drawn.items()}
    return RealPools(pools.pop("free"), pools)


def _textured_cells(photograph: np.ndarray) -> list[tuple[int, int]]:
    """Row and column of every whole cell whose grey levels differ by more than 10 (standard deviation)."""
    grey = photograph.mean(axis=2)
    rows, columns = grey.shape[0] // CELL, grey.shape[1] // CELL
    return [
        (row, column)
        for row in range(rows)
        for column in range(columns)
        if grey[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL].std() > FLAT
    ]


def _dealt(
    cells: list[tuple[int, int]], shares: dict[str, float], random: np.random.Generator
) -> dict[str, list[tuple[int, int]]]:
    """Cells at random to pools by their shares, at least one to each; what is over goes to the first.

    Raises:
        DataError: there are fewer cells than pools.
    """
    if len(cells) < len(shares):
        raise DataError(f"a photograph has {len(cells)} cells, expected at least {len(shares)}.")
    order = [cells[i] for i in random.permutation(len(cells))]
    counts = {pool: max(1, int(share * len(cells))) for pool, share in shares.items()}
    first = next(iter(shares))
    counts[first] += len(cells) - sum(counts.values())
    dealt = {}
    for pool, count in counts.items():
        dealt[pool], order = order[:count], order[count:]
    return dealt


def _cut(cells: list[tuple[int, int]], shares: dict[str, float]) -> dict[str, list[tuple[int, int]]]:
    """Cells to pools in their order by cumulated shares, at least one to each."""
    ends = [0]
    for place, share in enumerate(np.cumsum(list(shares.values())), start=1):
        later = len(shares) - place
        ends.append(min(max(round(share * len(cells)), ends[-1] + 1), len(cells) - later))
    return {pool: cells[start:end] for pool, start, end in zip(shares, ends, ends[1:], strict=False)}


def _crop(
    photograph: np.ndarray, cells: list[tuple[int, int]], size: int, random: np.random.Generator
) -> tuple[np.ndarray, tuple[int, int]]:
    """A crop at a random place in a random cell, uint8 (size, size, 3), and the cell."""
    from PIL import Image

    while True:
        cell = cells[random.integers(len(cells))]
        top, left = (CELL * place + random.integers(CELL - CROP + 1) for place in cell)
        crop = photograph[top : top + CROP, left : left + CROP]
        if crop.mean(axis=2).std() > FLAT / 2:
            return np.asarray(Image.fromarray(crop).resize((size, size), Image.Resampling.BICUBIC)), cell
