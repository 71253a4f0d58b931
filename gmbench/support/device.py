"""Which device torch computes on."""

from __future__ import annotations

import re

from gmbench.errors import ParameterError


def resolve_device(name: str) -> str:
    """`auto` becomes `cuda` or `mps` where there is one, else `cpu`; `cpu`, `cuda`, `cuda:N` and `mps` must be usable.

    Raises:
        ParameterError: the name is none of these, or there is no such device on this machine.
    """
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    problem = f"--device {name} cannot be used here. Expected auto, cpu, cuda, cuda:N or mps, and a torch built for it."
    if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", name):
        raise ParameterError(problem)
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ParameterError(problem) from error
    return name
