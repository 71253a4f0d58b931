"""Parameters that users change: their types, defaults and values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from gmbench.errors import ParameterError
from gmbench.support.schema import Strict

Value = bool | int | float | str
TYPES: dict[str, type] = {"bool": bool, "int": int, "float": float, "str": str}


class Parameter(Strict):
    """One parameter of a method: a constructor argument of the same name, type and default.

    Attributes:
        no_effect_with: values of other parameters with which this one does nothing; each table is one such case, in
            which all its values have to be there.
    """

    type: Literal["bool", "int", "float", "str"]
    default: Value
    meaning: str
    choices: list[str] = []
    minimum: float | None = None
    no_effect_with: list[dict[str, Value]] = []

    def parse(self, name: str, given: Value) -> Value:
        """The value that `given` (text from the command line, or a value) stands for.

        Raises:
            ParameterError: it has another type, is not one of the choices, or is too small.
        """
        problem = f"parameter '{name}': expected {self._expected()}, got '{given}'."
        try:
            value = _convert(self.type, given)
        except ValueError as error:
            raise ParameterError(problem) from error
        is_allowed = not self.choices or value in self.choices
        if isinstance(value, float):
            is_allowed = is_allowed and math.isfinite(value)
        if self.minimum is not None:
            is_allowed = is_allowed and float(value) >= self.minimum
        if not is_allowed:
            raise ParameterError(problem)
        return value

    def idle_with(self, values: Mapping[str, Value]) -> str | None:
        """With which of these values of all parameters this one does nothing, as `name=value`, or None."""
        for case in self.no_effect_with:
            if all(values[name] == value for name, value in case.items()):
                return written(case)
        return None

    def _expected(self) -> str:
        if self.choices:
            return "one of " + ", ".join(f"'{choice}'" for choice in self.choices)
        return self.type if self.minimum is None else f"{self.type} of at least {self.minimum:g}"


def written(values: Mapping[str, Value]) -> str:
    """Parameters as `--set` takes them."""
    return " and ".join(
        f"{name}={str(value).lower() if isinstance(value, bool) else value}" for name, value in values.items()
    )


def _convert(type_name: str, given: Value) -> Value:
    if type_name == "bool":
        if str(given).lower() not in ("true", "false"):
            raise ValueError
        return str(given).lower() == "true"
    if type_name == "str":
        return str(given)
    if isinstance(given, bool):
        raise ValueError
    return TYPES[type_name](given)
