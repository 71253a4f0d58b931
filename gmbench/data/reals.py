"""The real images that the embedded datasets and their generators are made from."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gmbench.data.card import DatasetCard
from gmbench.errors import DataError, MissingExtraError
from gmbench.seeds import seed_from

FASHION_MNIST_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
SHARES = {"train": 0.7, "val": 0.1, "test": 0.2}
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
SEEN_SHARE = 0.6
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
        regions = None if self.regions is None else self.regions[rows]
        return Reals(self.images[rows], self.categories[rows], regions)


@dataclass(frozen=True)
class RealPools:
    """Real images to draw from: `seen` by all generators, and for each role those that none has seen."""

    seen: Reals
    unseen: dict[str, Reals]


def real_pools(card: DatasetCard, folder: Path | None = None) -> RealPools:
    """The real images of an embedded dataset's card; which of them no generator sees is decided by the card's slug.

    Raises:
        DataError: the card's real images are none that gmbench can make a dataset from, or are not in `folder`.
    """
    if card.real.pool == "fashion-mnist":
        return _fashion_mnist_pools(card, folder)
    if card.real.pool == "photographs":
        return _photograph_pools(card)
    raise DataError(f"{card.slug} cannot be built: gmbench does not keep its real images.")


def _fashion_mnist_pools(card: DatasetCard, folder: Path | None) -> RealPools:
    """Seen: the images that Fashion-MNIST has for training; unseen: its test images, dealt out to the roles."""
    seen = fashion_mnist("train", card.real.categories, card.resolution, folder)
    rest = fashion_mnist("t10k", card.real.categories, card.resolution, folder)
    rest = rest.take(np.random.default_rng(seed_from(card.slug, "unseen")).permutation(len(rest)))
    ends = np.cumsum([round(share * len(rest)) for share in SHARES.values()])
    starts = [0, *ends[:-1]]
    unseen = {role: rest.take(np.arange(start, end)) for role, start, end in zip(SHARES, starts, ends, strict=True)}
    return RealPools(seen, unseen)


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

    from gmbench.cache import cache_folder

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

    60 % of a photograph's cells are seen, the others are dealt out to the roles. Crops are squares of 48 pixels,
    resized bicubically to the dataset's resolution; almost flat ones are left out.
    """
    shares = {"seen": SEEN_SHARE} | {role: (1 - SEEN_SHARE) * share for role, share in SHARES.items()}
    wanted = {"seen": 20 * card.images.manifold} | {
        role: round(3 * share * card.images.per_source) for role, share in SHARES.items()
    }
    drawn: dict[str, list[Reals]] = {pool: [] for pool in shares}
    for name, photograph in photographs():
        random = np.random.default_rng(seed_from(card.slug, name))
        for pool, cells in _dealt(_textured_cells(photograph), shares, random).items():
            n = -(-wanted[pool] // len(PHOTOGRAPHS))
            crops, regions = zip(*(_crop(photograph, cells, card.resolution, random) for _ in range(n)), strict=True)
            labels = np.array([f"{name}:{row}:{column}" for row, column in regions])
            drawn[pool].append(Reals(np.stack(crops), np.full(n, name), labels))
    pools = {
        pool: Reals(
            np.concatenate([part.images for part in parts]),
            np.concatenate([part.categories for part in parts]),
            np.concatenate([part.regions for part in parts if part.regions is not None]),
        )
        for pool, parts in drawn.items()
    }
    return RealPools(pools.pop("seen"), pools)


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
    """Cells at random to pools by their shares, at least one to each.

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
