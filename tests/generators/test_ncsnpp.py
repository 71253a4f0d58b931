"""NCSN++: the noise is the variance-exploding SDE's, and the sampler recovers a distribution whose score is known."""

from __future__ import annotations

import math

import pytest
import torch
from diffusers.models.downsampling import FirDownsample2D
from diffusers.models.upsampling import FirUpsample2D
from torch import Tensor

from gmbench.generators.ncsnpp import Downsample, NCSNpp, PyramidStep, ResidualBlock, Upsample, predictor_corrector


def small() -> NCSNpp:
    """A model with few weights, from a fixed seed."""
    torch.manual_seed(0)
    return NCSNpp(16, 1, width=8, sampling_steps=10)


def test_noise_grows_geometrically_from_the_smallest_to_the_largest() -> None:
    """Equal steps of time multiply sigma by equal factors; in the middle is the geometric mean."""
    sigmas = NCSNpp(16, 1, width=8, sigma_min=0.02, sigma_max=30.0).sigma(torch.linspace(0, 1, 11))
    assert sigmas[0].item() == pytest.approx(0.02)
    assert sigmas[-1].item() == pytest.approx(30)
    assert sigmas[5].item() == pytest.approx(math.sqrt(0.02 * 30), rel=1e-5)
    torch.testing.assert_close(sigmas[1:] / sigmas[:-1], torch.full((10,), 1500**0.1))


def test_training_images_are_perturbed_with_sigma(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network sees intensities in [0, 1] plus noise of mean 0 and the variance of the sigma that it is told."""
    model = small()
    seen: list[tuple[Tensor, Tensor]] = []
    forward = model.network.forward

    def watched(x: Tensor, sigma: Tensor) -> Tensor:
        seen.append((x, sigma))
        return forward(x, sigma)

    monkeypatch.setattr(model.network, "forward", watched)
    model.train_step(torch.full((64, 1, 16, 16), 0.4), 1)
    (noisy, sigma), *others = seen
    assert not others
    assert sigma.min() < 0.05
    assert sigma.max() > 10
    standard = (noisy - 0.7) / sigma[:, None, None, None]
    assert standard.mean((1, 2, 3)).abs().max() < 0.3
    torch.testing.assert_close(standard.std((1, 2, 3)), torch.ones(64), atol=0.2, rtol=0)


def test_the_loss_weighs_every_noise_scale_alike() -> None:
    """Of a network whose score is zero, the loss is that of its noise: 1, whatever sigma."""
    for sigma in (0.01, 1.0, 50.0):
        model = NCSNpp(16, 1, width=8, sigma_min=sigma, sigma_max=sigma)
        torch.nn.init.zeros_(model.network.last.weight)
        assert model.train_step(torch.zeros(8, 1, 16, 16), 1)["loss"] == pytest.approx(1, abs=0.1)


def test_the_score_is_divided_by_sigma() -> None:
    """With a constant for the last layer's output, the score falls as sigma grows."""
    model = small()
    torch.nn.init.zeros_(model.network.last.weight)
    torch.nn.init.ones_(model.network.last.bias)
    sigma = torch.tensor([0.01, 1.0, 50.0])
    score = model.network(torch.rand(3, 1, 16, 16), sigma)
    torch.testing.assert_close(score, (1 / sigma)[:, None, None, None].expand(score.shape))


@pytest.mark.parametrize(("mean", "deviation"), [(0.3, 0.2), (-1.0, 2.0), (0.5, 0.0)])
def test_the_sampler_recovers_a_gaussian(mean: float, deviation: float) -> None:
    """With the exact score of noisy Gaussian data: their mean and standard deviation; nothing is left of the noise."""
    random = torch.Generator().manual_seed(0)

    def score(x: Tensor, sigma: Tensor) -> Tensor:
        return (mean - x) / (deviation**2 + sigma[:, None].square())

    def noise() -> Tensor:
        return torch.randn(2000, 16, generator=random)

    sigmas = NCSNpp(16, 1, width=8).sigma(torch.linspace(1, 0, 300))
    samples = predictor_corrector(score, 50 * noise(), sigmas, 0.16, noise)
    assert samples.mean().item() == pytest.approx(mean, abs=0.05 * deviation + 1e-5)
    assert samples.std().item() == pytest.approx(deviation, rel=0.05, abs=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_filters_are_those_of_diffusers(channels: int) -> None:
    """Down and up with (1, 3, 3, 1), and down with a convolution, for values and borders."""
    x = torch.randn(2, channels, 8, 8)
    torch.testing.assert_close(Downsample()(x), FirDownsample2D(channels)(x))
    torch.testing.assert_close(Upsample()(x), FirUpsample2D(channels)(x))
    theirs, ours = FirDownsample2D(channels, 4, use_conv=True), PyramidStep(channels, 4)
    ours.convolution.load_state_dict(theirs.Conv2d_0.state_dict())
    torch.testing.assert_close(ours(x), theirs(x))


def test_the_network_uses_its_embedding() -> None:
    """The same noisy image has another score at another sigma, beyond the division by it."""
    model = small()
    for module in model.network.modules():
        if isinstance(module, ResidualBlock):
            torch.nn.init.xavier_uniform_(module.last.weight)
    x, sigma = torch.rand(1, 1, 16, 16), torch.tensor([0.5, 0.6])
    first, second = model.network(x.expand(2, -1, -1, -1), sigma) * sigma[:, None, None, None]
    assert not torch.allclose(first, second, atol=1e-3)


def test_a_new_network_can_be_sampled() -> None:
    """Its score does not vanish, so the corrector's steps stay finite."""
    assert small().sample(2, torch.Generator().manual_seed(0)).isfinite().all()
