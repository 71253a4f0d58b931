"""DDGAN, the denoising diffusion GAN (Xiao, Kreis, Vahdat, ICLR 2022).

Kept: four steps of diffusion with the variance-preserving schedule, a generator that predicts the clean image from the
noisy one and a latent code (mapped, and brought in by adaptive group normalisation), the posterior of the previous step
given both, a discriminator that judges pairs of consecutive steps and knows the time, the non-saturating loss with lazy
R1 penalty, an exponential moving average of the generator. The generator is diffusers' U-Net; the paper's is NCSN++'s.
Scaled down: channels (32, 64, 64), one residual block per level, a discriminator of one block per level.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gmbench.errors import MissingExtraError
from gmbench.generators.adversarial import cross_entropy_loss, non_saturating_loss, squared_slope
from gmbench.generators.generator import Generator, MovingAverage, step

try:
    from diffusers.models.embeddings import get_timestep_embedding
    from diffusers.models.unets.unet_2d import UNet2DModel
except ModuleNotFoundError as error:
    raise MissingExtraError.of("diffusers", "generators") from error

STEPS_BETWEEN_PENALTIES = 15
BETA_MIN, BETA_MAX = 0.1, 20.0


class DiffusionSteps(nn.Module):
    """The variance-preserving diffusion in a few large steps: time 0 is the image, time `steps` almost pure noise."""

    kept: Tensor

    def __init__(self, steps: int) -> None:
        super().__init__()
        time = torch.arange(steps + 1, dtype=torch.float64) / steps
        kept = torch.exp(-0.5 * time.square() * (BETA_MAX - BETA_MIN) - time * BETA_MIN)
        self.register_buffer("kept", kept.float(), persistent=False)

    def _at(self, time: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Share of the image's power that is left at `time`, that at `time - 1`, and the variance added between."""
        now, before = self.kept[time].view(-1, 1, 1, 1), self.kept[time - 1].view(-1, 1, 1, 1)
        return now, before, 1 - now / before

    def pair(self, image: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        """The image at `time - 1` and, further diffused, at `time` (n,), from 1."""
        _, before, variance = self._at(time)
        previous = before.sqrt() * image + (1 - before).sqrt() * torch.randn_like(image)
        return previous, (1 - variance).sqrt() * previous + variance.sqrt() * torch.randn_like(image)

    def posterior(self, image: Tensor, noisy: Tensor, time: Tensor, noise: Tensor) -> Tensor:
        """A draw of the image at `time - 1`, given it at time 0 and at `time` (Ho et al. 2020, equations 6 and 7)."""
        now, before, variance = self._at(time)
        mean = (before.sqrt() * variance * image + (1 - variance).sqrt() * (1 - before) * noisy) / (1 - now)
        return mean + ((1 - before) / (1 - now) * variance).sqrt() * noise


class DenoisingGenerator(nn.Module):
    """From the image at `time`, and a latent code, to the clean image."""

    def __init__(self, size: int, channels: int, latent: int, width: int) -> None:
        super().__init__()
        embedding = 4 * width
        self.mapping = nn.Sequential(
            nn.Linear(latent, embedding), nn.SiLU(), nn.Linear(embedding, embedding), nn.SiLU(),
            nn.Linear(embedding, embedding),
        )  # fmt: skip
        self.network = UNet2DModel(
            sample_size=size,
            in_channels=channels,
            out_channels=channels,
            layers_per_block=1,
            block_out_channels=(width, 2 * width, 2 * width),
            down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
            norm_num_groups=8,
            attention_head_dim=None,
            resnet_time_scale_shift="scale_shift",
            class_embed_type="identity",
        )

    def forward(self, noisy: Tensor, time: Tensor, latents: Tensor) -> Tensor:
        latents = latents * torch.rsqrt(latents.square().mean(1, keepdim=True) + 1e-8)
        return self.network(noisy, time, class_labels=self.mapping(latents)).sample.tanh()


class TimedBlock(nn.Module):
    """A residual block that knows the time, to half the resolution."""

    def __init__(self, before: int, after: int, embedding: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, 1, 1)
        self.time = nn.Linear(embedding, after)
        self.second = nn.Conv2d(after, after, 3, 1, 1)
        self.skip = nn.Conv2d(before, after, 1, bias=False)

    def forward(self, x: Tensor, embedded: Tensor) -> Tensor:
        y = self.first(F.leaky_relu(x, 0.2)) + self.time(embedded)[:, :, None, None]
        y = F.avg_pool2d(self.second(F.leaky_relu(y, 0.2)), 2)
        return (y + self.skip(F.avg_pool2d(x, 2))) / math.sqrt(2)


class PairDiscriminator(nn.Module):
    """Maps an image at `time - 1` beside the same at `time` to one number each (n, 1)."""

    def __init__(self, size: int, channels: int, width: int) -> None:
        super().__init__()
        self.embedding = 4 * width
        self.time = nn.Sequential(nn.Linear(self.embedding, self.embedding), nn.LeakyReLU(0.2, True))
        self.first = nn.Conv2d(2 * channels, width, 1)
        widths = [min(width * 2**level, 4 * width) for level in range(size.bit_length() - 2)]
        self.blocks = nn.ModuleList([TimedBlock(before, after, self.embedding) for before, after in pairwise(widths)])
        self.last = nn.Conv2d(widths[-1] + 1, widths[-1], 3, 1, 1)
        self.head = nn.Linear(widths[-1], 1)

    def forward(self, previous: Tensor, noisy: Tensor, time: Tensor) -> Tensor:
        embedded = self.time(get_timestep_embedding(time, self.embedding))
        x = self.first(torch.cat([previous, noisy], dim=1))
        for block in self.blocks:
            x = block(x, embedded)
        spread = (x.var(0, unbiased=False) + 1e-8).sqrt().mean()
        x = self.last(torch.cat([x, spread.expand(len(x), 1, *x.shape[2:])], dim=1))
        return self.head(F.leaky_relu(x, 0.2).sum((2, 3)))


class DDGAN(Generator):
    """Denoising diffusion GAN."""

    sampling_parts = ("average",)

    def __init__(
        self,
        size: int = 32,
        channels: int = 3,
        steps: int = 4,
        latent: int = 64,
        width: int = 32,
        penalty: float = 0.05,
        ema_decay: float = 0.998,
        learning_rate: float = 5e-4,
    ) -> None:
        super().__init__()
        self.size, self.channels, self.steps, self.latent, self.penalty = size, channels, steps, latent, penalty
        self.diffusion = DiffusionSteps(steps)
        self.generator = DenoisingGenerator(size, channels, latent, width)
        self.average = MovingAverage(self.generator, ema_decay)
        self.discriminator = PairDiscriminator(size, channels, width)
        self._optimizers = {
            name: torch.optim.Adam(module.parameters(), lr=learning_rate, betas=(0.5, 0.9))
            for name, module in (("generator", self.generator), ("discriminator", self.discriminator))
        }

    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        return self._optimizers

    def kind_of_step(self, number: int) -> Hashable:
        return number == 1, number % STEPS_BETWEEN_PENALTIES == 0

    def train_step(self, real: Tensor, number: int) -> dict[str, Tensor]:
        time = torch.randint(1, self.steps + 1, (len(real),), device=real.device)
        previous, noisy = self.diffusion.pair(real, time)
        predicted = self.generator(noisy, time, torch.randn(len(real), self.latent, device=real.device))
        fake = self.diffusion.posterior(predicted, noisy, time, torch.randn_like(real))

        discriminator_loss = cross_entropy_loss(
            self.discriminator(previous, noisy, time), self.discriminator(fake.detach(), noisy, time)
        )
        penalised = discriminator_loss
        if number % STEPS_BETWEEN_PENALTIES == 0:
            slope = squared_slope(lambda images: self.discriminator(images, noisy, time), previous)
            penalised = discriminator_loss + 0.5 * self.penalty * slope
        step(self._optimizers["discriminator"], penalised)
        generator_loss = non_saturating_loss(self.discriminator(fake, noisy, time))
        step(self._optimizers["generator"], generator_loss)
        self.average.update(self.generator, number)
        return {"discriminator": discriminator_loss.detach(), "generator": generator_loss.detach()}

    @torch.no_grad()
    def sample(self, n: int, random: torch.Generator) -> Tensor:
        x = self.noise(n, self.channels, self.size, self.size, random=random)
        for step_time in range(self.steps, 0, -1):
            time = torch.full((n,), step_time, device=x.device)
            image = self.average(x, time, self.noise(n, self.latent, random=random))
            x = self.diffusion.posterior(image, x, time, self.noise(*x.shape, random=random))
        return x
