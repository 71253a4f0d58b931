"""The public contract test of a method, in the spirit of scikit-learn's `check_estimator`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from gmbench.attributor import RunContext, check_features, check_probabilities
from gmbench.data.images import ImageSet
from gmbench.errors import GmbenchError
from gmbench.manifold.encoders import Encoder
from gmbench.registry import Method
from gmbench.support.cache import Cache
from gmbench.support.parameters import TYPES, Value
from gmbench.support.progress import Progress


def check_attributor(method: Method, given: Mapping[str, Value] | None = None, size: int = 32) -> None:
    """Checks that a method keeps to the contract, on small images that differ by how they were made.

    Args:
        given: parameters that make the method quick, such as one epoch.
        size: side of the images, in pixels.

    Raises:
        AssertionError, MethodError: it does not; the message says in what.
    """
    check_constructor(method)
    parameters = method.parameters(given or {})
    images = _example(2, 16, size, seed=2)
    test = _example(2, 6, size, seed=102).without_labels()
    with TemporaryDirectory() as folder, TemporaryDirectory() as other:
        first = _fitted(method, parameters, images, Path(folder))
        probabilities = _check_answers(first, test)
        again = _fitted(method, parameters, images, Path(other)).predict_proba(test)
        assert np.array_equal(again, probabilities), (
            "the same seed must give the same answer; everything random must come from context.seed"
        )
        kept = _fitted(method, parameters, images, Path(folder)).predict_proba(test)
    np.testing.assert_array_equal(kept, probabilities, err_msg="what is kept in scratch must give the same answer")
    alone = np.concatenate([first.predict_proba(test[i : i + 1]) for i in range(3)])
    np.testing.assert_allclose(
        alone, probabilities[:3], atol=1e-4, err_msg="predict_proba must not depend on which images come together"
    )
    first.on(_example(2, 4, size, seed=202))
    np.testing.assert_array_equal(
        first.predict_proba(test), probabilities, err_msg="on must leave the method as it was"
    )
    _check_refusals(first, test, _example(2, 2, 2 * size, seed=302).without_labels())
    with TemporaryDirectory() as folder:
        of_many = _fitted(method, parameters, _example(17, 16, size, seed=17), Path(folder))
        _check_answers(of_many, _example(17, 2, size, seed=117).without_labels())


def _check_answers(attributor: Any, test: ImageSet) -> np.ndarray:
    """The probabilities, if they and the features are what the contract asks for."""
    probabilities, features = attributor.predict_proba(test), attributor.embed(test)
    check_probabilities(probabilities, test)
    check_features(features, test)
    for name, answer in (("predict_proba", probabilities), ("embed", features)):
        assert answer.dtype == np.float32, f"{name} must return float32, got {answer.dtype}"
    assert features.shape[1] > 0, "embed must return at least one number per image"
    return probabilities


def check_constructor(method: Method) -> None:
    """The card's parameters are the constructor's, with types and defaults, and the constructor only stores them.

    Raises:
        AssertionError: they are not, or it does more; the message says in what.
    """
    attributor = method.build(method.parameters({}))
    signature = inspect.signature(type(attributor).__init__, eval_str=True).parameters
    constructor = {name: argument for name, argument in signature.items() if name != "self"}
    declared = method.card.parameters
    assert set(constructor) == set(declared), (
        f"method.toml declares {sorted(declared)}, the constructor takes {sorted(constructor)}"
    )
    for name, argument in constructor.items():
        kind, default = TYPES[declared[name].type], declared[name].parse(name, declared[name].default)
        came = getattr(argument.annotation, "__name__", argument.annotation)
        assert argument.annotation is kind, f"parameter '{name}': {kind.__name__} on the card, {came} in the code"
        assert argument.default == default, (
            f"parameter '{name}': default {default!r} on the card, {argument.default!r} in the constructor"
        )
    assert vars(attributor) == method.parameters({}), (
        "the constructor must store its parameters under their names, and nothing else"
    )


def _check_refusals(attributor: Any, test: ImageSet, larger: ImageSet) -> None:
    """No images, and images of another size than in training: an answer as of any others, or an error of gmbench's."""
    for images, what in ((test[:0], "no images"), (larger, "images of another size than in training")):
        try:
            check_probabilities(attributor.predict_proba(images), images)
            check_features(attributor.embed(images), images)
        except GmbenchError:
            pass
        except Exception as error:
            raise AssertionError(
                f"{what} must be answered, or refused with an error of gmbench.errors, not {error!r}"
            ) from error


def _fitted(method: Method, parameters: Mapping[str, Value], images: ImageSet, folder: Path) -> Any:
    """The method fitted on 10 images per source and chosen on 3, with 3 more of `real` as the manifold."""
    rank = np.arange(len(images)) // len(images.sources)
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    manifold = images[(rank >= 13) & (images.labels == 0)]
    context = RunContext(manifold, 11, "cpu", Cache(folder / "cache"), scratch, Progress(), _encoder)
    return method.build(parameters).fit(images[rank < 10], images[(rank >= 10) & (rank < 13)], context)


def _encoder(kind: str) -> Encoder:
    """An encoder that has learned nothing, which is enough to keep to the contract."""
    torch.manual_seed(len(kind))
    return Encoder().eval()


def _example(sources: int, per_source: int, size: int, seed: int) -> ImageSet:
    """Random images whose contrast and grain depend on the source; sources take turns."""
    random = np.random.default_rng(seed)
    labels = np.tile(np.arange(sources), per_source)
    grain = random.normal(0, 1, (len(labels), size, size, 3)) * (5 + 15 * labels[:, None, None, None])
    shade = np.linspace(60, 190, size)[None, :, None, None] + random.normal(0, 10, (len(labels), 1, 1, 3))
    pixels = (shade + grain).clip(0, 255).astype(np.uint8)
    names = ("real", *(f"source-{j}" for j in range(1, sources)))
    ids = np.array([f"example-{seed}-{i:04d}" for i in range(len(labels))])
    return ImageSet.of(pixels, ids, names, labels, origin="gmbench.testing")
