"""`import gmbench`: its names, that it is light, and that it does what the command line does."""

from __future__ import annotations

import doctest
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import gmbench
import gmbench.api
from gmbench.errors import DataError, NotFoundError, ParameterError, RecordError
from gmbench.leaderboard.pages import build_pages
from gmbench.submissions.validate import validate

NAMES = [
    "Attributor",
    "Dataset",
    "DatasetCard",
    "FeatureAttributor",
    "ImageSet",
    "NetworkAttributor",
    "Record",
    "RunContext",
    "Space",
    "compare",
    "datasets",
    "errors",
    "evaluators",
    "find_method",
    "fit",
    "load_dataset",
    "load_model",
    "methods",
    "read_records",
    "run",
    "settings",
    "testing",
    "to_frame",
]


class MeanColour(gmbench.Attributor):
    """Attributes to the source whose mean colour is nearest."""

    def __init__(self, power: float = 2.0) -> None:
        self.power = power

    def fit(self, train: gmbench.ImageSet, val: gmbench.ImageSet, context: gmbench.RunContext) -> MeanColour:
        """Remembers the mean colour of each source."""
        colours = self.embed(train)
        self.means_ = np.stack([colours[train.labels == label].mean(axis=0) for label in range(len(train.sources))])
        return self

    def predict_proba(self, images: gmbench.ImageSet) -> np.ndarray:
        """Falls with the distance."""
        distances = np.linalg.norm(self.embed(images)[:, None] - self.means_, axis=2)
        weights = 1 / (1 + distances) ** self.power
        return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)

    def embed(self, images: gmbench.ImageSet) -> np.ndarray:
        """The mean colour."""
        return images.pixels().mean(axis=(1, 2)).astype(np.float32)


def test_the_public_names() -> None:
    """Those of the docstring and no others; all can be had, and `dir` shows them."""
    assert sorted(gmbench.__all__) == NAMES
    assert sorted(dir(gmbench)) == sorted([*NAMES, "__version__"])
    for name in NAMES:
        assert getattr(gmbench, name) is not None
    assert set(gmbench.FOR_METHODS) < set(NAMES)
    with pytest.raises(AttributeError, match="has no attribute 'perform'"):
        gmbench.perform  # noqa: B018


def test_methods_may_have_no_name_that_reaches_labels() -> None:
    """What runs, reads records or loads datasets is not for methods."""
    assert not set(gmbench.FOR_METHODS) & {"run", "load_dataset", "read_records", "Dataset", "Record", "datasets"}


def test_importing_it_is_light() -> None:
    """Neither torch nor datasets nor numpy is loaded, and listing what there is needs neither of the first two."""
    code = (
        "import sys, gmbench; assert not {'torch', 'datasets', 'numpy'} & set(sys.modules);"
        "gmbench.datasets(), gmbench.methods(), gmbench.settings();"
        "assert not {'torch', 'datasets'} & set(sys.modules), 'listing'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_notebook(only_tiny: None, tmp_path: Path) -> None:
    """An attributor of one's own is fitted, scored, compared with a baseline, and shown as a frame."""
    dataset = gmbench.load_dataset("tiny")
    mine = gmbench.run(MeanColour(power=3.0), dataset, results=tmp_path)
    theirs = gmbench.run("durall20", dataset, results=tmp_path)
    assert mine.identity.method == "mean-colour"
    assert mine.identity.parameters == {"power": 3.0}
    predictions = mine.predictions()
    accuracy = (predictions.probabilities.argmax(axis=1) == predictions.labels).mean()
    assert mine.scores.accuracy.accuracy == pytest.approx(accuracy)
    features = mine.features()
    assert features is not None
    assert features.shape == (len(dataset["test"]), 3)
    comparison = gmbench.compare(mine, theirs)
    assert comparison.images == len(dataset["test"])
    assert "mean-colour" in comparison.verdict
    frame = gmbench.to_frame(gmbench.read_records(tmp_path))
    assert frame["method"].tolist() == ["durall20", "mean-colour"]
    assert frame["accuracy.accuracy"].tolist() == [theirs.scores.accuracy.accuracy, mine.scores.accuracy.accuracy]


def test_it_is_silent(only_tiny: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """From Python nothing is printed."""
    gmbench.run("mccloskey18", "tiny", results=tmp_path)
    assert capfd.readouterr() == ("", "")


def test_a_record_of_an_object_gets_onto_no_board(only_tiny: None, tmp_path: Path) -> None:
    """Nobody but its author has the code: pages and validate refuse it."""
    record = gmbench.run(MeanColour(), "tiny", results=tmp_path / "results")
    assert record.of_object
    with pytest.raises(RecordError, match="was an object, whose code nobody has"):
        build_pages(tmp_path / "results")
    (validated,) = validate([tmp_path / "results"])
    assert any("was an object" in problem for problem in validated.problems)


def test_objects_share_no_fits(only_tiny: None, tmp_path: Path) -> None:
    """Two classes of one name give each its own answers, and a second run fits again."""
    first = gmbench.run(MeanColour(), "tiny", results=tmp_path)

    class Other(MeanColour):
        def embed(self, images: gmbench.ImageSet) -> np.ndarray:
            return images.pixels().std(axis=(1, 2)).astype(np.float32)

    Other.__name__ = "MeanColour"
    second = gmbench.run(Other(), "tiny", results=tmp_path)
    assert second.identity.entry == first.identity.entry
    assert second.predictions_sha256 != first.predictions_sha256


def test_an_object_with_parameters_that_no_record_can_hold() -> None:
    """What a record cannot say is refused, by name."""

    class Tuned(MeanColour):
        def __init__(self, grid: tuple[int, ...] = (1, 2)) -> None:
            self.grid = grid

    with pytest.raises(ParameterError, match=r"Tuned: parameter 'grid' is \(1, 2\)"):
        gmbench.run(Tuned(), "gm-photos")


def test_what_is_not_there(tmp_path: Path) -> None:
    """Each is one error of gmbench's that names it."""
    with pytest.raises(NotFoundError, match="gm-photo"):
        gmbench.load_dataset("gm-photo")
    with pytest.raises(DataError, match="is no folder"):
        gmbench.load_dataset(tmp_path / "none")
    with pytest.raises(DataError, match="is no folder of records"):
        gmbench.read_records(tmp_path / "none")
    with pytest.raises(NotFoundError, match="setting"):
        gmbench.run("durall20", "gm-photos", setting="cleen")


def test_the_examples_of_the_docstrings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They run one after the other in an empty folder, as a reader would type them."""
    monkeypatch.chdir(tmp_path)
    gmbench.run("durall20", "gm-photos", setting="few-shot-10")
    failed, tried = doctest.testmod(gmbench.api)
    assert failed == 0
    assert tried > 15


def test_the_example_of_the_documentation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The code block of docs/python.md runs as it stands, and prints a verdict and a frame."""
    monkeypatch.chdir(tmp_path)
    text = (Path(__file__).parent.parent / "docs" / "python.md").read_text(encoding="utf-8")
    exec(compile(text.split("```python")[1].split("```")[0], "docs/python.md", "exec"), {"__name__": "example"})
    printed = capsys.readouterr().out
    assert "mean-colour" in printed
    assert "accuracy.accuracy" in printed
