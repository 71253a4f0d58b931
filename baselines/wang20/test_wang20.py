"""Wang20: its augmentation against the libraries, its spectra against closed forms, and that it learns."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from scipy.ndimage import gaussian_filter
from torchvision.transforms import v2

from conftest import SOURCES, image_set, make_images
from gmbench.attributor import RunContext
from gmbench.attributors.wang20 import (
    AugmentedPixels,
    Pixels,
    Spectra,
    Wang20,
    blurred,
    compressed,
    moments,
    residual_spectra,
    resized,
)
from gmbench.data.images import ImageSet
from gmbench.errors import CannotRunError, ParameterError
from gmbench.networks.attribution import attribution_network


def labelled(per_source: int, seed: int, sources: tuple[str, ...] = SOURCES, size: int = 32) -> ImageSet:
    """Images of `make_images` with labels."""
    pixels = np.concatenate([make_images(source, per_source, seed + 7 * j, size) for j, source in enumerate(sources)])
    return image_set(pixels, np.repeat(np.arange(len(sources)), per_source), sources)


def natural(n: int, height: int, width: int) -> np.ndarray:
    """uint8 (n, height, width, 3) of any size: noise, a little smoothed."""
    noise = np.random.default_rng(0).uniform(0, 255, (n, height, width, 3))
    return gaussian_filter(noise, (0, 1, 1, 0)).clip(0, 255).astype(np.uint8)


class TestAugmentation:
    """Blur, JPEG, crop and mirror, as the paper trains."""

    @pytest.mark.parametrize("sigma", [0.0, 0.4, 1.5, 3.0])
    def test_blur_is_that_of_each_channel(self, sigma: float) -> None:
        """One filter over three channels is scipy's filter on each; none at all for a width of zero."""
        image = natural(1, 40, 32)[0]
        channels = [gaussian_filter(channel, sigma) for channel in image.transpose(2, 0, 1)]
        np.testing.assert_array_equal(blurred(image, sigma), np.stack(channels, axis=-1))
        assert sigma > 0 or np.array_equal(blurred(image, 0.0), image)

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    @pytest.mark.parametrize("quality", [30, 65, 100])
    def test_compression_is_torchvisions(self, quality: int) -> None:
        """Pillow's encoder and torchvision's agree up to rounding."""
        image = natural(1, 64, 64)[0]
        peer = v2.JPEG(quality)(torch.from_numpy(image.transpose(2, 0, 1)).contiguous()).numpy().transpose(1, 2, 0)
        difference = np.abs(compressed(image, quality).astype(int) - peer)
        assert difference.mean() < 0.5
        assert difference.max() <= 3

    def test_a_quarter_of_the_images_is_left_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """At 0.5 each, independent: none, blur alone, JPEG alone and both are equally frequent; so says the paper."""
        done: list[str] = []
        monkeypatch.setattr("gmbench.attributors.wang20.blurred", lambda image, sigma: done.append("blur") or image)
        monkeypatch.setattr("gmbench.attributors.wang20.compressed", lambda image, **_: done.append("jpeg") or image)
        inputs = AugmentedPixels(image_set(natural(1, 4, 4)), 224, "none", 0, 0.5)
        torch.manual_seed(0)
        n, counts = 2000, {"": 0, "blur": 0, "jpeg": 0, "blurjpeg": 0}
        for _ in range(n):
            done.clear()
            inputs.batch(np.array([0]))
            counts["".join(done)] += 1
        # Four standard deviations of a share of 0.25.
        np.testing.assert_allclose(np.array(list(counts.values())) / n, 0.25, atol=4 * np.sqrt(0.25 * 0.75 / n))

    def test_ranges_of_blur_and_quality(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Widths are uniform from 0 to 3 pixels; qualities are the 71 whole numbers from 30 to 100."""
        sigmas: list[float] = []
        qualities: list[int] = []
        monkeypatch.setattr("gmbench.attributors.wang20.blurred", lambda image, sigma: sigmas.append(sigma) or image)
        monkeypatch.setattr(
            "gmbench.attributors.wang20.compressed", lambda image, quality: qualities.append(quality) or image
        )
        torch.manual_seed(0)
        AugmentedPixels(image_set(natural(1, 4, 4)), 224, "none", 0, 1.0).batch(np.zeros(2000, int))
        assert set(qualities) == set(range(30, 101))
        assert len(set(qualities)) == 71
        assert min(sigmas) >= 0
        assert max(sigmas) < 3
        assert np.mean(sigmas) == pytest.approx(1.5, abs=4 * np.sqrt(9 / 12 / 2000))

    def test_torchs_seed_decides_it(self) -> None:
        """The same seed gives the same images, another seed others; each image has draws of its own."""
        inputs = AugmentedPixels(image_set(np.repeat(natural(1, 32, 32), 8, axis=0)), 24, "none", 0, 0.5)

        def batch(seed: int) -> np.ndarray:
            torch.manual_seed(seed)
            return inputs.batch(np.arange(8))

        assert np.array_equal(batch(1), batch(1))
        assert not np.array_equal(batch(1), batch(2))
        assert len(np.unique(batch(1), axis=0)) > 4

    def test_without_augmentation_there_are_crops_and_mirror_images(self) -> None:
        """Every training input is a crop of the image or of its mirror image; both occur, and so do several places."""
        image = natural(1, 5, 6)
        crops = {
            (mirrored, top, left): side[top : top + 4, left : left + 4].transpose(2, 0, 1).astype(np.float32) / 255
            for mirrored, side in ((False, image[0]), (True, image[0][:, ::-1]))
            for top in range(2)
            for left in range(3)
        }
        torch.manual_seed(0)
        seen = set()
        for x in AugmentedPixels(image_set(image), 4, "none", 0, 0.0).batch(np.zeros(200, int)):
            seen.add(next(key for key, crop in crops.items() if np.array_equal(crop, x)))
        assert seen == set(crops)

    def test_training_images_are_resized_if_asked_for(self) -> None:
        """The released code's order: resized to 256, then cropped to 224; tests are cropped only."""
        images = image_set(natural(2, 300, 320))
        assert AugmentedPixels(images, 224, "none", 256, 1.0).batch(np.arange(2)).shape == (2, 3, 224, 224)
        assert AugmentedPixels(images, 0, "none", 256, 0.0).batch(np.arange(2)).shape == (2, 3, 256, 273)
        assert Pixels(images, 224, "none").batch(np.arange(2)).shape == (2, 3, 224, 224)


class TestPixels:
    """What the network sees of an image in testing."""

    def test_small_images_are_seen_whole(self) -> None:
        """No crop and no change of size below 224 pixels: the image over 255."""
        images = natural(3, 32, 48)
        batch = Pixels(image_set(images), 224, "none").batch(np.array([2, 0]))
        np.testing.assert_array_equal(batch, images[[2, 0]].transpose(0, 3, 1, 2).astype(np.float32) / 255)
        assert batch.dtype == np.float32

    @pytest.mark.parametrize(("height", "width"), [(256, 256), (227, 301), (224, 300)])
    def test_large_images_are_cropped_at_the_centre(self, height: int, width: int) -> None:
        """The crop is torchvision's."""
        images = natural(1, height, width)
        peer = v2.CenterCrop(224)(torch.from_numpy(images.transpose(0, 3, 1, 2))).numpy()
        np.testing.assert_array_equal(Pixels(image_set(images), 224, "none").batch(np.array([0])) * 255, peer)

    def test_whole_images_if_asked_for(self) -> None:
        """A crop of 0 takes everything."""
        assert Pixels(image_set(natural(1, 260, 300)), 0, "none").batch(np.array([0])).shape == (1, 3, 260, 300)

    @pytest.mark.parametrize("enlarge", ["nearest", "bicubic"])
    def test_enlarged_if_asked_for(self, enlarge: str) -> None:
        """32 pixels to 64, twice nearest is each pixel four times; images of the crop's size stay as they are."""
        images = natural(1, 32, 32)
        batch = Pixels(image_set(images), 64, enlarge).batch(np.array([0]))
        assert batch.shape == (1, 3, 64, 64)
        if enlarge == "nearest":
            fourfold = images.repeat(2, axis=1).repeat(2, axis=2).transpose(0, 3, 1, 2)
            np.testing.assert_array_equal(batch, fourfold.astype(np.float32) / 255)
        same = Pixels(image_set(images), 32, enlarge).batch(np.array([0]))
        np.testing.assert_array_equal(same, images.transpose(0, 3, 1, 2).astype(np.float32) / 255)

    def test_resizing_keeps_the_shape(self) -> None:
        """The shorter side gets the size, the longer one follows."""
        assert resized(natural(1, 40, 60)[0], 20, Image.Resampling.BILINEAR).shape == (20, 30, 3)
        assert resized(natural(1, 60, 40)[0], 20, Image.Resampling.BILINEAR).shape == (30, 20, 3)


class TestSpectra:
    """The spectra of median-filter residuals."""

    @pytest.mark.parametrize("median", [1, 3, 5])
    def test_each_image_on_its_own(self, median: int) -> None:
        """The residual is Pillow's median filter's, the transform numpy's."""
        images = natural(3, 16, 20)
        for image, spectrum in zip(images, residual_spectra(images, median), strict=True):
            smooth = np.asarray(Image.fromarray(image).filter(ImageFilter.MedianFilter(median)))
            residual = (image.astype(float) - smooth) / 255
            transform = np.fft.fftshift(np.fft.fft2(residual, axes=(0, 1)), axes=(0, 1))
            np.testing.assert_allclose(
                spectrum, np.log(np.abs(transform) + 1e-3).transpose(2, 0, 1), rtol=1e-4, atol=1e-4
            )
            assert spectrum.dtype == np.float32

    def test_an_impulse_is_flat(self) -> None:
        """The median removes a single white pixel on black, so the residual is the pixel: magnitude 1 everywhere."""
        image = np.zeros((1, 16, 16, 3), np.uint8)
        image[0, 5, 9] = 255
        np.testing.assert_allclose(residual_spectra(image, 3), np.log(1.001), atol=1e-6)

    def test_an_even_image_has_none(self) -> None:
        """A constant is its own median: log 0.001 everywhere."""
        np.testing.assert_allclose(residual_spectra(np.full((1, 8, 8, 3), 90, np.uint8), 3), np.log(1e-3), rtol=1e-6)

    def test_upsampling_leaves_its_copies(self) -> None:
        """Zeros between samples repeat the spectrum with half the period: F[u, v] = F[u + N/2, v + N/2]."""
        n = 32
        image = np.zeros((1, n, n, 3), np.uint8)
        image[:, ::2, ::2] = natural(1, n // 2, n // 2) // 2 + 1
        # Three of four pixels are zero, so the median of any nine is zero and the residual is the image.
        spectrum = residual_spectra(image, 3)
        np.testing.assert_allclose(spectrum, np.roll(spectrum, (n // 2, n // 2), axis=(2, 3)), atol=1e-3)

    def test_moments_over_batches(self) -> None:
        """Batch by batch is all at once; a frequency that never changes has a standard deviation of 0.001, not of 0."""
        spectra = residual_spectra(natural(20, 8, 8), 3)
        spectra[:, 0, 2, 2] = -1.0
        mean, sd = moments(iter([spectra[:7], spectra[7:8], spectra[8:]]))
        np.testing.assert_allclose(mean, spectra.mean(axis=0), rtol=1e-5)
        np.testing.assert_allclose(sd, np.maximum(spectra.std(axis=0), 1e-3), rtol=1e-4)
        assert sd[0, 2, 2] == np.float32(1e-3)

    def test_standardised_with_the_training_images(self, context: RunContext) -> None:
        """Over the training images, every frequency has mean 0 and standard deviation 1."""
        train = labelled(20, 0)
        method = Wang20(sees="spectrum", epochs=1, batch_size=2).fit(train, labelled(4, 50), context)
        batch = Spectra(train, 3, method.average_, method.sd_).batch(np.arange(len(train)))
        np.testing.assert_allclose(batch.mean(axis=0), 0, atol=1e-4)
        np.testing.assert_allclose(batch.std(axis=0), 1, atol=1e-3)
        assert batch.dtype == np.float32

    def test_batches_do_not_matter(self) -> None:
        """No image's median reaches into the next one."""
        images = natural(5, 12, 12)
        alone = np.concatenate([residual_spectra(images[i : i + 1], 3) for i in range(5)])
        np.testing.assert_allclose(residual_spectra(images, 3), alone, rtol=1e-5, atol=1e-5)


class TestNetwork:
    """The classifier and its training."""

    @pytest.mark.parametrize("sources", [1, 5, 17])
    def test_parameters_of_the_papers_network(self, sources: int) -> None:
        """ResNet-50 with a head of K outputs: 23,508,032 + 2,049 K; the paper's own has one output, 23,510,081."""
        with torch.device("meta"):
            network = attribution_network("resnet50", sources, torch.zeros(3), torch.ones(3))
        assert sum(parameter.numel() for parameter in network.parameters()) == 23_508_032 + 2_049 * sources

    def test_the_network_decides_the_training(self) -> None:
        """One parameter makes it the paper's; what is given counts in any case."""
        paper = Wang20(network="resnet50").training_options()
        assert (paper.learning_rate, paper.schedule, paper.patience, paper.batch_size) == (1e-4, "plateau", 5, 64)
        assert (paper.betas, paper.weight_decay) == ((0.9, 0.999), 0)
        short = Wang20().training_options()
        assert (short.learning_rate, short.schedule, short.epochs) == (2e-3, "cosine", 15)
        assert Wang20(training="official").training_options() == paper
        assert Wang20(network="resnet50", training="short").training_options() == short
        assert Wang20(epochs=3, learning_rate=0.1).training_options() == replace(short, epochs=3, learning_rate=0.1)

    @pytest.mark.parametrize("sees", ["pixels", "spectrum"])
    def test_it_learns(self, context: RunContext, sees: str) -> None:
        """Blurred and noisy images are told apart on images that it has not seen; the record says how it trained."""
        sources = ("blurred", "noisy")
        method = Wang20(sees=sees, epochs=3, batch_size=8, augmentation=0.0 if sees == "spectrum" else 0.1)
        method.fit(labelled(40, 0, sources), labelled(15, 100, sources), context)
        test = labelled(40, 200, sources)
        assert (method.predict_proba(test.without_labels()).argmax(axis=1) == test.labels).mean() >= 0.9
        assert method.embed(test).shape == (80, 64)
        assert len(method.training_["val_accuracy"]) == 3
        assert method.training_["options"]["epochs"] == 3

    def test_offline_without_weights(
        self, context: RunContext, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """The paper's network needs published weights, and the error says in one line what to do."""

        def offline(*arguments: object, **options: object) -> None:
            raise URLError("no network")

        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
        with pytest.raises(CannotRunError, match="pretrained=false") as caught:
            Wang20(network="resnet50").fit(labelled(2, 0), labelled(2, 1), context)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(("name", "value"), [("augmentation", 10.0), ("median", 4)])
    def test_values_that_make_no_sense(self, context: RunContext, name: str, value: float) -> None:
        """A probability of ten, a median of an even square."""
        with pytest.raises(ParameterError, match=name):
            Wang20(**{name: value}).fit(labelled(2, 0), labelled(2, 1), context)

    def test_the_papers_crop_on_larger_images(self, context: RunContext) -> None:
        """Images larger than the crop are trained on and tested."""
        method = Wang20(epochs=1, batch_size=4, crop=24).fit(labelled(4, 0), labelled(2, 1), context)
        assert method.predict_proba(labelled(2, 2)).shape == (6, 3)

    @pytest.mark.slow
    @pytest.mark.parametrize("sees", ["pixels", "spectrum"])
    def test_it_overfits(self, context: RunContext, sees: str) -> None:
        """64 images of noise with labels that say nothing: 100 % on the training images."""
        pixels = np.random.default_rng(5).integers(0, 256, (64, 16, 16, 3)).astype(np.uint8)
        train = image_set(pixels, np.arange(64) % 2, ("real", "other"))
        method = Wang20(sees=sees, epochs=20, batch_size=16, augmentation=0.0).fit(train, train, context)
        assert (method.predict_proba(train.without_labels()).argmax(axis=1) == train.labels).all()


def test_compressed_images_are_jpeg() -> None:
    """Compressing at quality 100 changes little, at 30 much."""
    image = natural(1, 64, 64)[0]
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="JPEG", quality=30)
    np.testing.assert_array_equal(compressed(image, 30), np.asarray(Image.open(io.BytesIO(file.getvalue()))))
    low, high = (np.abs(compressed(image, quality).astype(int) - image).mean() for quality in (30, 100))
    assert high < low / 2
