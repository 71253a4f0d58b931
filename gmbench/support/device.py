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
    if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", name):
        raise ParameterError(f"device '{name}': expected auto, cpu, cuda, cuda:N or mps.")
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        gpus = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
        visible = ", ".join(["cpu", *gpus, *(["mps"] if torch.backends.mps.is_available() else [])])
        raise ParameterError(
            f"device '{name}': torch {torch.__version__} sees none here. It sees: {visible}."
        ) from error
    return name
