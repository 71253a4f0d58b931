"""LSGAN (Mao et al., ICCV 2017).

Kept: least-squares losses with targets 1 for real and 0 for generated images, 1 for the generator (equation 9).
Networks and optimisers are DCGAN's.
"""

from __future__ import annotations

from torch import Tensor

from gmbench.generators.dcgan import DCGAN


class LSGAN(DCGAN):
    """Least-squares GAN."""

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return 0.5 * (self.discriminator(real) - 1).square().mean() + 0.5 * self.discriminator(fake).square().mean()

    def generator_loss(self, judged: Tensor) -> Tensor:
        return 0.5 * (judged - 1).square().mean()
