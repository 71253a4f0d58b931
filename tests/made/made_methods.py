"""Methods in folders of their own, as somebody outside the project would have them."""

from __future__ import annotations

from pathlib import Path

from gmbench.submissions.check import check
from gmbench.submissions.reading import Finding
from gmbench.support.progress import Progress

QUICK = {
    "manifpt-rgb": {"epochs": 1},
    "manifpt-freq": {"epochs": 1},
    "marra18": {"epochs": 1, "batch_size": 8},
    "marra19": {"epochs": 1, "later_epochs": 1, "batch_size": 4, "classes_per_step": 2},
    "nataraj19": {"epochs": 1, "batch_size": 2},
    "wang20": {"epochs": 1, "batch_size": 8},
    "wang20-spectrum": {"epochs": 1, "batch_size": 8},
    "yu19": {"epochs": 1, "batch_size": 4},
}

"""Parameters with which the methods that train take seconds."""
README = "# Example\n\n**Which reading.** The only one.\n"
CARD = """
title = "Example"
paper = "none"
year = 2026
looks_at = "colour"
attributor = "Example"
[parameters.power]
type = "float"
default = 1.0
meaning = "exponent"
"""
CODE = """
import numpy as np
from gmbench.attributor import Attributor

class Example(Attributor):
    def __init__(self, power: float = 1.0) -> None:
        self.power = power

    def fit(self, train, val, context):
        self.sources_ = len(train.sources)
        return self

    def predict_proba(self, images):
        return np.full((len(images), self.sources_), 1 / self.sources_, dtype=np.float32)

    def embed(self, images):
        return images.pixels()[:, 0, :2].reshape(len(images), 6).astype(np.float32)
"""


def write_method(folder: Path, code: str = CODE, card: str = CARD) -> Path:
    """A method's folder, as somebody outside the project would have it."""
    folder.mkdir(parents=True)
    (folder / "method.toml").write_text(card)
    (folder / "__init__.py").write_text(code)
    return folder


def method_in(folder: Path, code: str = CODE, card: str = CARD) -> Path:
    """A documented method in a folder."""
    write_method(folder, code, card)
    (folder / "README.md").write_text(README)
    return folder


def findings(folder: Path) -> dict[str, Finding]:
    """What is found of the method in a folder, by what was looked at."""
    (checked,) = check(str(folder), Progress())
    return {finding.check: finding for finding in checked.findings}


def fill_in(folder: Path) -> None:
    """Does what an author does with the files of `gmbench new`: writes where it says TODO."""
    for path in folder.glob("*.*"):
        path.write_text(path.read_text().replace("TODO: ", ""))
