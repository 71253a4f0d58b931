"""The command that leaves a record."""

from __future__ import annotations

import shlex
from pathlib import Path

from gmbench.protocol.settings import TRANSFER
from gmbench.records.schema import Identity


def command_of(identity: Identity, method: str | None = None, predictions: str | None = None) -> str:
    """The command that makes a record of this identity again, every part quoted for a shell.

    Args:
        method: how the user named it; None: by its slug.
        predictions: the name of the file that was handed in, for a method without code.
    """
    named = method or identity.method
    if predictions is not None:
        parts = ["submit", named, "--predictions", predictions, "--dataset", identity.dataset]
        parts += ["--setting", identity.setting, "--seed", str(identity.seed)]
        return shlex.join(["gmbench", *parts])
    if identity.tested_on:
        parts = ["transfer", "--method", named, "--train", identity.dataset, "--test", identity.tested_on]
    else:
        parts = ["run", "--method", named, "--dataset", identity.dataset, "--setting", identity.setting]
    parts += ["--seed", str(identity.seed)]
    for name, value in identity.given.items():
        parts += ["--set", f"{name}={value}"]
    parts += ["--device", identity.device]
    if identity.precision != "32-true":
        parts += ["--precision", identity.precision]
    return shlex.join(["gmbench", *parts])


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
