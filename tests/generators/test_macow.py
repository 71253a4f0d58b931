"""MaCow's masked convolutions see what they may, invert, and count volume; so does the whole flow."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from gmbench.generators.glow import Flow
from gmbench.generators.macow import MaCow, MaskedConvolution, macow_step


def randomize(module: nn.Module) -> None:
    """In float64, and with no layer as it starts, when a masked convolution changes nothing."""
    torch.manual_seed(1)
    for parameter in module.parameters():
        nn.init.normal_(parameter, 0.05, 0.2)
    module.double().eval()


def jacobian_of(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Autograd's, of outputs in rows and inputs in columns (outputs, inputs)."""
    jacobian = torch.autograd.functional.jacobian(lambda z: function(z).flatten(), x, vectorize=True)
    assert isinstance(jacobian, Tensor)
    return jacobian.flatten(1)


@pytest.mark.parametrize("order", "ABCD")
class TestMaskedConvolution:
    """In all four orders."""

    @pytest.fixture
    def layer(self, order: str) -> MaskedConvolution:
        """Of two channels."""
        layer = MaskedConvolution(2, order, 3)
        randomize(layer)
        return layer

    def test_a_position_is_decided_by_the_lines_before_it(self, layer: MaskedConvolution, order: str) -> None:
        """By itself and by all that the kernel covers of the two lines before its own; by nothing else."""
        x = torch.randn(1, 2, 5, 5, dtype=torch.float64)
        jacobian = jacobian_of(lambda z: layer(z)[0], x).reshape(2, 5, 5, 2, 5, 5)
        seen = (jacobian != 0).any(dim=3).any(dim=0)  # row and column of what is decided, then of what decides
        places = torch.arange(5)
        down = places[None, None, :, None] - places[:, None, None, None]
        right = places[None, None, None, :] - places[None, :, None, None]
        along, across = {"A": (down, right), "B": (-down, right), "C": (right, down), "D": (-right, down)}[order]
        before = ((along == -1) | (along == -2)) & (across.abs() <= 1)
        assert torch.equal(seen, before | ((along == 0) & (across == 0)))

    def test_no_channel_sees_another_of_its_position(self, layer: MaskedConvolution) -> None:
        """The Jacobian of a single position is diagonal."""
        jacobian = jacobian_of(lambda z: layer(z)[0], torch.randn(1, 2, 1, 1, dtype=torch.float64))
        assert torch.equal(jacobian != 0, torch.eye(2, dtype=torch.bool))

    def test_inverts_and_counts_volume(self, layer: MaskedConvolution) -> None:
        """The inverse undoes the layer, and each image's log determinant is that of autograd's Jacobian."""
        x = torch.randn(2, 2, 4, 3, dtype=torch.float64)
        y, log_det = layer(x)
        torch.testing.assert_close(layer.inverse(y), x)
        of_autograd = [torch.linalg.slogdet(jacobian_of(lambda z: layer(z)[0], image[None]))[1] for image in x]
        torch.testing.assert_close(log_det, torch.stack(of_autograd))


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_kernels(kernel: int) -> None:
    """Wider kernels invert too."""
    layer = MaskedConvolution(1, "B", kernel)
    randomize(layer)
    x = torch.randn(1, 1, 6, 6, dtype=torch.float64)
    torch.testing.assert_close(layer.inverse(layer(x)[0]), x)


def test_a_step_has_all_orders_and_a_step_of_glow() -> None:
    """Each unit: actnorm, from both ends vertically, actnorm, from both ends horizontally."""
    layers = macow_step(4, 8, units=2, kernel=3)
    unit = ["ActNorm", "MaskedConvolution", "MaskedConvolution"] * 2
    glow = ["ActNorm", "InvertibleConvolution", "AffineCoupling"]
    assert [type(layer).__name__ for layer in layers] == [*unit, *unit, *glow]
    orders = [(layer.dim, layer.direction) for layer in layers if isinstance(layer, MaskedConvolution)]
    assert orders == [(2, 1), (2, -1), (3, 1), (3, -1)] * 2


def test_the_whole_flow_inverts() -> None:
    """Decoding the latents of an image gives the image, to 1e-4, in float32 after some training."""
    torch.manual_seed(0)
    model = MaCow(16, 3, levels=2, depth=1, hidden=8, units=1, warmup=1)
    x = torch.rand(4, 3, 16, 16) - 0.5
    model.train()
    for number in (1, 2, 3):
        model.train_step(x * 2, number)
    model.eval()
    latents, _ = model.flow.encode(x)
    assert (model.flow.decode(latents) - x).abs().max() < 1e-4


def test_the_density_counts_the_whole_volume() -> None:
    """Over two levels, the log density is the priors' at the latents plus autograd's log determinant."""
    flow = Flow(1, 2, 1, 4, lambda channels, hidden: macow_step(channels, hidden, units=1, kernel=3))
    randomize(flow)
    x = torch.rand(1, 1, 4, 4, dtype=torch.float64)
    (first, last), log_density = flow.encode(x)
    torch.testing.assert_close(flow.decode([first, last]), x)
    given = last
    for layer in reversed(flow.levels[1]):  # type: ignore[call-overload]
        given = layer.inverse(given)
    prior = flow.priors[0].log_density(first, functional.pixel_shuffle(given, 2))
    prior = prior + flow.priors[1].log_density(last, torch.zeros_like(last))
    jacobian = jacobian_of(lambda z: torch.cat([latent.flatten() for latent in flow.encode(z)[0]]), x)
    torch.testing.assert_close(log_density, prior + torch.linalg.slogdet(jacobian)[1])
