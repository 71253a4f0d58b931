"""Whether traces of JPEG alone tell sources apart: steps on the 8x8 grid, gaps in the histograms of DCT coefficients.

Fan, de Queiroz: Identification of bitmap compression history, IEEE TIP 2003 (steps across block boundaries; gaps that
quantization leaves). A figure and no gate: networks that upsample by eight leave steps of the same distance.
"""

from __future__ import annotations

import numpy as np

from gmbench.audit.check import Check
from gmbench.audit.reading import AuditedImages
from gmbench.data.cards import REAL
from gmbench.manifold.neighbors import BATCH
from gmbench.support.progress import Progress
from gmbench.support.seeds import seed_from

BLOCK = 8
PERIODS = (2, 3, 4, 5, 6, 8, 10, 12, 14, 17)
BANDS = 5
TREES = 100


def check_traces(images: AuditedImages, progress: Progress) -> Check:
    """How many test images a forest attributes by JPEG traces alone: all, real against generated, among generators."""
    train, test = images.roles == "train", images.roles == "test"
    labels = images.sources.astype(str)
    starts = range(0, len(images.pixels), BATCH)
    traces = np.concatenate(
        [
            jpeg_traces(images.pixels[start : start + BATCH])
            for start in progress.track(starts, "looking for traces of JPEG", len(starts))
        ]
    )
    generated = labels != REAL
    figures = {
        "all sources": _recall(traces, labels, train, test),
        "real or generated": _recall(traces, generated.astype(str), train, test),
        "among generators": _recall(traces, labels, train & generated, test & generated),
    }
    found = [f"{name} {recall:.1%} (chance {chance:.1%})" for name, (recall, chance) in figures.items()]
    return Check(
        name="JPEG traces",
        passed=True,
        gate=False,
        expected="near chance, if no source was a JPEG",
        found="; ".join(found),
        figures={name: {"mean recall": recall, "chance": chance} for name, (recall, chance) in figures.items()},
    )


def _recall(traces: np.ndarray, labels: np.ndarray, train: np.ndarray, test: np.ndarray) -> tuple[float, float]:
    """Mean recall over classes of a forest on the test images, so that unequal classes do not count, and its chance."""
    from sklearn.ensemble import RandomForestClassifier

    classes = np.unique(labels[train])
    if len(classes) < 2:
        return 1.0, 1.0
    forest = RandomForestClassifier(
        TREES,
        min_samples_leaf=3,
        class_weight="balanced",
        max_samples=min(20_000, int(train.sum())),
        random_state=seed_from("audit", "traces"),
    )
    right = forest.fit(traces[train], labels[train]).predict(traces[test]) == labels[test]
    recalls = [float(right[labels[test] == name].mean()) for name in np.unique(labels[test])]
    return float(np.mean(recalls)), 1 / len(classes)


def jpeg_traces(pixels: np.ndarray) -> np.ndarray:
    """Traces of JPEG in images (n, height, width, 3): float (n, 2·8 + 5·10).

    First how much larger steps between neighbouring pixels are at each of eight places of the grid, across and down,
    than on average. Then, for bands of frequencies (u + v = 1, 2, 3, 4, more), how far the coefficients of the blocks
    keep to multiples of a step: the mean of cos(2π·coefficient / step) over those of at least half a step.
    """
    from scipy.fft import dctn

    luminance = pixels.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    n, height, width = luminance.shape
    columns = []
    for axis in (2, 1):
        steps = np.abs(np.diff(luminance, axis=axis)).mean(axis=3 - axis)
        whole = steps.mean(axis=1) + 1e-6
        columns += [steps[:, place::BLOCK].mean(axis=1) / whole - 1 for place in range(BLOCK)]
    high, wide = height // BLOCK, width // BLOCK
    if not high or not wide:
        return np.stack([*columns, *[np.zeros(n)] * (BANDS * len(PERIODS))], axis=1)
    blocks = luminance[:, : high * BLOCK, : wide * BLOCK].reshape(n, high, BLOCK, wide, BLOCK).transpose(0, 1, 3, 2, 4)
    coefficients = dctn(blocks - 128, axes=(3, 4), norm="ortho").reshape(n, high * wide, BLOCK, BLOCK)
    sums = np.add.outer(np.arange(BLOCK), np.arange(BLOCK))
    for band in range(1, BANDS + 1):
        of_band = coefficients[:, :, sums == band if band < BANDS else sums >= band].reshape(n, -1)
        for period in PERIODS:
            counts = np.abs(of_band) >= period / 2
            kept = np.where(counts, np.cos(2 * np.pi / period * of_band), 0).sum(axis=1)
            columns.append(kept / np.maximum(counts.sum(axis=1), 1))
    return np.stack(columns, axis=1)
