"""A parameter that does nothing with the values of others is refused, and really does nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from made_methods import CARD, QUICK, write_method

from conftest import image_set, make_images
from gmbench.attributor import RunContext
from gmbench.errors import DataError, ParameterError
from gmbench.registry import Method, find_method, methods
from gmbench.submissions.trial import quick_parameters
from gmbench.support.parameters import Parameter, Value, written


def another(parameter: Parameter, value: Value) -> Value:
    """A value that the parameter may have, and not this one."""
    if parameter.choices:
        return next(choice for choice in parameter.choices if choice != value)
    if isinstance(value, bool):
        return not value
    return f"{value}/no/such/file" if isinstance(value, str) else value + 2


def circumstances(method: Method, name: str, case: Mapping[str, Value]) -> Iterator[dict[str, Value]]:
    """What can be given besides the parameter: the case, and all values of what its other cases name."""
    cards = method.card.parameters
    named = {other for each in cards[name].no_effect_with for other in each}
    free = sorted(named - set(case) - set(method.fixed))
    for values in product(*([card.default, *alternatives(card)] for card in map(cards.__getitem__, free))):
        given = {**case, **dict(zip(free, values, strict=True))}
        given = {other: given[other] for other in given if other not in method.fixed}
        yield {other: value for other, value in given.items() if value != cards[other].default}


def alternatives(parameter: Parameter) -> list[Value]:
    """Values of a parameter other than its default: all there are, or one."""
    others = [choice for choice in parameter.choices if choice != parameter.default]
    return [*others] if others else [another(parameter, parameter.default)]


def holding(method: Method, name: str, case: Mapping[str, Value]) -> dict[str, Value] | None:
    """What to give so that of the parameter's cases this one holds; None: it cannot be in this method."""
    if any(method.fixed.get(other, value) != value for other, value in case.items()):
        return None
    for given in circumstances(method, name, case):
        try:
            values = method.parameters(given)
        except ParameterError:
            continue
        if method.card.parameters[name].idle_with(values) == written(case):
            return given
    return None


def is_taken(method: Method, name: str) -> bool:
    """Whether there is something besides which the parameter can be given."""
    value = another(method.card.parameters[name], method.card.parameters[name].default)
    for given in circumstances(method, name, {}):
        try:
            return method.parameters({name: value, **given})[name] == value
        except ParameterError:
            continue
    return False


CASES = [
    pytest.param(method, name, case, id=f"{slug}: {name} with {written(case)}")
    for slug, method in methods().items()
    for name, parameter in method.card.parameters.items()
    for case in parameter.no_effect_with
    if holding(method, name, case) is not None
]
DECLARED = {
    (method.folder, name, written(case))
    for method in methods().values()
    for name, parameter in method.card.parameters.items()
    for case in parameter.no_effect_with
}


def test_every_declared_case_can_be() -> None:
    """Each is a case of some method at least, and is not covered by another: none is there for nothing."""
    assert {(method.folder, name, written(case)) for method, name, case in (each.values for each in CASES)} == DECLARED


def test_no_parameter_is_always_refused() -> None:
    """In some method of its folder, and with some values of others, each parameter with cases has an effect."""
    taken = {
        (method.folder, name)
        for method in methods().values()
        for name, parameter in method.card.parameters.items()
        if parameter.no_effect_with and is_taken(method, name)
    }
    assert taken == {(folder, name) for folder, name, _ in DECLARED}


@pytest.mark.parametrize(("method", "name", "case"), CASES)
def test_every_declared_case_is_refused(method: Method, name: str, case: dict[str, Value]) -> None:
    """The message names the parameter and the values with which it does nothing."""
    parameter, given = method.card.parameters[name], holding(method, name, case)
    assert given is not None
    words = f"'{name}' of {method.slug} has no effect with {written(case)}"
    with pytest.raises(ParameterError, match=re.escape(words)):
        method.parameters({name: another(parameter, parameter.default), **given})


@pytest.mark.exhaustive
@pytest.mark.parametrize(("method", "name", "case"), CASES)
def test_what_is_refused_has_no_effect(
    method: Method, name: str, case: dict[str, Value], context: RunContext, tmp_path: Path
) -> None:
    """The method fitted with two values of the parameter gives the same answers, bit for bit."""
    images = image_set(
        np.concatenate([make_images(source, 12, seed) for seed, source in enumerate(("real", "blurred", "noisy"))]),
        np.repeat(np.arange(3), 12),
    )
    parameters, answers = method.parameters({}) | QUICK.get(method.slug, {}) | case, []
    for number, value in enumerate((parameters[name], another(method.card.parameters[name], parameters[name]))):
        scratch = tmp_path / str(number)
        scratch.mkdir()
        fitted = method.build({**parameters, name: value}).fit(images, images, replace(context, scratch=scratch))
        answers.append(fitted.predict_and_embed(images.without_labels()))
    for one, other in zip(*answers, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("slug", "given", "named"),
    [
        ("marra18", ("weights=/no/such/file",), ("weights", "network=resnet20")),
        ("marra18", ("network=resnet20", "pretrained=true"), ("pretrained", "network=resnet20")),
        ("marra18", ("network=xception", "pretrained=false", "weights=w.pth"), ("weights", "pretrained=false")),
        ("marra18", ("network=xception", "pretrained=false", "head_epochs=2"), ("head_epochs", "pretrained=false")),
        ("marra19", ("network=resnet50", "weights=w.pth", "pretrained=false"), ("weights", "pretrained=false")),
        ("marra19", ("joint=true", "classes_per_step=2"), ("classes_per_step", "joint=true")),
        ("marra19", ("later_epochs=3", "joint=True"), ("later_epochs", "joint=true")),
        ("marra19", ("variant=mt-mc", "binary_weight=0"), ("variant", "binary_weight=0.0")),
        ("wang20", ("weights=/no/such/file",), ("weights", "network=resnet20")),
        ("wang20", ("enlarge=nearest", "crop=0"), ("enlarge", "crop=0")),
        ("wang20", ("median=5",), ("median", "sees=pixels")),
        ("wang20-spectrum", ("augmentation=0.5",), ("augmentation", "sees=spectrum")),
        ("manifpt-rgb", ("weights=/no/such/file",), ("weights", "network=resnet20")),
        ("manifpt-rgb", ("spectrum=log",), ("spectrum", "space=rgb")),
        ("manifpt-rgb", ("neighbours=rgb",), ("neighbours", "space=rgb")),
        ("manifpt-freq", ("head=linear",), ("head", "space=freq")),
        ("manifpt-freq", ("training=released", "network=resnet50"), ("network", "training=released")),
        ("manifpt-freq", ("network=resnet50", "pretrained=false", "weights=w"), ("weights", "pretrained=false")),
        ("manifpt-ssl", ("network=resnet50",), ("network", "space=ssl and artifact=stages")),
        ("manifpt-sl", ("training=released",), ("training", "space=sl")),
        ("durall20", ("variant=paper", "length=40"), ("length", "variant=paper")),
        ("durall20", ("classifier=linear", "gamma=1"), ("gamma", "classifier=linear")),
        ("dzanic20", ("variant=official", "end=true"), ("end", "variant=official")),
    ],
)
def test_the_command_line_says_so_in_one_line(  # type: ignore[no-untyped-def]
    command, tmp_path: Path, slug: str, given: tuple[str, ...], named: tuple[str, str]
) -> None:
    """Exit code 2, nothing but one line that names both, and no record."""
    changes = [word for change in given for word in ("--set", change)]
    asked = ("run", "--method", slug, "--dataset", "gm-garments", *changes, "--results", str(tmp_path / "results"))
    code, out, err = command(*asked)
    assert (code, out) == (2, "")
    assert err == f"gmbench: parameter '{named[0]}' of {slug} has no effect with {named[1]}. Leave it out.\n"
    assert not (tmp_path / "results").exists()


def test_info_says_it(command) -> None:  # type: ignore[no-untyped-def]
    """Users learn of it before they try."""
    code, out, _ = command("info", "dzanic20")
    assert code == 0
    assert "no effect with variant=official" in " ".join(out.split())


def test_a_check_leaves_out_what_has_no_effect() -> None:
    """Of the counts of epochs, `gmbench check` sets those that do something."""
    assert quick_parameters(find_method("marra18")) == {"epochs": 1}
    assert quick_parameters(find_method("marra19")) == {"epochs": 1, "later_epochs": 1}


@pytest.mark.parametrize(
    ("cases", "message"),
    [
        ("[{ nothing = 1 }]", "'power' has no effect with 'nothing', which is not a parameter"),
        ("[{ power = 2.0 }]", "'no_effect_with' of 'power' must name other parameters"),
        ("[{}]", "'no_effect_with' of 'power' must name other parameters"),
        ('[{ mode = "c" }]', "'no_effect_with' of 'power': parameter 'mode': expected one of 'a', 'b', got 'c'"),
        ('"mode=a"', "field 'parameters.power.no_effect_with'"),
    ],
)
def test_a_case_that_cannot_be_is_a_damaged_card(tmp_path: Path, cases: str, message: str) -> None:
    """A case names other parameters, with values that they may have."""
    mode = '[parameters.mode]\ntype = "str"\nchoices = ["a", "b"]\ndefault = "a"\nmeaning = "which"\n'
    folder = write_method(tmp_path / "bad", card=f"{CARD}no_effect_with = {cases}\n{mode}")
    with pytest.raises(DataError, match=re.escape(message)):
        find_method(str(folder))


def test_cases_decide_no_result(tmp_path: Path) -> None:
    """Records stay valid when a card says more about what has no effect."""
    mode = '[parameters.mode]\ntype = "int"\ndefault = 1\nmeaning = "which"\n'
    folder = write_method(tmp_path / "m", card=CARD + mode)
    before = find_method(str(folder)).source_sha256
    (folder / "method.toml").write_text(CARD + "no_effect_with = [{ mode = 2 }]\n" + mode)
    assert find_method(str(folder)).source_sha256 == before
