"""Methods that are kept, and what they say of images; likelihood ratios against closed forms."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import gmbench
from conftest import SOURCES, make_images
from gmbench.data.cards import find_dataset
from gmbench.data.importing.decoding import Refused
from gmbench.errors import CannotRunError, DataError, ParameterError
from gmbench.evaluators.evidence import (
    best_temperature,
    cllr,
    log10_generated,
    log10_ratios,
    together,
    with_prior,
    with_temperature,
)
from gmbench.learning.estimators import estimator_of, state_of
from gmbench.registry import find_method
from gmbench.runs.asking import spread_crops
from gmbench.runs.models import Model, fit_model, load_model
from gmbench.runs.runner import Run
from gmbench.support.progress import Progress
from gmbench.support.state import read_state, write_state

GIVEN = {"manifpt-rgb": {"epochs": "1"}}


@pytest.fixture
def model(only_tiny: None, tmp_path: Path) -> Model:
    """A method of hand-made features, fitted on the tiny dataset and kept."""
    return fit_model(Run(find_method("durall20"), find_dataset("tiny")), tmp_path / "model", Progress())


class TestKept:
    """`gmbench fit`."""

    @pytest.mark.parametrize("slug", ["durall20", "manifpt-rgb"])
    def test_it_gives_the_record_again(self, only_tiny: None, tmp_path: Path, slug: str) -> None:
        """The labels and probabilities of the record of the same run, from a model that was read again."""
        card, given = find_dataset("tiny"), GIVEN.get(slug, {})
        record = gmbench.run(slug, "tiny", parameters=given, device="cpu", results=tmp_path / "results")
        fit_model(Run(find_method(slug), card, given=given), tmp_path / "model", Progress())
        model = load_model(tmp_path / "model", "cpu", Progress())
        found = model.raw(gmbench.load_dataset("tiny")["test"].pixels())
        np.testing.assert_allclose(found, record.predictions().probabilities, atol=1e-6)

    def test_what_was_altered_is_refused(self, model: Model) -> None:
        """Every file, by name, and nothing of it is used."""
        for name in ("state.json", "state.safetensors"):
            path = model.folder / name
            content = path.read_bytes()
            path.write_bytes(content[:-1] + b" ")
            with pytest.raises(DataError, match=f"{name} is not what model.json names"):
                load_model(model.folder, "cpu", Progress())
            path.write_bytes(content)
        load_model(model.folder, "cpu", Progress())

    @pytest.mark.parametrize("content", ["{", "[]", "[" * 100_000, '{"format": 99}', "{}"])
    def test_a_damaged_description_is_one_line(self, model: Model, content: str) -> None:
        """Whatever stands in it."""
        (model.folder / "model.json").write_text(content)
        with pytest.raises(DataError) as error:
            load_model(model.folder, "cpu", Progress())
        assert "\n" not in str(error.value)
        assert str(model.folder) in str(error.value)

    def test_other_code(self, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
        """A model is asked by the code that it was fitted with."""
        monkeypatch.setattr("gmbench.runs.models.harness_sha256", lambda: "another")
        with pytest.raises(
            DataError, match=r"gmbench's code has changed since\). Fit it again: gmbench fit --method dur"
        ):
            load_model(model.folder, "cpu", Progress())

    def test_nothing_else_is_overwritten(self, command, only_tiny: None, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
        """A folder with something in it is no place for a model."""
        (tmp_path / "mine.txt").write_text("mine")
        code, _, err = command("fit", "--method", "durall20", "--dataset", "tiny", "--out", str(tmp_path))
        assert (code, err.count("\n")) == (2, 1)
        assert "holds something else than a model" in err


class TestState:
    """Arrays and values as files."""

    def test_it_comes_back(self, tmp_path: Path) -> None:
        """With types, shapes and nesting."""
        state = {"a": np.arange(3), "b": {"c": [1.5, None, "x", True], "d": (1, 2)}, "e": np.float32(2)}
        write_state(tmp_path, state)
        found = read_state(tmp_path)
        np.testing.assert_array_equal(found.pop("a"), [0, 1, 2])
        assert found == {"b": {"c": [1.5, None, "x", True], "d": (1, 2)}, "e": 2.0}

    @pytest.mark.parametrize("value", [object(), {1: 2}, {"$array": "a"}, np.array([object()])])
    def test_what_cannot_be_kept(self, tmp_path: Path, value: object) -> None:
        """It is named, and nothing is written."""
        with pytest.raises(CannotRunError, match="'x"):
            write_state(tmp_path, {"x": value})
        assert not list(tmp_path.iterdir())

    def test_only_estimators_of_sklearn_are_made(self) -> None:
        """A description that names anything else is refused before it is looked at."""
        x, y = np.random.default_rng(0).normal(size=(30, 2)), np.arange(30) % 3
        fitted = make_pipeline(StandardScaler(), LogisticRegression()).fit(x, y)
        np.testing.assert_array_equal(estimator_of(state_of(fitted)).predict_proba(x), fitted.predict_proba(x))
        for name in ("os:system", "sklearn.utils:check_array", "gmbench.runs.models:Model"):
            with pytest.raises(DataError):
                estimator_of({"$class": name, "$state": {}})


class TestAttribute:
    """`gmbench attribute`."""

    @pytest.fixture
    def pictures(self, tmp_path: Path) -> Path:
        """Three images of each source, one of a size that is not the model's, and two that are no images."""
        folder = tmp_path / "pictures"
        folder.mkdir()
        for source in SOURCES:
            for number, pixels in enumerate(make_images(source, 3, seed=77)):
                Image.fromarray(pixels).save(folder / f"{source}-{number}.png")
        Image.fromarray(make_images("real", 1, seed=5, size=64)[0]).save(folder / "large.png")
        (folder / "text.png").write_text("no image")
        Image.fromarray(np.zeros((32, 32), np.uint16) + 300).save(folder / "deep.png")
        return folder

    def test_a_line_for_each_image(self, command, model: Model, pictures: Path) -> None:  # type: ignore[no-untyped-def]
        """Most are right; what cannot be read is named with why, and makes the exit code 1."""
        code, out, _ = command("attribute", str(pictures), "--model", str(model.folder), "--json")
        assert code == 1
        said = json.loads(out)
        right = [Path(answer["name"]).name.startswith(answer["source"]) for answer in said["answers"]]
        assert len(right) == 9
        assert sum(right) >= 7
        reasons = {Path(path).name: why for path, why in said["refused"].items()}
        assert "Say how it is brought there: --resize, or --crops N" in reasons["large.png"]
        assert "no image of a known format" in reasons["text.png"]
        assert "16 bits a channel" in reasons["deep.png"]

    def test_crops_and_resize(self, command, model: Model, pictures: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
        """Either brings a larger image to the model's size, and it is said; a picture shows what was seen."""
        asked = ("attribute", str(pictures / "large.png"), "--model", str(model.folder))
        code, out, _ = command(*asked, "--crops", "5", "--json")
        (answer,) = json.loads(out)["answers"]
        assert (code, answer["changes"]) == (0, ["5 crops"])
        assert answer["agreement"] * 5 == pytest.approx(round(answer["agreement"] * 5))
        code, out, _ = command(*asked, "--resize", "--explain", str(tmp_path / "why.png"))
        assert code == 0
        assert "resized: 1 image" in out
        assert Image.open(tmp_path / "why.png").size == (3 * 128, 128)
        assert command(*asked, "--resize", "--crops", "2")[0] == 2

    def test_prior_and_verdict(self, command, model: Model, pictures: Path) -> None:  # type: ignore[no-untyped-def]
        """A prior moves probabilities and no likelihood ratio; images of one origin say it together."""
        noisy = [str(pictures / f"noisy-{number}.png") for number in range(3)]
        asked = ("attribute", *noisy, "--model", str(model.folder), "--json")
        plain, believed = (json.loads(command(*asked, *more)[1]) for more in ((), ("--prior", "real=0.999")))
        for before, after in zip(plain["answers"], believed["answers"], strict=True):
            assert after["probabilities"]["real"] > before["probabilities"]["real"]
            assert after["log10_ratios"] == before["log10_ratios"]
        verdict = json.loads(command(*asked, "--together")[1])["together"]
        assert max(verdict, key=verdict.get) == "noisy"
        assert sum(verdict.values()) == pytest.approx(1)
        assert command(*asked, "--prior", "nobody=0.5")[0] == 2
        assert command(*asked, "--prior", "real=2")[0] == 2

    def test_crops_are_spread_and_never_twice(self) -> None:
        """On a grid from border to border; of an image that is too small there are none."""
        image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
        crops = list(spread_crops(image, 32, 6))
        assert len({crop.tobytes() for crop in crops}) == len(crops) == 6
        np.testing.assert_array_equal(crops[0], image[:32, :32])
        np.testing.assert_array_equal(crops[-1], image[-32:, -32:])
        assert len(list(spread_crops(image[:32, :32], 32, 6))) == 1
        with pytest.raises(Refused, match="smaller than the model's"):
            list(spread_crops(image[:16], 32, 2))

    def test_priors_that_are_none(self, model: Model) -> None:
        """Named by what is wrong."""
        for prior in ({"real": 0.9, "noisy": 0.2}, {"real": 0.0}, dict.fromkeys(SOURCES, 0.2)):
            with pytest.raises(ParameterError, match="prior"):
                model.prior(prior)
        np.testing.assert_allclose(model.prior({"real": 0.5}), [0.5, 0.25, 0.25])


class TestEvidence:
    """Closed forms."""

    def test_ratios_of_a_known_posterior(self) -> None:
        """With equal shares of two sources the ratio is p / (1 - p); with others it is over the prior odds."""
        p = np.array([[0.9, 0.1], [0.5, 0.5]])
        np.testing.assert_allclose(log10_ratios(p, np.array([0.5, 0.5]))[:, 0], [np.log10(9), 0], atol=1e-12)
        np.testing.assert_allclose(log10_generated(p, np.array([0.9, 0.1])), [0, np.log10(9)], atol=1e-12)

    def test_a_prior_is_bayes_rule(self) -> None:
        """Posterior odds are prior odds times the ratio."""
        shares, prior = np.array([0.25, 0.75]), np.array([0.9, 0.1])
        posterior = with_prior(np.array([[0.25, 0.75]]), shares, prior)
        np.testing.assert_allclose(posterior, [prior])
        np.testing.assert_allclose(with_prior(posterior, prior, shares), [[0.25, 0.75]])

    def test_independent_images_add_up(self) -> None:
        """Two images with a ratio of 9 make 81, once the shares are counted once."""
        shares = np.array([0.5, 0.5])
        np.testing.assert_allclose(together(np.array([[0.9, 0.1]] * 2), shares), [81 / 82, 1 / 82])

    def test_cllr(self) -> None:
        """1 if the ratios say nothing, log2(1 + 1/9) if they are 9 and right, near 0 if sure and right."""
        assert cllr(np.zeros(5), np.zeros(3)).cllr == pytest.approx(1)
        nine = np.log10(9)
        assert cllr(np.full(5, nine), np.full(5, -nine)).cllr == pytest.approx(np.log2(10 / 9))
        assert cllr(np.full(5, 9.0), np.full(5, -9.0)).cllr == pytest.approx(0, abs=1e-8)
        # Ratios that are upside down cost more than saying nothing, and no monotone recalibration helps.
        wrong = cllr(np.full(5, -nine), np.full(5, nine))
        assert wrong.cllr == pytest.approx(np.log2(10))
        assert wrong.minimum == pytest.approx(1)
        assert cllr(np.array([1.0, 2.0]), np.array([-1.0])).minimum == 0

    def test_temperature_of_overconfidence(self) -> None:
        """Probabilities that were sharpened by a factor of 3 get it back."""
        random = np.random.default_rng(0)
        honest = random.dirichlet(np.ones(4), 20_000)
        labels = np.array([random.choice(4, p=row) for row in honest[:4000]])
        assert best_temperature(with_temperature(honest[:4000], 1 / 3), labels) == pytest.approx(3, rel=0.06)
