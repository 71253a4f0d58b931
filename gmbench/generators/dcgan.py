"""DCGAN (Radford, Metz, Chintala, ICLR 2016).

Kept: all-convolutional generator (transposed 4x4 convolutions, batch normalisation, ReLU, tanh) and discriminator
(strided 4x4 convolutions, batch normalisation, LeakyReLU 0.2), weights drawn from N(0, 0.02), Adam with learning rate
2e-4 and beta1 0.5, the non-saturating loss. Scaled down: `width` 64 instead of 128, and one level fewer at 32 pixels.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gmbench.generators.generator import Generator, step


def dcgan_generator(size: int, channels: int, latent: int, width: int) -> nn.Sequential:
    """Maps noise (n, latent, 1, 1) to images (n, channels, size, size) in [-1, 1]."""
    features = width * size // 8
    layers: list[nn.Module] = [
        nn.ConvTranspose2d(latent, features, 4, 1, 0, bias=False),
        nn.BatchNorm2d(features),
        nn.ReLU(True),
    ]
    while features > width:
        layers += [
            nn.ConvTranspose2d(features, features // 2, 4, 2, 1, bias=False),
            nn.BatchNorm2d(features // 2),
            nn.ReLU(True),
        ]
        features //= 2
    return nn.Sequential(*layers, nn.ConvTranspose2d(width, channels, 4, 2, 1), nn.Tanh())


def dcgan_discriminator(size: int, channels: int, width: int) -> nn.Sequential:
    """Maps images (n, channels, size, size) to one logit each, (n, 1, 1, 1)."""
    layers: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2, True)]
    features = width
    for _ in range(size.bit_length() - 4):
        layers += [
            nn.Conv2d(features, features * 2, 4, 2, 1, bias=False),
            nn.BatchNorm2d(features * 2),
            nn.LeakyReLU(0.2, True),
        ]
        features *= 2
    return nn.Sequential(*layers, nn.Conv2d(features, 1, 4, 1, 0))


def init_dcgan(module: nn.Module) -> None:
    """The paper's initialisation: N(0, 0.02) for convolutions, N(1, 0.02) for the scale of batch normalisation."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)


class DCGAN(Generator):
    """Deep convolutional GAN."""

    def __init__(
        self, size: int = 32, channels: int = 3, latent: int = 100, width: int = 64, learning_rate: float = 2e-4
    ) -> None:
        super().__init__()
        self.size, self.channels, self.latent = size, channels, latent
        self.generator = dcgan_generator(size, channels, latent, width)
        self.discriminator = dcgan_discriminator(size, channels, width)
        self.apply(init_dcgan)
        self._optimizers = {
            name: torch.optim.Adam(module.parameters(), lr=learning_rate, betas=(0.5, 0.999))
            for name, module in (("generator", self.generator), ("discriminator", self.discriminator))
        }

    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        return self._optimizers

    def train_step(self, real: Tensor) -> dict[str, float]:
        fake = self.generator(torch.randn(len(real), self.latent, 1, 1, device=real.device))
        judged_real, judged_fake = self.discriminator(real), self.discriminator(fake.detach())
        discriminator_loss = F.softplus(-judged_real).mean() + F.softplus(judged_fake).mean()
        step(self._optimizers["discriminator"], discriminator_loss)
        generator_loss = F.softplus(-self.discriminator(fake)).mean()
        step(self._optimizers["generator"], generator_loss)
        return {"discriminator": discriminator_loss.item(), "generator": generator_loss.item()}

    @torch.no_grad()
    def sample(self, n: int, random: torch.Generator) -> Tensor:
        return self.generator(self.noise(n, self.latent, 1, 1, random=random))
