"""One image after the other out of files that may be damaged or hostile; nothing in them is ever run or unpickled."""

from __future__ import annotations

import io
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import IO, Any

import numpy as np

from gmbench.data.judgements import (
    LARGEST_BYTES,
    SAME_COLOURS,
    SAME_GAMMA,
    SAME_PRIMARIES,
    SRGB_GAMMA,
    SRGB_PRIMARIES,
)
from gmbench.data.png import image_id

FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
IMAGES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp")
ARRAYS = (".npy", ".npz")
ORIENTATION = 0x0112


@dataclass(frozen=True)
class Options:
    """How images are taken.

    Attributes:
        resolution: width and height in pixels that every image must have.
        resize: square images of another size are resized (Lanczos) instead of refused.
        allow_grey: images without colour are taken.
        limit_per_source: only so many images of each source, evenly from its folders; None: all.
        crop: of images that are not square: the square in the middle (`centre`) or anywhere (`random`, decided by the
            pixels), as large as the shorter side with `resize`, of `resolution` without; None: they are refused.
        native: images of any size are taken as they are.
    """

    resolution: int
    resize: bool = False
    allow_grey: bool = False
    limit_per_source: int | None = None
    crop: str | None = None
    native: bool = False


class Refused(Exception):
    """An image or file is not taken; says why."""


@dataclass(frozen=True)
class Picture:
    """An image as it was taken.

    Attributes:
        pixels: uint8 (resolution, resolution, 3).
        kind: format, and quality of a JPEG. size: width and height of the file's, before crop and resize.
        changes: what was done to it: turned, cropped, resized, its colour profile applied.
    """

    pixels: np.ndarray
    kind: str
    size: str
    changes: tuple[str, ...] = ()


def decode(file: Path | bytes, options: Options) -> Picture:
    """An image out of a file or its bytes. EXIF orientation and colour profiles are applied.

    Raises:
        Refused: it is no image, or is damaged, has another size, no colour, transparent parts, several frames, or more
            than 8 bits a channel.
    """
    from PIL import Image, ImageOps

    try:
        content = file if isinstance(file, bytes) else None
        if not (len(content) if content is not None else Path(file).stat().st_size):  # type: ignore[arg-type]
            raise Refused("empty file")
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file if content is None else io.BytesIO(content), formats=FORMATS) as image:
                kind, size = _kind(image), f"{image.size[0]}x{image.size[1]}"
                _check_size(*image.size, options)
                if getattr(image, "n_frames", 1) > 1:
                    raise Refused("several frames")
                if image.format == "PNG" and _bit_depth(image) > 8:
                    raise Refused(f"{_bit_depth(image)} bits a channel, expected 8")
                if image.format == "PNG" and (unlike := _unlike_srgb(image)) is not None:
                    raise Refused(unlike)
                profile = image.info.get("icc_profile")
                # Reading what a PNG says after its pixels decodes these, so it comes after all checks of the header.
                turned = image.getexif().get(ORIENTATION, 1) in range(2, 9)
                upright: Any = ImageOps.exif_transpose(image) if turned else image
                pixels, converted = _in_srgb(_rgb(upright), profile)
                pixels, changes = _fitting(pixels, options)
                changes = (
                    *(["turned"] if turned else []),
                    *(["colour profile applied"] if converted else []),
                    *changes,
                )
                return Picture(pixels, kind, size, changes)
    except Refused:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise Refused("decompression bomb: more pixels than any image here can have") from error
    except Image.UnidentifiedImageError as error:
        raise Refused("no image of a known format") from error
    except Exception as error:
        # Decoders of damaged files raise whatever they run into: OSError, SyntaxError, struct.error, zlib.error, …
        raise Refused(f"corrupt: {' '.join(str(error).split())[:100] or type(error).__name__}") from error


def is_image(path: Path) -> bool:
    """Whether a file without a suffix is an image, by its first bytes."""
    try:
        with path.open("rb") as stream:
            first = stream.read(12)
    except OSError:
        return False
    return first.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM")) or (first[:4], first[8:]) == (
        b"RIFF",
        b"WEBP",
    )


def _kind(image: Any) -> str:
    """Format of a file; of a JPEG with its quality, where its tables are those of the standard's example (annex K)."""
    if image.format != "JPEG":
        return str(image.format)
    luminance = tuple(sorted(image.quantization.get(0, ())))
    quality = _qualities().get(luminance)
    return f"JPEG {quality}" if quality else f"JPEG of its own tables {zlib.crc32(str(luminance).encode()):08x}"


@cache
def _qualities() -> dict[tuple[int, ...], int]:
    """Quality, as libjpeg counts it, by the sorted luminance table that it gives."""
    found: dict[tuple[int, ...], int] = {}
    for quality in range(1, 101):
        scale = 5000 // quality if quality < 50 else 200 - 2 * quality
        found.setdefault(tuple(sorted(min(max((step * scale + 50) // 100, 1), 255) for step in LUMINANCE)), quality)
    return found


LUMINANCE = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29,
    51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120,
    101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
"""JPEG (ITU-T T.81), table K.1."""


def _bit_depth(image: Any) -> int:
    """Bits a channel that a PNG file says it has (specification, 11.2.2): Pillow drops the lower eight of sixteen."""
    place = image.fp.tell()
    image.fp.seek(24)
    depth = image.fp.read(1)[0]
    image.fp.seek(place)
    return int(depth)


def _unlike_srgb(image: Any) -> str | None:
    """What a PNG without a profile says its colours are, if it is something else than sRGB (specification, 4.3)."""
    if (coded := _before_pixels(image, b"cICP")) is not None and tuple(coded[:2]) != (1, 13):
        return "colours that are not sRGB: cICP"
    if "icc_profile" in image.info or "srgb" in image.info:
        return None
    gamma, primaries = image.info.get("gamma", SRGB_GAMMA), image.info.get("chromaticity", SRGB_PRIMARIES)
    if abs(gamma - SRGB_GAMMA) > SAME_GAMMA:
        return f"colours that are not sRGB: gamma {gamma:g}"
    if np.abs(np.subtract(primaries, SRGB_PRIMARIES)).max() > SAME_PRIMARIES:
        return "colours that are not sRGB: other primaries"
    return None


def _before_pixels(image: Any, name: bytes) -> bytes | None:
    """The data of a chunk of a PNG that stands before its pixels; None if there is none."""
    place, found = image.fp.tell(), None
    image.fp.seek(8)
    while found is None and len(head := image.fp.read(8)) == 8 and head[4:] != b"IDAT":
        data = image.fp.read(int.from_bytes(head[:4], "big") + 4)[:-4]
        found = data if head[4:] == name else None
    image.fp.seek(place)
    return found


def _in_srgb(pixels: np.ndarray, profile: bytes | None) -> tuple[np.ndarray, bool]:
    """Pixels in sRGB, and whether a colour profile had to be applied for it.

    Raises:
        Refused: the profile cannot be read, or is not of RGB.
    """
    if not profile:
        return pixels, False
    from PIL import Image, ImageCms

    try:
        to_srgb = _to_srgb(profile)
        # A name says nothing: there are profiles called sRGB whose values are linear.
        changed = np.abs(np.asarray(ImageCms.applyTransform(Image.fromarray(LATTICE), to_srgb)).astype(int) - LATTICE)
        if changed.max() <= SAME_COLOURS:
            return pixels, False
        return np.asarray(ImageCms.applyTransform(Image.fromarray(pixels), to_srgb)), True
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        raise Refused("colour profile that cannot be applied") from error


@lru_cache(64)
def _to_srgb(profile: bytes) -> Any:
    """What takes RGB images from a profile to sRGB."""
    from PIL import ImageCms

    given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    return ImageCms.buildTransform(given, ImageCms.createProfile("sRGB"), "RGB", "RGB")


LATTICE = np.stack(np.meshgrid(*[np.linspace(0, 255, 9)] * 3), -1).round().astype(np.uint8).reshape(27, 27, 3)
"""Colours from everywhere in the cube."""


def _rgb(image: Any) -> np.ndarray:
    if image.mode in ("L", "1"):
        return np.asarray(image.convert("RGB"))
    if image.mode == "P" and "transparency" not in image.info:
        return np.asarray(image.convert("RGB"))
    if image.mode in ("RGBA", "P", "LA"):
        pixels = np.asarray(image.convert("RGBA"))
        if (pixels[..., 3] != 255).any():
            raise Refused("transparent")
        return np.ascontiguousarray(pixels[..., :3])
    if image.mode != "RGB" or "transparency" in image.info:
        raise Refused(f"colour mode {image.mode}")
    return np.asarray(image)


def _check_size(width: int, height: int, options: Options) -> None:
    n = options.resolution
    if options.native or (width, height) == (n, n):
        return
    fits = options.resize if width == height or options.crop else False
    if not fits and not (options.crop and min(width, height) >= n):
        raise Refused(f"wrong size: {width}x{height}, expected {n}x{n}")


def fitting(pixels: np.ndarray, options: Options) -> Picture:
    """uint8 pixels (height, width, 3) of an array as a dataset of these options takes them.

    Raises:
        Refused: they have another size, or no colour.
    """
    height, width, _ = pixels.shape
    _check_size(width, height, options)
    fitted, changes = _fitting(pixels, options)
    return Picture(fitted, "array", f"{width}x{height}", changes)


def _fitting(pixels: np.ndarray, options: Options) -> tuple[np.ndarray, tuple[str, ...]]:
    """Pixels cropped and resized as asked for, and which of the two was done."""
    from PIL import Image

    n, changes = options.resolution, []
    if not options.allow_grey and (pixels == pixels[..., :1]).all():
        raise Refused("grey")
    if options.native:
        return pixels, ()
    height, width, _ = pixels.shape
    side = min(height, width) if options.resize else n
    if options.crop and (height, width) != (side, side):
        spare = np.array([height - side, width - side])
        start = spare // 2
        if options.crop == "random":
            start = np.random.default_rng(int(image_id(pixels), 16)).integers(0, spare + 1)
        top, left = start.tolist()
        pixels = np.ascontiguousarray(pixels[top : top + side, left : left + side])
        changes.append("cropped")
    if len(pixels) != n:
        pixels = np.asarray(Image.fromarray(pixels).resize((n, n), Image.Resampling.LANCZOS))
        changes.append("resized")
    return pixels, tuple(changes)


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
    if size > LARGEST_BYTES:
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
