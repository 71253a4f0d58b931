"""LDM, the latent diffusion model (Rombach et al., CVPR 2022).

Kept: an autoencoder with a slight Kullback-Leibler penalty on its latents, trained with a patch discriminator, then
frozen; latents rescaled to unit variance; diffusion in the space of latents, with a quarter of the resolution and 4
channels; sampling by DDIM. Autoencoder, U-Net and schedulers are diffusers'. Scaled down: channels, one residual block
per level, a fixed weight of the adversarial loss; left out: the perceptual term, which needs a network trained on
ImageNet. The first `autoencoder_steps` steps train the autoencoder, all later ones the diffusion.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gmbench.errors import MissingExtraError
from gmbench.generators.generator import Generator, MovingAverage, step

try:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.unets.unet_2d import UNet2DModel
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler
except ModuleNotFoundError as error:
    raise MissingExtraError.of("diffusers", "generators") from error

LATENT_CHANNELS = 4


def patch_discriminator(channels: int, width: int) -> nn.Sequential:
    """Maps images to one number for each overlapping patch (n, 1, height, width)."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 4, 2, 1),
        nn.LeakyReLU(0.2, True),
        nn.Conv2d(width, 2 * width, 4, 2, 1, bias=False),
        nn.BatchNorm2d(2 * width),
        nn.LeakyReLU(0.2, True),
        nn.Conv2d(2 * width, 1, 3, 1, 1),
    )


class LDM(Generator):
    """Latent diffusion model."""

    sampling_parts = ("autoencoder.decoder", "autoencoder.post_quant_conv", "average", "scale")
    scale: Tensor

    def __init__(
        self,
        size: int = 32,
        channels: int = 3,
        autoencoder_steps: int = 1500,
        autoencoder_width: int = 24,
        width: int = 64,
        steps: int = 1000,
        sampling_steps: int = 100,
        divergence: float = 1e-6,
        adversarial: float = 0.05,
        ema_decay: float = 0.999,
        learning_rate: float = 5e-4,
    ) -> None:
        super().__init__()
        self.size, self.channels, self.sampling_steps = size, channels, sampling_steps
        self.autoencoder_steps, self.divergence, self.adversarial = autoencoder_steps, divergence, adversarial
        self.autoencoder = AutoencoderKL(
            in_channels=channels,
            out_channels=channels,
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            block_out_channels=(autoencoder_width, 2 * autoencoder_width, 2 * autoencoder_width),
            layers_per_block=1,
            latent_channels=LATENT_CHANNELS,
            norm_num_groups=8,
            sample_size=size,
        )
        self.discriminator = patch_discriminator(channels, autoencoder_width)
        self.network = UNet2DModel(
            sample_size=size // 4,
            in_channels=LATENT_CHANNELS,
            out_channels=LATENT_CHANNELS,
            layers_per_block=1,
            block_out_channels=(width, 2 * width),
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
            norm_num_groups=8,
            attention_head_dim=None,
        )
        self.average = MovingAverage(self.network, ema_decay)
        self.schedule = DDIMScheduler(
            num_train_timesteps=steps, beta_start=0.0015, beta_end=0.0195, beta_schedule="scaled_linear",
            clip_sample=False,
        )  # fmt: skip
        self.register_buffer("scale", torch.tensor(0.0))
        self._optimizers = {
            "autoencoder": torch.optim.Adam(self.autoencoder.parameters(), lr=learning_rate, betas=(0.5, 0.9)),
            "discriminator": torch.optim.Adam(self.discriminator.parameters(), lr=learning_rate, betas=(0.5, 0.9)),
            "diffusion": torch.optim.Adam(self.network.parameters(), lr=learning_rate),
        }

    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        return self._optimizers

    def kind_of_step(self, number: int) -> Hashable:
        before = self.autoencoder_steps
        return number <= before // 2, number <= before, number == before + 1

    def train_step(self, real: Tensor, number: int) -> dict[str, Tensor]:
        if number <= self.autoencoder_steps:
            return self._autoencoder_step(real, judged=number > self.autoencoder_steps // 2)
        return self._diffusion_step(real, number - self.autoencoder_steps)

    def _autoencoder_step(self, real: Tensor, judged: bool) -> dict[str, Tensor]:
        """The discriminator takes part when reconstructions are already fair."""
        posterior = self.autoencoder.encode(real).latent_dist
        reconstruction = self.autoencoder.decode(posterior.sample()).sample
        error = F.l1_loss(reconstruction, real)
        loss = error + self.divergence * posterior.kl().mean()
        if judged:
            loss = loss - self.adversarial * self.discriminator(reconstruction).mean()
        step(self._optimizers["autoencoder"], loss, clip=1.0)
        losses = {"reconstruction": error.detach()}
        if judged:
            hinge = (
                F.relu(1 - self.discriminator(real)).mean()
                + F.relu(1 + self.discriminator(reconstruction.detach())).mean()
            )
            step(self._optimizers["discriminator"], 0.5 * hinge)
            losses["discriminator"] = hinge.detach()
        return losses

    def _diffusion_step(self, real: Tensor, number: int) -> dict[str, Tensor]:
        with torch.no_grad():
            latents = self.autoencoder.encode(real).latent_dist.sample()
            if number == 1:
                self.scale.copy_(1 / latents.std())
            latents = latents * self.scale
        times = torch.randint(0, self.schedule.config.num_train_timesteps, (len(real),), device=real.device)
        noise = torch.randn_like(latents)
        noisy = self.schedule.add_noise(latents, noise, times)
        loss = F.mse_loss(self.network(noisy, times).sample, noise)
        step(self._optimizers["diffusion"], loss, clip=1.0)
        self.average.update(self.network, number)
        return {"loss": loss.detach()}

    @torch.no_grad()
    def sample(self, n: int, random: torch.Generator) -> Tensor:
        latents = self.noise(n, LATENT_CHANNELS, self.size // 4, self.size // 4, random=random)
        self.schedule.set_timesteps(self.sampling_steps)
        for time in self.schedule.timesteps:
            predicted = self.average(latents, time).sample
            latents = self.schedule.step(predicted, time, latents).prev_sample
        # A training that has not come to the diffusion yet has no scale.
        scale = self.scale if self.scale > 0 else torch.ones_like(self.scale)
        return self.autoencoder.decode(latents / scale).sample.clamp(-1, 1)
