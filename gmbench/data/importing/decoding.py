"""One image after the other out of files that may be damaged or hostile; nothing in them is ever run or unpickled."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
ARRAYS = (".npy", ".npz")
LARGEST = 2**28


@dataclass(frozen=True)
class Options:
    """How images are taken.

    Attributes:
        resolution: width and height in pixels that every image must have.
        resize: square images of another size are resized (Lanczos) instead of refused.
        allow_grey: images without colour are taken.
        limit_per_source: only the first so many images of each source, by path; None: all.
    """

    resolution: int
    resize: bool = False
    allow_grey: bool = False
    limit_per_source: int | None = None


class Refused(Exception):
    """An image or file is not taken; says why."""


def decode(path: Path, options: Options) -> np.ndarray:
    """The pixels of an image file, uint8 (resolution, resolution, 3).

    Raises:
        Refused: it is no image, or is damaged, has another size, no colour, transparent parts or several frames.
    """
    from PIL import Image

    try:
        if not path.stat().st_size:
            raise Refused("empty file")
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                _check_size(*image.size, options)
                if getattr(image, "n_frames", 1) > 1:
                    raise Refused("several frames")
                return fitting(_rgb(image), options)
    except Refused:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise Refused("decompression bomb: more pixels than any image here can have") from error
    except Image.UnidentifiedImageError as error:
        raise Refused("no image of a known format") from error
    except Exception as error:
        # Decoders of damaged files raise whatever they run into: OSError, SyntaxError, struct.error, zlib.error, …
        raise Refused(f"corrupt: {' '.join(str(error).split())[:100] or type(error).__name__}") from error


def _rgb(image: Any) -> np.ndarray:
    if image.mode in ("L", "1"):
        return np.asarray(image.convert("RGB"))
    if image.mode == "P" and "transparency" not in image.info:
        return np.asarray(image.convert("RGB"))
    if image.mode in ("RGBA", "P", "LA"):
        pixels = np.asarray(image.convert("RGBA"))
        if (pixels[..., 3] != 255).any():
            raise Refused("transparent")
        return pixels[..., :3]
    if image.mode != "RGB" or "transparency" in image.info:
        raise Refused(f"colour mode {image.mode}")
    return np.asarray(image)


def _check_size(width: int, height: int, options: Options) -> None:
    n = options.resolution
    if (width, height) != (n, n) and (not options.resize or width != height):
        raise Refused(f"wrong size: {width}x{height}, expected {n}x{n}")


def fitting(pixels: np.ndarray, options: Options) -> np.ndarray:
    """uint8 pixels (height, width, 3) as a dataset of these options takes them.

    Raises:
        Refused: they have another size, or no colour.
    """
    from PIL import Image

    height, width, _ = pixels.shape
    _check_size(width, height, options)
    if not options.allow_grey and (pixels == pixels[..., :1]).all():
        raise Refused("grey")
    if width != options.resolution:
        size = (options.resolution, options.resolution)
        pixels = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))
    return pixels


def arrays(path: Path) -> Iterator[tuple[str, int, tuple[int, ...]]]:
    """Name, number of images and shape of each array of images in a file; the name is empty in `.npy`.

    Nothing is unpickled: only the headers are read, and arrays of objects are refused.

    Raises:
        Refused: the file is damaged, or has no array of images.
        OSError: it cannot be read.
    """
    if path.suffix.lower() == ".npy":
        with path.open("rb") as stream:
            shape = _shape(stream)
        yield "", shape[0], shape
        return
    try:
        with zipfile.ZipFile(path) as archive:
            members = sorted(name for name in archive.namelist() if name.endswith(".npy"))
            shapes = {}
            for name in members:
                with archive.open(name) as stream:
                    try:
                        shapes[name] = _shape(stream)
                    except Refused as refused:
                        if "objects" in str(refused):
                            raise
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        raise Refused(f"corrupt: {error}") from error
    if not shapes:
        raise Refused("no array of images: expected uint8 (n, height, width, 3)")
    for name, shape in shapes.items():
        yield name, shape[0], shape


def _shape(stream: IO[bytes]) -> tuple[int, ...]:
    """The shape in the header of an array of images."""
    from numpy.lib import format as npy

    try:
        version = npy.read_magic(stream)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read(stream)
    except (ValueError, EOFError) as error:
        raise Refused(f"corrupt: {' '.join(str(error).split())[:100]}") from error
    if dtype.hasobject:
        raise Refused("an array of Python objects, which are not read")
    if dtype != np.uint8 or len(shape) != 4 or 3 not in (shape[1], shape[3]) or fortran:
        raise Refused(f"array {dtype} {shape}, expected uint8 (n, height, width, 3)")
    return shape


def array_rows(path: Path, member: str, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """The images of one array, read one after the other: uint8 (height, width, 3).

    Raises:
        Refused: the array is damaged or cut short.
    """
    size = int(np.prod(shape[1:]))
    if size > LARGEST:
        raise Refused(f"array of images of {shape[1:]}, which is more than any image here can have")
    with ExitStack() as stack:
        stream: IO[bytes] = stack.enter_context(path.open("rb"))
        if member:
            stream = stack.enter_context(stack.enter_context(zipfile.ZipFile(stream)).open(member))
        _shape(stream)
        for row in range(shape[0]):
            try:
                content = stream.read(size)
            except (zipfile.BadZipFile, OSError, EOFError, ValueError) as error:
                raise Refused(f"corrupt after {row} images: {error}") from error
            if len(content) < size:
                raise Refused(f"truncated: {row} images of {shape[0]}")
            pixels = np.frombuffer(content, np.uint8).reshape(shape[1:])
            yield pixels if shape[3] == 3 else np.ascontiguousarray(pixels.transpose(1, 2, 0))
