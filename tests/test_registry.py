"""Finding methods and reading their cards and parameters."""

from __future__ import annotations

import re
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from made_methods import CARD, CODE, write_method

import gmbench.registry
from gmbench.errors import DataError, NotFoundError, ParameterError
from gmbench.registry import Method, find_method, methods


def test_the_shipped_methods() -> None:
    """Which slugs there are is part of what users rely on."""
    assert list(methods()) == [
        "durall20", "dzanic20", "manifpt-freq", "manifpt-rgb", "manifpt-sl", "manifpt-ssl", "marra18", "marra19",
        "mccloskey18", "nataraj19", "wang20", "wang20-spectrum", "yu19",
    ]  # fmt: skip


def test_an_unknown_name_gets_the_nearest_ones() -> None:
    """A typo is answered with what was probably meant."""
    with pytest.raises(NotFoundError, match=r"no method named 'manifpt-rbg'. Nearest: manifpt-rgb"):
        find_method("manifpt-rbg")


def test_parameters_are_defaults_then_fixed_then_given() -> None:
    """A slug decides some parameters, the user others, the card the rest."""
    values = find_method("manifpt-freq").parameters({"epochs": "3", "spectrum": "complex"})
    assert (values["space"], values["epochs"], values["spectrum"], values["network"]) == (
        "freq", 3, "complex", "resnet20",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epoch": "3"}, "no parameter of manifpt-rgb named 'epoch'. Nearest: epochs"),
        ({"epochs": "many"}, "'epochs': expected int of at least 0, got 'many'"),
        ({"epochs": "1.5"}, "'epochs': expected int of at least 0, got '1.5'"),
        ({"epochs": "-1"}, "'epochs': expected int of at least 0, got '-1'"),
        ({"learning_rate": "nan"}, "'learning_rate': expected float of at least 0, got 'nan'"),
        ({"learning_rate": "inf"}, "'learning_rate': expected float of at least 0, got 'inf'"),
        ({"network": "vgg"}, "'network': expected one of 'resnet20', 'resnet50', got 'vgg'"),
        ({"space": "freq"}, "'space' is fixed to 'rgb' in manifpt-rgb"),
    ],
)
def test_parameters_that_cannot_be(given: dict[str, str], message: str) -> None:
    """The message names the parameter, what was expected and what came."""
    with pytest.raises(ParameterError, match=re.escape(message)):
        find_method("manifpt-rgb").parameters(given)


def test_a_method_in_a_folder(tmp_path: Path) -> None:
    """A path works in place of a slug; underscores of the folder become hyphens."""
    method = find_method(str(write_method(tmp_path / "my_method")))
    assert method.slug == "my-method"
    assert type(method.build(method.parameters({}))).__name__ == "Example"


def test_a_path_to_a_shipped_method_is_that_method() -> None:
    """The same folder is not a second method."""
    assert find_method(str(find_method("durall20").folder)) == find_method("durall20")


def test_a_folder_may_not_take_a_known_slug(tmp_path: Path) -> None:
    """Nobody shadows a baseline."""
    with pytest.raises(DataError, match="two methods are named 'durall20'"):
        find_method(str(write_method(tmp_path / "durall20")))


def test_installed_packages_bring_methods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The entry-point group `gmbench.methods` names packages with a card; a slug that is there already is an error."""
    write_method(tmp_path / "a_guest")
    monkeypatch.syspath_prepend(tmp_path)
    guests = [EntryPoint("guest", "a_guest", "gmbench.methods")]
    monkeypatch.setattr(gmbench.registry, "entry_points", lambda group: guests)
    methods.cache_clear()
    try:
        assert methods()["a-guest"].module == "a_guest"
        guests.append(EntryPoint("gone", "gone.package", "gmbench.methods"))
        methods.cache_clear()
        with pytest.raises(DataError, match=r"entry point 'gone' .*no package 'gone.package'"):
            methods()
        guests.pop()
        guests.append(EntryPoint("again", "a_guest", "gmbench.methods"))
        methods.cache_clear()
        with pytest.raises(DataError, match="two methods are named 'a-guest'"):
            methods()
    finally:
        methods.cache_clear()


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ("title = ", "is not TOML"),
        (CARD.replace("year = 2026\n", ""), "field 'year'"),
        (CARD.replace('"colour"', '"smell"'), "field 'looks_at'"),
        (CARD + '\n[methods.x]\ntitle="x"\nfixed={nothing=1}', "fixes 'nothing', which is not a parameter"),
    ],
)
def test_damaged_cards(tmp_path: Path, card: str, message: str) -> None:
    """A card that says too little or too much is named with the field."""
    with pytest.raises(DataError, match=message):
        find_method(str(write_method(tmp_path / "bad", card=card)))


def test_the_digest_of_a_method_sees_what_decides_it(tmp_path: Path) -> None:
    """Code, data, and parameters of the card change the digest; README, comments and words of the card do not."""
    folder = write_method(tmp_path / "m")

    def digest(code: str = CODE, card: str = CARD) -> str:
        (folder / "__init__.py").write_text(code)
        (folder / "method.toml").write_text(card)
        return find_method(str(folder)).source_sha256

    before = digest()
    (folder / "README.md").write_text("text")
    assert digest(CODE + "\n# more\n", CARD.replace("exponent", "an exponent").replace("none", "someone")) == before
    assert digest(CODE.replace("1 / self.sources_", "1 / (self.sources_)")) != before
    assert digest(card=CARD.replace("default = 1.0", "default = 2.0")) != before
    assert digest(card=CARD.replace("default = 1.0", "default = 1.0\nminimum = 0.5")) != before
    assert digest(card=CARD + '\n[methods.m]\ntitle = "m"\nfixed = { power = 2.0 }\n') != before
    assert digest() == before
    (folder / "weights.json").write_text("[1]")
    assert digest() != before


class TestLengths:
    """Which trainings are known to be long enough."""

    CARD = """
title = "Example"
paper = "none"
year = 2026
looks_at = "colour"
attributor = "Example"
[parameters.epochs]
type = "int"
default = 10
meaning = "epochs"
[parameters.width]
type = "int"
default = 8
meaning = "width"
"""

    def method(self, folder: Path, *lengths: str) -> Method:
        """A method of the card above, with these checks."""
        folder.mkdir()
        (folder / "method.toml").write_text(self.CARD + "".join(f"[[lengths]]\n{length}\n" for length in lengths))
        (folder / "__init__.py").write_text("")
        return find_method(folder)

    @pytest.mark.parametrize(
        ("garments", "photos", "is_enough"),
        [("[90, 90.9]", "[97, 96]", True), ("[90, 91]", "[97, 97]", False), ("[90, 90]", "[97, 99]", False)],
    )
    def test_less_than_a_point_on_both(self, tmp_path: Path, garments: str, photos: str, is_enough: bool) -> None:
        """Gains of 0.9 and -1 are enough; one of a point on either dataset is not."""
        accuracy = f"{{ gm-garments = {garments}, gm-photos = {photos} }}"
        length = f'method = "mine"\nparameters = {{ epochs = 10 }}\nval_accuracy = {accuracy}'
        method = self.method(tmp_path / "mine", length)
        assert method.is_converged({"epochs": 10, "width": 8}) is is_enough

    def test_both_datasets_are_looked_at(self, tmp_path: Path) -> None:
        """One of them is not enough."""
        length = 'method = "mine"\nparameters = { epochs = 10 }\nval_accuracy = { gm-garments = [90, 90] }'
        assert not self.method(tmp_path / "mine", length).is_converged({"epochs": 10, "width": 8})

    def test_only_what_was_checked_is_converged(self, tmp_path: Path) -> None:
        """Other lengths, other widths and other methods were not; a check of another width may be there too."""
        figures = "val_accuracy = { gm-garments = [90, 90], gm-photos = [90, 90] }"
        checks = [f'method = "mine"\nparameters = {{ epochs = 20 }}\n{figures}']
        checks += [f'method = "mine"\nparameters = {{ epochs = 10, width = 4 }}\n{figures}']
        checks += [f'method = "other"\nparameters = {{ epochs = 10 }}\n{figures}']
        method = self.method(tmp_path / "mine", *checks)
        assert method.is_converged({"epochs": 20, "width": 8})
        assert method.is_converged({"epochs": 10, "width": 4})
        assert not method.is_converged({"epochs": 10, "width": 8})
        assert not method.is_converged({"epochs": 20, "width": 4})

    def test_checks_decide_no_result(self, tmp_path: Path) -> None:
        """A record stays valid when its training has been checked."""
        length = 'method = "mine"\nparameters = { epochs = 10 }\nval_accuracy = { gm-garments = [90, 90] }'
        digest = self.method(tmp_path / "mine", length).source_sha256
        (tmp_path / "mine" / "method.toml").write_text(self.CARD)
        assert find_method(tmp_path / "mine").source_sha256 == digest

    @pytest.mark.parametrize("slug", methods())
    def test_shipped_checks_are_of_what_there_is(self, slug: str) -> None:
        """They name a method of their card, values that its parameters can have, and how many epochs these were."""
        for length in methods()[slug].card.lengths:
            if length.method == slug:
                methods()[slug].parameters(
                    {k: v for k, v in length.parameters.items() if k not in methods()[slug].fixed}
                )
                assert any(name.endswith("epochs") for name in length.parameters)
            assert length.method in methods()
