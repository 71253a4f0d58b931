"""Networks that attribute images or artifacts. Each is a body, whose output is the feature, and a linear head."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from gmbench.errors import DataError, ParameterError
from gmbench.networks.pretrained import only_random_weights, published_weights
from gmbench.networks.resnet import cifar_resnet

NETWORKS = ("resnet20", "resnet50", "xception", "inception_v3")


class FeatureNetwork(nn.Module, ABC):
    """A network that maps its input to logits, (n, sources), by way of features.

    Attributes:
        head: its last layer, from features to logits.
    """

    head: nn.Module

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """The feature of each input, (n, width): what the last layer sees."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


class AttributionNetwork(FeatureNetwork):
    """Standardises its input per channel, then body and head.

    Attributes:
        body: maps (n, channels, height, width), or vectors (n, d), to features (n, width).
        head: maps features to logits (n, sources).
        weights_sha256: of the file of published weights that the body starts from; None if it starts from random ones.
    """

    head: nn.Linear
    mean: Tensor
    sd: Tensor

    def __init__(self, body: nn.Module, width: int, sources: int, mean: Tensor, sd: Tensor) -> None:
        super().__init__()
        self.body, self.head = body, nn.Linear(width, sources)
        self.weights_sha256: str | None = None
        self.register_buffer("mean", mean.float())
        self.register_buffer("sd", sd.float().clamp_min(1e-6))

    def features(self, x: Tensor) -> Tensor:
        """The feature of each input, (n, width): what the head sees."""
        per_channel = (1, -1) + (1,) * (x.ndim - 2)
        return self.body((x - self.mean.view(per_channel)) / self.sd.view(per_channel))


def attribution_network(
    name: str, sources: int, mean: Tensor, sd: Tensor, pretrained: bool = False, weights: str = ""
) -> AttributionNetwork:
    """A new network for inputs with as many channels as `mean` and `sd` (c,) have.

    `resnet20` is the CIFAR-style residual network of He et al. (CVPR 2016, section 4.2), 64 features. The others have
    2048: `resnet50` is torchvision's, `xception` and `inception_v3` are timm's.

    Args:
        pretrained: start from weights trained on ImageNet, downloaded or from the file `weights`; for three channels.
            `resnet20` has none and starts from random weights in any case.

    Raises:
        ParameterError: there is no network of that name, or it has no published weights for so many channels.
        CannotRunError, DataError: the weights cannot be had, or are not this network's.
    """
    if name not in NETWORKS:
        raise ParameterError(f"network: expected one of {', '.join(NETWORKS)}, got '{name}'.")
    if name == "resnet20":
        network = AttributionNetwork(cifar_resnet(len(mean), depth=20), 64, sources, mean, sd)
    else:
        if pretrained and len(mean) != 3:
            raise ParameterError(f"{name} is published for 3 channels, not for {len(mean)}. Give pretrained=false.")
        network = AttributionNetwork(_large_body(name, len(mean)), 2048, sources, mean, sd)
        if pretrained and not only_random_weights():
            values, network.weights_sha256 = published_weights(name, weights)
            wanted = network.body.state_dict()
            try:
                network.body.load_state_dict({key: values[key] for key in wanted})
            except (KeyError, RuntimeError) as error:
                raise DataError(f"the weights are not those of {name}: {' '.join(str(error).split())[:200]}") from error
    # Channels last is the faster layout of convolutions, on CPUs and on GPUs.
    return network.to(memory_format=torch.channels_last)


def vector_network(name: str, sources: int, mean: Tensor, sd: Tensor, hidden: int = 512) -> AttributionNetwork:
    """A new network for vectors as long as `mean` and `sd` (d,).

    `mlp` has one hidden layer with ReLU, whose `hidden` activations are the features; `linear` has none, and its
    features are the standardised vectors.

    Raises:
        ParameterError: there is no network of that name.
    """
    if name == "linear":
        return AttributionNetwork(nn.Identity(), len(mean), sources, mean, sd)
    if name == "mlp":
        body = nn.Sequential(nn.Linear(len(mean), hidden), nn.ReLU())
        return AttributionNetwork(body, hidden, sources, mean, sd)
    raise ParameterError(f"head: expected 'mlp' or 'linear', got '{name}'.")


def _large_body(name: str, channels: int) -> nn.Module:
    if name == "resnet50":
        from torchvision.models import resnet50

        body = resnet50(weights=None)
        if channels != 3:
            body.conv1 = nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
        body.fc = nn.Identity()
        return body
    import timm

    kind = "legacy_xception" if name == "xception" else name
    return timm.create_model(kind, pretrained=False, num_classes=0, in_chans=channels)
