"""Images in and out of generators: a dataset or a folder to train on, a folder or a parquet file of samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gmbench.data.cards import REAL, dataset_cards
from gmbench.data.dataset import load_dataset
from gmbench.data.parquet import write_role
from gmbench.data.png import encode_png
from gmbench.errors import DataError, OutputError
from gmbench.support.cache import Cache
from gmbench.support.files import replacing
from gmbench.support.progress import Progress

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}
SIZES = (16, 32, 64, 128, 256)


def training_images(where: str, progress: Progress) -> np.ndarray:
    """Images to train on: uint8 (n, size, size, channels), one channel if all are grey.

    Args:
        where: a dataset's slug, for its manifold and its real images of role train; or a folder, for all images below.

    Raises:
        DataError: neither a dataset nor a folder with images, or images that are not square, of different sizes, or of
            a size that is not 16, 32, 64, 128 or 256 pixels.
    """
    if where in dataset_cards():
        dataset = load_dataset(dataset_cards()[where], Cache(), progress)
        train = dataset["train"]
        assert train.labels is not None
        pixels = np.concatenate([dataset["manifold"].pixels(), train.pixels(train.labels == train.sources.index(REAL))])
    else:
        pixels = _folder_images(Path(where), progress)
    return pixels[..., :1] if (pixels == pixels[..., :1]).all() else pixels


def write_samples(images: np.ndarray, out: Path, source: str) -> None:
    """Writes uint8 images (n, size, size, 1 or 3) as RGB PNG files into a folder, or into one parquet file.

    Raises:
        OutputError: the folder holds other files already, or nothing can be written there.
    """
    rgb = np.repeat(images, 3, axis=-1) if images.shape[-1] == 1 else images
    if out.suffix == ".parquet":
        write_role(out, rgb, [source] * len(rgb), [None] * len(rgb))
        return
    names = [f"{number:06d}.png" for number in range(len(rgb))]
    if out.is_dir() and (strangers := {path.name for path in out.iterdir()} - set(names)):
        raise OutputError(f"{out} holds other files, such as {min(strangers)}. Give an empty or a new folder.")
    for name, image in zip(names, rgb, strict=True):
        with replacing(out / name) as aside:
            aside.write_bytes(encode_png(image))


def _folder_images(folder: Path, progress: Progress) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    if not folder.is_dir():
        raise DataError(f"'{folder}' is neither a dataset (see gmbench list datasets) nor a folder.")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise DataError(f"{folder} holds no images ({', '.join(sorted(SUFFIXES))}).")
    images = []
    for path in progress.track(paths, "reading images", len(paths)):
        try:
            with Image.open(path) as image:
                images.append(np.asarray(image.convert("RGB")))
        except (UnidentifiedImageError, OSError) as error:
            raise DataError(f"{path} cannot be read as an image. Remove or replace it.") from error
        height, width, _ = images[-1].shape
        if height != width or height not in SIZES or height != len(images[0]):
            expected = f"{len(images[0])}x{len(images[0])}" if len(images) > 1 else "square, of 16, 32, 64, 128 or 256"
            raise DataError(f"{path} is {width}x{height}, expected {expected}.")
    return np.stack(images)
