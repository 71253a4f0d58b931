"""NVAE (Vahdat, Kautz, NeurIPS 2020).

Kept: a deterministic bottom-up encoder and a top-down generative path that starts from a learned constant, groups of
latents at several scales, encoder cells (batch normalisation, Swish, 3x3 convolution, twice) and generative cells
(inverted bottleneck around a depthwise 5x5 convolution) with squeeze and excitation, posteriors given relative to the
prior, a growing weight of the divergence (balanced between groups with `balancing`), a discretised mixture of
logistics on 8-bit images, Adamax, averaged weights, sampling at reduced temperature with batch normalisation readjusted
to it. Scaled down: 2 groups of 8 latents at 4 and at 8 pixels with one cell each, 8 channels at full resolution,
expansion by 4, 3 components (the paper on MNIST: 5 and 10 groups of 20, two cells, 32 channels, expansion by 6; 10
components in colour). Dropped: normalising flows, weight normalisation and spectral regularisation. Shortcuts too
upsample to the nearest pixel, the first group's prior is learned, grey images have the mixture as well (the paper:
Bernoulli), and images are its means.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Hashable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gmbench.generators.generator import Generator, set_rate, step

# Given the index of a group, the state (n, c, h, w) and the prior's mean and log scale: the group's latents.
Draw = Callable[[int, Tensor, Tensor, Tensor], Tensor]


def batch_norm(width: int) -> nn.BatchNorm2d:
    """Batch normalisation with the paper's slow running statistics."""
    return nn.BatchNorm2d(width, eps=1e-5, momentum=0.05)


class SqueezeExcitation(nn.Module):
    """Scales each channel by a gate that is decided from the means of all."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = max(width // 16, 4)
        self.gate = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(True), nn.Linear(hidden, width), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x.mean((2, 3)))[:, :, None, None]


class ResidualCell(nn.Module):
    """A shortcut plus a tenth of a branch, which starts training close to the shortcut."""

    def __init__(self, shortcut: nn.Module, *branch: nn.Module) -> None:
        super().__init__()
        self.shortcut, self.branch = shortcut, nn.Sequential(*branch)

    def forward(self, x: Tensor) -> Tensor:
        return torch.add(self.shortcut(x), self.branch(x), alpha=0.1)


def encoder_cell(before: int, after: int) -> ResidualCell:
    """Figure 3b; halves the side if the width changes."""
    same = before == after
    return ResidualCell(
        nn.Identity() if same else nn.Sequential(nn.SiLU(), nn.Conv2d(before, after, 2, 2)),
        batch_norm(before),
        nn.SiLU(True),
        nn.Conv2d(before, after, 3, 1 if same else 2, 1),
        batch_norm(after),
        nn.SiLU(True),
        nn.Conv2d(after, after, 3, padding=1),
        SqueezeExcitation(after),
    )


def generative_cell(before: int, after: int, expansion: int) -> ResidualCell:
    """Figure 3a; doubles the side if the width changes."""
    same, hidden = before == after, after * expansion
    # A 1x1 convolution commutes with nearest upsampling, which is therefore as late as it can be.
    enlarge = nn.Identity() if same else nn.Upsample(scale_factor=2)
    return ResidualCell(
        nn.Identity() if same else nn.Sequential(nn.Conv2d(before, after, 1), enlarge),
        batch_norm(before),
        nn.Conv2d(before, hidden, 1, bias=False),
        batch_norm(hidden),
        nn.SiLU(True),
        enlarge,
        nn.Conv2d(hidden, hidden, 5, padding=2, groups=hidden, bias=False),
        batch_norm(hidden),
        nn.SiLU(True),
        nn.Conv2d(hidden, after, 1, bias=False),
        batch_norm(after),
        SqueezeExcitation(after),
    )


class BottomUp(nn.Module):
    """The deterministic encoder: for each group of latents, coarsest first, what the image says of it."""

    def __init__(self, channels: int, widths: list[int], scales: int, groups: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, widths[0], 3, padding=1)
        self.before = nn.Sequential()
        self.groups = nn.ModuleList()
        finest = len(widths) - scales
        for level, width in enumerate(widths):
            down = [encoder_cell(widths[level - 1], width)] if level > 0 else []
            if level < finest:
                self.before.extend(down)
            else:
                for index in range(groups):
                    self.groups.append(nn.Sequential(*(down if index == 0 else []), encoder_cell(width, width)))

    def forward(self, image: Tensor) -> list[Tensor]:
        x = self.before(self.stem(image))
        features = []
        for cells in self.groups:
            x = cells(x)
            features.append(x)
        return features[::-1]


def soft_clamp(x: Tensor, bound: float = 5.0) -> Tensor:
    """Close to `x` around zero, never beyond the bound."""
    return bound * torch.tanh(x / bound)


class Posterior(nn.Module):
    """Shift of the mean and log ratio of the scales, relative to the prior, from the encoder and the state."""

    def __init__(self, width: int, latent: int) -> None:
        super().__init__()
        self.from_state = nn.Conv2d(width, width, 1)
        self.convolution = nn.Conv2d(width, 2 * latent, 3, padding=1)

    def forward(self, features: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        shift, log_ratio = soft_clamp(self.convolution(features + self.from_state(state))).chunk(2, dim=1)
        return shift, log_ratio


def residual_divergence(shift: Tensor, log_ratio: Tensor, log_scale: Tensor) -> Tensor:
    """Divergence of N(mean + shift, (scale * ratio)^2) from N(mean, scale^2), element by element (equation 2)."""
    return 0.5 * ((shift * (-log_scale).exp()).square() + (2 * log_ratio).exp() - 1) - log_ratio


class Group(nn.Module):
    """Cells, the prior of the group's latents given the state after them, and how the latents enter the state."""

    def __init__(self, cells: list[ResidualCell], width: int, latent: int) -> None:
        super().__init__()
        self.cells = nn.Sequential(*cells)
        self.prior = nn.Sequential(nn.ELU(), nn.Conv2d(width, 2 * latent, 1))
        self.enter = nn.Conv2d(width + latent, width, 1)


class TopDown(nn.Module):
    """The generative path: from a learned constant, group by group, to the parameters of the pixels' distribution."""

    def __init__(
        self, widths: list[int], scales: int, groups: int, latent: int, expansion: int, parameters: int
    ) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.rand(1, widths[-1], 4, 4))
        self.groups = nn.ModuleList()
        self.after = nn.Sequential()
        finest = len(widths) - scales
        for level in reversed(range(len(widths))):
            width, top = widths[level], level == len(widths) - 1
            # As in the paper, cells beyond the latents' scales expand half as much.
            expand = expansion if level >= finest else expansion // 2
            up = [] if top else [generative_cell(widths[level + 1], width, expand)]
            if level < finest:
                self.after.extend(up)
            else:
                for index in range(groups):
                    cells = [*(up if index == 0 else []), generative_cell(width, width, expand)]
                    self.groups.append(Group([] if top and index == 0 else cells, width, latent))
        self.after.extend([nn.ELU(), nn.Conv2d(widths[0], parameters, 3, padding=1)])

    def forward(self, n: int, draw: Draw) -> Tensor:
        state = self.start.expand(n, -1, -1, -1)
        for index, group in enumerate(self.groups):
            state = group.cells(state)  # type: ignore[operator]
            mean, log_scale = soft_clamp(group.prior(state)).chunk(2, dim=1)  # type: ignore[operator]
            latents = draw(index, state, mean, log_scale)
            state = group.enter(torch.cat([state, latents], dim=1))  # type: ignore[operator]
        return self.after(state)


class LogisticMixture:
    """Mixtures of discretised logistics over the 256 levels of pixels in [-1, 1].

    The channels of a pixel share the component; the mean of each channel is linear in the channels before it.
    """

    @staticmethod
    def parameters(channels: int, components: int) -> int:
        """Numbers per pixel."""
        return components * (1 + 2 * channels + channels * (channels - 1) // 2)

    def __init__(self, parameters: Tensor, channels: int, components: int) -> None:
        sizes = [1, channels, channels, channels * (channels - 1) // 2]
        log_weights, means, log_scales, slopes = parameters.unflatten(1, (components, -1)).split(sizes, dim=2)
        self.channels = channels
        self.log_weights = log_weights[:, :, 0].log_softmax(dim=1)
        self.means, self.log_scales, self.slopes = means, log_scales.clamp_min(-7.0), slopes.tanh()

    def _mean(self, channel: int, image: Tensor) -> Tensor:
        """Mean of a channel (n, components, h, w) given those before it in `image` (n, c, h, w)."""
        mean = self.means[:, :, channel]
        for before in range(channel):
            mean = mean + self.slopes[:, :, channel * (channel - 1) // 2 + before] * image[:, None, before]
        return mean

    def log_likelihood(self, image: Tensor) -> Tensor:
        """Of the pixels of an image (n, c, h, w), as (n, h, w) in nats."""
        means = torch.stack([self._mean(channel, image) for channel in range(self.channels)], dim=2)
        precision = (-self.log_scales).exp()
        image = image[:, None]
        below = F.logsigmoid(precision * (image + 1 / 255 - means))
        above = F.logsigmoid(precision * (means - image + 1 / 255))
        # The difference of two sigmoids, as a product that does not cancel.
        between = below + above + (-torch.expm1(-2 / 255 * precision)).log()
        log_likelihood = torch.where(image < -0.999, below, torch.where(image > 0.999, above, between))
        return (log_likelihood.sum(dim=2) + self.log_weights).logsumexp(dim=1)

    def mean(self) -> Tensor:
        """The image (n, c, h, w) of the components' weighted means, each channel given the means of those before."""
        image = self.means[:, 0, :0]
        for channel in range(self.channels):
            means = self._mean(channel, image).clamp(-1, 1)
            image = torch.cat([image, (self.log_weights.exp() * means).sum(dim=1, keepdim=True)], dim=1)
        return image


class NVAE(Generator):
    """Deep hierarchical variational autoencoder.

    The divergence's weight grows over the first `warmup` steps, the learning rate over the first `rate_warmup`: from
    the full rate at once, training on photographs diverged.
    """

    sampling_parts = ("average",)
    weight: Tensor
    places: Tensor

    def __init__(
        self,
        size: int = 32,
        channels: int = 3,
        scales: int = 2,
        groups: int = 2,
        latent: int = 8,
        width: int = 8,
        expansion: int = 4,
        components: int = 3,
        temperature: float = 0.8,
        warmup: int = 1000,
        balancing: bool = False,
        ema_decay: float = 0.998,
        learning_rate: float = 1e-2,
        rate_warmup: int = 1000,
    ) -> None:
        super().__init__()
        self.learning_rate, self.rate_warmup = learning_rate, rate_warmup
        self.size, self.channels, self.components = size, channels, components
        self.temperature, self.warmup, self.balancing, self.ema_decay = temperature, warmup, balancing, ema_decay
        widths = [width * 2**level for level in range(size.bit_length() - 2)]
        if not 1 <= scales <= len(widths):
            raise ValueError(f"scales must lie in 1 to {len(widths)}")
        self.sides = [4 * 2**scale for scale in range(scales) for _ in range(groups)]
        self.register_buffer("weight", torch.tensor(1.0), persistent=False)
        self.register_buffer("places", torch.tensor(self.sides).square(), persistent=False)
        self.encoder = BottomUp(channels, widths, scales, groups)
        parameters = LogisticMixture.parameters(channels, components)
        self.decoder = TopDown(widths, scales, groups, latent, expansion, parameters)
        self.posteriors = nn.ModuleList(
            Posterior(group.enter.out_channels, latent)  # type: ignore[union-attr, arg-type]
            for group in self.decoder.groups
        )
        self.average = copy.deepcopy(self.decoder).requires_grad_(False)
        learned = [parameter for parameter in self.parameters() if parameter.requires_grad]
        self._optimizers = {"adamax": torch.optim.Adamax(learned, lr=learning_rate, eps=1e-3, foreach=True)}

    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        return self._optimizers

    def forward(self, real: Tensor) -> tuple[Tensor, Tensor]:
        """Negative log likelihood (n,) of images under the posterior's latents, divergences (n, groups), in nats."""
        features = self.encoder(real)
        divergences = []

        def draw(index: int, state: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
            shift, log_ratio = self.posteriors[index](features[index], state)
            divergences.append(residual_divergence(shift, log_ratio, log_scale).sum((1, 2, 3)))
            return mean + shift + (log_scale + log_ratio).exp() * torch.randn_like(mean)

        pixels = LogisticMixture(self.decoder(len(real), draw), self.channels, self.components)
        return -pixels.log_likelihood(real).sum((1, 2)), torch.stack(divergences, dim=1)

    def kind_of_step(self, number: int) -> Hashable:
        return self.balancing and number < self.warmup

    def prepare(self, number: int) -> None:
        self.weight.fill_(min(1.0, number / self.warmup))
        set_rate(self._optimizers["adamax"], self.learning_rate * min(1.0, number / self.rate_warmup))

    def train_step(self, real: Tensor, number: int) -> dict[str, Tensor]:
        reconstruction, divergences = self(real)
        divergence = divergences.mean(0)
        penalty = divergence
        if self.balancing and number < self.warmup:
            penalty = self._balance(divergence.detach()) * divergence
        loss = reconstruction.mean() + self.weight * penalty.sum()
        step(self._optimizers["adamax"], loss, clip=1000.0)
        self._follow(max(1, len(real) // 4))
        nats = reconstruction.detach().mean() + divergence.detach().sum()
        bits = nats / real[0].numel() / math.log(2)
        return {"bits_per_dimension": bits, "divergence": divergence.detach().sum()}

    def _balance(self, divergence: Tensor) -> Tensor:
        """Weights (groups,) of mean 1, proportional to the divergence per latent, so that no group is given up."""
        per_latent = (divergence + 0.01) / self.places
        return per_latent / per_latent.mean()

    @torch.no_grad()
    def _follow(self, n: int) -> None:
        """Moves the average towards the decoder, then its batch normalisation towards `n` samples' statistics."""
        torch._foreach_lerp_(list(self.average.parameters()), list(self.decoder.parameters()), 1 - self.ema_decay)
        self.average(n, lambda _index, _state, mean, log_scale: self._cooled(mean, log_scale, torch.randn_like(mean)))

    def _cooled(self, mean: Tensor, log_scale: Tensor, noise: Tensor) -> Tensor:
        """Latents of the prior at the temperature."""
        return mean + log_scale.exp() * self.temperature * noise

    @torch.no_grad()
    def sample(self, n: int, random: torch.Generator) -> Tensor:
        def draw(_index: int, _state: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
            return self._cooled(mean, log_scale, self.noise(*mean.shape, random=random))

        return LogisticMixture(self.average(n, draw), self.channels, self.components).mean().clamp(-1, 1)
