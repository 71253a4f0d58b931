"""GAN (Goodfellow et al., NeurIPS 2014).

Kept: fully connected generator (ReLU, sigmoid at the end) and discriminator (maxout units, dropout), the two-player
loss in its non-saturating form. Scaled: hidden layers of `width`, Adam in place of momentum. Changed: samples are from
averaged weights, since every pixel has weights of its own here, and their jitter from step to step is seen as noise.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gmbench.generators.adversarial import AdversarialGenerator, cross_entropy_loss, non_saturating_loss
from gmbench.generators.generator import MovingAverage


class Maxout(nn.Module):
    """A linear layer that keeps the largest of `pieces` values for each of its outputs."""

    def __init__(self, before: int, after: int, pieces: int) -> None:
        super().__init__()
        self.linear, self.pieces = nn.Linear(before, after * pieces), pieces

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x).unflatten(1, (-1, self.pieces)).amax(dim=2)


class Rescale(nn.Module):
    """From [0, 1] to [-1, 1]."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * x - 1


class GAN(AdversarialGenerator):
    """The first generative adversarial network."""

    sampling_parts = ("average",)

    def __init__(
        self,
        size: int = 32,
        channels: int = 3,
        latent: int = 100,
        width: int = 512,
        dropout: float = 0.3,
        ema_decay: float = 0.999,
        learning_rate: float = 2e-4,
    ) -> None:
        pixels = channels * size * size
        generator = nn.Sequential(
            nn.Flatten(),
            nn.Linear(latent, width),
            nn.ReLU(True),
            nn.Linear(width, width),
            nn.ReLU(True),
            nn.Linear(width, pixels),
            nn.Sigmoid(),
            Rescale(),
            nn.Unflatten(1, (channels, size, size)),
        )
        discriminator = nn.Sequential(
            nn.Flatten(),
            Maxout(pixels, width // 2, 5),
            nn.Dropout(dropout),
            Maxout(width // 2, width // 2, 5),
            nn.Dropout(dropout),
            nn.Linear(width // 2, 1),
        )
        super().__init__(size, channels, latent, generator, discriminator, learning_rate, (0.5, 0.999))
        self.average = MovingAverage(self.generator, ema_decay)

    def train_step(self, real: Tensor, number: int) -> dict[str, Tensor]:
        losses = super().train_step(real, number)
        self.average.update(self.generator, number)
        return losses

    @torch.no_grad()
    def sample(self, n: int, random: torch.Generator) -> Tensor:
        return self.average(self.noise(n, self.latent, 1, 1, random=random))

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return cross_entropy_loss(self.discriminator(real), self.discriminator(fake))

    def generator_loss(self, judged: Tensor) -> Tensor:
        return non_saturating_loss(judged)
