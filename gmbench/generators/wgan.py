"""WGAN-gp (Gulrajani et al., NeurIPS 2017) and WGAN-lp (Petzka et al., ICLR 2018).

Kept: the critic's loss with a penalty of 10 on its slope on lines between real and generated images (gp: slopes other
than 1; lp: slopes above 1), five critic steps for one of the generator, Adam with 1e-4, (0, 0.9), no batch
normalisation in the critic. Networks are DCGAN's, as wide as `width` says.
"""

from __future__ import annotations

from torch import Tensor

from gmbench.generators.adversarial import AdversarialGenerator, between, slope_penalty
from gmbench.generators.dcgan import dcgan_discriminator, dcgan_generator, init_dcgan


class WGANGP(AdversarialGenerator):
    """Wasserstein GAN with gradient penalty."""

    one_sided = False

    def __init__(
        self,
        size: int = 32,
        channels: int = 3,
        latent: int = 100,
        width: int = 64,
        penalty: float = 10.0,
        critic_steps: int = 5,
        learning_rate: float = 1e-4,
    ) -> None:
        generator = dcgan_generator(size, channels, latent, width)
        critic = dcgan_discriminator(size, channels, width, normalised=False)
        super().__init__(size, channels, latent, generator, critic, learning_rate, (0.0, 0.9), critic_steps)
        self.penalty = penalty
        self.apply(init_dcgan)

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        slope = slope_penalty(self.discriminator, between(real, fake), self.one_sided)
        return self.discriminator(fake).mean() - self.discriminator(real).mean() + self.penalty * slope

    def generator_loss(self, judged: Tensor) -> Tensor:
        return -judged.mean()


class WGANLP(WGANGP):
    """Wasserstein GAN with Lipschitz penalty."""

    one_sided = True
