"""ManiFPT (CVPR 2024): an artifact is an image minus its projection onto the manifold of real images."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import Any, Self

import numpy as np
import torch

from gmbench.attributor import RunContext
from gmbench.data.images import ImageSet
from gmbench.errors import DataError
from gmbench.learning.inputs import Embedded, Inputs, Vectors, moments_of
from gmbench.learning.network_attributor import NetworkAttributor
from gmbench.learning.training import TrainingOptions
from gmbench.manifold.encoders import Encoder
from gmbench.manifold.freq import Frequency
from gmbench.manifold.learned import Learned
from gmbench.manifold.projection import project, random_projection
from gmbench.manifold.rgb import RGB
from gmbench.manifold.space import Space
from gmbench.networks.attribution import AttributionNetwork, attribution_network, vector_network
from gmbench.networks.resnet import cifar_resnet


class Artifacts:
    """Embedded images less their embedded projections, batch by batch (Definition 3.1)."""

    def __init__(self, images: Inputs, manifold: Inputs, projections: np.ndarray) -> None:
        self.images, self.manifold, self.projections = images, manifold, projections

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, rows: np.ndarray) -> np.ndarray:
        """Artifacts of some images, float32 (len(rows), channels, height, width) or (len(rows), d)."""
        return self.images.batch(rows) - self.manifold.batch(self.projections[rows])


class ManiFPT(NetworkAttributor):
    """Attributes by a network that sees artifacts only."""

    def __init__(
        self,
        space: str = "rgb",
        spectrum: str = "log1p magnitude",
        neighbours: str = "own",
        network: str = "resnet20",
        pretrained: bool = True,
        weights: str = "",
        head: str = "mlp",
        encoder: str = "default",
        encoder_weights: str = "",
        side: int = 96,
        artifact: str = "stages",
        projection: str = "nearest",
        training: str = "short",
        epochs: int = 0,
        batch_size: int = 0,
        learning_rate: float = 0.0,
        weight_decay: float = 5e-4,
    ) -> None:
        self.space = space
        self.spectrum = spectrum
        self.neighbours = neighbours
        self.network = network
        self.pretrained = pretrained
        self.weights = weights
        self.head = head
        self.encoder = encoder
        self.encoder_weights = encoder_weights
        self.side = side
        self.artifact = artifact
        self.projection = projection
        self.training = training
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay

    def fit(self, train: ImageSet, val: ImageSet, context: RunContext) -> Self:
        self.manifold_, self.cache_, self.progress_ = context.manifold, context.cache, context.progress
        if self.space in ("sl", "ssl"):
            self.encoder_ = self._encoder(context)
        return super().fit(train, val, context)

    def inputs(self, images: ImageSet) -> Inputs:
        """Artifacts against the manifold, or embedded images where nothing is subtracted."""
        embedded = self._embedded(images)
        if self.projection == "none":
            return embedded
        return Artifacts(embedded, self._embedded(self.manifold_), self._projections(images))

    def new_network(self, train: ImageSet, inputs: Inputs) -> AttributionNetwork:
        """One that standardises artifacts with their moments in training, or the released one, which does not."""
        if self._is_released:
            channels = inputs.batch(np.arange(1)).shape[1]
            body = cifar_resnet(channels, depth=20, convolved=True)
            network = AttributionNetwork(body, 64, len(train.sources), torch.zeros(channels), torch.ones(channels))
            return network.to(memory_format=torch.channels_last)
        mean, sd = moments_of(inputs)
        if inputs.batch(np.arange(1)).ndim == 2:
            return vector_network(self.head, len(train.sources), mean, sd)
        return attribution_network(self.network, len(train.sources), mean, sd, self.pretrained, self.weights)

    def training_options(self) -> TrainingOptions:
        """AdamW along a cosine, or the released code's SGD."""
        if not self._is_released:
            return TrainingOptions(
                self.epochs or 15, self.batch_size or 64, self.learning_rate or 2e-3, self.weight_decay
            )
        epochs = self.epochs or 180
        return TrainingOptions(
            epochs,
            self.batch_size or 36,
            self.learning_rate or 0.1,
            weight_decay=1e-4,
            schedule="steps",
            optimizer="sgd",
            milestones=(epochs * 5 // 9, epochs * 5 // 6),
        )

    def fit_report(self) -> dict[str, Any]:
        encoder = getattr(self, "encoder_", None)
        return super().fit_report() | ({} if encoder is None else {"encoder_sha256": encoder.sha256})

    def state(self) -> dict[str, Any]:
        """The network, the manifold's images, and which encoder."""
        manifold = {
            "pixels": self.manifold_.pixels(),
            "ids": self.manifold_.ids.tolist(),
            "origin": self.manifold_.origin,
        }
        encoder = getattr(self, "encoder_", None)
        return super().state() | {"manifold": manifold, "encoder_sha256": encoder.sha256 if encoder else None}

    def restore(self, state: Mapping[str, Any], sources: tuple[str, ...], context: RunContext) -> Self:
        """The encoder is found as for a fit, and must be the same one."""
        self.cache_, self.progress_ = context.cache, context.progress
        if self.space in ("sl", "ssl"):
            self.encoder_ = self._encoder(context)
            if self.encoder_.sha256 != state["encoder_sha256"]:
                raise DataError(f"the encoder in space {self.space} is not the one that the method was fitted with.")
        kept = state["manifold"]
        manifold = ImageSet.of(kept["pixels"], np.array(kept["ids"]), sources, origin=kept["origin"])
        self.manifold_ = manifold[:1]
        super().restore(state, sources, context)
        self.manifold_ = manifold
        return self

    def with_manifold(self, manifold: ImageSet) -> Self:
        """A copy that takes artifacts against another manifold; network, encoder and moments stay the same."""
        moved = copy(self)
        moved.manifold_ = manifold
        return moved

    @property
    def _is_released(self) -> bool:
        return self.training == "released" and self.space in ("rgb", "freq")

    def _encoder(self, context: RunContext) -> Encoder:
        return context.encoder(self.space, self.encoder, self.encoder_weights, self.side).to(context.device)

    def _projections(self, images: ImageSet) -> np.ndarray:
        """The manifold image, (n,) by index, that is subtracted from each image."""
        if self.projection == "random":
            return random_projection(images, self.manifold_)
        searched = RGB() if self.neighbours == "rgb" else self._space()
        return project(images, self.manifold_, searched, self.cache_, self.progress_, self.device_)

    def _embedded(self, images: ImageSet) -> Inputs:
        """Images as differences are taken; what an encoder makes of them is kept, because that takes long."""
        reading = self._reading()
        embedded = Embedded(images, reading)
        if not isinstance(reading, Learned):
            return embedded
        return Vectors.kept(embedded, self.cache_, self.progress_, images=images.digest, **reading.describe())

    def _space(self) -> Space:
        """Where the nearest manifold image is looked for."""
        if self.space in ("sl", "ssl"):
            return Learned(self.encoder_, self.device_)
        return RGB() if self.space == "rgb" else Frequency(self.spectrum)

    def _reading(self) -> Space:
        """Where the difference is taken: in the space, in another layer of its encoder, or in pixels."""
        if self.space not in ("sl", "ssl"):
            return self._space()
        return RGB() if self.artifact == "image" else Learned(self.encoder_, self.device_, self.artifact)
