"""Encoders: networks that were trained once, on real images only, and then map any image to its features.

There are two kinds. `sl` (supervised learning) learned to tell categories of real images apart; `ssl` (self-supervised
learning) learned by Barlow Twins to give two views of one image the same, decorrelated features. An embedded dataset
brings its own, small ones; for all others they are ResNet-50s trained on ImageNet, as in table 3 of the paper.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gmbench.data.cards import DatasetCard
from gmbench.data.manifest import read_manifest
from gmbench.errors import DataError, NotFoundError
from gmbench.networks.pretrained import IMAGENET_MEAN, IMAGENET_SD, published_weights
from gmbench.networks.resnet import cifar_resnet
from gmbench.support.files import sha256_file

DEPTH = 20
WIDTH = 64
IMAGENET_SIDE = 224
PUBLISHED = {"sl": "resnet50", "ssl": "barlow-twins"}


class Encoder(nn.Module):
    """A network without head, which standardises its input per channel.

    Attributes:
        sha256: names the weights, for keys of cached work and for records.
        side: images are resized to this before they are encoded; None: they are taken as they are.
    """

    mean: Tensor
    sd: Tensor

    def __init__(self, body: nn.Module | None = None, side: int | None = None) -> None:
        super().__init__()
        self.body = body or cifar_resnet(3, DEPTH)
        self.side = side
        self.register_buffer("mean", torch.zeros(1, 3, 1, 1))
        self.register_buffer("sd", torch.ones(1, 3, 1, 1))

    @property
    def sha256(self) -> str:
        digest = hashlib.sha256(str(self.side).encode())
        for name, value in sorted(self.state_dict().items()):
            digest.update(name.encode() + value.cpu().numpy().tobytes())
        return digest.hexdigest()

    def standardise(self, mean: Tensor, sd: Tensor) -> None:
        """Sets the mean and standard deviation (3,) of the channels."""
        self.mean.copy_(mean.view(1, 3, 1, 1))
        self.sd.copy_(sd.view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """float32 (n, 3, height, width) in [0, 1] to features (n, 64 or 2048)."""
        if self.side is not None and images.shape[-1] != self.side:
            images = F.interpolate(images, (self.side, self.side), mode="bilinear", antialias=True)
        return self.body((images - self.mean) / self.sd)


def find_encoder(card: DatasetCard, kind: str, folder: Path) -> Encoder:
    """The encoder `sl` or `ssl` for a dataset whose files are in `folder`: its own, or the published one."""
    return load_encoder(card, kind, folder) if kind in card.encoders else published_encoder(kind)


def published_encoder(kind: str) -> Encoder:
    """ResNet-50 trained on ImageNet: `sl` is torchvision's, `ssl` the one that the authors of Barlow Twins released.

    Images are resized to the 224 pixels that they were trained on.

    Raises:
        CannotRunError: the weights are not here and cannot be downloaded.
        DataError: they are damaged.
    """
    from torchvision.models import resnet50

    weights, _ = published_weights(PUBLISHED[kind])
    body = resnet50()
    missing, unexpected = body.load_state_dict(weights, strict=False)
    if unexpected or set(missing) - {"fc.weight", "fc.bias"}:
        raise DataError(f"the weights of {PUBLISHED[kind]} are not those of a ResNet-50.")
    body.fc = nn.Identity()
    encoder = Encoder(body, IMAGENET_SIDE)
    encoder.standardise(torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_SD))
    return encoder.eval()


def load_encoder(card: DatasetCard, kind: str, folder: Path) -> Encoder:
    """The encoder `sl` or `ssl` that a dataset brings in its folder, on the CPU and in evaluation mode.

    Raises:
        NotFoundError: the dataset has no encoder of that kind.
        DataError: the file is missing or altered.
    """
    from safetensors.torch import load_file

    if kind not in card.encoders:
        raise NotFoundError.of(f"encoder of {card.slug}", kind, card.encoders)
    path = folder / card.encoders[kind]
    expected = read_manifest(folder).encoders.get(card.encoders[kind])
    if not path.is_file() or sha256_file(path) != expected:
        raise DataError(f"{path} is not the encoder of the manifest. Restore the file.")
    encoder = Encoder()
    encoder.load_state_dict(load_file(path))
    return encoder.eval()


@torch.no_grad()
def encode(encoder: Encoder, pixels: np.ndarray, device: str, batch_size: int = 256) -> np.ndarray:
    """Features float32 (n, 64 or 2048) of uint8 images (n, height, width, 3), batch by batch."""
    encoder = encoder.to(device)
    features = [
        encoder(as_input(np.asarray(pixels[start : start + batch_size]), device)).cpu().numpy()
        for start in range(0, len(pixels), batch_size)
    ]
    return np.concatenate(features)


def as_input(pixels: np.ndarray, device: str) -> Tensor:
    """uint8 (n, height, width, 3) to float32 (n, 3, height, width) in [0, 1]."""
    return torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float() / 255
