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

SPEAKS_OF_REALS = ("real", "reals", "original", "originals", "authentic", "genuine", "natural", "photos", "photographs")
"""Words in the name of a source that nobody registered with which it is said that its images may be real."""

DATASETS_OF_REALS = (
    "celeba", "celebahq", "cifar10", "cifar100", "coco", "fashionmnist", "ffhq", "imagenet", "laion", "lsun", "mnist",
    "openimages", "svhn",
)  # fmt: skip
"""Names of datasets of photographs, of which the same is said: a model may be called after what it was trained on."""

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
"""Columns of a table beside images that say what these are. 0 is real, as in ArtiFact, and so is what says only "real"
in any of them; else the first that names a model counts. A row that says both real and generated is refused."""

SAME_COLOURS = 2
"""A colour profile that changes no colour by more grey levels than this is sRGB, whatever its name is: profiles of sRGB
differ by their rounding."""

SRGB_GAMMA, SAME_GAMMA = 1 / 2.2, 0.02
"""A PNG that says another gamma than sRGB's is set aside, since its pixels are to be read otherwise."""

SRGB_PRIMARIES, SAME_PRIMARIES = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06), 0.01
"""White, red, green and blue of sRGB (x, y), of which the same holds."""

SMALL_MANIFOLD = 100
"""With fewer reals, distances to the manifold say little: an import warns."""

MANIFOLD_SHARE = 0.5
"""Of the reals, unless `--manifold-share` says another."""

SHARES = {"train": 0.7, "val": 0.1, "test": 0.2}
"""Of each source's other images."""

FEWEST = 5
"""Of images of a source, so that each role has some."""

PROBE_BOUND = 0.5
"""How far from chance to certainty an audit lets brightness, colour and file size tell sources, which do differ so."""

NEAR_DUPLICATE = 4.0
"""Images that are nearer than so many grey levels (root mean square) are near-duplicates to an audit."""

UNLIKE_HISTORY = 0.1
"""Sources have unlike histories if the shares of a format, a JPEG quality or a size differ by more than this."""

LARGEST_SIDE = 8192
"""Of images, in pixels: a card of more is refused, and so is an image of more bytes than such a one has."""

LARGEST_BYTES = 3 * LARGEST_SIDE**2
