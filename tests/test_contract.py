"""Every method that gmbench ships keeps to the contract, and the contract test notices those that do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_methods import CODE, QUICK, write_method

from gmbench.registry import Method, find_method, methods
from gmbench.testing import check_attributor


@pytest.mark.parametrize("slug", [slug for slug, method in methods().items() if method.card.attributor])
def test_shipped_methods_keep_the_contract(slug: str) -> None:
    """Constructor, probabilities, features, independence of batches, determinism; with two and with 17 sources."""
    check_attributor(find_method(slug), QUICK.get(slug))


@pytest.mark.parametrize("slug", methods())
def test_shipped_methods_are_documented(slug: str) -> None:
    """Each method's folder has a README that says which reading was chosen."""
    readme = (find_method(slug).folder / "README.md").read_text(encoding="utf-8")
    assert "Which reading" in readme


def test_a_method_in_a_folder_keeps_the_contract(tmp_path: Path) -> None:
    """The minimal method that the failing ones below are derived from is fine."""
    check_attributor(find_method(str(write_method(tmp_path / "example"))))


@pytest.mark.parametrize(
    ("right", "wrong", "complaint"),
    [
        ("1 / self.sources_", "0.9 / self.sources_", "sum to 1"),
        ("1 / self.sources_", "np.nan", "finite"),
        ("(len(images), self.sources_)", "(len(images), 7)", "shape"),
        ("reshape(len(images), 6)", "reshape(-1)", "embed must return shape"),
        ("dtype=np.float32", "dtype=np.float32) * (1 + 1e-5 * np.random.default_rng().random()", "same"),
        ("power: float = 1.0", "power: float = 2.0", "default"),
        ("power: float = 1.0", "power: int = 1.0", "float on the card, int in the code"),
        ("power: float = 1.0", "power: float = 1.0, more: int = 0", "declares"),
        ("self.power = power", "self.power, self.extra = power, 1", "nothing else"),
    ],
)
def test_methods_that_break_the_contract_are_caught(tmp_path: Path, right: str, wrong: str, complaint: str) -> None:
    """Each breach is named."""
    assert right in CODE
    folder = write_method(tmp_path / "breach", CODE.replace(right, wrong))
    with pytest.raises(Exception, match=complaint):
        check_attributor(find_method(str(folder)))


def test_an_answer_that_depends_on_the_batch_is_caught(tmp_path: Path) -> None:
    """Normalising over the images that come together leaks between them."""
    code = CODE.replace(
        "return np.full((len(images), self.sources_), 1 / self.sources_, dtype=np.float32)",
        "p = np.full((len(images), self.sources_), 0.1 / (self.sources_ - 1), dtype=np.float32)\n"
        "        p[:, len(images) % 2] += 1 - p.sum(axis=1)\n"
        "        return p",
    )
    with pytest.raises(AssertionError, match="come together"):
        check_attributor(find_method(str(write_method(tmp_path / "batchy", code))))


def test_an_answer_that_depends_on_what_was_left_in_scratch_is_caught(tmp_path: Path) -> None:
    """A fit that finds an earlier one's work ends as that one did."""
    code = CODE.replace(
        "        return self",
        "        mark = context.scratch / 'mark'\n        self.sources_ += mark.exists()\n"
        "        mark.touch()\n        return self",
    ).replace(
        "return np.full((len(images), self.sources_), 1 / self.sources_, dtype=np.float32)",
        "p = np.zeros((len(images), len(images.sources)), dtype=np.float32)\n"
        "        p[:, self.sources_ - len(images.sources)] = 1\n        return p",
    )
    with pytest.raises(AssertionError, match="kept in scratch"):
        check_attributor(find_method(str(write_method(tmp_path / "forgetful", code))))


def test_a_traceback_on_no_images_is_caught(tmp_path: Path) -> None:
    """Neither an answer nor an error that says what is wrong."""
    code = CODE.replace("        return np.full(", "        images.ids[0]\n        return np.full(")
    with pytest.raises(AssertionError, match="no images must be answered, or refused"):
        check_attributor(find_method(str(write_method(tmp_path / "abrupt", code))))


def test_a_move_to_another_manifold_that_changes_the_method_is_caught(tmp_path: Path) -> None:
    """`on` gives another method, or the same one if nothing is to be changed."""
    code = CODE + "\n    def with_manifold(self, manifold):\n        self.sources_ += 1\n        return self\n"
    with pytest.raises(AssertionError, match="with_manifold must leave"):
        check_attributor(find_method(str(write_method(tmp_path / "moved", code))))


def test_probabilities_of_a_feature_method_rank_like_its_classifier(tmp_path: Path) -> None:
    """The softmax of margins has its largest value where the SVM decides."""
    from gmbench.testing import _example, _fitted

    method: Method = find_method("durall20")
    images = _example(5, 16, 32, seed=3)
    attributor = _fitted(method, method.parameters({}), images, tmp_path)
    decided = attributor.classifier_.predict(attributor.features(images.pixels()))
    np.testing.assert_array_equal(attributor.predict_proba(images).argmax(axis=1), decided)
