"""DDPM (Ho, Jain, Abbeel, NeurIPS 2020).

Kept: 1000 steps with linearly growing variances from 1e-4 to 0.02, the simple loss on the predicted noise, a U-Net with
group normalisation, self-attention at a quarter of the resolution and time embedding, an exponential moving average of
the weights, ancestral sampling. U-Net and schedule are diffusers'. Scaled down: channels (32, 64, 64), one residual
block per level; sampling takes 250 of the 1000 steps (with the variances respaced accordingly), `sampling_steps=1000`
takes all.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from gmbench.errors import MissingExtraError
from gmbench.generators.generator import Generator, MovingAverage, step

try:
    from diffusers.models.unets.unet_2d import UNet2DModel
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
except ModuleNotFoundError as error:
    raise MissingExtraError.of("diffusers", "generators") from error


class DDPM(Generator):
    """Denoising diffusion probabilistic model."""

    sampling_parts = ("average",)

    def __init__(
        self,
        size: int = 32,
        channels: int = 3,
        width: int = 32,
        blocks: int = 1,
        steps: int = 1000,
        sampling_steps: int = 250,
        ema_decay: float = 0.999,
        learning_rate: float = 5e-4,
    ) -> None:
        super().__init__()
        self.size, self.channels, self.sampling_steps = size, channels, sampling_steps
        self.network = UNet2DModel(
            sample_size=size,
            in_channels=channels,
            out_channels=channels,
            layers_per_block=blocks,
            block_out_channels=(width, 2 * width, 2 * width),
            down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
            norm_num_groups=8,
            attention_head_dim=None,
        )
        self.average = MovingAverage(self.network, ema_decay)
        self.schedule = DDPMScheduler(num_train_timesteps=steps, beta_start=1e-4, beta_end=0.02, beta_schedule="linear")
        self._optimizers = {"adam": torch.optim.Adam(self.network.parameters(), lr=learning_rate)}

    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        return self._optimizers

    def train_step(self, real: Tensor, number: int) -> dict[str, Tensor]:
        times = torch.randint(0, self.schedule.config.num_train_timesteps, (len(real),), device=real.device)
        noise = torch.randn_like(real)
        noisy = self.schedule.add_noise(real, noise, times)
        loss = F.mse_loss(self.network(noisy, times).sample, noise)
        step(self._optimizers["adam"], loss, clip=1.0)
        self.average.update(self.network, number)
        return {"loss": loss.detach()}

    @torch.no_grad()
    def sample(self, n: int, random: torch.Generator) -> Tensor:
        x = self.noise(n, self.channels, self.size, self.size, random=random)
        self.schedule.set_timesteps(self.sampling_steps)
        for time in self.schedule.timesteps:
            predicted = self.average(x, time).sample
            x = self.schedule.step(predicted, time, x, generator=random).prev_sample
        return x.clamp(-1, 1)
