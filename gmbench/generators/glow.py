"""Glow (Kingma, Dhariwal, NeurIPS 2018).

Kept: squeeze, steps of flow (actnorm with data-dependent initialisation, invertible 1x1 convolution in factors P L U,
affine coupling with a three-layer network whose last layer starts at zero), split with a learned Gaussian prior at each
level, uniform dequantisation, averaged weights, sampling at reduced temperature. Scaled down: 3 levels of 8 steps with
96 hidden channels (the paper: 32 steps, 512 channels). Images have 8 bits. At 64 pixels use `levels=4`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gmbench.generators.generator import Generator, MovingAverage, set_rate, step


class ActNorm(nn.Module):
    """A scale and a shift per channel, set by the first batch so that it leaves with mean 0 and variance 1.

    `initializes`: whether the next batch sets them.
    """

    initializes = False

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.log_scale = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.initializes:
            with torch.no_grad():
                self.bias.copy_(-x.mean((0, 2, 3), keepdim=True))
                self.log_scale.copy_(-x.std((0, 2, 3), keepdim=True).clamp_min(1e-3).log())
        log_det = self.log_scale.sum() * x.shape[2] * x.shape[3]
        return (x + self.bias) * self.log_scale.exp(), log_det.expand(len(x))

    def inverse(self, y: Tensor) -> Tensor:
        return y * (-self.log_scale).exp() - self.bias


class InvertibleConvolution(nn.Module):
    """A 1x1 convolution whose matrix starts as a random rotation and is kept in factors P L (U + diag(s)).

    The permutation P and the signs of s stay (section 3.2, equations 10 and 11).
    """

    permutation: Tensor
    signs: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        permutation, lower, upper = torch.linalg.lu(torch.linalg.qr(torch.randn(channels, channels))[0])
        scales = upper.diagonal()
        self.register_buffer("permutation", permutation)
        self.register_buffer("signs", scales.sign())
        self.lower, self.upper = nn.Parameter(lower), nn.Parameter(upper)
        self.log_scales = nn.Parameter(scales.abs().log())

    def _factors(self) -> tuple[Tensor, Tensor]:
        """P L and U + diag(s)."""
        lower = self.lower.tril(-1) + torch.eye(len(self.lower), dtype=self.lower.dtype, device=self.lower.device)
        return self.permutation @ lower, self.upper.triu(1) + torch.diag(self.signs * self.log_scales.exp())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        lower, upper = self._factors()
        log_det = self.log_scales.sum() * x.shape[2] * x.shape[3]
        return F.conv2d(x, (lower @ upper)[:, :, None, None]), log_det.expand(len(x))

    def inverse(self, y: Tensor) -> Tensor:
        lower, upper = (factor.double() for factor in self._factors())
        inverse = torch.linalg.inv(lower @ upper).to(y.dtype)
        return F.conv2d(y, inverse[:, :, None, None])


class ZeroConvolution(nn.Module):
    """A 3x3 convolution that starts at zero, with a learned scale of its output."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(before, after, 3, padding=1)
        self.log_scale = nn.Parameter(torch.zeros(1, after, 1, 1))
        nn.init.zeros_(self.convolution.weight)
        nn.init.zeros_(self.convolution.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return self.convolution(x) * (3 * self.log_scale).exp()


class AffineCoupling(nn.Module):
    """Half of the channels decides the scale and shift of the other half (section 3.3)."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Conv2d(channels // 2, hidden, 3, padding=1),
            nn.ReLU(True),
            nn.Conv2d(hidden, hidden, 1),
            nn.ReLU(True),
            ZeroConvolution(hidden, channels),
        )
        for layer in (self.network[0], self.network[2]):
            nn.init.normal_(layer.weight, 0.0, 0.05)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def _affine(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = self.network(kept).chunk(2, dim=1)
        return F.logsigmoid(log_scale + 2), shift

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        kept, changed = x.chunk(2, dim=1)
        log_scale, shift = self._affine(kept)
        return torch.cat([kept, (changed + shift) * log_scale.exp()], dim=1), log_scale.sum((1, 2, 3))

    def inverse(self, y: Tensor) -> Tensor:
        kept, changed = y.chunk(2, dim=1)
        log_scale, shift = self._affine(kept)
        return torch.cat([kept, changed * (-log_scale).exp() - shift], dim=1)


class GaussianPrior(nn.Module):
    """A Gaussian over latents whose mean and scale are predicted from what stays in the flow (zeros at the top)."""

    def __init__(self, given: int, latents: int) -> None:
        super().__init__()
        self.network = ZeroConvolution(given, 2 * latents)

    def log_density(self, latents: Tensor, given: Tensor) -> Tensor:
        mean, log_scale = self.network(given).chunk(2, dim=1)
        squared = ((latents - mean) * (-log_scale).exp()).square()
        return (-0.5 * (squared + math.log(2 * math.pi)) - log_scale).sum((1, 2, 3))

    def latents(self, noise: Tensor, given: Tensor) -> Tensor:
        mean, log_scale = self.network(given).chunk(2, dim=1)
        return mean + log_scale.exp() * noise


def glow_step(channels: int, hidden: int) -> list[nn.Module]:
    """The layers of one step of flow (figure 2a)."""
    return [ActNorm(channels), InvertibleConvolution(channels), AffineCoupling(channels, hidden)]


class Flow(nn.Module):
    """Squeeze, `depth` times the layers that `layers` makes, and split, level by level (figure 2b)."""

    def __init__(
        self,
        channels: int,
        levels: int,
        depth: int,
        hidden: int,
        layers: Callable[[int, int], list[nn.Module]] = glow_step,
    ) -> None:
        super().__init__()
        self.levels, self.priors = nn.ModuleList(), nn.ModuleList()
        width = channels
        for level in range(levels):
            width *= 4
            self.levels.append(nn.ModuleList([layer for _ in range(depth) for layer in layers(width, hidden)]))
            last = level == levels - 1
            self.priors.append(GaussianPrior(width, width) if last else GaussianPrior(width // 2, width // 2))
            width //= 1 if last else 2

    def encode(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Latents of each level, coarsest last, and the log density of `x` (n,) in nats."""
        latents, log_density = [], x.new_zeros(len(x))
        for index, (level, prior) in enumerate(zip(self.levels, self.priors, strict=True)):
            x = F.pixel_unshuffle(x, 2)
            for layer in level:  # type: ignore[attr-defined]
                x, log_det = layer(x)
                log_density = log_density + log_det
            if index < len(self.levels) - 1:
                x, latent = x.chunk(2, dim=1)
                given = x
            else:
                latent, given = x, torch.zeros_like(x)
            latents.append(latent)
            log_density = log_density + prior.log_density(latent, given)  # type: ignore[operator]
        return latents, log_density

    def forward(self, x: Tensor) -> Tensor:
        """The log density of `x` (n,) in nats."""
        return self.encode(x)[1]

    def decode(self, values: list[Tensor], noise: bool = False) -> Tensor:
        """Back from the latents of `encode`; or images from standard normal `noise` of the same shapes."""
        x = torch.empty(0)
        top = len(self.levels) - 1
        for index in range(top, -1, -1):
            latent = values[index]
            if noise:
                given = torch.zeros_like(latent) if index == top else x
                latent = self.priors[index].latents(latent, given)  # type: ignore[operator]
            x = latent if index == top else torch.cat([x, latent], dim=1)
            for layer in reversed(self.levels[index]):  # type: ignore[call-overload]
                x = layer.inverse(x)
            x = F.pixel_shuffle(x, 2)
        return x


class NormalizingFlow(Generator):
    """A flow trained by maximum likelihood. The learning rate grows over the first `warmup` steps."""

    sampling_parts = ("average",)

    def __init__(
        self,
        size: int,
        channels: int,
        flow: Flow,
        temperature: float,
        ema_decay: float,
        learning_rate: float,
        warmup: int,
    ) -> None:
        super().__init__()
        self.size, self.channels, self.temperature = size, channels, temperature
        self.learning_rate, self.warmup = learning_rate, warmup
        self.levels = len(flow.levels)
        self.flow = flow
        self.average = MovingAverage(self.flow, ema_decay)
        self._optimizers = {"adam": torch.optim.Adam(self.flow.parameters(), lr=learning_rate)}

    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        return self._optimizers

    def bits_per_dimension(self, real: Tensor) -> Tensor:
        """Negative log likelihood of 8-bit images (n,) in bits per dimension, with uniform dequantisation.

        While training under the weights as they are, otherwise under their average.
        """
        flow = self.flow if self.training else self.average
        dequantised = ((real + 1) * 127.5).round() + torch.rand_like(real)
        log_density = flow(dequantised / 256 - 0.5)
        return (-log_density / real[0].numel() + math.log(256)) / math.log(2)

    def prepare(self, number: int) -> None:
        set_rate(self._optimizers["adam"], self.learning_rate * min(1.0, number / self.warmup))

    def train_step(self, real: Tensor, number: int) -> dict[str, Tensor]:
        for layer in self.flow.modules():
            if isinstance(layer, ActNorm):
                layer.initializes = number == 1
        loss = self.bits_per_dimension(real).mean()
        step(self._optimizers["adam"], loss, clip=50.0)
        self.average.update(self.flow, number)
        return {"bits_per_dimension": loss.detach()}

    @torch.no_grad()
    def sample(self, n: int, random: torch.Generator) -> Tensor:
        noises, width, side = [], self.channels, self.size
        for index in range(self.levels):
            width, side = width * 4, side // 2
            latents = width if index == self.levels - 1 else width // 2
            noises.append(self.noise(n, latents, side, side, random=random) * self.temperature)
            width = width // 2
        images = self.average.module.decode(noises, noise=True)  # type: ignore[operator]
        return ((images + 0.5) * 256).floor().clamp(0, 255) / 127.5 - 1


class Glow(NormalizingFlow):
    """Normalising flow with invertible 1x1 convolutions."""

    def __init__(
        self,
        size: int = 32,
        channels: int = 3,
        levels: int = 3,
        depth: int = 8,
        hidden: int = 96,
        temperature: float = 0.7,
        ema_decay: float = 0.999,
        learning_rate: float = 1e-3,
        warmup: int = 500,
    ) -> None:
        flow = Flow(channels, levels, depth, hidden)
        super().__init__(size, channels, flow, temperature, ema_decay, learning_rate, warmup)
