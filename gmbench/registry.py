"""Which methods there are. Listing them reads TOML files and imports none of them."""

from __future__ import annotations

import copy
import hashlib
import importlib
import importlib.util
import inspect
import json
import re
import sys
import tomllib
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache, partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import TypeAdapter, ValidationError

from gmbench.attributor import Attributor
from gmbench.attributors import METHOD_FOLDERS
from gmbench.errors import CannotRunError, DataError, NotFoundError, ParameterError
from gmbench.support.digests import code_sha256
from gmbench.support.files import first_link
from gmbench.support.parameters import TYPES, Parameter, Value
from gmbench.support.schema import Line, Name, Slug, Strict, first_problem, printable

CARD = "method.toml"
ENTRY_POINTS = "gmbench.methods"
LENGTHS_CHECKED_ON = ("gm-garments", "gm-photos")
LEAST_GAIN = 1.0
"""Points of validation accuracy that twice the epochs must bring for a training to count as too short."""


class Variant(Strict):
    """One of several slugs that share a folder: some parameters are fixed."""

    title: Line
    fixed: dict[Name, Value]


class Length(Strict):
    """A check whether a network's training is long enough: what twice the epochs give.

    Attributes:
        method: the slug.
        parameters: those that were checked, the number of epochs among them; all others were the method's defaults.
        val_accuracy: by dataset, in %: the best of the training as it is, and of one with twice the epochs and the
            schedule stretched over them (`clean`, seed 0).
    """

    method: str
    parameters: dict[str, Value]
    val_accuracy: dict[str, tuple[float, float]]

    @property
    def is_enough(self) -> bool:
        """Twice the epochs give less than a point on each of the datasets that are looked at."""
        gains = {slug: doubled - once for slug, (once, doubled) in self.val_accuracy.items()}
        return set(LENGTHS_CHECKED_ON) <= set(gains) and all(gain < LEAST_GAIN for gain in gains.values())


class MethodCard(Strict):
    """What `method.toml` says. Without `methods`, the folder's name is the one slug.

    Attributes:
        needs: published weights, or images of a certain size or shape.
        attributor: the class in `__init__.py`; None for a method that is not published and hands in predictions only.
        lengths: checks whether trainings are long enough; they decide no result.
        quick: parameters with which it takes a minute on a few images, for `gmbench check`.
    """

    title: Line
    paper: str
    year: int
    looks_at: Literal["colour", "frequency", "learned"]
    needs: str = "nothing but images"
    attributor: str | None = None
    parameters: dict[Name, Parameter] = {}
    quick: dict[Name, Value] = {}
    methods: dict[Slug, Variant] = {}
    lengths: list[Length] = []

    @property
    def decisive(self) -> str:
        """What of the card decides results, as JSON: the class, the parameters but for their words, the variants."""
        words = {"meaning", "no_effect_with"}
        parameters = {
            name: each.model_dump(exclude=words, exclude_defaults=True) for name, each in self.parameters.items()
        }
        variants = {slug: variant.fixed for slug, variant in self.methods.items()}
        return json.dumps([self.attributor, parameters, variants], sort_keys=True)


class Constructor(NamedTuple):
    """`takes`: type and default of each parameter by name; `stores`: what an object holds once it is made, by name."""

    takes: dict[str, tuple[str, Any]]
    stores: dict[str, Any]


@dataclass(frozen=True)
class Method:
    """One method as users name it.

    Attributes:
        folder: where its card, README and code are.
        module: what to import, or None for a folder outside any package.
        fixed: parameters that the slug decides.
        name: how users name it: the slug, or the path to its folder.
    """

    slug: str
    title: str
    card: MethodCard
    folder: Path
    module: str | None
    fixed: Mapping[str, Value]
    name: str

    def parameters(self, given: Mapping[str, Value]) -> dict[str, Value]:
        """All parameters: defaults, then what the slug fixes, then what the user gave.

        Raises:
            ParameterError: a parameter does not exist, is fixed, has a value that is not allowed, or has no effect
                with the values of others.
        """
        known = self.card.parameters
        values = {name: parameter.parse(name, parameter.default) for name, parameter in known.items()}
        values |= {name: known[name].parse(name, value) for name, value in self.fixed.items()}
        for name, value in given.items():
            if name not in known:
                raise ParameterError(str(NotFoundError.of(f"parameter of {self.slug}", name, known)))
            if name not in self.fixed:
                values[name] = known[name].parse(name, value)
        for name in given:
            if (case := known[name].idle_with(values)) is not None:
                raise ParameterError(f"parameter '{name}' of {self.slug} has no effect with {case}. Leave it out.")
            if name in self.fixed:
                raise ParameterError(f"parameter '{name}' is fixed to '{self.fixed[name]}' in {self.slug}.")
        return values

    def is_converged(self, parameters: Mapping[str, Value]) -> bool:
        """Whether the card has a check that a training with just these parameters is long enough."""
        usual = self.parameters({})
        return any(
            length.method == self.slug and length.is_enough and dict(parameters) == usual | length.parameters
            for length in self.card.lengths
        )

    def build(self, parameters: Mapping[str, Value]) -> Attributor:
        """Imports the method and makes an attributor with these parameters.

        Raises:
            CannotRunError: the card names no class, since the method is not published.
            DataError: the card names a class that the module does not have.
        """
        if self.card.attributor is None:
            raise CannotRunError(
                f"{self.slug} has no code to run, only predictions (no 'attributor' in {self.folder / CARD}). Hand "
                f"them in with: gmbench submit {self.slug} --predictions FILE"
            )
        module = importlib.import_module(self.module) if self.module else _import_folder(self.folder)
        if not hasattr(module, self.card.attributor):
            raise DataError(
                f"{self.folder / CARD} names the class '{self.card.attributor}', which is not in the module."
            )
        return getattr(module, self.card.attributor)(**parameters)

    def constructor(self) -> Constructor:
        """What the constructor of its class takes, and what an object stores that is made with the defaults.

        Raises:
            CannotRunError, DataError: see `build`.
        """
        attributor = self.build(self.parameters({}))
        signature = inspect.signature(type(attributor).__init__, eval_str=True).parameters
        takes = {
            name: (getattr(argument.annotation, "__name__", str(argument.annotation)), argument.default)
            for name, argument in signature.items()
            if name != "self"
        }
        return Constructor(takes, dict(vars(attributor)))

    @property
    def source_sha256(self) -> str:
        """A digest of what decides the method's results, so that work done by other code is never taken for its own.

        It is of the folder's code and data, less README and tests, and of the card less what it says in words.
        """
        code = code_sha256(self.folder, skip=("README.md", "test_", CARD))
        return hashlib.sha256((code + self.card.decisive).encode()).hexdigest()


@cache
def methods() -> dict[str, Method]:
    """All methods by slug: baselines, methods, and those of installed packages.

    Those whose card cannot be read are left out; `broken_methods` has them.

    Raises:
        DataError: a slug is found twice, or there is a link in `baselines/` or `methods/`.
    """
    found: dict[str, Method] = {}
    for method in _scan()[0]:
        if method.slug in found:
            raise DataError(f"two methods are named '{method.slug}': {found[method.slug].folder} and {method.folder}.")
        found[method.slug] = method
    return dict(sorted(found.items()))


def broken_methods() -> dict[str, DataError]:
    """What is wrong with those methods that cannot be read, by the slug that their folder or entry point would give."""
    return _scan()[1]


def find_method(name: str | Path) -> Method:
    """The method of a slug, or the one in a folder if `name` is a path (a `Path`, or text with a separator).

    Raises:
        NotFoundError: there is none.
        DataError: the folder's card is damaged, holds several methods, or takes the slug of another method.
    """
    if isinstance(name, Path) or "/" in name or "\\" in name:
        found = methods_in_folder(Path(name))
        if len(found) > 1:
            raise DataError(
                f"{name} holds several methods ({', '.join(m.slug for m in found)}); give each its own folder."
            )
        return found[0]
    if name not in methods():
        if (problem := broken_methods().get(name)) is not None:
            raise problem
        raise NotFoundError.of("method", name, methods())
    return methods()[name]


@dataclass(frozen=True)
class ObjectMethod(Method):
    """A method that is a caller's own object: nobody but the caller has its code.

    Its slug is that of its class, its parameters are the constructor's. No two of them share cached fits.
    """

    attributor: Attributor | None = None

    @classmethod
    def of(cls, attributor: Attributor) -> ObjectMethod:
        """The method of an attributor, which is copied before it is fitted.

        Raises:
            ParameterError: a parameter of its constructor is none of bool, int, float and str, or is not stored.
            DataError: the name of its class gives no slug.
        """
        kind = type(attributor)
        slug = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", kind.__name__).replace("_", "-").lower().strip("-")
        _check_slug(slug, f"{kind.__name__}: the name of its class, which names the method,")
        parameters = {}
        signature = inspect.signature(kind).parameters.values()
        for name in (each.name for each in signature if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)):
            value: Any = getattr(attributor, name, None)
            if type(value) not in TYPES.values():
                raise ParameterError(
                    f"{kind.__name__}: parameter '{name}' is {value!r}; expected a bool, int, float or str that the "
                    "constructor stores under this name, so that a record can say what was run."
                )
            parameters[name] = Parameter.model_validate({"type": type(value).__name__, "default": value, "meaning": ""})
        card = MethodCard(
            title=kind.__name__,
            paper="none",
            year=date.today().year,
            looks_at="learned",
            attributor=kind.__name__,
            parameters=parameters,
        )
        return cls(slug, kind.__name__, card, Path(), None, {}, slug, attributor)

    def build(self, parameters: Mapping[str, Value]) -> Attributor:
        """A copy of the object, with these parameters."""
        built = copy.deepcopy(self.attributor)
        assert built is not None
        for name, value in parameters.items():
            setattr(built, name, value)
        return built

    @property
    def source_sha256(self) -> str:
        """Another one each time: what the code is cannot be known, so no work is taken for that of the same code."""
        return hashlib.sha256(uuid.uuid4().bytes).hexdigest()


def refuse_links(home: Path) -> None:
    """Nothing that is handed in may be a link: it could lead to what nobody looks at.

    Raises:
        DataError: there is one below this folder; the message names it.
    """
    if (link := first_link(home)) is not None:
        raise DataError(f"{link} is a link. Put files in its place: what a link leads to is neither checked nor kept.")


def _scan() -> tuple[list[Method], dict[str, DataError]]:
    """Every method, and what is wrong with those that cannot be read: one that is broken does not hide the others.

    Raises:
        DataError: there is a link in `baselines/` or `methods/`.
    """
    found: list[Method] = []
    broken: dict[str, DataError] = {}

    def read(slug: str, folder: Callable[[], Path], module: str) -> None:
        try:
            found.extend(list(_read_methods(folder(), module)))
        except DataError as error:
            broken[slug] = error

    for home in METHOD_FOLDERS:
        # An installed package may consist of links, which its installer made.
        if (home.parent / "pyproject.toml").is_file():
            refuse_links(home)
        for path in sorted(home.glob(f"*/{CARD}")):
            name = path.parent.name
            read(name.replace("_", "-"), partial(Path, path.parent), f"gmbench.attributors.{name}")
    for entry in entry_points(group=ENTRY_POINTS):
        read(entry.name, partial(_folder_of, entry), entry.value)
    return found, broken


def _folder_of(entry: EntryPoint) -> Path:
    """The folder of the package that an entry point names.

    Raises:
        DataError: there is no such package.
    """
    try:
        spec = importlib.util.find_spec(entry.value)
    except (ImportError, ValueError):
        spec = None
    if spec is None or spec.origin is None:
        raise DataError(f"entry point '{entry.name}' in group {ENTRY_POINTS}: no package '{entry.value}'.")
    return Path(spec.origin).parent


def _read_methods(folder: Path, module: str | None, name: str | None = None) -> Iterator[Method]:
    path = folder / CARD
    if module is None:
        refuse_links(folder)
    try:
        card = MethodCard(**tomllib.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        raise DataError(f"method card {path}: {first_problem(error)}") from error
    except (ValueError, OSError, RecursionError) as error:
        raise DataError(f"method card {path} is not TOML: {' '.join(str(error).split())[:200]}") from error
    _check_cases(card, path)
    if not card.methods:
        slug = folder.name.replace("_", "-")
        _check_slug(slug, f"{printable(str(folder))}: a method is named as its folder; that")
        yield Method(slug, card.title, card, folder, module, {}, name or slug)
    for slug, variant in card.methods.items():
        if unknown := set(variant.fixed) - set(card.parameters):
            raise DataError(f"method card {path}: {slug} fixes '{min(unknown)}', which is not a parameter.")
        yield Method(slug, variant.title, card, folder, module, variant.fixed, name or slug)


def _check_cases(card: MethodCard, path: Path) -> None:
    """Raises DataError if a parameter is said to have no effect with what cannot be."""
    for name, parameter in card.parameters.items():
        for case in parameter.no_effect_with:
            if not case or name in case:
                raise DataError(f"method card {path}: 'no_effect_with' of '{name}' must name other parameters.")
            for other, value in case.items():
                if other not in card.parameters:
                    raise DataError(
                        f"method card {path}: '{name}' has no effect with '{other}', which is not a parameter."
                    )
                try:
                    card.parameters[other].parse(other, value)
                except ParameterError as error:
                    raise DataError(f"method card {path}: 'no_effect_with' of '{name}': {error}") from error


def _check_slug(slug: str, what: str) -> None:
    try:
        TypeAdapter(Slug).validate_python(slug)
    except ValidationError as error:
        raise DataError(
            f"{what} must be lower-case letters and digits with single hyphens, 100 at most, got '{printable(slug)}'."
        ) from error


def methods_in_folder(folder: Path) -> list[Method]:
    """The methods of the card in a folder: one, or its variants.

    Raises:
        NotFoundError: there is no card.
        DataError: the card is damaged, there is a link in the folder, or a slug is that of another method.
    """
    if not (folder / CARD).is_file():
        raise NotFoundError(f"no method in {folder}: it has no {CARD}.")
    known = [method for method in methods().values() if method.folder.resolve() == folder.resolve()]
    if known:
        return known
    found = list(_read_methods(folder.resolve(), None, str(folder)))
    for method in found:
        if (other := methods().get(method.slug)) is not None:
            raise DataError(
                f"two methods are named '{method.slug}': {other.folder} and {method.folder}. Rename the folder."
            )
    return found


def _import_folder(folder: Path) -> Any:
    name = f"gmbench_method_{folder.name}"
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None or not (folder / "__init__.py").is_file():
        raise DataError(f"{folder} holds no Python package: __init__.py is missing.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
