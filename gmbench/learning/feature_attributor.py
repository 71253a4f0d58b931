"""Methods of hand-made features and a scikit-learn classifier."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from scipy.special import softmax
from sklearn.base import BaseEstimator, clone

from gmbench.attributor import Attributor, RunContext
from gmbench.data.images import ImageSet
from gmbench.learning.estimators import estimator_of, state_of


class FeatureAttributor(Attributor):
    """Computes a vector per image and leaves the rest to a classifier.

    Of several candidate classifiers, the one with the best validation accuracy is kept; of equally good ones the first.
    Classifiers without probabilities give the softmax of their margins, which ranks sources as the classifier does but
    is not calibrated.

    Attributes:
        size_: height and width of the training images, in pixels; all others must have it.
        classifier_: the fitted classifier.
    """

    @abstractmethod
    def features(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 (n, height, width, 3) to float (n, d)."""

    @abstractmethod
    def candidates(self, random_state: int) -> list[BaseEstimator]:
        """Unfitted classifiers to choose from, pipelines if features are to be scaled."""

    def fit(self, train: ImageSet, val: ImageSet, context: RunContext) -> Self:
        self.size_ = train.size
        x_train = self._all_features(train, context)
        x_val = self._all_features(val, context)
        candidates = self.candidates(context.random_state)
        best = -1.0
        for candidate in context.progress.track(candidates, "fitting classifiers", len(candidates)):
            fitted = clone(candidate).fit(x_train, train.labels)
            score = float(np.mean(fitted.predict(x_val) == val.labels))
            if score > best:
                best, self.classifier_ = score, fitted
        return self

    def predict_proba(self, images: ImageSet) -> np.ndarray:
        return self._answers(self._all_features(images))

    def embed(self, images: ImageSet) -> np.ndarray:
        """What the classifier proper sees: the features, scaled if the pipeline scales them."""
        return self._scaled(self._all_features(images))

    def predict_and_embed(self, images: ImageSet) -> tuple[np.ndarray, np.ndarray]:
        x = self._all_features(images)
        return self._answers(x), self._scaled(x)

    def _answers(self, x: np.ndarray) -> np.ndarray:
        if hasattr(self.classifier_, "predict_proba"):
            return self.classifier_.predict_proba(x).astype(np.float32)
        margins = self.classifier_.decision_function(x)
        if margins.ndim == 1:
            margins = np.stack([-margins, margins], axis=1)
        return softmax(margins, axis=1).astype(np.float32)

    def _scaled(self, x: Any) -> np.ndarray:
        for _, transform in getattr(self.classifier_, "steps", [])[:-1]:
            x = transform.transform(x)
        return x.astype(np.float32)

    def state(self) -> dict[str, Any]:
        return {"size": self.size_, "classifier": state_of(self.classifier_)}

    def restore(self, state: Mapping[str, Any], sources: tuple[str, ...], context: RunContext) -> Self:
        self.size_, self.classifier_ = state["size"], estimator_of(state["classifier"])
        return self

    def _all_features(self, images: ImageSet, context: RunContext | None = None) -> np.ndarray:
        batches = images.require(self.size_).batches()
        if context is not None:
            batches = context.progress.track(batches, f"features of {len(images):,} images", -(-len(images) // 256))
        return np.concatenate([self.features(batch) for batch in batches])
