"""Folders of images and files of datasets, as they are found outside."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
from PIL import Image

from conftest import make_images

N = 20
MODELS = {"StyleGAN-2": "blurred", "gan/DDGAN samples": "noisy", "CIFAR10/Überblick/ddpm": "noisy"}


def write_images(folder: Path, kind: str, n: int, seed: int, suffix: str = "png", size: int = 32) -> None:
    """Writes images of `make_images`, some in one folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, pixels in enumerate(make_images(kind, n, seed, size)):
        Image.fromarray(pixels).save(folder / f"{number:05d}.{suffix}")


def write_fashion_mnist(folder: Path, n: int) -> Path:
    """Files in Fashion-MNIST's format with `n` images of each of the ten classes per split."""
    random = np.random.default_rng(0)
    for split in ("train", "t10k"):
        labels = np.tile(np.arange(10, dtype=np.uint8), n)
        images = random.integers(0, 256, (len(labels), 28, 28), dtype=np.uint8)
        with gzip.open(folder / f"{split}-images-idx3-ubyte.gz", "wb") as file:
            file.write(struct.pack(">IIII", 2051, len(labels), 28, 28) + images.tobytes())
        with gzip.open(folder / f"{split}-labels-idx1-ubyte.gz", "wb") as file:
            file.write(struct.pack(">II", 2049, len(labels)) + labels.tobytes())
    return folder
