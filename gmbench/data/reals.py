"""The real images that the embedded datasets and their generators are made from."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gmbench.errors import DataError

FASHION_MNIST_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")


@dataclass(frozen=True)
class Reals:
    """Real images uint8 (n, size, size, channels) and the category of each (n,)."""

    images: np.ndarray
    categories: np.ndarray


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
