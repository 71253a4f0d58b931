"""Pictures of images, projections and artifacts, and mean spectra: what figures 3 to 6 of the paper show."""

from __future__ import annotations

import numpy as np
import scipy.fft

from gmbench.data.dataset import Dataset
from gmbench.data.images import ImageSet
from gmbench.manifold.freq import Frequency
from gmbench.manifold.projection import project
from gmbench.manifold.rgb import RGB
from gmbench.manifold.space import Space
from gmbench.records.schema import Record
from gmbench.support.cache import Cache
from gmbench.support.progress import Progress

STRENGTH = 4
GAP = 2
PER_SOURCE = 200


def triplets(record: Record, images: ImageSet, dataset: Dataset, progress: Progress) -> dict[str, np.ndarray]:
    """By source, its first test image, projection, artifact and the artifact's spectrum side by side.

    The projection is searched in the space that the record's parameters name.

    Returns:
        uint8 (height, 4 widths and gaps, 3).
    """
    assert images.labels is not None
    rows = np.array([np.flatnonzero(images.labels == label)[0] for label in np.unique(images.labels)])
    chosen = images[rows]
    space = space_of(record.identity.parameters, dataset)
    manifold = dataset["manifold"]
    projections = project(chosen, manifold, space, Cache(), progress)
    return {
        images.sources[label]: strip(image, projected)
        for label, image, projected in zip(
            images.labels[rows], chosen.pixels(), manifold.pixels(projections), strict=True
        )
    }


def space_of(parameters: dict[str, bool | int | float | str], dataset: Dataset) -> Space:
    """The space in which a method with these parameters looks for projections."""
    kind = str(parameters["space"])
    if kind == "freq" and parameters.get("neighbours") != "rgb":
        return Frequency(str(parameters.get("spectrum", "log1p magnitude")))
    if kind in ("sl", "ssl"):
        from gmbench.manifold.encoders import find_encoder
        from gmbench.manifold.learned import Learned

        choice = [parameters[name] for name in ("encoder", "encoder_weights", "side") if name in parameters]
        return Learned(find_encoder(dataset.card, kind, dataset.folder, *choice))  # type: ignore[arg-type]
    return RGB()


def strip(image: np.ndarray, projected: np.ndarray) -> np.ndarray:
    """Image, projection, artifact and its spectrum side by side, uint8 (height, 4 widths and gaps, 3)."""
    artifact = image.astype(np.int16) - projected
    parts = [image, projected, difference(artifact), spectrum(artifact)]
    gap = np.full((len(image), GAP, 3), 255, np.uint8)
    return np.concatenate([piece for part in parts for piece in (part, gap)][:-1], axis=1)


def difference(artifact: np.ndarray) -> np.ndarray:
    """An artifact of integers (height, width, 3) as a picture: mid-grey is none, four times as strong."""
    return (128 + STRENGTH * artifact.astype(np.int32)).clip(0, 255).astype(np.uint8)


def spectrum(artifact: np.ndarray) -> np.ndarray:
    """The centred logarithmic spectrum of an artifact (height, width, 3), from black to white, as a picture."""
    magnitude = np.abs(scipy.fft.fftshift(scipy.fft.fft2(artifact.astype(float).mean(axis=2))))
    return from_black_to_white(np.log1p(magnitude))


def from_black_to_white(values: np.ndarray) -> np.ndarray:
    """Numbers (height, width) as a picture uint8 (height, width, 3), from the 1st to the 99.5th percentile."""
    low, high = np.percentile(values, [1, 99.5])
    grey = ((values - low) / max(high - low, 1e-9) * 255).clip(0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def spectra_of(images: ImageSet) -> dict[str, np.ndarray]:
    """By generative model, mean power over rings of equal frequency, in decibel above that of the real images.

    Of at most 200 images a source; the constant component is left out.
    """
    assert images.labels is not None
    profiles = {}
    for label in np.unique(images.labels):
        pixels = images.pixels(np.flatnonzero(images.labels == label)[:PER_SOURCE])
        profiles[images.sources[label]] = ring_power(pixels)
    real = profiles.pop(images.sources[0], None)
    if real is None:
        real = np.mean(list(profiles.values()), axis=0)
    return {name: 10 * np.log10(profile / real) for name, profile in profiles.items()}


def ring_power(pixels: np.ndarray) -> np.ndarray:
    """Mean power of grey images uint8 (n, size, size, 3) over rings of radius 1 to size // 2: (size // 2,)."""
    size = pixels.shape[1]
    power = np.abs(scipy.fft.fftshift(scipy.fft.fft2(pixels.mean(axis=3)), axes=(1, 2))) ** 2
    offset = np.indices((size, size)) - size // 2
    ring = np.rint(np.hypot(*offset)).astype(int)
    mean = power.mean(axis=0)
    return np.array([mean[ring == radius].mean() + 1e-12 for radius in range(1, size // 2 + 1)])
