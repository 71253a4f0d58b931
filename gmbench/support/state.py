"""What a fitted object has learned, as files: arrays as safetensors, everything else as JSON. Nothing is pickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gmbench.errors import CannotRunError, DataError
from gmbench.support.files import replacing, write_text

VALUES, ARRAYS = "state.json", "state.safetensors"
MARKS = ("$array", "$tuple")


def write_state(folder: Path, state: Mapping[str, Any]) -> None:
    """Writes arrays, JSON values, and mappings, lists and tuples of these.

    Raises:
        CannotRunError: something else is in it; the message names where.
        OutputError: the folder cannot be written to.
    """
    from safetensors.numpy import save_file

    arrays: dict[str, np.ndarray] = {}
    values = _without_arrays(state, "", arrays)
    with replacing(folder / ARRAYS) as aside:
        save_file(arrays, aside)
    write_text(folder / VALUES, json.dumps(values, indent=2) + "\n")


def read_state(folder: Path) -> dict[str, Any]:
    """What `write_state` wrote.

    Raises:
        DataError: files are missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        values = json.loads((folder / VALUES).read_text(encoding="utf-8"))
        arrays = load_file(folder / ARRAYS)
        state = _with_arrays(values, arrays)
    except (OSError, ValueError, KeyError, RecursionError, SafetensorError) as error:
        raise DataError(
            f"{folder} holds no fitted method, or a damaged one ({' '.join(str(error).split())})."
        ) from error
    if not isinstance(state, dict):
        raise DataError(f"{folder / VALUES} is damaged: expected an object.")
    return state


def _without_arrays(value: Any, place: str, arrays: dict[str, np.ndarray]) -> Any:
    """The value with a mark in the place of each array, which is put into `arrays` under the name of its place."""
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            raise CannotRunError(f"a state cannot be kept: '{place}' is an array of Python objects.")
        arrays[place] = np.ascontiguousarray(value)
        return {"$array": place}
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping):
        if wrong := [key for key in value if not isinstance(key, str) or key in MARKS]:
            raise CannotRunError(f"a state cannot be kept: '{place}' has the key {wrong[0]!r}.")
        return {
            key: _without_arrays(of_key, f"{place}.{key}" if place else key, arrays) for key, of_key in value.items()
        }
    if isinstance(value, list | tuple):
        items = [_without_arrays(item, f"{place}.{number}", arrays) for number, item in enumerate(value)]
        return {"$tuple": items} if isinstance(value, tuple) else items
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise CannotRunError(f"a state cannot be kept: '{place}' is of type {type(value).__name__}.")


def _with_arrays(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if isinstance(value, dict):
        if set(value) == {"$array"}:
            return arrays[value["$array"]]
        if set(value) == {"$tuple"}:
            return tuple(_with_arrays(item, arrays) for item in value["$tuple"])
        return {key: _with_arrays(of_key, arrays) for key, of_key in value.items()}
    if isinstance(value, list):
        return [_with_arrays(item, arrays) for item in value]
    return value
