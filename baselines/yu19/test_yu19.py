"""Yu19: the network's published sizes and patches, its layers against peers, and that it learns."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.ndimage
import torch
import torch.nn.functional as F
from torch import nn

from conftest import image_set, make_card, make_images
from gmbench.attributor import RunContext
from gmbench.attributors.yu19 import AttributionNetwork, Convolution, Dense, Halve, Pixels, Yu19
from gmbench.errors import ParameterError


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("sources", "size", "count"),
    [(5, 128, 8_913_797), (11, 128, 8_916_875), (5, 64, 8_900_357), (5, 32, 8_845_829), (12, 256, 8_920_652)],
)
def test_parameter_counts(sources: int, size: int, count: int) -> None:
    """With the released code's widths, the network has the released network's number of parameters."""
    assert parameters(AttributionNetwork(size, sources, "postpool", 4, 1024, 512)) == count


@pytest.mark.parametrize(
    ("size", "fmap_base", "of_all", "of_patches"),
    [(32, 256, 555_665, 82_193), (64, 512, 2_229_649, 336_529), (128, 1024, 8_919_953, 1_349_009),
     (256, 1024, 8_923_217, 1_352_273)],
)  # fmt: skip
def test_the_dense_layer_has_the_released_width(size: int, fmap_base: int, of_all: int, of_patches: int) -> None:
    """max(nf(1), sources) units: counts of 17 sources by hand, layer by layer, standard and with `postpool` from 16."""
    assert parameters(AttributionNetwork(size, 17, "postpool", 4, fmap_base, 512)) == of_all
    assert parameters(AttributionNetwork(size, 17, "postpool", 16, fmap_base, 512)) == of_patches
    assert parameters(AttributionNetwork(32, 18, "postpool", 4, 256, 512)) == 555_794
    many = AttributionNetwork(32, 300, "postpool", 4, 256, 512)
    assert many.features(torch.zeros(2, 3, 32, 32)).shape == (2, 300)


def test_patches_are_pooled_before_the_last_convolution() -> None:
    """With `postpool` above 4, the last convolution is at 4x4, where the released one is."""
    network = AttributionNetwork(32, 3, "postpool", 16, 256, 512)
    kinds = [type(layer).__name__ for layer in network.convolutions]
    assert kinds[-3:] == ["AvgPool2d", "AvgPool2d", "Convolution"]


def test_convolutions_of_the_standard_network() -> None:
    """At 128 pixels: 3-16-32, 32-64, 64-128, 128-256, 256-512, 512 channels, 4,716,416 parameters."""
    network = AttributionNetwork(128, 5, "postpool", 4, 1024, 512)
    widths = [layer.weight.shape[0] for layer in network.convolutions if isinstance(layer, Convolution)]
    assert widths == [16, 32, 32, 64, 64, 128, 128, 256, 256, 512, 512]
    assert parameters(network.convolutions) == 4_716_416


@pytest.mark.parametrize(("switching_res", "patch"), [(64, 6), (32, 16), (16, 36), (8, 76)])
def test_postpool_sees_patches(switching_res: int, patch: int) -> None:
    """Before the means each place sees a square: two 3x3 convolutions and a mean of 2x2 for each halving."""
    network = AttributionNetwork(128, 2, "postpool", switching_res, 64, 4)
    layers = list(network.convolutions)
    blocks = 3 * (7 - int(np.log2(switching_res)))
    x = torch.zeros(1, 3, 128, 128, requires_grad=True)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(0.1)
    middle = nn.Sequential(*layers[:blocks])(x)[0, 0, switching_res // 2 - 1, switching_res // 2 - 1]
    middle.backward()
    assert x.grad is not None
    rows = torch.nonzero(x.grad[0].abs().sum((0, 2)))
    assert rows.max() - rows.min() + 1 == patch


def test_predownscale_does_not_see_high_frequencies() -> None:
    """Stripes of one pixel are gone after the first halving; the network below is that of the smaller images."""
    network = AttributionNetwork(32, 3, "predownscale", 16, 64, 16)
    x = torch.rand(2, 3, 32, 32)
    stripes = torch.tensor([1.0, -1.0]).repeat(16)
    torch.testing.assert_close(network(x + stripes), network(x))
    assert parameters(network) == parameters(AttributionNetwork(16, 3, "postpool", 4, 64, 16))


@pytest.mark.parametrize("variant", ["postpool", "predownscale"])
@pytest.mark.parametrize("switching_res", [4, 8, 16, 32])
def test_every_switching_resolution_gives_logits(variant: str, switching_res: int) -> None:
    """From the smallest to the images' own."""
    network = AttributionNetwork(32, 3, variant, switching_res, 64, 512)
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 3)
    assert network.features(torch.zeros(2, 3, 32, 32)).shape == (2, 32)


@pytest.mark.parametrize("switching_res", [5, 12, 64])
def test_switching_resolutions_that_make_no_sense(switching_res: int) -> None:
    """It is a power of two from 4 to the images' side."""
    with pytest.raises(ParameterError, match="switching_res"):
        AttributionNetwork(32, 3, "postpool", switching_res, 64, 512)


def test_no_weights_no_opinion() -> None:
    """With all parameters zero every source is equally likely, and the loss is ln K."""
    network = AttributionNetwork(32, 7, "postpool", 4, 64, 512)
    for parameter in network.parameters():
        nn.init.zeros_(parameter)
    logits = network(torch.rand(3, 3, 32, 32))
    assert F.cross_entropy(logits, torch.tensor([0, 3, 6])).item() == pytest.approx(math.log(7))


def test_convolution_is_torchs_at_another_scale() -> None:
    """With weights times sqrt(2 / fan-in) and reflected borders it is torch's convolution and leaky ReLU."""
    ours, torchs = Convolution(5, 7), nn.Conv2d(5, 7, 3, padding=1, padding_mode="reflect")
    nn.init.normal_(ours.bias)
    torchs.load_state_dict({"weight": ours.weight.detach() * math.sqrt(2 / 45), "bias": ours.bias.detach()})
    x = torch.randn(2, 5, 9, 9)
    torch.testing.assert_close(ours(x), F.leaky_relu(torchs(x), 0.2))


def test_layers_start_at_unit_scale() -> None:
    """Weights are drawn from N(0, 1), and a dense layer of gain 1 keeps the variance of its input."""
    torch.manual_seed(0)
    layer = Dense(400, 500, gain=1)
    assert layer.weight.std().item() == pytest.approx(1, abs=0.01)
    assert layer(torch.randn(500, 400)).std().item() == pytest.approx(1, abs=0.02)


def test_halving_is_a_gaussian_pyramid() -> None:
    """It is scipy's correlation with mirrored borders, every second pixel; a constant stays what it is."""
    image = np.random.default_rng(0).uniform(-1, 1, (3, 16, 16))
    row = np.array([1, 4, 6, 4, 1]) / 16
    expected = scipy.ndimage.correlate(image, np.outer(row, row)[None], mode="mirror")[:, ::2, ::2]
    halved = Halve()(torch.from_numpy(image).float()[None])[0]
    np.testing.assert_allclose(halved.numpy(), expected, atol=1e-6)
    torch.testing.assert_close(Halve()(torch.full((1, 3, 8, 8), 0.7)), torch.full((1, 3, 4, 4), 0.7))


def test_an_image_does_not_depend_on_its_batch_in_training() -> None:
    """There is no normalisation over the batch."""
    network = AttributionNetwork(32, 3, "postpool", 4, 64, 512).train()
    x = torch.rand(4, 3, 32, 32)
    torch.testing.assert_close(network(x)[:1], network(x[:1]))


def test_inputs() -> None:
    """Black is -1, white is 1; with `flip` some images are mirrored, drawn anew each time, without it none."""
    pixels = make_images("real", 40, 0)
    pixels[0, 0, 0], pixels[0, 0, 1] = 0, 255
    x = Pixels(image_set(pixels)).batch(np.arange(40))
    assert x.dtype == np.float32
    assert (x[0, :, 0, 0] == -1).all()
    assert (x[0, :, 0, 1] == 1).all()
    torch.manual_seed(0)
    flipped = Pixels(image_set(pixels), flip=True)
    mirrored = [(flipped.batch(np.arange(40)) == x[..., ::-1]).all((1, 2, 3)) for _ in range(2)]
    assert 5 < mirrored[0].sum() < 35
    assert (mirrored[0] != mirrored[1]).any()


@pytest.mark.parametrize(("resolution", "runs"), [(32, True), (256, True), (48, False), (4, False)])
def test_sides_are_powers_of_two(resolution: int, runs: bool) -> None:
    """Other images are refused with the reason."""
    reason = Yu19().skip(make_card().model_copy(update={"resolution": resolution}))
    assert reason is None if runs else "power of two" in str(reason)


def test_it_learns(context: RunContext) -> None:
    """Three sources that differ in brightness; at 32 pixels the default network starts with 16 channels, too."""
    labels = np.arange(60) % 3
    images = image_set(make_images("real", 60, 0) // 3 + (80 * labels[:, None, None, None]).astype(np.uint8), labels)
    method = Yu19(epochs=2, batch_size=8).fit(images[:48], images[48:54], context)
    assert (method.predict_proba(images[54:].without_labels()).argmax(axis=1) == labels[54:]).all()
    assert parameters(method.network_) == parameters(AttributionNetwork(32, 3, "postpool", 4, 256, 512))
    assert method.embed(images).shape == (60, 128)


@pytest.mark.slow
def test_it_overfits(context: RunContext) -> None:
    """64 images with arbitrary labels are learned by heart."""
    images = image_set(make_images("real", 64, 0), np.random.default_rng(0).integers(0, 3, 64))
    method = Yu19(epochs=25, flip=False, patience=0).fit(images, images, context)
    np.testing.assert_array_equal(method.predict_proba(images).argmax(axis=1), images.labels)
