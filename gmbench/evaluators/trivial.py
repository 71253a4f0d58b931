"""Statistics of an image that have nothing to do with a generator's artifacts."""

from __future__ import annotations

import numpy as np

STATISTICS = {"mean colour": slice(0, 3), "file size": slice(3, 4), "grey histogram": slice(4, 12)}


def trivial_statistics(pixels: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Mean grey level of each channel, size of the file, shares of pixels in bins of 32 grey levels.

    Args:
        pixels: uint8 (n, height, width, 3).
        sizes: of the images' files, in bytes, (n,).

    Returns:
        float32 (n, 12), columns as in `STATISTICS`.
    """
    statistics = np.empty((len(pixels), 12), dtype=np.float32)
    bins = pixels.mean(axis=3).astype(np.uint8) // 32
    statistics[:, STATISTICS["mean colour"]] = pixels.mean(axis=(1, 2))
    statistics[:, STATISTICS["file size"]] = sizes[:, None]
    statistics[:, STATISTICS["grey histogram"]] = np.stack([(bins == b).mean(axis=(1, 2)) for b in range(8)], axis=1)
    return statistics
