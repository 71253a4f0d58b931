"""Methods that train a network."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from gmbench.attributor import Attributor, RunContext
from gmbench.data.images import ImageSet
from gmbench.errors import DataError
from gmbench.learning.inputs import Inputs
from gmbench.learning.training import TrainingOptions, apply_network, train_classifier
from gmbench.networks.attribution import FeatureNetwork
from gmbench.networks.pretrained import random_weights

PLAIN = (np.ndarray, np.generic, bool, int, float, str, list, tuple)


class NetworkAttributor(Attributor):
    """Trains one network on what it sees of images, and leaves the answers to it.

    A method says what its network sees, which network it is and how it is trained. A method that has to learn something
    before (statistics of the training images, say) does so in a `fit` of its own, which ends with this one.

    Attributes:
        device_: where the network is.
        size_: height and width of the training images, in pixels; all others must have it.
        network_: the trained network, in evaluation mode.
        training_: what the trainer says of the training, and its options.
    """

    inference_batch = 256
    """How many images the trained network sees at a time."""

    @abstractmethod
    def inputs(self, images: ImageSet) -> Inputs:
        """What the network sees of images, in validation and when it is asked."""

    def training_inputs(self, images: ImageSet) -> Inputs:
        """What the network sees in training: the same, unless the method augments images."""
        return self.inputs(images)

    @abstractmethod
    def new_network(self, train: ImageSet, inputs: Inputs) -> FeatureNetwork:
        """A network with an output per source, to be trained on `inputs`; torch's generator draws its weights."""

    @abstractmethod
    def training_options(self) -> TrainingOptions:
        """How the network is trained."""

    def fit(self, train: ImageSet, val: ImageSet, context: RunContext) -> Self:
        assert train.labels is not None
        assert val.labels is not None
        self.device_, self.size_ = context.device, train.size
        inputs, val_inputs = self.training_inputs(train.require(self.size_)), self.inputs(val.require(self.size_))
        torch.manual_seed(context.random_state)
        self.network_ = self.new_network(train, inputs).to(context.device)
        options = self.training_options()
        result = train_classifier(self.network_, inputs, train.labels, val_inputs, val.labels, options, context)
        self.training_ = {**asdict(result), "options": asdict(options)}
        self.network_.eval()
        return self

    def predict_proba(self, images: ImageSet) -> np.ndarray:
        """The softmax of the network's output."""
        return self.predict_and_embed(images)[0]

    def embed(self, images: ImageSet) -> np.ndarray:
        """What the network's last layer sees."""
        return self.predict_and_embed(images)[1]

    def predict_and_embed(self, images: ImageSet) -> tuple[np.ndarray, np.ndarray]:
        network = self.network_

        def answers_and_features(x: torch.Tensor) -> torch.Tensor:
            features = network.features(x)
            return torch.cat([network.head(features).softmax(dim=1), features], dim=1)

        found = apply_network(answers_and_features, self._asked(images), self.device_, self.inference_batch)
        answers, features = np.split(found, [len(images.sources)], axis=1)
        return np.ascontiguousarray(answers), np.ascontiguousarray(features)

    def fit_report(self) -> dict[str, Any]:
        began_from = getattr(self.network_, "weights_sha256", None)
        return self.training_ | ({"weights_sha256": began_from} if began_from else {})

    def state(self) -> dict[str, Any]:
        """Network, size, and what else was learned under names that end in an underscore, if it is arrays or values."""
        known = {"device_", "network_", "training_", "size_"}
        plain = {
            name: value
            for name, value in vars(self).items()
            if name.endswith("_") and name not in known and isinstance(value, PLAIN)
        }
        return {"size": self.size_, "plain": plain, "network": network_state(self.network_)}

    def restore(self, state: Mapping[str, Any], sources: tuple[str, ...], context: RunContext) -> Self:
        """The network is made anew, for blank images of the training images' size, and given its weights."""
        self.device_, self.size_, self.training_ = context.device, state["size"], {}
        vars(self).update(state["plain"])
        blank = blank_images(self.size_, sources)
        with random_weights():
            self.network_ = self.new_network(blank, self.inputs(blank)).to(context.device)
        load_network_state(self.network_, state["network"])
        self.network_.eval()
        return self

    def _asked(self, images: ImageSet) -> Inputs:
        return self.inputs(images.require(self.size_))


def network_state(network: nn.Module) -> dict[str, Any]:
    """Weights and buffers of a network by name, and the published weights that it began from."""
    weights = {name: value.cpu().numpy() for name, value in network.state_dict().items()}
    return {"weights": weights, "weights_sha256": getattr(network, "weights_sha256", None)}


def load_network_state(network: nn.Module, state: Mapping[str, Any]) -> None:
    """Puts what `network_state` gave into a network of the same shape.

    Raises:
        DataError: they are of another network.
    """
    try:
        network.load_state_dict({name: torch.from_numpy(value) for name, value in state["weights"].items()})
    except RuntimeError as error:
        raise DataError(f"kept weights are of another network: {' '.join(str(error).split())[:200]}") from error
    network.weights_sha256 = state["weights_sha256"]


def blank_images(size: tuple[int, int], sources: tuple[str, ...]) -> ImageSet:
    """One black image of each source, to make a network for."""
    pixels = np.zeros((len(sources), *size, 3), np.uint8)
    ids = np.array([f"blank-{number}" for number in range(len(sources))])
    return ImageSet.of(pixels, ids, sources, np.arange(len(sources)), origin="blank")
