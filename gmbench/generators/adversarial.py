"""What generative adversarial networks share: two networks that take turns, and penalties on the critic's slope."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Hashable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gmbench.generators.generator import Generator, step


class AdversarialGenerator(Generator):
    """A generator of images from noise (n, latent, 1, 1), and a discriminator that gives one number per image.

    The discriminator learns at every step, the generator at every `turns`-th.
    """

    sampling_parts = ("generator",)

    def __init__(
        self,
        size: int,
        channels: int,
        latent: int,
        generator: nn.Module,
        discriminator: nn.Module,
        learning_rate: float,
        betas: tuple[float, float],
        turns: int = 1,
    ) -> None:
        super().__init__()
        self.size, self.channels, self.latent, self.turns = size, channels, latent, turns
        self.generator, self.discriminator = generator, discriminator
        self._optimizers = {
            name: torch.optim.Adam(module.parameters(), lr=learning_rate, betas=betas)
            for name, module in (("generator", generator), ("discriminator", discriminator))
        }

    @abstractmethod
    def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """What the discriminator minimises, on images of both kinds."""

    @abstractmethod
    def generator_loss(self, judged: Tensor) -> Tensor:
        """What the generator minimises, given the discriminator's numbers for its images."""

    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        return self._optimizers

    def kind_of_step(self, number: int) -> Hashable:
        return number == 1, number % self.turns == 0

    def train_step(self, real: Tensor, number: int) -> dict[str, Tensor]:
        fake = self.generator(torch.randn(len(real), self.latent, 1, 1, device=real.device))
        discriminator_loss = self.discriminator_loss(real, fake.detach())
        step(self._optimizers["discriminator"], discriminator_loss)
        losses = {"discriminator": discriminator_loss.detach()}
        if number % self.turns == 0:
            generator_loss = self.generator_loss(self.discriminator(fake))
            step(self._optimizers["generator"], generator_loss)
            losses["generator"] = generator_loss.detach()
        return losses

    @torch.no_grad()
    def sample(self, n: int, random: torch.Generator) -> Tensor:
        return self.generator(self.noise(n, self.latent, 1, 1, random=random))


def cross_entropy_loss(judged_real: Tensor, judged_fake: Tensor) -> Tensor:
    """The discriminator's loss of Goodfellow et al. (2014): -log D(real) - log(1 - D(fake)), from logits."""
    return F.softplus(-judged_real).mean() + F.softplus(judged_fake).mean()


def non_saturating_loss(judged_fake: Tensor) -> Tensor:
    """The generator's loss of Goodfellow et al. (2014), section 3: -log D(fake), from logits."""
    return F.softplus(-judged_fake).mean()


def slope_penalty(critic: Callable[[Tensor], Tensor], points: Tensor, one_sided: bool = False) -> Tensor:
    """Mean of (|gradient of the critic| - 1)^2 at some points; one-sided, slopes below 1 cost nothing."""
    excess = _gradient(critic, points).norm(dim=1) - 1
    return (excess.clamp_min(0) if one_sided else excess).square().mean()


def squared_slope(critic: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
    """Mean of |gradient of the critic|^2 at some points: R1 (Mescheder et al., ICML 2018) at real images."""
    return _gradient(critic, points).square().sum(dim=1).mean()


def _gradient(critic: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
    """The critic's gradient at each point, flattened to (n, values), through which one can go back."""
    points = points.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(critic(points).sum(), points, create_graph=True)
    return gradient.flatten(1)


def between(real: Tensor, fake: Tensor) -> Tensor:
    """Points drawn evenly on the lines from real to generated images (Gulrajani et al. 2017, algorithm 1)."""
    share = torch.rand(len(real), 1, 1, 1, device=real.device)
    return share * real + (1 - share) * fake
