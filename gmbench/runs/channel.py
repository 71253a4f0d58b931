"""Messages between a process that judges and one that is judged: JSON and arrays, never pickles.

Whoever reads a pickle does what its writer wants. These messages hold values and nothing else.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from typing import IO, Any, NamedTuple

import numpy as np

from gmbench.data.images import ImageSet

LONGEST_TEXT, MOST_BYTES = 2**28, 2**34
NUMBERS = "biuf"
"""The kinds of numpy's types that an array of a message may have."""


class Message(NamedTuple):
    """What one process says to the other: JSON values by name, and arrays."""

    content: dict[str, Any]
    arrays: list[np.ndarray]


def write_message(stream: IO[bytes], content: Mapping[str, Any], arrays: Sequence[np.ndarray] = ()) -> None:
    """Writes one message, whole.

    Raises:
        OSError: nobody reads any more.
    """
    shapes = [[array.dtype.str, list(array.shape)] for array in arrays]
    text = json.dumps([content, shapes]).encode()
    stream.write(struct.pack(">Q", len(text)) + text)
    for array in arrays:
        stream.write(array.tobytes())
    stream.flush()


def read_message(stream: IO[bytes]) -> Message | None:
    """Reads one message; None where the other side has ended.

    Raises:
        ValueError: what comes is no message.
    """
    length = stream.read(8)
    if not length:
        return None
    if len(length) < 8 or (n := struct.unpack(">Q", length)[0]) > LONGEST_TEXT:
        raise ValueError("what comes is no message")
    try:
        content, shapes = json.loads(_read(stream, n))
        arrays = [_read_array(stream, np.dtype(kind), tuple(shape)) for kind, shape in shapes]
    except (TypeError, RecursionError) as error:
        raise ValueError("what comes is no message") from error
    if not isinstance(content, dict):
        raise ValueError("what comes is no message")
    return Message(content, arrays)


def _read_array(stream: IO[bytes], kind: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    n = kind.itemsize
    for side in shape:
        if not isinstance(side, int) or side < 0:
            raise ValueError("what comes is no array")
        n *= side
    if kind.kind not in NUMBERS or n > MOST_BYTES:
        raise ValueError("what comes is no array")
    return np.frombuffer(_read(stream, n), kind).reshape(shape).copy()


def _read(stream: IO[bytes], n: int) -> bytes:
    found = stream.read(n)
    if len(found) < n:
        raise ValueError("the message ends early")
    return found


def packed(images: ImageSet) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Images as part of a message."""
    content = {
        "ids": images.ids.tolist(),
        "sources": list(images.sources),
        "origin": images.origin,
        "labelled": images.labels is not None,
    }
    return content, [images.pixels(), *([] if images.labels is None else [images.labels])]


def unpacked(content: Mapping[str, Any], arrays: list[np.ndarray]) -> ImageSet:
    """The images of a part of a message; their arrays are taken off the front of the list."""
    pixels, labels = arrays.pop(0), arrays.pop(0) if content["labelled"] else None
    ids = np.array(content["ids"], dtype=str) if content["ids"] else np.empty(0, dtype=str)
    return ImageSet.of(pixels, ids, tuple(content["sources"]), labels, content["origin"])
