"""The public contract test of a method, in the spirit of scikit-learn's `check_estimator`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from gmbench.attributor import Attributor, RunContext, check_features, check_probabilities
from gmbench.data.images import ImageSet
from gmbench.errors import CannotRunError, GmbenchError
from gmbench.manifold.encoders import Encoder
from gmbench.registry import Method
from gmbench.support.cache import Cache
from gmbench.support.parameters import TYPES, Value
from gmbench.support.progress import Progress
from gmbench.support.state import read_state, write_state


def check_attributor(method: Method, given: Mapping[str, Value] | None = None, size: int = 32) -> None:
    """Checks that a method keeps to the contract, on small images that differ by how they were made.

    Args:
        given: parameters that make the method quick, such as one epoch.
        size: side of the images, in pixels.

    Raises:
        AssertionError: it does not; the message names every check that failed, and says in what.
    """
    failed = []
    for name, check in attributor_checks(method, given, size):
        try:
            check()
        except (AssertionError, GmbenchError) as error:
            failed.append(f"{name}: {error}")
    assert not failed, "\n".join(failed)


def attributor_checks(
    method: Method, given: Mapping[str, Value] | None = None, size: int = 32
) -> Iterator[tuple[str, Callable[[], None]]]:
    """The checks of `check_attributor` by name, for a test each: those that follow a failed one still run.

    What the checks need is fitted when the first of them asks for it, and once.
    """
    trial = _Trial(method, method.parameters(given or {}), size)
    yield "constructor", lambda: check_constructor(method)
    yield "answers", trial.answers
    yield "one pass", trial.one_pass
    yield "same seed", trial.same_seed
    yield "kept in scratch", trial.kept_in_scratch
    yield "image by image", trial.image_by_image
    yield "another manifold", trial.another_manifold
    yield "kept in a folder", trial.kept_in_a_folder
    yield "refusals", trial.refusals
    yield "many sources", trial.many_sources


class _Trial:
    """A method on small images of two sources, and what must hold of its answers."""

    def __init__(self, method: Method, parameters: Mapping[str, Value], size: int) -> None:
        self.method, self.parameters, self.size = method, parameters, size
        self.images = _example(2, 16, size, seed=2)
        self.test = _example(2, 6, size, seed=102).without_labels()
        self._folder = TemporaryDirectory()

    @cached_property
    def fitted(self) -> Attributor:
        return _fitted(self.method, self.parameters, self.images, Path(self._folder.name))

    @cached_property
    def probabilities(self) -> np.ndarray:
        return self.fitted.predict_proba(self.test)

    def answers(self) -> None:
        _check_answers(self.fitted, self.test)

    def one_pass(self) -> None:
        probabilities, features = self.fitted.predict_and_embed(self.test)
        np.testing.assert_array_equal(
            probabilities, self.probabilities, err_msg="predict_and_embed must give what predict_proba gives"
        )
        np.testing.assert_array_equal(
            features, self.fitted.embed(self.test), err_msg="predict_and_embed must give what embed gives"
        )

    def same_seed(self) -> None:
        with TemporaryDirectory() as folder:
            again = _fitted(self.method, self.parameters, self.images, Path(folder)).predict_proba(self.test)
        assert np.array_equal(again, self.probabilities), (
            "the same seed must give the same answer; everything random must come from context.random_state"
        )

    def kept_in_scratch(self) -> None:
        before = self.probabilities
        kept = _fitted(self.method, self.parameters, self.images, Path(self._folder.name)).predict_proba(self.test)
        np.testing.assert_array_equal(kept, before, err_msg="what is kept in scratch must give the same answer")

    def image_by_image(self) -> None:
        alone = np.concatenate([self.fitted.predict_proba(self.test[i : i + 1]) for i in range(3)])
        np.testing.assert_allclose(
            alone,
            self.probabilities[:3],
            atol=1e-4,
            err_msg="predict_proba must not depend on which images come together",
        )

    def another_manifold(self) -> None:
        before = self.probabilities
        self.fitted.with_manifold(_example(2, 4, self.size, seed=202))
        np.testing.assert_array_equal(
            self.fitted.predict_proba(self.test), before, err_msg="with_manifold must leave the method as it was"
        )

    def kept_in_a_folder(self) -> None:
        """Written and read again, it gives the same answers; a method that cannot be kept says so."""
        try:
            state = self.fitted.state()
        except CannotRunError:
            return
        with TemporaryDirectory() as folder:
            write_state(Path(folder), state)
            context = _context(self.test[:0], Path(folder))
            fresh = self.method.build(self.parameters)
            restored = fresh.restore(read_state(Path(folder)), self.images.sources, context)
            np.testing.assert_array_equal(
                restored.predict_proba(self.test),
                self.probabilities,
                err_msg="a method that is restored from its state must give the same answers",
            )

    def refusals(self) -> None:
        _check_refusals(self.fitted, self.test, _example(2, 2, 2 * self.size, seed=302).without_labels())

    def many_sources(self) -> None:
        with TemporaryDirectory() as folder:
            images = _example(17, 16, self.size, seed=17)
            of_many = _fitted(self.method, self.parameters, images, Path(folder))
            _check_answers(of_many, _example(17, 2, self.size, seed=117).without_labels())


def _check_answers(attributor: Attributor, test: ImageSet) -> None:
    """Probabilities and features are what the contract asks for."""
    probabilities, features = attributor.predict_proba(test), attributor.embed(test)
    check_probabilities(probabilities, test)
    check_features(features, test)
    for name, answer in (("predict_proba", probabilities), ("embed", features)):
        assert answer.dtype == np.float32, f"{name} must return float32, got {answer.dtype}"
    assert features.shape[1] > 0, "embed must return at least one number per image"


def check_constructor(method: Method) -> None:
    """The card's parameters are the constructor's, with types and defaults, and the constructor only stores them.

    Raises:
        AssertionError: they are not, or it does more; the message says in what.
    """
    takes, stores = method.constructor()
    declared = method.card.parameters
    assert set(takes) == set(declared), (
        f"method.toml declares {sorted(declared)}, the constructor takes {sorted(takes)}"
    )
    for name, (came, given) in takes.items():
        kind, default = TYPES[declared[name].type].__name__, declared[name].parse(name, declared[name].default)
        assert came == kind, f"parameter '{name}': {kind} on the card, {came} in the code"
        assert given == default, f"parameter '{name}': default {default!r} on the card, {given!r} in the constructor"
    assert stores == method.parameters({}), (
        "the constructor must store its parameters under their names, and nothing else"
    )


def _check_refusals(attributor: Attributor, test: ImageSet, larger: ImageSet) -> None:
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


def _fitted(method: Method, parameters: Mapping[str, Value], images: ImageSet, folder: Path) -> Attributor:
    """The method fitted on 10 images per source and chosen on 3, with 3 more of `real` as the manifold."""
    rank = np.arange(len(images)) // len(images.sources)
    context = _context(images[(rank >= 13) & (images.labels == 0)], folder)
    return method.build(parameters).fit(images[rank < 10], images[(rank >= 10) & (rank < 13)], context)


def _context(manifold: ImageSet, folder: Path) -> RunContext:
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    return RunContext(manifold, 11, "cpu", Cache(folder / "cache"), scratch, Progress(), _encoder)


def _encoder(kind: str, *choice: object, **named: object) -> Encoder:
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
