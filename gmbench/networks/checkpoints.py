"""Checkpoints that a stopped training goes on from as if it had not been stopped."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from gmbench.support.files import replacing


class Stateful(Protocol):
    """A network, an optimiser or a schedule."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any], /) -> Any: ...


def save_checkpoint(path: Path, parts: Mapping[str, Stateful], values: Mapping[str, Any]) -> None:
    """Writes the state of `parts`, some plain `values`, and torch's random state on all devices."""
    state = {
        "parts": {name: part.state_dict() for name, part in parts.items()},
        "values": dict(values),
        "random": torch.get_rng_state(),
        "cuda_random": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }
    # torch's own writer does not say that a disk is full.
    content = io.BytesIO()
    torch.save(state, content)
    with replacing(path) as aside:
        aside.write_bytes(content.getbuffer())


def load_checkpoint(path: Path, parts: Mapping[str, Stateful], device: str) -> dict[str, Any] | None:
    """Puts back torch's random state and those `parts` that were saved; returns the values, None if nothing was."""
    if not path.exists():
        return None
    state = torch.load(path, map_location=device, weights_only=True)
    for name, saved in state["parts"].items():
        parts[name].load_state_dict(saved)
    torch.set_rng_state(state["random"].cpu())
    if torch.cuda.is_available() and state["cuda_random"]:
        torch.cuda.set_rng_state_all([each.cpu() for each in state["cuda_random"]])
    return state["values"]
