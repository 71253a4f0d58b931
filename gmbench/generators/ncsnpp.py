"""NCSN++ (Song, Sohl-Dickstein, Kingma, Kumar, Ermon, Poole, ICLR 2021).

Kept: the variance-exploding SDE on intensities in [0, 1] with continuous times, denoising score matching weighted by
the variance of the noise, Fourier features of log sigma, BigGAN's residual blocks with sums divided by the square root
of two, FIR (1, 3, 3, 1) for each change of resolution, a residual pyramid of the input, group normalisation and swish,
self-attention at 16x16, output divided by sigma, an exponential moving average of the weights, reverse diffusion with
one Langevin step per noise scale. Scaled down: channels (32, 64, 64), one residual block per level (the paper: 128 to
256 channels, 4 or 8 blocks), no dropout; sampling takes 150 noise scales (the paper: 1000).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gmbench.generators.generator import Generator, MovingAverage, step

ATTENTION_SIZE = 16


def _fir_kernel(x: Tensor) -> Tensor:
    """The filter (1, 3, 3, 1) in both directions, once per channel of `x`: (channels, 1, 4, 4), of sum 1."""
    taps = (2 - (torch.arange(4, device=x.device, dtype=x.dtype) - 1.5).abs()) / 4
    return torch.outer(taps, taps).expand(x.shape[1], 1, 4, 4)


class Downsample(nn.Module):
    """Filters and halves the height and width."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, _fir_kernel(x), stride=2, padding=1, groups=x.shape[1])


class Upsample(nn.Module):
    """Doubles the height and width and filters."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv_transpose2d(x, 4 * _fir_kernel(x), stride=2, padding=1, groups=x.shape[1])


class PyramidStep(nn.Module):
    """Half the height and width by a filtered 3x3 convolution: (n, before, h, w) to (n, after, h / 2, w / 2)."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(before, after, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.convolution(F.conv2d(x, _fir_kernel(x), padding=2, groups=x.shape[1]))


def _group_norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(min(channels // 4, 32), channels, eps=1e-6)


def _rescaled(x: Tensor, y: Tensor) -> Tensor:
    """The sum of two tensors of equal variance, with that variance."""
    return (x + y) / math.sqrt(2)


class SelfAttention(nn.Module):
    """Attention with one head between all places of (n, channels, h, w)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = _group_norm(channels)
        self.projections = nn.Conv2d(channels, 3 * channels, 1)
        self.last = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.projections(self.norm(x)).flatten(2).transpose(1, 2).chunk(3, dim=2)
        attended = F.scaled_dot_product_attention(query, key, value)
        return _rescaled(x, self.last(attended.transpose(1, 2).reshape(x.shape)))


class ResidualBlock(nn.Module):
    """Two convolutions around an embedding of the noise scale (n, embedded), after a change of resolution if given."""

    def __init__(
        self, before: int, after: int, embedded: int, resample: nn.Module | None = None, attention: bool = False
    ) -> None:
        super().__init__()
        self.resample = resample or nn.Identity()
        self.norm = _group_norm(before)
        self.convolution = nn.Conv2d(before, after, 3, padding=1)
        self.condition = nn.Linear(embedded, after)
        self.last_norm = _group_norm(after)
        self.last = nn.Conv2d(after, after, 3, padding=1)
        self.shortcut = nn.Identity() if before == after and resample is None else nn.Conv2d(before, after, 1)
        self.attention = SelfAttention(after) if attention else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.convolution(self.resample(F.silu(self.norm(x))))
        h = h + self.condition(F.silu(embedding))[:, :, None, None]
        h = self.last(F.silu(self.last_norm(h)))
        return self.attention(_rescaled(self.shortcut(self.resample(x)), h))


class NoiseEmbedding(nn.Module):
    """Sines and cosines of log sigma (n,) at random frequencies, through two layers: (n, 4 * width)."""

    frequencies: Tensor

    def __init__(self, width: int, scale: float) -> None:
        super().__init__()
        self.register_buffer("frequencies", 2 * math.pi * scale * torch.randn(width))
        self.layers = nn.Sequential(nn.Linear(2 * width, 4 * width), nn.SiLU(), nn.Linear(4 * width, 4 * width))

    def forward(self, sigma: Tensor) -> Tensor:
        angles = sigma.log()[:, None] * self.frequencies
        return self.layers(torch.cat([angles.sin(), angles.cos()], dim=1))


class ScoreNetwork(nn.Module):
    """The score of noisy images (n, channels, size, size), whose intensities without noise lie in [0, 1]."""

    def __init__(self, size: int, channels: int, width: int, blocks: int, fourier_scale: float) -> None:
        super().__init__()
        embedded = 4 * width
        widths = (width, 2 * width, 2 * width)
        attention = [size // 2**level == ATTENTION_SIZE for level in range(len(widths))]
        self.embedding = NoiseEmbedding(width, fourier_scale)
        self.first = nn.Conv2d(channels, width, 3, padding=1)

        self.falling, self.pyramid, self.down = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        now, skipped, pyramid = width, [width], channels
        for level, after in enumerate(widths):
            if level > 0:
                self.falling.append(ResidualBlock(now, now, embedded, Downsample()))
                self.pyramid.append(PyramidStep(pyramid, now))
                pyramid = now
                skipped.append(now)
            same_size = nn.ModuleList()
            for _ in range(blocks):
                same_size.append(ResidualBlock(now, after, embedded, attention=attention[level]))
                now = after
                skipped.append(now)
            self.down.append(same_size)

        self.middle = nn.ModuleList(
            [ResidualBlock(now, now, embedded, attention=True), ResidualBlock(now, now, embedded)]
        )

        self.rising, self.up = nn.ModuleList(), nn.ModuleList()
        for level, after in reversed(list(enumerate(widths))):
            if level < len(widths) - 1:
                self.rising.append(ResidualBlock(now, after, embedded, Upsample()))
                now = after
            same_size = nn.ModuleList()
            for block in range(blocks + 1):
                attends = attention[level] and block == blocks
                same_size.append(ResidualBlock(now + skipped.pop(), after, embedded, attention=attends))
                now = after
            self.up.append(same_size)

        self.last_norm = _group_norm(now)
        self.last = nn.Conv2d(now, channels, 3, padding=1)
        self._initialize()

    def _initialize(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        # Blocks start as their shortcuts. The network must not start at zero: the corrector divides by the score.
        for module in self.modules():
            if isinstance(module, ResidualBlock | SelfAttention):
                nn.init.zeros_(module.last.weight)

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        embedding = self.embedding(sigma)
        pyramid = 2 * x - 1
        skips = [self.first(pyramid)]
        for level, blocks in enumerate(self.down):
            if level > 0:
                halved = self.falling[level - 1](skips[-1], embedding)
                pyramid = _rescaled(self.pyramid[level - 1](pyramid), halved)
                skips.append(pyramid)
            for block in blocks:  # type: ignore[attr-defined]
                skips.append(block(skips[-1], embedding))
        h = skips[-1]
        for block in self.middle:
            h = block(h, embedding)
        for level, blocks in enumerate(self.up):
            if level > 0:
                h = self.rising[level - 1](h, embedding)
            for block in blocks:  # type: ignore[attr-defined]
                h = block(torch.cat([h, skips.pop()], dim=1), embedding)
        return self.last(F.silu(self.last_norm(h))) / sigma[:, None, None, None]


def predictor_corrector(
    score: Callable[[Tensor, Tensor], Tensor], x: Tensor, sigmas: Tensor, snr: float, noise: Callable[[], Tensor]
) -> Tensor:
    """Images from noise `x` (n, ...) of standard deviation sigmas[0], through falling `sigmas` to no noise at all.

    At each of them a step of Langevin dynamics whose size follows from the signal-to-noise ratio `snr` (the corrector,
    algorithm 4), then a step of the reversed diffusion to the next (the predictor, algorithm 2). `noise` gives standard
    normal noise of the shape of `x`.
    """
    mean = x
    for sigma, following in zip(sigmas, torch.cat([sigmas[1:], sigmas.new_zeros(1)]), strict=True):
        sigma_of_each = sigma.expand(len(x))
        gradient, z = score(x, sigma_of_each), noise()
        size = 2 * (snr * _mean_norm(z) / _mean_norm(gradient)).square()
        x = x + size * gradient + (2 * size).sqrt() * z

        removed = sigma.square() - following.square()
        mean = x + removed * score(x, sigma_of_each)
        x = mean + removed.sqrt() * noise()
    # Noise of the last step would stay in the image; without it the step is Tweedie's estimate of the clean image.
    return mean


def _mean_norm(x: Tensor) -> Tensor:
    """Euclidean norm, averaged over the batch, as single gradients may vanish."""
    return x.flatten(1).norm(dim=1).mean()


class NCSNpp(Generator):
    """Score network for a diffusion whose noise grows from `sigma_min` to `sigma_max`, sampled in reverse.

    The default `sigma_max` is the paper's for CIFAR-10: about the largest distance between two of the training images.
    """

    sampling_parts = ("average",)

    def __init__(
        self,
        size: int = 32,
        channels: int = 3,
        width: int = 32,
        blocks: int = 1,
        fourier_scale: float = 16.0,
        sigma_min: float = 0.01,
        sigma_max: float = 50.0,
        sampling_steps: int = 150,
        snr: float = 0.16,
        ema_decay: float = 0.999,
        learning_rate: float = 5e-4,
    ) -> None:
        super().__init__()
        self.size, self.channels = size, channels
        self.sigma_min, self.sigma_max = sigma_min, sigma_max
        self.sampling_steps, self.snr = sampling_steps, snr
        self.network = ScoreNetwork(size, channels, width, blocks, fourier_scale)
        self.average = MovingAverage(self.network, ema_decay)
        self._optimizers = {"adam": torch.optim.Adam(self.network.parameters(), lr=learning_rate)}

    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        return self._optimizers

    def sigma(self, times: Tensor) -> Tensor:
        """Standard deviation of the noise at `times` in [0, 1]."""
        return self.sigma_min * (self.sigma_max / self.sigma_min) ** times

    def train_step(self, real: Tensor, number: int) -> dict[str, Tensor]:
        sigma = self.sigma(torch.rand(len(real), device=real.device))
        noise = torch.randn_like(real)
        noisy = (real + 1) / 2 + sigma[:, None, None, None] * noise
        loss = (sigma[:, None, None, None] * self.network(noisy, sigma) + noise).square().mean()
        step(self._optimizers["adam"], loss, clip=1.0)
        self.average.update(self.network, number)
        return {"loss": loss.detach()}

    @torch.no_grad()
    def sample(self, n: int, random: torch.Generator) -> Tensor:
        def noise() -> Tensor:
            return self.noise(n, self.channels, self.size, self.size, random=random)

        x = self.sigma_max * noise()
        sigmas = self.sigma(torch.linspace(1, 0, self.sampling_steps, device=x.device))
        return (2 * predictor_corrector(self.average, x, sigmas, self.snr, noise) - 1).clamp(-1, 1)
