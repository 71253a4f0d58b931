"""StyleGAN2 (Karras et al., CVPR 2020).

Kept: mapping network on normalised latents with a hundredth of the learning rate, learned constant input, modulated and
demodulated convolutions, noise added per pixel, bilinear filtering when sampling up and down, output skips in the
generator and a residual discriminator, minibatch standard deviation, the logistic loss with lazy R1 penalty, equalised
learning rates, style mixing, Adam with (0, 0.99), an exponential moving average of the generator, truncation at
sampling. Scaled down: `width` channels at full resolution, twice as many at each level below, at most four
times (the paper: 32 at 1024 pixels, at most 512), four mapping layers instead of eight; left out: path length
regularisation.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gmbench.generators.adversarial import cross_entropy_loss, non_saturating_loss, squared_slope
from gmbench.generators.generator import Generator, MovingAverage, step

STEPS_BETWEEN_PENALTIES = 16
MIXING = 0.9
MAPPING_SPEED = 0.01


class EqualLinear(nn.Module):
    """A linear layer whose weights are scaled at run time, so that all layers learn equally fast."""

    def __init__(self, before: int, after: int, bias: float = 0.0, speed: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(after, before) / speed)
        self.bias = nn.Parameter(torch.full((after,), bias / speed))
        self.scale, self.speed = speed / math.sqrt(before), speed

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.scale, self.bias * self.speed)


class EqualConvolution(nn.Module):
    """A convolution that keeps the resolution, with weights scaled at run time."""

    def __init__(self, before: int, after: int, kernel: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(after, before, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(after)) if bias else None
        self.scale = 1 / math.sqrt(before * kernel**2)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.scale, self.bias, padding=self.weight.shape[2] // 2)


def activate(x: Tensor) -> Tensor:
    """Leaky ReLU that keeps the variance."""
    return F.leaky_relu(x, 0.2) * math.sqrt(2)


def larger(x: Tensor) -> Tensor:
    """Twice the resolution, bilinearly."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def widths(size: int, width: int) -> list[int]:
    """Channels at resolutions 4, 8 ... `size`."""
    return [width * min(4, size // 4 // 2**level) for level in range(size.bit_length() - 2)]


def smaller(x: Tensor) -> Tensor:
    """Half the resolution, through the same filter as `larger`, [1, 3, 3, 1] / 8 in both directions."""
    taps = (2 - (torch.arange(4, device=x.device, dtype=x.dtype) - 1.5).abs()) / 4
    kernel = (taps[:, None] * taps).expand(x.shape[1], 1, 4, 4)
    return F.conv2d(F.pad(x, (1, 1, 1, 1)), kernel, stride=2, groups=x.shape[1])


class ModulatedConvolution(nn.Module):
    """A convolution whose input channels are scaled by a style and whose outputs are brought back to unit variance.

    The scale of the style is taken to the input and the demodulation to the output, which equals modulating the
    weights of each image (section 2.2, equations 1 and 3).
    """

    def __init__(self, before: int, after: int, kernel: int, style: int, demodulate: bool = True) -> None:
        super().__init__()
        self.convolution = EqualConvolution(before, after, kernel, bias=False)
        self.style, self.demodulate = EqualLinear(style, before, bias=1.0), demodulate

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        scale = self.style(style)
        y = self.convolution(x * scale[:, :, None, None])
        if self.demodulate:
            power = (self.convolution.weight * self.convolution.scale).square().sum((2, 3))
            y = y * torch.rsqrt(scale.square() @ power.T + 1e-8)[:, :, None, None]
        return y


class StyledLayer(nn.Module):
    """Modulated convolution, noise of learned strength, bias, activation."""

    def __init__(self, before: int, after: int, style: int) -> None:
        super().__init__()
        self.convolution = ModulatedConvolution(before, after, 3, style)
        self.strength = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(1, after, 1, 1))

    def forward(self, x: Tensor, style: Tensor, noise: Tensor) -> Tensor:
        return activate(self.convolution(x, style) + self.strength * noise + self.bias)


class MappingNetwork(nn.Sequential):
    """From latents (n, latent) to styles of the same shape."""

    def __init__(self, latent: int, layers: int) -> None:
        super().__init__(*(EqualLinear(latent, latent, speed=MAPPING_SPEED) for _ in range(layers)))

    def forward(self, latents: Tensor) -> Tensor:
        x = latents * torch.rsqrt(latents.square().mean(1, keepdim=True) + 1e-8)
        for layer in self:
            x = activate(layer(x))
        return x


class SynthesisNetwork(nn.Module):
    """From one style per layer to images, whose contributions of all resolutions are summed up (figure 7b)."""

    def __init__(self, size: int, channels: int, latent: int, width: int) -> None:
        super().__init__()
        of_level = widths(size, width)
        self.constant = nn.Parameter(torch.randn(1, of_level[0], 4, 4))
        self.sides = [4 * 2**level for level in range(len(of_level))]
        self.first = nn.ModuleList([StyledLayer(before, after, latent) for before, after in pairwise(of_level)])
        self.second = nn.ModuleList([StyledLayer(wide, wide, latent) for wide in of_level])
        self.to_image = nn.ModuleList(
            [ModulatedConvolution(wide, channels, 1, latent, demodulate=False) for wide in of_level]
        )
        self.bias = nn.Parameter(torch.zeros(1, channels, 1, 1))

    @property
    def noise_sides(self) -> list[int]:
        """The resolution of the noise that each layer takes."""
        return [4, *(side for side in self.sides[1:] for _ in range(2))]

    def forward(self, styles: list[Tensor], noises: list[Tensor]) -> Tensor:
        x = self.constant.expand(len(styles[0]), -1, -1, -1)
        x = self.second[0](x, styles[0], noises[0])
        image = self.to_image[0](x, styles[0]) + self.bias
        for level in range(1, len(self.sides)):
            one, two = 2 * level - 1, 2 * level
            x = self.first[level - 1](larger(x), styles[one], noises[one])
            x = self.second[level](x, styles[two], noises[two])
            image = larger(image) + self.to_image[level](x, styles[two])
        return image


class ResidualDown(nn.Module):
    """Two convolutions and a skip, to half the resolution (figure 7c)."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.first = EqualConvolution(before, before, 3)
        self.second = EqualConvolution(before, after, 3)
        self.skip = EqualConvolution(before, after, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = smaller(activate(self.second(activate(self.first(x)))))
        return (y + self.skip(smaller(x))) / math.sqrt(2)


class Discriminator(nn.Module):
    """Maps images (n, channels, size, size) to one number each (n, 1)."""

    def __init__(self, size: int, channels: int, width: int) -> None:
        super().__init__()
        of_level = widths(size, width)[::-1]
        self.from_image = EqualConvolution(channels, width, 1)
        self.blocks = nn.Sequential(*(ResidualDown(before, after) for before, after in pairwise(of_level)))
        top = of_level[-1]
        self.last = EqualConvolution(top + 1, top, 3)
        self.hidden, self.head = EqualLinear(top * 16, top), EqualLinear(top, 1)

    def forward(self, images: Tensor) -> Tensor:
        x = self.blocks(activate(self.from_image(images)))
        spread = (x.var(0, unbiased=False) + 1e-8).sqrt().mean()
        x = torch.cat([x, spread.expand(len(x), 1, 4, 4)], dim=1)
        return self.head(activate(self.hidden(activate(self.last(x)).flatten(1))))


class StyleGAN2(Generator):
    """Style-based GAN, second version."""

    sampling_parts = ("average", "mean_style")
    mean_style: Tensor

    def __init__(
        self,
        size: int = 32,
        channels: int = 3,
        latent: int = 64,
        width: int = 32,
        mapping_layers: int = 4,
        penalty: float = 0.05,
        truncation: float = 1.0,
        ema_decay: float = 0.998,
        learning_rate: float = 2e-3,
    ) -> None:
        super().__init__()
        self.size, self.channels, self.latent = size, channels, latent
        self.penalty, self.truncation = penalty, truncation
        self.generator = nn.ModuleDict(
            {
                "mapping": MappingNetwork(latent, mapping_layers),
                "synthesis": SynthesisNetwork(size, channels, latent, width),
            }
        )
        self.average = MovingAverage(self.generator, ema_decay)
        self.discriminator = Discriminator(size, channels, width)
        self.register_buffer("mean_style", torch.zeros(latent))
        # The penalty comes at every 16th step only; the optimiser's pace is corrected for it (appendix B).
        lazy = STEPS_BETWEEN_PENALTIES / (STEPS_BETWEEN_PENALTIES + 1)
        self._optimizers = {
            "generator": torch.optim.Adam(self.generator.parameters(), lr=learning_rate, betas=(0.0, 0.99)),
            "discriminator": torch.optim.Adam(
                self.discriminator.parameters(), lr=learning_rate * lazy, betas=(0.0, 0.99**lazy)
            ),
        }

    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        return self._optimizers

    def kind_of_step(self, number: int) -> Hashable:
        return number == 1, number % STEPS_BETWEEN_PENALTIES == 0

    def train_step(self, real: Tensor, number: int) -> dict[str, Tensor]:
        fake = self._generated(len(real), real.device)
        discriminator_loss = cross_entropy_loss(self.discriminator(real), self.discriminator(fake.detach()))
        if number % STEPS_BETWEEN_PENALTIES == 0:
            weight = 0.5 * self.penalty * STEPS_BETWEEN_PENALTIES
            step(
                self._optimizers["discriminator"], discriminator_loss + weight * squared_slope(self.discriminator, real)
            )
        else:
            step(self._optimizers["discriminator"], discriminator_loss)
        generator_loss = non_saturating_loss(self.discriminator(fake))
        step(self._optimizers["generator"], generator_loss)
        self.average.update(self.generator, number)
        return {"discriminator": discriminator_loss.detach(), "generator": generator_loss.detach()}

    def _generated(self, n: int, device: torch.device) -> Tensor:
        """Images of the network that learns; most change to a second style at some layer (style mixing)."""
        mapping, synthesis = self._networks(self.generator)
        one, two = (mapping(torch.randn(n, self.latent, device=device)) for _ in range(2))
        self.mean_style.lerp_(one.detach().mean(0), 0.005)
        sides = synthesis.noise_sides
        changes = torch.randint(1, len(sides), (n, 1), device=device)
        changes = changes.masked_fill(torch.rand(n, 1, device=device) > MIXING, len(sides))
        styles = [torch.where(layer < changes, one, two) for layer in range(len(sides))]
        return synthesis(styles, [torch.randn(n, 1, side, side, device=device) for side in sides])

    @staticmethod
    def _networks(generator: Any) -> tuple[MappingNetwork, SynthesisNetwork]:
        return generator["mapping"], generator["synthesis"]

    @torch.no_grad()
    def sample(self, n: int, random: torch.Generator) -> Tensor:
        mapping, synthesis = self._networks(self.average.module)
        style = mapping(self.noise(n, self.latent, random=random))
        style = self.mean_style + self.truncation * (style - self.mean_style)
        sides = synthesis.noise_sides
        noises = [self.noise(n, 1, side, side, random=random) for side in sides]
        return synthesis([style] * len(sides), noises).clamp(-1, 1)
