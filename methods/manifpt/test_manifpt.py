"""ManiFPT's readings of an artifact in a learned space, and what is subtracted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from conftest import image_set, make_images
from gmbench.attributor import RunContext
from gmbench.attributors.manifpt import ManiFPT
from gmbench.data.dataset import Dataset
from gmbench.errors import ParameterError
from gmbench.learning.inputs import Embedded
from gmbench.manifold.encoders import Encoder, find_encoder
from gmbench.manifold.learned import Learned, middle_map, stage_moments
from gmbench.manifold.projection import project, random_projection
from gmbench.manifold.rgb import RGB
from gmbench.registry import find_method
from gmbench.support.cache import Cache
from gmbench.support.progress import Progress
from gmbench.testing import check_attributor


def affine(before: int, after: int, seed: int) -> nn.Conv2d:
    """A convolution of single pixels: each is mapped linearly, wherever it is."""
    torch.manual_seed(seed)
    return nn.Conv2d(before, after, 1)


@pytest.fixture
def pixelwise() -> Encoder:
    """An encoder with three stages of 2, 5 and 4 channels, which know no neighbours."""
    body = nn.Sequential(affine(3, 2, 0), affine(2, 5, 1), affine(5, 4, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return Encoder(body, stages=("0", "1", "2")).eval()


@pytest.fixture
def identity(context: RunContext) -> RunContext:
    """A run whose encoder gives the image itself, as a vector."""
    return replace(context, encoder=lambda *which: Encoder(nn.Flatten(), stages=()).eval())


class TestReadings:
    """What of an encoder is taken."""

    def test_stages_of_a_constant_image(self, pixelwise: Encoder) -> None:
        """Each stage's means are its map of the one colour, its deviations are zero."""
        colour = torch.tensor([0.2, 0.4, 0.8])
        image = colour.view(1, 3, 1, 1).expand(1, 3, 7, 9)
        expected, value = [], colour
        for stage in pixelwise.body[:3]:
            value = stage.weight[:, :, 0, 0] @ value + stage.bias
            expected += [value, torch.zeros_like(value)]
        with torch.no_grad():
            torch.testing.assert_close(stage_moments(pixelwise, image)[0], torch.cat(expected), atol=1e-6, rtol=1e-5)

    def test_stages_of_two_halves(self, pixelwise: Encoder) -> None:
        """Half the pixels at a, half at b: mean (a + b) / 2 and deviation |a - b| / 2 after any linear stage."""
        image = torch.zeros(1, 3, 4, 4)
        image[..., :2] = 1
        with torch.no_grad():
            white, black = (
                pixelwise.maps(each.expand(1, 3, 1, 1))[0][0, :, 0, 0] for each in (torch.ones(1), torch.zeros(1))
            )
            moments = stage_moments(pixelwise, image)[0, :4]
        torch.testing.assert_close(moments, torch.cat([(white + black) / 2, (white - black).abs() / 2]))

    def test_the_map_is_the_middle_stages(self, pixelwise: Encoder) -> None:
        """Of three, the second: 5 channels, pixel by pixel what the two convolutions give."""
        image = torch.rand(2, 3, 6, 6)
        with torch.no_grad():
            found = middle_map(pixelwise, image)
            torch.testing.assert_close(found, pixelwise.body[1](pixelwise.body[0](image)))

    def test_shapes_of_the_default_encoders_readings(self) -> None:
        """ResNet-20 at 32 pixels: 64 features; 2 (16 + 32 + 64) moments; 32 channels of 16x16 in the middle."""
        pixels = make_images("real", 2, 0)
        shapes = {
            name: Learned(Encoder().eval(), reading=name).embed(pixels).shape for name in ("vector", "stages", "map")
        }
        assert shapes == {"vector": (2, 64), "stages": (2, 224), "map": (2, 32, 16, 16)}

    def test_readings_share_no_key(self) -> None:
        """What is kept of one is never taken for another."""
        encoder = Encoder()
        assert len({str(Learned(encoder, reading=name).describe()) for name in ("vector", "stages", "map")}) == 3
        with pytest.raises(ParameterError, match="reading: expected one of vector, stages, map, got 'image'"):
            Learned(encoder, reading="image")


class TestIdentityEncoder:
    """With an encoder that changes nothing, a learned space is RGB."""

    def artifacts(self, method: ManiFPT, tiny: Dataset, context: RunContext) -> np.ndarray:
        test = tiny["test"].without_labels()
        return method.fit(tiny["train"], tiny["val"], context).inputs(test).batch(np.arange(len(test)))

    def test_image(self, tiny: Dataset, identity: RunContext, tmp_path: Path) -> None:
        """The same projections and the same artifacts, so the same answers."""
        answers, artifacts = [], []
        for name, method in (("rgb", ManiFPT("rgb", epochs=1)), ("image", ManiFPT("sl", artifact="image", epochs=1))):
            (tmp_path / name).mkdir()
            context = replace(identity, scratch=tmp_path / name)
            artifacts.append(self.artifacts(method, tiny, context))
            answers.append(method.predict_proba(tiny["test"].without_labels()))
        np.testing.assert_array_equal(*artifacts)
        np.testing.assert_array_equal(*answers)

    def test_vector(self, tiny: Dataset, identity: RunContext) -> None:
        """The same numbers in one row."""
        test = tiny["test"]
        found = self.artifacts(ManiFPT("sl", artifact="vector", epochs=1), tiny, identity)
        nearest = project(test, tiny["manifold"], RGB(), Cache(), Progress())
        expected = RGB().embed(test.pixels()) - RGB().embed(tiny["manifold"].pixels(nearest))
        np.testing.assert_allclose(found, expected.reshape(len(test), -1), atol=1e-6)


class TestProjection:
    """The nearest manifold image, any one, or none."""

    @pytest.mark.parametrize("space", ["rgb", "freq", "ssl"])
    def test_none(self, space: str, tiny: Dataset, context: RunContext) -> None:
        """The network sees the embedded images themselves."""
        method = ManiFPT(space, projection="none", epochs=1).fit(tiny["train"], tiny["val"], context)
        test = tiny["test"]
        found, expected = (
            each.batch(np.arange(5)) for each in (method.inputs(test), Embedded(test, method._reading()))
        )
        np.testing.assert_allclose(found, expected, atol=1e-5)

    def test_random(self, tiny: Dataset, context: RunContext) -> None:
        """What is subtracted is the manifold image that the id draws, not the nearest one."""
        method = ManiFPT("rgb", projection="random", epochs=1).fit(tiny["train"], tiny["val"], context)
        test, manifold = tiny["test"], tiny["manifold"]
        drawn = random_projection(test, manifold)
        expected = RGB().embed(test.pixels()) - RGB().embed(manifold.pixels(drawn))
        np.testing.assert_allclose(method.inputs(test).batch(np.arange(len(test))), expected)
        assert (drawn != project(test, manifold, RGB(), Cache(), Progress())).mean() > 0.9

    def test_a_random_projection_is_uniform_and_of_the_image_alone(self) -> None:
        """4,000 draws from ten: 400 each, within four standard deviations; a subset draws the same."""
        images = image_set(np.zeros((4000, 1, 1, 3), np.uint8))
        manifold = image_set(np.zeros((10, 1, 1, 3), np.uint8))
        object.__setattr__(manifold, "ids", np.array([f"m{i}" for i in range(10)]))
        drawn = random_projection(images, manifold)
        np.testing.assert_allclose(np.bincount(drawn, minlength=10), 400, atol=4 * np.sqrt(4000 * 0.1 * 0.9))
        np.testing.assert_array_equal(random_projection(images[5:50:3], manifold), drawn[5:50:3])

    def test_no_image_is_drawn_for_itself(self) -> None:
        """Images that are all in the manifold."""
        images = image_set(np.zeros((300, 1, 1, 3), np.uint8))
        assert (random_projection(images, images) != np.arange(300)).all()
        assert random_projection(images[:2], images[:2]).tolist() == [1, 0]


@pytest.mark.parametrize("reading", ["vector", "stages", "map", "image"])
@pytest.mark.parametrize("slug", ["manifpt-sl", "manifpt-ssl"])
def test_every_reading_keeps_the_contract(slug: str, reading: str) -> None:
    """As every method that gmbench ships."""
    check_attributor(find_method(slug), {"epochs": 1, "artifact": reading})


@pytest.mark.parametrize("projection", ["random", "none"])
@pytest.mark.parametrize("slug", ["manifpt-rgb", "manifpt-freq", "manifpt-sl", "manifpt-ssl"])
def test_every_projection_keeps_the_contract(slug: str, projection: str) -> None:
    """As every method that gmbench ships."""
    check_attributor(find_method(slug), {"epochs": 1, "projection": projection})


@pytest.mark.slow
@pytest.mark.parametrize("reading", ["vector", "stages", "map", "image"])
@pytest.mark.parametrize("projection", ["nearest", "random", "none"])
def test_every_reading_overfits(context: RunContext, reading: str, projection: str) -> None:
    """64 images of noise with labels that say nothing: 100 % on the training images."""
    pixels = np.random.default_rng(5).integers(0, 256, (64, 32, 32, 3)).astype(np.uint8)
    train = image_set(pixels, np.arange(64) % 2, ("real", "other"))
    method = ManiFPT("sl", artifact=reading, projection=projection, epochs=30, batch_size=16).fit(train, train, context)
    assert (method.predict_proba(train.without_labels()).argmax(axis=1) == train.labels).all()


def test_a_resnet50_from_a_file_sees_images_of_256_pixels(context: RunContext, tmp_path: Path) -> None:
    """Weights in the release's format, given by path: 2,048 features, and 2 x 3,840 moments of four stages."""
    from torchvision.models import resnet50

    from gmbench.data.cards import dataset_cards

    torch.manual_seed(1)
    torch.save(resnet50().state_dict(), tmp_path / "resnet50.pth")
    card = dataset_cards()["gm-chq"]
    context = replace(context, encoder=lambda kind, *choice: find_encoder(card, kind, tmp_path, *choice))
    images = image_set(np.repeat(make_images("real", 4, 1, 64), 4, axis=1).repeat(4, axis=2), np.arange(4) % 2)
    context = replace(context, manifold=image_set(images.pixels()[::-1].copy())[:2])
    method = ManiFPT("sl", encoder_weights=str(tmp_path / "resnet50.pth"), epochs=1).fit(images, images, context)
    assert method.inputs(images).batch(np.arange(2)).shape == (2, 7680)
    assert method.predict_proba(images.without_labels()).shape == (4, 3)
