"""NVAE's closed forms, its path through the scales, and what its samples are normalised by."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Normal, kl_divergence

from gmbench.generators.nvae import NVAE, LogisticMixture, Posterior, generative_cell, residual_divergence

SMALL = {"width": 4, "latent": 2, "groups": 1, "components": 2, "warmup": 10, "ema_decay": 0.9}


def levels() -> torch.Tensor:
    """One image (256, 1, 1, 1) for each level of grey."""
    return (torch.arange(256.0) / 127.5 - 1)[:, None, None, None]


def small(size: int = 32, channels: int = 1, **parameters: float) -> NVAE:
    """A small model with weights from a fixed seed, in training mode."""
    torch.manual_seed(0)
    return NVAE(size, channels, **(SMALL | parameters)).train()  # type: ignore[arg-type]


def test_the_divergence_is_that_of_two_gaussians() -> None:
    """The closed form relative to the prior equals the general one, and is nothing for no shift and ratio 1."""
    mean, log_scale, shift, log_ratio = torch.randn(4, 1000, dtype=torch.float64)
    expected = kl_divergence(Normal(mean + shift, (log_scale + log_ratio).exp()), Normal(mean, log_scale.exp()))
    torch.testing.assert_close(residual_divergence(shift, log_ratio, log_scale), expected)
    assert not residual_divergence(torch.zeros(5), torch.zeros(5), torch.randn(5)).any()


@pytest.mark.parametrize("spread", [0.5, 3.0])
def test_the_likelihood_sums_to_one(spread: float) -> None:
    """Over the 256 levels of grey, for mixtures both wide and far narrower than a level."""
    torch.manual_seed(1)
    parameters = spread * torch.randn(1, LogisticMixture.parameters(1, 4), 5, 5, dtype=torch.float64)
    pixels = LogisticMixture(parameters.expand(256, -1, -1, -1), 1, 4)
    total = pixels.log_likelihood(levels().double().expand(-1, -1, 5, 5)).exp().sum(dim=0)
    torch.testing.assert_close(total, torch.ones_like(total))


def test_the_likelihood_of_a_level_is_the_mass_of_its_bin() -> None:
    """One logistic: the difference of its distribution function at the bin's ends; tails go to the outer levels."""
    mean, log_scale = 0.3, -2.0
    parameters = torch.tensor([0.0, mean, log_scale])[None, :, None, None].expand(256, -1, -1, -1)
    ends = torch.sigmoid((levels().flatten() + 1 / 255 - mean) / torch.tensor(log_scale).exp())[:-1]
    expected = torch.cat([ends, torch.ones(1)]) - torch.cat([torch.zeros(1), ends])
    found = LogisticMixture(parameters, 1, 1).log_likelihood(levels()).exp().flatten()
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-3)


def test_channels_depend_on_those_before() -> None:
    """With a slope, the mean of green moves with red, and the likelihood factors into the three channels'."""
    red, green, blue = 0.5, -0.25, 0.75
    means, log_scales, slopes = [0.1, 0.2, -0.1], [-2.0, -1.5, -1.0], [0.5, -0.3, 0.2]
    parameters = torch.tensor([0.0, *means, *log_scales, *slopes])[None, :, None, None]
    image = torch.tensor([red, green, blue])[None, :, None, None]
    a, b, c = torch.tensor(slopes).tanh().tolist()
    given = [0.1, 0.2 + a * red, -0.1 + b * red + c * green]
    alone = sum(
        LogisticMixture(torch.tensor([0.0, mean, log_scale])[None, :, None, None], 1, 1).log_likelihood(
            image[:, channel : channel + 1]
        )
        for channel, (mean, log_scale) in enumerate(zip(given, log_scales, strict=True))
    )
    pixels = LogisticMixture(parameters, 3, 1)
    torch.testing.assert_close(pixels.log_likelihood(image), alone)
    expected = [0.1, 0.2 + a * 0.1]
    expected.append(-0.1 + b * expected[0] + c * expected[1])
    torch.testing.assert_close(pixels.mean().flatten(), torch.tensor(expected))


def test_means_weigh_components_and_stay_in_range() -> None:
    """Two components with weights 3 : 1; one of them beyond white counts as white."""
    parameters = torch.tensor([[3.0, 1.0], [-0.5, 4.0], [0.0, 0.0]]).log_()
    parameters[1] = torch.tensor([-0.5, 4.0])
    image = LogisticMixture(parameters.T.reshape(1, 6, 1, 1), 1, 2).mean()
    assert image.item() == pytest.approx(0.75 * -0.5 + 0.25 * 1.0, abs=1e-6)


def test_upsampling_may_follow_the_pointwise_convolution() -> None:
    """A cell that enlarges gives what it would with its input enlarged first."""
    torch.manual_seed(2)
    cell = generative_cell(8, 4, 3).eval()
    same = generative_cell(8, 4, 3).eval()
    same.load_state_dict(cell.state_dict())
    same.shortcut[1] = same.branch[4] = torch.nn.Identity()  # type: ignore[index, operator]
    x = torch.randn(2, 8, 4, 4)
    torch.testing.assert_close(cell(x), same(F.interpolate(x, scale_factor=2)))


@pytest.mark.parametrize(("size", "scales"), [(32, 2), (32, 3), (64, 3)])
def test_groups_lie_at_their_scales(size: int, scales: int) -> None:
    """From 4 pixels upwards, each with a divergence; features of the encoder have the state's shape."""
    model = small(size, scales=scales, groups=2)
    sides: list[int] = []

    def draw(index: int, state: torch.Tensor, mean: torch.Tensor, log_scale: torch.Tensor) -> torch.Tensor:
        assert features[index].shape == state.shape
        sides.append(mean.shape[-1])
        return mean

    features = model.encoder(torch.zeros(2, 1, size, size))
    parameters = model.decoder(2, draw)
    assert parameters.shape == (2, LogisticMixture.parameters(1, 2), size, size)
    assert sides == model.sides == [4 * 2**scale for scale in range(scales) for _ in range(2)]
    _, divergences = model(torch.zeros(3, 1, size, size))
    assert divergences.shape == (3, 2 * scales)
    assert (divergences > 0).all()


def test_scales_beyond_the_image_are_refused() -> None:
    """There are four from 4 to 32 pixels."""
    with pytest.raises(ValueError, match="1 to 4"):
        small(scales=5)


def test_a_posterior_at_rest_is_the_prior() -> None:
    """Without a shift and with ratio 1 there is no divergence; both are bounded."""
    posterior = Posterior(4, 2)
    for parameter in posterior.parameters():
        torch.nn.init.zeros_(parameter)
    shift, log_ratio = posterior(torch.randn(1, 4, 4, 4), torch.randn(1, 4, 4, 4))
    assert not shift.any()
    assert not log_ratio.any()
    torch.nn.init.constant_(posterior.convolution.bias, 1e3)  # type: ignore[arg-type]
    assert max(value.abs().max() for value in posterior(torch.zeros(1, 4, 4, 4), torch.zeros(1, 4, 4, 4))) <= 5


def test_balance_follows_the_divergence_per_latent() -> None:
    """Mean 1; a group of four times the latents with four times the divergence weighs the same."""
    model = small(scales=2, groups=1)
    torch.testing.assert_close(model._balance(torch.tensor([10.0, 40.03])), torch.ones(2))
    weights = model._balance(torch.tensor([30.0, 40.0]))
    assert weights.mean().item() == pytest.approx(1)
    assert weights[0] / weights[1] == pytest.approx(3, abs=0.01)


def test_averages_follow_and_statistics_are_those_of_samples() -> None:
    """Averaged weights move a tenth of the way; the average's running statistics move, and not with the decoder's."""
    model = small(learning_rate=0.1)
    before = model.average.start.clone()
    model.train_step(torch.rand(8, 1, 32, 32) * 2 - 1, 1)
    torch.testing.assert_close(model.average.start, before.lerp(model.decoder.start, 0.1))
    assert not torch.equal(model.average.start, before)
    averaged, own = (
        torch.cat([value for name, value in part.named_buffers() if name.endswith("running_mean")])
        for part in (model.average, model.decoder)
    )
    assert averaged.any()
    assert not torch.allclose(averaged, own)


def test_no_temperature_leaves_one_image() -> None:
    """At temperature 0 all samples are the prior's means, hence one image; above it they differ."""
    for temperature, differ in ((0.0, False), (1.0, True)):
        model = small(temperature=temperature).eval()
        first, second = model.sample(2, torch.Generator().manual_seed(0))
        assert torch.allclose(first, second, atol=1e-6) is not differ
