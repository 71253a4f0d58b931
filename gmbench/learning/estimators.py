"""Fitted scikit-learn estimators as arrays and JSON values, and back."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from gmbench.errors import CannotRunError, DataError

CLASS, STATE = "$class", "$state"


def state_of(estimator: BaseEstimator) -> dict[str, Any]:
    """What decides a fitted estimator, pipelines included: its class's name, parameters and learned values.

    Raises:
        CannotRunError: it, or a part of it, is no estimator of scikit-learn, or holds something else.
    """
    kind = type(estimator)
    if not kind.__module__.startswith("sklearn."):
        raise CannotRunError(f"{kind.__name__} is not of scikit-learn, and cannot be kept.")
    state = {name: _encoded(value) for name, value in estimator.__getstate__().items()}
    return {CLASS: f"{kind.__module__}:{kind.__qualname__}", STATE: state}


def estimator_of(state: Mapping[str, Any]) -> Any:
    """The estimator that `state_of` described; only classes of scikit-learn are made.

    Raises:
        DataError: it is no such description.
    """
    try:
        module, _, name = str(state[CLASS]).partition(":")
        kind = getattr(importlib.import_module(module), name) if module.startswith("sklearn.") else None
        if not (isinstance(kind, type) and issubclass(kind, BaseEstimator)):
            raise ValueError(f"{module}:{name} is no estimator of scikit-learn")
        estimator: Any = object.__new__(kind)
        estimator.__setstate__({name: _decoded(value) for name, value in state[STATE].items()})
    except (KeyError, TypeError, ValueError, AttributeError, ImportError) as error:
        raise DataError(f"a kept classifier cannot be read: {error}.") from error
    return estimator


def _encoded(value: Any) -> Any:
    if isinstance(value, BaseEstimator):
        return state_of(value)
    if isinstance(value, list | tuple):
        return type(value)(_encoded(item) for item in value)
    if isinstance(value, Mapping):
        return {name: _encoded(item) for name, item in value.items()}
    if isinstance(value, np.ndarray | np.generic | bool | int | float | str | None):
        return value
    raise CannotRunError(f"a {type(value).__name__} in a classifier cannot be kept.")


def _decoded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return estimator_of(value) if CLASS in value else {name: _decoded(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_decoded(item) for item in value)
    return value
