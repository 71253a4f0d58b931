"""β-VAE (Higgins et al., ICLR 2017).

Kept: Gaussian encoder, Bernoulli decoder on intensities in [0, 1] (images are its means), the evidence lower bound
with the divergence weighted by `beta`; strided and transposed 4x4 convolutions with ReLU, a fully connected layer of
256 on both sides of the latent code. Scaled: `latent` and `width` are larger than the paper's 32, and `beta` is 2 by
default: the paper's 4 and more trade sharpness for disentangling, which is not the point here.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gmbench.generators.generator import Generator, step


class BetaVAE(Generator):
    """Variational autoencoder with a weighted divergence."""

    sampling_parts = ("decoder",)

    def __init__(
        self,
        size: int = 32,
        channels: int = 3,
        latent: int = 64,
        width: int = 48,
        beta: float = 2.0,
        learning_rate: float = 5e-4,
    ) -> None:
        super().__init__()
        self.size, self.channels, self.latent, self.beta = size, channels, latent, beta
        levels = size.bit_length() - 3
        widths = [width * 2**level for level in range(levels)]
        downs: list[nn.Module] = []
        for before, after in zip([channels, *widths[:-1]], widths, strict=True):
            downs += [nn.Conv2d(before, after, 4, 2, 1), nn.ReLU(True)]
        ups: list[nn.Module] = []
        for before, after in zip(widths[:0:-1], widths[-2::-1], strict=True):
            ups += [nn.ConvTranspose2d(before, after, 4, 2, 1), nn.ReLU(True)]
        top = widths[-1] * 16
        self.encoder = nn.Sequential(
            *downs, nn.Flatten(), nn.Linear(top, 256), nn.ReLU(True), nn.Linear(256, 2 * latent)
        )
        self.decoder = nn.Sequential(
            nn.Linear(latent, 256),
            nn.ReLU(True),
            nn.Linear(256, top),
            nn.ReLU(True),
            nn.Unflatten(1, (widths[-1], 4, 4)),
            *ups,
            nn.ConvTranspose2d(width, channels, 4, 2, 1),
        )
        self._optimizers = {"adam": torch.optim.Adam(self.parameters(), lr=learning_rate)}

    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        return self._optimizers

    def train_step(self, real: Tensor, number: int) -> dict[str, Tensor]:
        mean, log_variance = self.encoder(real).chunk(2, dim=1)
        code = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        intensities = (real + 1) / 2
        reconstruction = F.binary_cross_entropy_with_logits(self.decoder(code), intensities, reduction="sum")
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum()
        loss = (reconstruction + self.beta * divergence) / len(real)
        step(self._optimizers["adam"], loss)
        return {"loss": loss.detach(), "divergence": divergence.detach() / len(real)}

    @torch.no_grad()
    def sample(self, n: int, random: torch.Generator) -> Tensor:
        return self.decoder(self.noise(n, self.latent, random=random)).sigmoid() * 2 - 1
