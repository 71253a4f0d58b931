"""DRAGAN-gp (Kodali et al., 2017).

Kept: the GAN's loss with a penalty of 10 on slopes other than 1 around real images: at points moved by noise, uniform
in [0, 1], times half the batch's standard deviation, a random share of the way (the authors' code). Networks are
DCGAN's, as wide as `width` says, without batch normalisation in the discriminator.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gmbench.generators.adversarial import (
    AdversarialGenerator,
    cross_entropy_loss,
    non_saturating_loss,
    slope_penalty,
)
from gmbench.generators.dcgan import dcgan_discriminator, dcgan_generator, init_dcgan


class DRAGAN(AdversarialGenerator):
    """Deep regret analytic GAN."""

    def __init__(
        self,
        size: int = 32,
        channels: int = 3,
        latent: int = 100,
        width: int = 64,
        penalty: float = 10.0,
        learning_rate: float = 2e-4,
    ) -> None:
        generator = dcgan_generator(size, channels, latent, width)
        discriminator = dcgan_discriminator(size, channels, width, normalised=False)
        super().__init__(size, channels, latent, generator, discriminator, learning_rate, (0.5, 0.999))
        self.penalty = penalty
        self.apply(init_dcgan)

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        share = torch.rand(len(real), 1, 1, 1, device=real.device)
        nearby = real + share * 0.5 * real.std() * torch.rand_like(real)
        slope = slope_penalty(self.discriminator, nearby)
        return cross_entropy_loss(self.discriminator(real), self.discriminator(fake)) + self.penalty * slope

    def generator_loss(self, judged: Tensor) -> Tensor:
        return non_saturating_loss(judged)
