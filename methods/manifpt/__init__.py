"""ManiFPT (CVPR 2024): an artifact is an image minus its projection onto the manifold of real images."""

from __future__ import annotations

from typing import Self

import numpy as np
import torch

from gmbench.attributor import Attributor, RunContext
from gmbench.data.images import ImageSet
from gmbench.neighbors import project
from gmbench.networks import AttributionNetwork, attribution_network, channel_moments, vector_network
from gmbench.spaces import Space
from gmbench.spaces.freq import Frequency
from gmbench.spaces.learned import Learned
from gmbench.spaces.rgb import RGB
from gmbench.training import Inputs, TrainingOptions, apply_network, train_classifier

IMAGES_FOR_MOMENTS = 4096
BATCH = 256


class Artifacts:
    """The artifacts of a set of images, made batch by batch from pixels and projections (Definition 3.1)."""

    def __init__(self, images: ImageSet, projections: np.ndarray, manifold: ImageSet, space: Space) -> None:
        self.images, self.projections, self.manifold, self.space = images, projections, manifold, space

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, rows: np.ndarray) -> np.ndarray:
        """Artifacts of some images, float32 (len(rows), channels, height, width) or (len(rows), d)."""
        projected = self.manifold.pixels(self.projections[rows])
        return self.space.embed(self.images.pixels(rows)) - self.space.embed(projected)


class Vectors:
    """Artifacts that are worth keeping: vectors (n, d) that an encoder takes long to compute."""

    def __init__(self, artifacts: Artifacts) -> None:
        rows = np.arange(len(artifacts))
        batches = [artifacts.batch(rows[start : start + BATCH]) for start in range(0, len(rows), BATCH)]
        self.vectors = np.concatenate(batches)

    def __len__(self) -> int:
        return len(self.vectors)

    def batch(self, rows: np.ndarray) -> np.ndarray:
        """Artifacts of some images, float32 (len(rows), d)."""
        return self.vectors[rows]


class ManiFPT(Attributor):
    """Attributes by a network that sees artifacts only."""

    def __init__(
        self,
        space: str = "rgb",
        spectrum: str = "log1p magnitude",
        network: str = "resnet20",
        pretrained: bool = True,
        weights: str = "",
        head: str = "mlp",
        epochs: int = 15,
        batch_size: int = 64,
        learning_rate: float = 2e-3,
        weight_decay: float = 5e-4,
    ) -> None:
        self.space = space
        self.spectrum = spectrum
        self.network = network
        self.pretrained = pretrained
        self.weights = weights
        self.head = head
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay

    def fit(self, train: ImageSet, val: ImageSet, context: RunContext) -> Self:
        assert train.labels is not None
        assert val.labels is not None
        self.context_ = context
        if self.space in ("sl", "ssl"):
            self.encoder_ = context.encoder(self.space).to(context.device)
        inputs, val_inputs = self._artifacts(train), self._artifacts(val)
        some = np.linspace(0, len(train) - 1, min(len(train), IMAGES_FOR_MOMENTS)).astype(int)
        mean, sd = channel_moments(torch.from_numpy(inputs.batch(some)))
        torch.manual_seed(context.seed)
        self.network_ = self._new_network(len(train.sources), mean, sd).to(context.device)
        options = TrainingOptions(self.epochs, self.batch_size, self.learning_rate, self.weight_decay)
        self.training_ = train_classifier(self.network_, inputs, train.labels, val_inputs, val.labels, options, context)
        self.network_.eval()
        return self

    def _new_network(self, sources: int, mean: torch.Tensor, sd: torch.Tensor) -> AttributionNetwork:
        if self.space in ("sl", "ssl"):
            return vector_network(self.head, sources, mean, sd)
        return attribution_network(self.network, sources, mean, sd, self.pretrained, self.weights)

    def predict_proba(self, images: ImageSet) -> np.ndarray:
        network = self.network_
        return apply_network(lambda x: network(x).softmax(dim=1), self._artifacts(images), self.context_.device)

    def embed(self, images: ImageSet) -> np.ndarray:
        """The network's penultimate activations."""
        return apply_network(self.network_.features, self._artifacts(images), self.context_.device)

    def _artifacts(self, images: ImageSet) -> Inputs:
        context, space = self.context_, self._space()
        projections = project(images, context.manifold, space, context.cache, context.progress, context.device)
        artifacts = Artifacts(images, projections, context.manifold, space)
        return Vectors(artifacts) if self.space in ("sl", "ssl") else artifacts

    def _space(self) -> Space:
        if self.space in ("sl", "ssl"):
            return Learned(self.encoder_, self.context_.device)
        return RGB() if self.space == "rgb" else Frequency(self.spectrum)
