"""Which device torch computes on."""

from __future__ import annotations

from gmbench.errors import ParameterError


def resolve_device(name: str) -> str:
    """`auto` becomes `cuda` or `mps` where there is one, else `cpu`; other names must be usable here.

    Raises:
        ParameterError: the name is unknown to torch, or there is no such device on this machine.
    """
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ParameterError(
            f"--device {name} cannot be used on this machine. Expected auto, cpu, cuda, cuda:N or mps, "
            "and a torch that was built for it."
        ) from error
    return str(device)
