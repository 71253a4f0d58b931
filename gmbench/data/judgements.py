"""What is ours to judge about images from elsewhere: every such judgement of import and audit stands here.

What counts as real: a folder (or label) whose name says only that its images are real decides against everything above
it, so `ddpm/0_real` is real; one that says only "generated" takes its model from a name above it, and is of no source
if there is none. Names of a card's real images (`celeba`) are weaker: a model is often called after what it was trained
on, so `celeba/ddpm` and `ddpm/celeba` are both `ddpm`. Of two models on a path the deeper one decides. Whatever a path
says besides what decided is said.
"""

from __future__ import annotations

import re

REAL_NAMES = ("real", "reals", "real-images", "0_real", "nature")
"""Say only that images are real, however they are spelled."""

GENERATED_NAMES = ("fake", "fakes", "fake-images", "1_fake", "ai", "generated", "generated-images", "synthetic")
"""Say that images are generated, but not by which model."""

NO_SOURCES = ("mask", "masks", "segmentation", "segmentations", "annotation", "annotations", "depth", "thumbnails")
"""Hold pictures about images, which no model made."""

SPLITS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test", "manifold": "manifold",
}  # fmt: skip
"""Names of given splits, and the roles that they are. They count where all folders beside them are splits too."""

LEFT_BEHIND = re.compile(r"\..*|__MACOSX|@eaDir|Thumbs\.db|desktop\.ini|__pycache__", re.IGNORECASE)
"""What archive tools, desktops and notebooks leave; nobody put it there."""

LABEL_COLUMNS = ("target", "source", "model", "generator", "label")
"""Columns of a table beside images that say what these are, the first that is there. 0 is real, as in ArtiFact."""

SMALL_MANIFOLD = 100
"""With fewer reals, distances to the manifold say little: an import warns."""

UNLIKE_HISTORY = 0.1
"""Sources have unlike histories if the shares of a format, a JPEG quality or a size differ by more than this."""

LARGEST_SIDE = 8192
"""Of images, in pixels: a card of more is refused, and so is an image of more bytes than such a one has."""

LARGEST_BYTES = 3 * LARGEST_SIDE**2
