"""Where, with what code and with which versions a run was made."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from gmbench.records.schema import Environment
from gmbench.support.git import git, uncommitted

PACKAGES = (
    "torch", "torchvision", "timm", "lightning-fabric", "numpy", "scipy", "scikit-learn", "faiss-cpu", "faiss-gpu",
    "pillow",
)  # fmt: skip


@cache
def package_versions() -> dict[str, str]:
    """Versions of the installed packages that compute results, and of the JPEG library that pillow brings."""
    from PIL import features

    found = {name: version for name in PACKAGES if (version := _version(name)) is not None}
    return found | {"libjpeg": str(features.version("libjpeg_turbo") or features.version("jpg"))}


def environment(device: str) -> Environment:
    """The environment of this process."""
    import torch

    changed = uncommitted()
    on_gpu = device.startswith("cuda")
    return Environment(
        gmbench=_version("gmbench") or "unknown",
        git_commit=git("rev-parse", "HEAD"),
        git_dirty=None if changed is None else bool(changed),
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        hardware=torch.cuda.get_device_name(device) if on_gpu else _processor(),
        threads=torch.get_num_threads(),
    )


def peak_memory_mib() -> int | None:
    """The most memory that this process has held since `forget_peak_memory`, in MiB; None where that is not known."""
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) // 2**10
    try:
        import resource
    except ModuleNotFoundError:
        return None
    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit // 2**20


def forget_peak_memory() -> None:
    """The peak begins anew, so that a run does not answer for those before it; only Linux can do this."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return f"{line.partition(':')[2].strip()}, {os.cpu_count()} cores"
    return f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
