"""The command that leaves a record."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from gmbench.protocol.settings import TRANSFER

if TYPE_CHECKING:
    pass


def cell_of(command: str) -> dict[str, object]:
    """What the command of a record names: method (its slug), dataset, setting, seed, device, precision, `set` by name.

    Raises:
        ValueError: it is not a command that leaves a record.
    """
    program, verb, *rest = shlex.split(command)
    if program != "gmbench" or verb not in ("run", "transfer", "submit"):
        raise ValueError("expected gmbench run, transfer or submit")
    changes: dict[str, str] = {}
    named: dict[str, object] = {"set": changes, "precision": "32-true"}
    if verb == "submit":
        named["method"], *rest = rest
    for option, value in zip(rest[::2], rest[1::2], strict=True):
        if not option.startswith("--"):
            raise ValueError(f"expected an option, got {option}")
        if option == "--set":
            name, _, changed = value.partition("=")
            changes[name] = changed
        else:
            named[option.removeprefix("--")] = value
    if verb == "transfer":
        named["dataset"], named["setting"] = named.pop("train", None), f"{TRANSFER}{named.pop('test', None)}"
    named["method"] = Path(str(named.get("method"))).name.replace("_", "-")
    return named
