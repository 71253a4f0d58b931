"""The hand-made features of 2,000 images of 256 pixels against an image after the other, in a few minutes.

`pytest benchmarks/test_features.py`. The contenders are what one would use instead: the steps of a method's public
code, or of its formula where there is none, written anew from the methods' cards (`baselines/*/README.md`), and a
second way in numpy. All see the same batches, and their values are compared with gmbench's between the timed ones.

Measured: medians over 40 batches of 50 images, in milliseconds of processor time
(`--benchmark-timer=time.process_time`), one thread on a shared AMD EPYC (Zen 3, 2.4 GHz, two cores with 512 KB of
second-level cache each), numpy 2.4, scipy 1.17.

| feature           | gmbench | public code's or formula's steps | second way              |
|-------------------|---------|----------------------------------|-------------------------|
| co-occurrence     | 43      | scikit-image 78: 1.8 times       | histogram2d 1245: 29    |
| azimuthal profile | 45      | sorting 308: 6.9 times           | bincount 167: 3.7       |
| reduced spectrum  | 39      | masks 535: 14 times              | bincount 230: 5.9       |
| colour statistics | 21      | thresholds 253: 12 times         | histogram 159: 7.5      |

Ten times is not reached by the azimuthal profile, over a third of whose time is one real transform per image in double
precision (in single precision, the logarithms of a smooth image's spectrum have errors above 1e-5), nor by
co-occurrence against scikit-image, whose compiled loop does the same work: counting 65,280 pairs into 65,536 cells per
channel.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from scipy.interpolate import griddata
from scipy.optimize import curve_fit
from skimage.feature import graycomatrix

from gmbench.attributors.durall20 import Durall20
from gmbench.attributors.dzanic20 import GREY, Dzanic20
from gmbench.attributors.mccloskey18 import McCloskey18
from gmbench.attributors.nataraj19 import co_occurrence

IMAGES, SIZE, BATCH = 2000, 256, 50
THRESHOLDS = np.array([0, 1, 2, 4, 8, 16, 24, 32])


def image_by_image(feature: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """The loop over a batch."""
    return lambda batch: np.stack([feature(image) for image in batch])


def graycomatrix_per_channel(image: np.ndarray) -> np.ndarray:
    """Right neighbours, by scikit-image: (3, 256, 256)."""
    channels = np.moveaxis(image, 2, 0)
    return np.stack([graycomatrix(channel, [1], [0], levels=256)[:, :, 0, 0] for channel in channels])


def histogram2d_per_channel(image: np.ndarray) -> np.ndarray:
    """Right neighbours, by numpy: (3, 256, 256)."""
    pairs = [(channel[:, :-1].ravel(), channel[:, 1:].ravel()) for channel in np.moveaxis(image, 2, 0)]
    return np.stack([np.histogram2d(*pair, bins=256, range=[(0, 256), (0, 256)])[0] for pair in pairs])


def radii(size: int, centre: float) -> np.ndarray:
    """Distance of each frequency from (centre, centre)."""
    y, x = np.indices((size, size))
    return np.hypot(x - centre, y - centre)


def rings_by_sorting(values: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Means over rings but the first and the last: differences of the running sum in the order of radii."""
    order = radius.argsort(axis=None)
    ends = np.flatnonzero(np.diff(radius.ravel()[order].astype(int)))
    return np.diff(values.ravel()[order].cumsum()[ends]) / np.diff(ends)


def rings_by_bincount(values: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """The same means from two weighted counts."""
    ring = radius.astype(int).ravel()
    return (np.bincount(ring, values.ravel()) / np.bincount(ring))[1:-1]


def profile(image: np.ndarray, ring_means: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    """Durall20, as its released code goes: (80,)."""
    spectrum = np.fft.fftshift(np.fft.fft2(image @ [0.2989, 0.5870, 0.1140])) + 1e-8
    rings = ring_means(20 * np.log(np.abs(spectrum)), radii(SIZE, (SIZE - 1) / 2))
    resampled = griddata(np.linspace(0, 80, len(rings)), rings, np.linspace(0, 80, 80), method="cubic")
    return resampled / resampled[0]


def bins_by_masks(values: np.ndarray, k: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Means over bins, one after the other."""
    return np.array([values[(k > low) & (k <= high)].mean() for low, high in pairwise(edges)])


def bins_by_bincount(values: np.ndarray, k: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The same means from two weighted counts."""
    which = edges.searchsorted(k.ravel())
    return (np.bincount(which, values.ravel()) / np.bincount(which))[1:]


def law(image: np.ndarray, bin_means: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    """Dzanic20 by the paper's formula: 128 bins of reduced wavenumbers, the upper half of which are fitted: (2,)."""
    magnitude = np.abs(np.fft.fftshift(np.fft.fft2(np.floor(image @ GREY + 0.5))))
    k = radii(SIZE, SIZE // 2) / (np.sqrt(2) * SIZE / 2)
    lowest = k[k > 0.5].min()
    edges = np.linspace(lowest, k.max(), 129)
    # The lowest wavenumber is in the first bin.
    means = bin_means(magnitude, np.where(k == lowest, edges[:2].mean(), k), edges)
    smooth = means.copy()
    for i in range(1, 127):
        reach = min(2, i, 127 - i)
        smooth[i] = means[i - reach : i + reach + 1].mean()
    middles = (edges[:-1] + edges[1:]) / 2
    y = smooth[64:] / magnitude[SIZE // 2, SIZE // 2]
    scale = y[0]
    (b1, b2), _ = curve_fit(
        lambda x, b1, b2: b1 * x**b2, middles[64:] / 0.75, y / scale, (1, -2), ftol=1e-12, xtol=1e-12
    )
    return np.array([scale * b1, b2])


def planes(image: np.ndarray) -> list[np.ndarray]:
    """Red, green, blue and intensity."""
    return [*np.moveaxis(image, 2, 0), np.rint(image @ [0.299, 0.587, 0.114])]


def shares_by_thresholds(image: np.ndarray) -> np.ndarray:
    """McCloskey18 by its formula: (64,)."""
    shares = []
    for plane in planes(image):
        shares += [(plane <= t).mean() for t in THRESHOLDS] + [(plane >= 255 - t).mean() for t in THRESHOLDS]
    return np.array(shares)


def shares_by_histogram(image: np.ndarray) -> np.ndarray:
    """The same from numpy's histograms."""
    shares = []
    for plane in planes(image):
        counts = np.histogram(plane, bins=256, range=(0, 256))[0]
        shares += [*counts.cumsum()[THRESHOLDS], *counts[::-1].cumsum()[THRESHOLDS]]
    return np.array(shares) / SIZE**2


CONTENDERS: dict[str, dict[str, Callable[[np.ndarray], np.ndarray]]] = {
    "co-occurrence (nataraj19)": {
        "gmbench": co_occurrence,
        "scikit-image": image_by_image(graycomatrix_per_channel),
        "histogram2d": image_by_image(histogram2d_per_channel),
    },
    "azimuthal profile (durall20)": {
        "gmbench": Durall20().features,
        "sorting": image_by_image(lambda image: profile(image, rings_by_sorting)),
        "bincount": image_by_image(lambda image: profile(image, rings_by_bincount)),
    },
    "reduced spectrum (dzanic20)": {
        "gmbench": Dzanic20().features,
        "masks": image_by_image(lambda image: law(image, bins_by_masks)),
        "bincount": image_by_image(lambda image: law(image, bins_by_bincount)),
    },
    "colour statistics (mccloskey18)": {
        "gmbench": McCloskey18().features,
        "thresholds": image_by_image(shares_by_thresholds),
        "histogram": image_by_image(shares_by_histogram),
    },
}


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Windows of a random scene whose amplitudes fall as 1 / frequency, as photographs' do, with a sensor's noise."""
    random, side = np.random.default_rng(0), 2048
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side))
    frequency[0, 0] = np.inf
    scene = np.fft.irfft2(np.fft.rfft2(random.normal(size=(3, side, side))) / frequency)
    scene = 128 + 60 * scene / scene.std() + random.normal(0, 2, scene.shape)
    levels = np.ascontiguousarray(scene.clip(0, 255).round().astype(np.uint8).transpose(1, 2, 0))
    corners = random.integers(0, side - SIZE, (IMAGES, 2))
    return np.stack([levels[top : top + SIZE, left : left + SIZE] for top, left in corners])


@pytest.mark.parametrize(
    ("feature", "contender"), [(feature, name) for feature, contenders in CONTENDERS.items() for name in contenders]
)
def test_features(benchmark, images: np.ndarray, feature: str, contender: str) -> None:  # type: ignore[no-untyped-def]
    """All images, batch by batch, each batch one timing; every contender gives gmbench's values."""
    benchmark.group = f"{feature}, per {BATCH} images"
    compute, ours = CONTENDERS[feature][contender], CONTENDERS[feature]["gmbench"]
    batches = iter(np.split(images, IMAGES // BATCH))
    computed: list[tuple[np.ndarray, np.ndarray]] = []

    def compare() -> None:
        for batch, values in computed:
            np.testing.assert_allclose(values, ours(batch), rtol=1e-5)
        computed.clear()

    def next_batch() -> tuple[tuple[np.ndarray], dict]:
        compare()
        return (next(batches),), {}

    benchmark.pedantic(lambda batch: computed.append((batch, compute(batch))), setup=next_batch, rounds=IMAGES // BATCH)
    compare()
