"""`gmbench report`: figures that follow from the record, text that stays text, and a page that needs no other file."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import confusion_matrix

import gmbench
from gmbench.manifold.rgb import RGB
from gmbench.records.schema import Record
from gmbench.report.figures import reliability
from gmbench.report.pictures import difference, ring_power, strip
from gmbench.report.report import Subject, _subject, build_report, tsne
from gmbench.report.show import _neighbours as show_neighbours
from gmbench.support.cache import Cache
from gmbench.support.html import table, text
from gmbench.support.progress import Progress

HOSTILE = "<script>alert(1)</script>|`x`\n;touch x"


class Reader(HTMLParser):
    """Every tag with its attributes, in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


@pytest.fixture
def record(only_tiny: None, tmp_path: Path) -> Record:
    """A run of ManiFPT, which has artifacts, features and a training."""
    return gmbench.run("manifpt-rgb", "tiny", parameters={"epochs": 1}, device="cpu", results=tmp_path / "results")


@pytest.fixture
def subject(record: Record) -> Subject:
    """All that its page is made of."""
    assert record.folder is not None
    return _subject(record.folder, Cache(), Progress())


def test_a_page_that_needs_no_other_file(command, record: Record, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Every section, every picture within the page and with words for it, and no script."""
    out = tmp_path / "page.html"
    code, _, err = command("report", str(record.folder / "record.json"), "--out", str(out))
    assert code == 0, err
    page = out.read_text()
    for words in ("Scores", "What is taken for what", "feature space", "confidently wrong", "Artifacts", "spectra"):
        assert words in page
    tags = Reader(page).tags
    assert {"script", "link", "iframe"}.isdisjoint(tag for tag, _ in tags)
    pictures = [attributes for tag, attributes in tags if tag == "img"]
    assert len(pictures) > 10
    assert all(str(each["src"]).startswith("data:image/") and each["alt"] for each in pictures)
    assert not re.findall(r"https?://(?!www\.w3\.org)", re.sub(r"data:image/[^\"]*", "", page))
    assert "gmbench run --method manifpt-rgb --dataset tiny" in page


def test_counts_are_those_of_the_predictions(record: Record, subject: Subject) -> None:
    """The confusion matrix, by scikit-learn; and the reliability diagram, bin by bin."""
    page = build_report([subject], Progress())
    predictions = record.predictions()
    found = predictions.probabilities.argmax(axis=1)
    matrix = page[page.index('class="confusion"') :]
    cells = re.findall(r"<td style=[^>]*>(\d*)</td>", matrix[: matrix.index("</table>")])
    expected = confusion_matrix(predictions.labels, found, labels=range(3))
    np.testing.assert_array_equal([int(cell or 0) for cell in cells], expected.ravel())
    _, points = reliability(predictions.probabilities, predictions.labels)
    assert sum(n for _, _, n in points) == len(found)
    right = sum(accuracy * n for _, accuracy, n in points)
    assert right == pytest.approx((found == predictions.labels).sum())


def test_what_a_record_says_is_text(subject: Subject) -> None:
    """No free field becomes markup, whatever stands in it."""
    made_in = subject.record.environment.model_copy(update={"hardware": HOSTILE, "platform": HOSTILE})
    identity = subject.record.identity.model_copy(update={"sources": [HOSTILE, "b", "c"]})
    recall = dict.fromkeys([HOSTILE, "b", "c"], 0.5)
    accuracy = subject.record.scores.accuracy.model_copy(update={"recall": recall})
    scores = subject.record.scores.model_copy(update={"accuracy": accuracy})
    hostile = subject.record.model_copy(update={"environment": made_in, "identity": identity, "scores": scores})
    page = build_report([replace(subject, record=hostile, features=None, images=None, missing=HOSTILE)], Progress())
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;|`x` ;touch x" in page
    assert text("a\nb") == "a b"
    assert "<b>" not in table(["<b>"], [["<b>"]])


def test_side_by_side(command, record: Record, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Two records with the paired test in words; five are refused."""
    other = gmbench.run("mccloskey18", "tiny", device="cpu", results=tmp_path / "results")
    folders = [str(record.folder), str(other.folder)]
    assert command("report", *folders, "--out", str(tmp_path / "page.html"))[0] == 0
    page = (tmp_path / "page.html").read_text()
    assert gmbench.compare(record, other).verdict.partition(",")[0] in page
    assert command("report", *folders * 3, "--out", str(tmp_path / "page.html"))[0] == 2


def test_without_images_and_features(record: Record, subject: Subject) -> None:
    """What cannot be shown is said, and the rest is."""
    page = build_report([replace(subject, features=None, images=None, missing="it is elsewhere")], Progress())
    assert "No pictures: it is elsewhere." in page
    assert "not in the cache of this machine" in page


def test_in_a_notebook(record: Record) -> None:
    """Records, datasets and sets of images show themselves: figures, counts, pictures."""
    shown = record._repr_html_()
    assert f"{record.scores.accuracy.accuracy:.1%}" in shown
    assert "manifpt-rgb+epochs=1 on tiny, clean, seed 0" in shown
    dataset = gmbench.load_dataset("tiny")
    assert "Tiny" in dataset._repr_html_()
    test = dataset["test"]
    pictures = [attributes for tag, attributes in Reader(test._repr_html_()).tags if tag == "img"]
    assert str(pictures[0]["src"]).startswith("data:image/png")
    assert re.findall(r'<td class="number">(\d+)</td>', test._repr_html_()) == ["12", "12", "12"]
    assert "source" not in test.without_labels()._repr_html_()
    assert "0 images" in test[:0]._repr_html_()


class TestPictures:
    """Closed forms."""

    def test_an_artifact_of_nothing_is_grey(self) -> None:
        """And differences are four times as strong, up to black and white."""
        values = np.array([[[0, 1, -1]], [[100, -100, 10]]])
        np.testing.assert_array_equal(difference(values), [[[128, 132, 124]], [[255, 0, 168]]])
        image = np.full((8, 8, 3), 7, np.uint8)
        assert strip(image, image).shape == (8, 4 * 8 + 3 * 2, 3)
        assert (strip(image, image)[:, 20:28] == 128).all()

    def test_power_of_a_wave_is_in_its_ring(self) -> None:
        """Four cycles in 32 pixels: ring 4, and nothing elsewhere."""
        wave = 100 + 50 * np.cos(2 * np.pi * 4 * np.arange(32) / 32)
        image = np.broadcast_to(wave[None, None, :, None], (1, 32, 32, 3))
        power = ring_power(image)
        assert power.argmax() == 3
        assert np.delete(power, 3).max() < 1e-12 * power[3] + 1e-11

    def test_places_keep_groups_together(self) -> None:
        """Two groups that lie apart lie apart in the plane, the same each time."""
        random = np.random.default_rng(0)
        features = np.concatenate([random.normal(size=(40, 60)), random.normal(size=(40, 60)) + 20])
        places = tsne(features)
        np.testing.assert_array_equal(places, tsne(features))
        centres = places[:40].mean(axis=0), places[40:].mean(axis=0)
        spread = max(places[:40].std(), places[40:].std())
        assert np.linalg.norm(centres[0] - centres[1]) > 2 * spread


class TestShow:
    """`gmbench show`."""

    @pytest.mark.parametrize("what", ["artifacts", "spectra", "neighbours"])
    def test_a_row_for_each_image(self, command, only_tiny: None, tmp_path: Path, what: str) -> None:  # type: ignore[no-untyped-def]
        """As many rows as images were asked for, of the sources that were named; spectra have one row each."""
        out = tmp_path / "shown.png"
        asked = ("show", what, "--dataset", "tiny", "--source", "noisy", "--source", "real", "-n", "2")
        code, _, err = command(*asked, "--out", str(out))
        assert code == 0, err
        height = Image.open(out).size[1]
        assert height == (2 if what == "spectra" else 4) * (96 + 2)

    def test_the_nearest_of_a_real_image_is_first(self, only_tiny: None, tmp_path: Path) -> None:
        """By brute force over all reals of the manifold."""
        dataset = gmbench.load_dataset("tiny")
        real = dataset["test"][np.flatnonzero(dataset["test"].labels == 0)[:1]]
        (row,) = show_neighbours(real, dataset, RGB(), 1, Progress())
        pixels, reals = real.pixels()[0].astype(float), dataset["manifold"].pixels()
        best = ((reals - pixels) ** 2).sum(axis=(1, 2, 3)).argmin()
        np.testing.assert_array_equal(row[:, :32], real.pixels()[0])
        np.testing.assert_array_equal(row[:, 34:66], reals[best])

    def test_a_source_that_is_not_there(self, command, only_tiny: None) -> None:  # type: ignore[no-untyped-def]
        """It is named, with those that are."""
        code, _, err = command("show", "artifacts", "--dataset", "tiny", "--source", "nobody")
        assert (code, err.count("\n")) == (2, 1)
        assert "noisy" in err
