"""DCGAN (Radford, Metz, Chintala, ICLR 2016).

Kept: all-convolutional generator (transposed 4x4 convolutions, batch normalisation, ReLU, tanh) and discriminator
(strided 4x4 convolutions, batch normalisation, LeakyReLU 0.2), weights drawn from N(0, 0.02), Adam with learning rate
2e-4 and beta1 0.5, the non-saturating loss. Scaled down: `width` 64 instead of 128, and one level fewer at 32 pixels.
"""

from __future__ import annotations

from torch import Tensor, nn

from gmbench.generators.adversarial import AdversarialGenerator, cross_entropy_loss, non_saturating_loss


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


def dcgan_discriminator(size: int, channels: int, width: int, normalised: bool = True) -> nn.Sequential:
    """Maps images (n, channels, size, size) to one number each, (n, 1, 1, 1).

    Batch normalisation couples the images of a batch; critics whose slope is penalised image by image go without.
    """
    layers: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2, True)]
    features = width
    for _ in range(size.bit_length() - 4):
        layers.append(nn.Conv2d(features, features * 2, 4, 2, 1, bias=not normalised))
        layers += [nn.BatchNorm2d(features * 2)] if normalised else []
        layers.append(nn.LeakyReLU(0.2, True))
        features *= 2
    return nn.Sequential(*layers, nn.Conv2d(features, 1, 4, 1, 0))


def init_dcgan(module: nn.Module) -> None:
    """The paper's initialisation: N(0, 0.02) for convolutions, N(1, 0.02) for the scale of batch normalisation."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)


class DCGAN(AdversarialGenerator):
    """Deep convolutional GAN."""

    def __init__(
        self, size: int = 32, channels: int = 3, latent: int = 100, width: int = 64, learning_rate: float = 2e-4
    ) -> None:
        generator = dcgan_generator(size, channels, latent, width)
        discriminator = dcgan_discriminator(size, channels, width)
        super().__init__(size, channels, latent, generator, discriminator, learning_rate, (0.5, 0.999))
        self.apply(init_dcgan)

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return cross_entropy_loss(self.discriminator(real), self.discriminator(fake))

    def generator_loss(self, judged: Tensor) -> Tensor:
        return non_saturating_loss(judged)
