"""Marra18: its networks' sizes, what each phase of training changes, and that it learns."""

from __future__ import annotations

from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from conftest import image_set, make_card, make_images
from gmbench.attributor import RunContext
from gmbench.attributors.marra18 import Marra18, ResizedPixels, train_head
from gmbench.data.images import ImageSet
from gmbench.errors import CannotRunError
from gmbench.learning.inputs import Pixels
from gmbench.learning.training import TrainingOptions
from gmbench.networks.attribution import AttributionNetwork, attribution_network
from gmbench.networks.resnet import cifar_resnet

HALF = torch.full((3,), 0.5)


def labelled(per_source: int, seed: int, size: int = 32) -> ImageSet:
    """Blurred and noisy images of `make_images` with labels."""
    sources = ("blurred", "noisy")
    pixels = np.concatenate([make_images(source, per_source, seed + 7 * j, size) for j, source in enumerate(sources)])
    return image_set(pixels, np.repeat(np.arange(2), per_source), sources)


def small_network(sources: int = 2) -> AttributionNetwork:
    """A network like any other, and quick."""
    torch.manual_seed(0)
    return AttributionNetwork(cifar_resnet(3, depth=8), 64, sources, HALF, HALF)


@pytest.mark.parametrize(("name", "body"), [("xception", 20_806_952), ("inception_v3", 21_785_568)])
def test_parameters(name: str, body: int) -> None:
    """The bodies have as many parameters as timm's, and features of 2,048; Xception with 1,000 classes 22,855,952."""
    with torch.device("meta"):
        network = attribution_network(name, 1000, HALF, HALF)
    assert sum(parameter.numel() for parameter in network.body.parameters()) == body
    assert network.head.in_features == 2048
    if name == "xception":
        assert sum(parameter.numel() for parameter in network.parameters()) == 22_855_952


@pytest.mark.parametrize("name", ["xception", "inception_v3"])
def test_normalisation_is_that_of_the_weights(name: str) -> None:
    """timm lists a mean and a standard deviation of 0.5 for both weights."""
    config = timm.get_pretrained_cfg("legacy_xception" if name == "xception" else name)
    assert config is not None
    assert config.mean == config.std == (0.5, 0.5, 0.5)
    assert config.input_size == (3, 299, 299)


def test_images_keep_their_size() -> None:
    """The image over 255, and nothing else."""
    images = make_images("noisy", 3, 0)
    batch = Marra18().inputs(image_set(images)).batch(np.array([2, 1]))
    np.testing.assert_array_equal(batch, images[[2, 1]].transpose(0, 3, 1, 2).astype(np.float32) / 255)


@pytest.mark.parametrize("size", [20, 75])
def test_resizing_is_pillows(size: int) -> None:
    """Bilinear, with a wider filter where the image gets smaller, up to rounding to whole intensities."""
    images = make_images("real", 2, 0)
    batch = ResizedPixels(image_set(images), size).batch(np.arange(2))
    for image, resized in zip(images, batch, strict=True):
        peer = np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
        np.testing.assert_allclose(255 * resized, peer, atol=1.01)


def test_the_first_phase_changes_the_head_alone(context: RunContext) -> None:
    """All of the body, running statistics included, stays bit for bit; the head learns dark from bright."""
    network = small_network()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    labels = np.arange(32) % 2
    brightness = 60 + 130 * labels[:, None, None, None]
    pixels = (brightness + np.random.default_rng(0).integers(0, 60, (32, 16, 16, 3))).astype(np.uint8)
    inputs = Pixels(image_set(pixels, labels))
    options = TrainingOptions(epochs=3, batch_size=8, learning_rate=0.01, schedule="constant")
    result = train_head(network, inputs, labels, inputs, labels, options, context)
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"head.weight", "head.bias"}
    assert max(result.val_accuracy) == 1


@pytest.mark.parametrize(("published", "has_head_phase"), [(True, True), (False, False)])
def test_the_first_phase_needs_published_weights(
    context: RunContext, monkeypatch: pytest.MonkeyPatch, published: bool, has_head_phase: bool
) -> None:
    """The head is fitted first only to features that mean something; the second phase then trains everything."""
    network = small_network()
    network.weights_sha256 = "0" * 64 if published else None
    before = {name: value.clone() for name, value in network.named_parameters()}
    monkeypatch.setattr("gmbench.attributors.marra18.attribution_network", lambda *arguments: network)
    method = Marra18(head_epochs=2, epochs=1, batch_size=4).fit(labelled(4, 0), labelled(2, 1), context)
    assert ("head" in method.training_) == has_head_phase
    assert not has_head_phase or len(method.training_["head"]["val_accuracy"]) == 2
    assert len(method.training_["val_accuracy"]) == 1
    assert all(not torch.equal(value, before[name]) for name, value in network.named_parameters())


def test_the_network_decides_the_training() -> None:
    """One parameter makes it the paper's; what is given counts in any case."""
    for paper in (Marra18("xception").training_options(), Marra18("inception_v3").training_options()):
        assert paper == TrainingOptions(15, 32, 2e-4, schedule="constant")
    assert Marra18().training_options() == TrainingOptions(15, 32, 2e-3, schedule="cosine")
    assert Marra18(training="fine-tuning").training_options() == Marra18("xception").training_options()
    assert Marra18("xception", learning_rate=0.1).training_options().learning_rate == 0.1


def test_it_learns(context: RunContext) -> None:
    """Blurred and noisy images are told apart on images that it has not seen; the record says how it trained."""
    method = Marra18(epochs=2, batch_size=8).fit(labelled(40, 0), labelled(15, 100), context)
    test = labelled(40, 200)
    assert (method.predict_proba(test.without_labels()).argmax(axis=1) == test.labels).mean() >= 0.9
    assert method.embed(test).shape == (80, 64)
    assert method.training_["options"]["learning_rate"] == 2e-3


def test_xception_takes_32_pixels() -> None:
    """No image is enlarged for it: 2,048 features from 32 pixels."""
    network = attribution_network("xception", 5, HALF, HALF).eval()
    with torch.no_grad():
        assert network.features(torch.rand(2, 3, 32, 32)).shape == (2, 2048)


def test_inception_on_small_images(context: RunContext) -> None:
    """It cannot see 32 pixels and says what to do, before a run and in `fit`; at 75 and more it can."""
    method = Marra18("inception_v3", pretrained=False)
    reason = method.skip(make_card())
    assert reason is not None
    assert "75 pixels" in reason
    with pytest.raises(CannotRunError, match="resize=299"):
        method.fit(labelled(2, 0), labelled(2, 1), context)
    assert Marra18("inception_v3", resize=75).skip(make_card()) is None
    assert Marra18("xception").skip(make_card()) is None
    network = attribution_network("inception_v3", 5, HALF, HALF).eval()
    with torch.no_grad():
        assert network.features(torch.rand(1, 3, 75, 75)).shape == (1, 2048)


def test_offline_without_weights(context: RunContext, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The paper's network needs published weights, and the error says in one line what to do."""

    def offline(*arguments: object, **options: object) -> None:
        raise URLError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(CannotRunError, match="pretrained=false") as caught:
        Marra18("xception").fit(labelled(2, 0), labelled(2, 1), context)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_it_overfits(context: RunContext) -> None:
    """64 images of noise with labels that say nothing: 100 % on the training images."""
    pixels = np.random.default_rng(5).integers(0, 256, (64, 16, 16, 3)).astype(np.uint8)
    train = image_set(pixels, np.arange(64) % 2, ("real", "other"))
    method = Marra18(epochs=20, batch_size=16).fit(train, train, context)
    assert (method.predict_proba(train.without_labels()).argmax(axis=1) == train.labels).all()
