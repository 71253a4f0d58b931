"""LSGAN (Mao et al., ICCV 2017).

Kept: least-squares losses with targets 1 for real and 0 for generated images, 1 for the generator (equation 9).
Networks are DCGAN's, as wide as `width` says.
"""

from __future__ import annotations

from torch import Tensor

from gmbench.generators.adversarial import AdversarialGenerator
from gmbench.generators.dcgan import dcgan_discriminator, dcgan_generator, init_dcgan


class LSGAN(AdversarialGenerator):
    """Least-squares GAN."""

    def __init__(
        self, size: int = 32, channels: int = 3, latent: int = 100, width: int = 64, learning_rate: float = 2e-4
    ) -> None:
        generator = dcgan_generator(size, channels, latent, width)
        discriminator = dcgan_discriminator(size, channels, width)
        super().__init__(size, channels, latent, generator, discriminator, learning_rate, (0.5, 0.999))
        self.apply(init_dcgan)

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return 0.5 * (self.discriminator(real) - 1).square().mean() + 0.5 * self.discriminator(fake).square().mean()

    def generator_loss(self, judged: Tensor) -> Tensor:
        return 0.5 * (judged - 1).square().mean()
