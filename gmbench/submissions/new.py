"""`gmbench new`: a method that runs at once, to be changed into another."""

from __future__ import annotations

import re
from pathlib import Path
from string import Template

from gmbench.attributors import METHOD_FOLDERS
from gmbench.errors import OutputError, ParameterError
from gmbench.registry import methods
from gmbench.support.files import write_text

KINDS = ("network", "features", "predictions")
CARD = """\
title = "$title"
paper = "TODO: who: what, where, when"
year = 2026
looks_at = "$looks_at"  # TODO: colour, frequency (as by a fixed filter or a transform), or learned
"""
NETWORK_CARD = (
    CARD
    + """\
attributor = "$name"

[quick]  # parameters with which `gmbench check` takes half a minute
epochs = 1

[parameters.epochs]
type = "int"
default = 15
minimum = 1
meaning = "passes over the training images, of at least 25 steps each; the best by validation accuracy is kept"

[parameters.batch_size]
type = "int"
default = 64
minimum = 2
meaning = "images per training step"

[parameters.learning_rate]
type = "float"
default = 2e-3
minimum = 1e-8
meaning = "highest learning rate of AdamW; it falls to zero along a cosine"
"""
)
FEATURES_CARD = (
    CARD
    + """\
attributor = "$name"

[parameters.C]
type = "float"
default = 1.0
minimum = 1e-6
meaning = "inverse strength of the classifier's regularisation"
"""
)
NETWORK_CODE = '''\
"""$title: a small convolutional network that sees pixels."""

from __future__ import annotations

from torch import nn

from gmbench.data.images import ImageSet
from gmbench.networks.attribution import AttributionNetwork
from gmbench.learning.network_attributor import NetworkAttributor
from gmbench.learning.inputs import Pixels, moments_of
from gmbench.learning.inputs import Inputs
from gmbench.learning.training import TrainingOptions

WIDTH = 64


class $name(NetworkAttributor):
    """Attributes by a network."""

    def __init__(self, epochs: int = 15, batch_size: int = 64, learning_rate: float = 2e-3) -> None:
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate

    def inputs(self, images: ImageSet) -> Inputs:
        """What the network sees: an object with a length, and `batch(rows)` that gives float32 (rows, ...)."""
        return Pixels(images)

    def new_network(self, train: ImageSet, inputs: Inputs) -> AttributionNetwork:
        """Standardises each channel by its moments over the training images, then body, then a linear layer."""
        mean, sd = moments_of(inputs)
        return AttributionNetwork(body(len(mean)), WIDTH, len(train.sources), mean, sd)

    def training_options(self) -> TrainingOptions:
        """AdamW along a cosine."""
        return TrainingOptions(self.epochs, self.batch_size, self.learning_rate, weight_decay=5e-4)


def body(channels: int) -> nn.Module:
    """Maps (n, channels, height, width) to features (n, WIDTH)."""
    layers: list[nn.Module] = []
    for before, after in ((channels, 16), (16, 32), (32, WIDTH)):
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
'''
FEATURES_CODE = '''\
"""$title: features of an image, and a linear classifier."""

from __future__ import annotations

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from gmbench.learning.feature_attributor import FeatureAttributor


class $name(FeatureAttributor):
    """Attributes by the statistics of an image's colours."""

    def __init__(self, C: float = 1.0) -> None:
        self.C = C

    def features(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 (n, height, width, 3) to mean and standard deviation of each channel, (n, 6)."""
        values = pixels.astype(np.float64)
        return np.concatenate([values.mean(axis=(1, 2)), values.std(axis=(1, 2))], axis=1)

    def candidates(self, random_state: int) -> list[BaseEstimator]:
        """Classifiers to choose from on the validation images."""
        return [make_pipeline(StandardScaler(), LogisticRegression(C=self.C, max_iter=1000, random_state=random_state))]
'''
README = """\
# $title

TODO: what the method does, step by step, with its formulas.

**Which reading.** TODO: what you chose where the paper leaves something open or where paper and code differ.

**Reported.** TODO: what the original reports, on which data.
"""
PREDICTIONS_README = """\
# $title

TODO: what the method does, as far as it can be said, and why its code is not published.

**Which reading.** TODO: what it was fitted on; it must be the training images of the dataset, and nothing else.

**Predictions only.** The leaderboard shows scores of predictions that were handed in and cannot be made again.
"""
TEST = '''\
"""$title keeps the contract, and does what its README says."""

from __future__ import annotations

$imports
from gmbench.registry import Method, find_method
from gmbench.testing import check_attributor


@pytest.fixture
def method() -> Method:
    """The method in this folder."""
    return find_method(str(Path(__file__).parent))


def test_it_keeps_the_contract(method: Method) -> None:
    """See `gmbench.testing.check_attributor`."""
    check_attributor(method, method.card.quick)


$known_case
'''
NETWORK_IMPORTS = """\
import sys
from pathlib import Path

import pytest
import torch
"""
NETWORK_CASE = '''\
def test_a_known_case(method: Method) -> None:
    """TODO: a case of yours whose answer is known. Here: a black image has no features before anything is learnt."""
    code = sys.modules[type(method.build(method.parameters({}))).__module__]
    assert not code.body(3)(torch.zeros(2, 3, 32, 32)).any()'''
FEATURES_IMPORTS = """\
from pathlib import Path

import numpy as np
import pytest

from gmbench.learning.feature_attributor import FeatureAttributor"""
FEATURES_CASE = '''\
def test_a_known_case(method: Method) -> None:
    """TODO: a case of yours whose answer is known. Here: a plain image has its colour as mean, and no deviation."""
    attributor = method.build(method.parameters({}))
    assert isinstance(attributor, FeatureAttributor)
    plain = np.full((1, 8, 8, 3), 7, np.uint8)
    np.testing.assert_allclose(attributor.features(plain), [[7, 7, 7, 0, 0, 0]])'''
OF_KIND = {
    "network": {"imports": NETWORK_IMPORTS, "known_case": NETWORK_CASE, "looks_at": "learned"},
    "features": {"imports": FEATURES_IMPORTS, "known_case": FEATURES_CASE, "looks_at": "colour"},
    "predictions": {"looks_at": "learned"},
}
FILES = {
    "network": {"method.toml": NETWORK_CARD, "__init__.py": NETWORK_CODE},
    "features": {"method.toml": FEATURES_CARD, "__init__.py": FEATURES_CODE},
    "predictions": {"method.toml": CARD},
}


def new_method(slug: str, kind: str, home: Path | None = None) -> list[Path]:
    """Writes a method's folder below `home` (default: `methods/` of the checkout); returns its files.

    Args:
        slug: lower case, with hyphens; the folder has underscores instead.
        kind: `network`, `features`, or `predictions` (no code).

    Raises:
        ParameterError: the name cannot be a slug, or another method has it; or there is no checkout, and no `home`.
        OutputError: the folder is there already.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", slug):
        better = re.sub(r"[^a-z0-9]+", "-", slug.lower()).strip("-0123456789") or "my-method"
        raise ParameterError(
            f"a method's name is of lower-case letters, digits and hyphens, such as '{better}', got '{slug}'."
        )
    if kind not in KINDS:
        raise ParameterError(f"--kind: expected {', '.join(KINDS)}, got '{kind}'.")
    if slug in methods():
        raise ParameterError(f"there is a method named '{slug}' already, in {methods()[slug].folder}.")
    checkout = METHOD_FOLDERS[1]
    if home is None and not (checkout.parent / "pyproject.toml").is_file():
        raise ParameterError("gmbench does not run from a checkout. Name a folder for the method with --out.")
    folder = (home or checkout) / slug.replace("-", "_")
    if folder.exists():
        raise OutputError(f"{folder} is there already. Choose another name, or remove it.")
    words = slug.split("-")
    title, name = " ".join(words).capitalize(), "".join(word.capitalize() for word in words)
    if kind == "predictions":
        files = FILES[kind] | {"README.md": PREDICTIONS_README}
    else:
        files = FILES[kind] | {"README.md": README, f"test_{folder.name}.py": TEST}
    for file, text in files.items():
        write_text(folder / file, Template(text).substitute(title=title, name=name, **OF_KIND[kind]))
    return [folder / file for file in files]
