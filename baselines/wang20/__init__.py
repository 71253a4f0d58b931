"""Wang et al. 2020 (CNNDetection): a network trained on blurred and compressed images, and ManiFPT's reading of it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Self

import numpy as np
import scipy.fft
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter, median_filter
from torch import nn

from gmbench.attributor import RunContext
from gmbench.data.images import ImageSet
from gmbench.errors import ParameterError
from gmbench.learning.inputs import Inputs
from gmbench.learning.network_attributor import NetworkAttributor
from gmbench.learning.training import TrainingOptions
from gmbench.networks.attribution import AttributionNetwork, attribution_network
from gmbench.networks.pretrained import IMAGENET_MEAN, IMAGENET_SD

RESAMPLING = {"nearest": Image.Resampling.NEAREST, "bicubic": Image.Resampling.BICUBIC}
LEAST_MAGNITUDE = 1e-3
LEAST_SD = 1e-3


class Pixels:
    """Images as they are tested: enlarged if asked for, cropped at the centre, in [0, 1]."""

    def __init__(self, images: ImageSet, crop: int, enlarge: str) -> None:
        self.images, self.crop, self.enlarge = images, crop, enlarge

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, rows: np.ndarray) -> np.ndarray:
        """Float32 (len(rows), 3, height, width)."""
        pixels = np.stack([self.prepared(image) for image in self.images.pixels(rows)])
        return pixels.transpose(0, 3, 1, 2).astype(np.float32) / 255

    def prepared(self, image: np.ndarray) -> np.ndarray:
        """uint8 (height, width, 3) to the part of it that the network sees."""
        image = self.enlarged(image)
        top, left = (round(spare / 2) for spare in spare_pixels(image, self.crop))
        return cropped(image, self.crop, top, left)

    def enlarged(self, image: np.ndarray) -> np.ndarray:
        """The image, enlarged to the crop if it is smaller and that is asked for."""
        if self.enlarge == "none" or min(image.shape[:2]) >= self.crop:
            return image
        return resized(image, self.crop, RESAMPLING[self.enlarge])


class AugmentedPixels(Pixels):
    """Images as they are trained on: blurred, compressed, cropped and mirrored at random, in [0, 1].

    Everything random is drawn for each image on its own, from torch's generator.
    """

    def __init__(self, images: ImageSet, crop: int, enlarge: str, train_size: int, augmentation: float) -> None:
        super().__init__(images, crop, enlarge)
        self.train_size, self.augmentation = train_size, augmentation

    def prepared(self, image: np.ndarray) -> np.ndarray:
        """uint8 (height, width, 3) to the part of it that the network sees."""
        if self.train_size:
            image = resized(image, self.train_size, Image.Resampling.BILINEAR)
        image = self.enlarged(image)
        if torch.rand(()) < self.augmentation:
            image = blurred(image, sigma=3 * float(torch.rand(())))
        if torch.rand(()) < self.augmentation:
            image = compressed(image, quality=int(torch.randint(30, 101, ())))
        top, left = (int(torch.randint(0, spare + 1, ())) for spare in spare_pixels(image, self.crop))
        image = cropped(image, self.crop, top, left)
        return image[:, ::-1] if torch.rand(()) < 0.5 else image


class Spectra:
    """Spectra of images' residuals, less the average spectrum, each frequency over its standard deviation."""

    def __init__(self, images: ImageSet, median: int, mean: np.ndarray, sd: np.ndarray) -> None:
        self.images, self.median, self.mean, self.sd = images, median, mean, sd

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, rows: np.ndarray) -> np.ndarray:
        """Float32 (len(rows), 3, height, width)."""
        return (residual_spectra(self.images.pixels(rows), self.median) - self.mean) / self.sd


class Wang20(NetworkAttributor):
    """Attributes by a network on pixels that survives blur and compression, or by one on spectra of residuals."""

    def __init__(
        self,
        sees: str = "pixels",
        network: str = "resnet20",
        pretrained: bool = True,
        weights: str = "",
        training: str = "by network",
        epochs: int = 0,
        batch_size: int = 64,
        learning_rate: float = 0.0,
        augmentation: float = 0.1,
        crop: int = 224,
        train_size: int = 0,
        enlarge: str = "none",
        median: int = 3,
    ) -> None:
        self.sees = sees
        self.network = network
        self.pretrained = pretrained
        self.weights = weights
        self.training = training
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.augmentation = augmentation
        self.crop = crop
        self.train_size = train_size
        self.enlarge = enlarge
        self.median = median

    def fit(self, train: ImageSet, val: ImageSet, context: RunContext) -> Self:
        if self.augmentation > 1:
            raise ParameterError(f"augmentation: expected a probability, got {self.augmentation:g}.")
        if self.median % 2 == 0:
            raise ParameterError(f"median: expected an odd number of pixels, got {self.median}.")
        if self.sees == "spectrum":
            spectra = context.progress.track(
                (residual_spectra(batch, self.median) for batch in train.batches()), "spectra", -(-len(train) // 256)
            )
            self.average_, self.sd_ = moments(spectra)
        return super().fit(train, val, context)

    def inputs(self, images: ImageSet) -> Inputs:
        """Pixels as they are tested, or spectra."""
        if self.sees == "spectrum":
            return Spectra(images, self.median, self.average_, self.sd_)
        return Pixels(images, self.crop, self.enlarge)

    def training_inputs(self, images: ImageSet) -> Inputs:
        """Augmented pixels, or spectra."""
        if self.sees == "spectrum":
            return self.inputs(images)
        return AugmentedPixels(images, self.crop, self.enlarge, self.train_size, self.augmentation)

    def new_network(self, train: ImageSet, inputs: Inputs) -> AttributionNetwork:
        """One that standardises pixels as ImageNet's; spectra are standardised already."""
        mean, sd = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_SD)
        if self.sees == "spectrum":
            mean, sd = torch.zeros(3), torch.ones(3)
        network = attribution_network(self.network, len(train.sources), mean, sd, self.pretrained, self.weights)
        nn.init.normal_(network.head.weight, 0, 0.02)
        return network

    def training_options(self) -> TrainingOptions:
        """The released code's training, or a short one for a small network that starts from random weights."""
        is_short = self.training == "short" or (self.training == "by network" and self.network == "resnet20")
        epochs, learning_rate, schedule, patience = (15, 2e-3, "cosine", 0) if is_short else (100, 1e-4, "plateau", 5)
        return TrainingOptions(
            self.epochs or epochs,
            self.batch_size,
            self.learning_rate or learning_rate,
            schedule=schedule,
            patience=patience,
        )


def blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of each channel of uint8 (height, width, 3); `sigma` in pixels."""
    return gaussian_filter(image, sigma=(sigma, sigma, 0))


def compressed(image: np.ndarray, quality: int) -> np.ndarray:
    """uint8 (height, width, 3) after JPEG compression; `quality` from 1 to 100."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="JPEG", quality=quality)
    return np.asarray(Image.open(file))


def resized(image: np.ndarray, shorter: int, resampling: Image.Resampling) -> np.ndarray:
    """uint8 (height, width, 3) with its shorter side `shorter` pixels long."""
    height, width = image.shape[:2]
    least = min(height, width)
    return np.asarray(Image.fromarray(image).resize((width * shorter // least, height * shorter // least), resampling))


def spare_pixels(image: np.ndarray, crop: int) -> tuple[int, int]:
    """By how many pixels an image is higher and wider than its crop; a crop of 0 is the whole image."""
    height, width = image.shape[:2]
    return (max(height - crop, 0), max(width - crop, 0)) if crop else (0, 0)


def cropped(image: np.ndarray, crop: int, top: int, left: int) -> np.ndarray:
    """`crop` pixels in height and width from a corner, or what there is of them; 0: all."""
    return image[top : top + crop, left : left + crop] if crop else image


def residual_spectra(pixels: np.ndarray, median: int) -> np.ndarray:
    """log(|F| + 0.001) of the residual of each channel, zero frequency at the centre.

    The residual is the image in [0, 1] less its median over a square of `median` pixels, with edges repeated; the
    transform F is not normalised. uint8 (n, height, width, 3) to float32 (n, 3, height, width).
    """
    residual = (pixels.astype(np.float32) - median_filter(pixels, size=(1, median, median, 1), mode="nearest")) / 255
    spectrum = scipy.fft.fftshift(scipy.fft.fft2(residual.transpose(0, 3, 1, 2)), axes=(-2, -1))
    return np.log(np.abs(spectrum) + np.float32(LEAST_MAGNITUDE))


def moments(batches: Iterator[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (at least 0.001) of each frequency over all of (n, 3, height, width): float32."""
    n, total, squares = 0, np.zeros(()), np.zeros(())
    for batch in batches:
        n += len(batch)
        total = total + batch.sum(axis=0, dtype=np.float64)
        squares = squares + np.square(batch, dtype=np.float64).sum(axis=0)
    mean = total / n
    sd = np.sqrt(np.maximum(squares / n - mean**2, LEAST_SD**2))
    return mean.astype(np.float32), sd.astype(np.float32)
