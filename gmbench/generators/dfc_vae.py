"""DFC-VAE, the deep feature consistent VAE (Hou, Shen, Sun, Qiu, WACV 2017).

Kept: Gaussian encoder of strided 4x4 convolutions, decoder of nearest-neighbour upsampling and 3x3 convolutions, batch
normalisation and LeakyReLU in both, and in place of the pixels' error that of the features of a fixed network at three
depths (the paper's VAE-123), weighted 0.5. The paper's fixed network is VGG-19, trained on ImageNet;
`perception="vgg19"` takes torchvision's weights. By default a small network of the same shape learns on the training
images, without labels, by how much each was turned (Gidaris et al., ICLR 2018), in the first `perception_steps` steps,
and is then fixed. Changed: the features of each depth are divided by their standard deviation, as those of a small
network are of another size each time it is trained; `divergence_weight` is therefore not the paper's 1, under which the
divergence, once features are large, hardly counts, and samples of the prior show nothing.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gmbench.errors import ParameterError
from gmbench.generators.generator import Generator, step


class RotationPerception(nn.Module):
    """Three levels of two convolutions each, as in VGG, and a head that tells four rotations apart."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        widths = [width, 2 * width, 4 * width]
        self.firsts = nn.ModuleList(
            [nn.Conv2d(before, after, 3, 1, 1) for before, after in zip([channels, *widths], widths, strict=False)]
        )
        self.seconds = nn.ModuleList([nn.Conv2d(after, after, 3, 1, 1) for after in widths])
        self.head = nn.Linear(widths[-1], 4)

    def features(self, images: Tensor) -> list[Tensor]:
        """The activations after the first convolution of each level."""
        found, x = [], images
        for level, (first, second) in enumerate(zip(self.firsts, self.seconds, strict=True)):
            x = F.relu(first(x if level == 0 else F.max_pool2d(x, 2)))
            found.append(x)
            x = F.relu(second(x))
        return found

    def rotation_loss(self, images: Tensor) -> Tensor:
        """Cross-entropy of the head on images turned by 0, 90, 180 and 270 degrees."""
        turns = torch.randint(4, (len(images),), device=images.device)
        all_turns = torch.stack([images.rot90(turn, (2, 3)) for turn in range(4)])
        turned = all_turns[turns, torch.arange(len(images), device=images.device)]
        deepest = F.relu(self.seconds[-1](self.features(turned)[-1]))
        return F.cross_entropy(self.head(deepest.mean((2, 3))), turns)


class VGGPerception(nn.Module):
    """torchvision's VGG-19 with ImageNet weights: activations relu1_1, relu2_1 and relu3_1."""

    mean: Tensor
    sd: Tensor

    def __init__(self) -> None:
        from torchvision.models import VGG19_Weights, vgg19

        super().__init__()
        layers = vgg19(weights=VGG19_Weights.IMAGENET1K_V1).features
        self.parts = nn.ModuleList([layers[:2], layers[2:7], layers[7:12]])
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer("sd", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))

    def features(self, images: Tensor) -> list[Tensor]:
        """The activations after the first convolution of each level."""
        x = ((images.expand(-1, 3, -1, -1) + 1) / 2 - self.mean) / self.sd
        found = []
        for part in self.parts:
            x = part(x)
            found.append(x)
        return found


class DFCVAE(Generator):
    """Deep feature consistent variational autoencoder."""

    sampling_parts = ("decoder",)
    spreads: Tensor

    def __init__(
        self,
        size: int = 32,
        channels: int = 3,
        latent: int = 64,
        width: int = 32,
        perception: str = "rotation",
        perception_steps: int = 300,
        feature_weight: float = 0.5,
        divergence_weight: float = 20.0,
        learning_rate: float = 1e-3,
    ) -> None:
        super().__init__()
        if perception not in ("rotation", "vgg19"):
            raise ParameterError(f"perception: expected 'rotation' or 'vgg19', got '{perception}'.")
        self.size, self.channels, self.latent = size, channels, latent
        self.perception_steps = perception_steps if perception == "rotation" else 0
        self.register_buffer("spreads", torch.ones(3))
        self.feature_weight, self.divergence_weight = feature_weight, divergence_weight
        widths = [width * 2**level for level in range(size.bit_length() - 3)]
        downs: list[nn.Module] = []
        for before, after in zip([channels, *widths], widths, strict=False):
            downs += [nn.Conv2d(before, after, 4, 2, 1), nn.BatchNorm2d(after), nn.LeakyReLU(0.2, True)]
        ups: list[nn.Module] = []
        for before, after in zip(widths[::-1], [*widths[-2::-1], width], strict=True):
            ups += [
                nn.Upsample(scale_factor=2, mode="nearest"),
                nn.Conv2d(before, after, 3, 1, 1),
                nn.BatchNorm2d(after),
                nn.LeakyReLU(0.2, True),
            ]
        top = widths[-1] * 16
        self.encoder = nn.Sequential(*downs, nn.Flatten(), nn.Linear(top, 2 * latent))
        self.decoder = nn.Sequential(
            nn.Linear(latent, top), nn.Unflatten(1, (widths[-1], 4, 4)), *ups, nn.Conv2d(width, channels, 3, 1, 1)
        )
        self.perception = VGGPerception() if perception == "vgg19" else RotationPerception(channels, width)
        learned = [*self.encoder.parameters(), *self.decoder.parameters()]
        self._optimizers = {
            "adam": torch.optim.Adam(learned, lr=learning_rate),
            "perception": torch.optim.Adam(self.perception.parameters(), lr=1e-3),
        }

    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        return self._optimizers

    def kind_of_step(self, number: int) -> Hashable:
        return number <= self.perception_steps, number == self.perception_steps + 1

    def train_step(self, real: Tensor, number: int) -> dict[str, Tensor]:
        if number <= self.perception_steps:
            rotation = self.perception.rotation_loss(real)  # type: ignore[operator]
            step(self._optimizers["perception"], rotation)
            return {"rotation": rotation.detach()}
        if number == self.perception_steps + 1:
            with torch.no_grad():
                spreads = [features.std() for features in self.perception.features(real)]
                self.spreads.copy_(torch.stack(spreads).clamp_min(1e-6))
        mean, log_variance = self.encoder(real).chunk(2, dim=1)
        code = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        consistency = self.feature_loss(self.decoder(code), real)
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()
        loss = self.feature_weight * consistency + self.divergence_weight * divergence
        step(self._optimizers["adam"], loss)
        return {"features": consistency.detach(), "divergence": divergence.detach()}

    def feature_loss(self, images: Tensor, real: Tensor) -> Tensor:
        """Half the squared error of the features, summed over depths; within one, over channels and mean positions."""
        with torch.no_grad():
            wanted = self.perception.features(real)
        found = self.perception.features(images)
        errors = [(one - other).square().sum((1, 2, 3)).mean() for one, other in zip(found, wanted, strict=True)]
        return 0.5 * (torch.stack(errors) / self.spreads.square()).sum()

    @torch.no_grad()
    def sample(self, n: int, random: torch.Generator) -> Tensor:
        return self.decoder(self.noise(n, self.latent, random=random)).clamp(-1, 1)
