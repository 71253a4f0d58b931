"""An image as it is stored: its id and its PNG."""

from __future__ import annotations

import hashlib
import io

import numpy as np


def image_id(pixels: np.ndarray) -> str:
    """An id from the pixels alone, which says nothing of where an image comes from: 16 hexadecimal digits."""
    return hashlib.sha256(str(pixels.shape).encode() + pixels.tobytes()).hexdigest()[:16]


def encode_png(pixels: np.ndarray) -> bytes:
    """A uint8 RGB image (height, width, 3) as PNG."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels, "RGB").save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
