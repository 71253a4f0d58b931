"""Where, with what code and with which versions a run was made."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from gmbench.files import folder_sha256
from gmbench.records import Environment

PACKAGES = ("torch", "torchvision", "numpy", "scipy", "scikit-learn", "faiss-cpu", "faiss-gpu", "pillow")
DECIDES_NOTHING = (
    "attributors/", "cli.py", "data/audit.py", "data/cards/", "data/decoding.py", "data/embedded/", "data/hub.py",
    "data/importing.py", "data/places.py", "data/reals.py", "data/sampling.py", "encoders/train.py", "errors.py",
    "generators/", "leaderboard/", "progress.py", "provenance.py", "report.py", "testing.py",
)  # fmt: skip


@cache
def harness_sha256() -> str:
    """A digest of the harness's code, less what cannot change a result (command line, leaderboards, generators)."""
    return folder_sha256(Path(__file__).parent, "*.py", skip=DECIDES_NOTHING)


@cache
def package_versions() -> dict[str, str]:
    """Versions of the installed packages that compute results."""
    return {name: found for name in PACKAGES if (found := _version(name)) is not None}


def environment(device: str) -> Environment:
    """The environment of this process. `git_dirty`: the checkout has code or data that its commit does not have."""
    import torch

    status = _git("status", "--porcelain", "--", ":!leaderboards")
    on_gpu = device.startswith("cuda")
    return Environment(
        gmbench=_version("gmbench") or "unknown",
        git_commit=_git("rev-parse", "HEAD"),
        git_dirty=None if status is None else bool(status),
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        hardware=torch.cuda.get_device_name(device) if on_gpu else _processor(),
        threads=torch.get_num_threads(),
    )


def peak_memory_mib() -> int | None:
    """The most memory that this process has held, in MiB; None where the system does not tell."""
    try:
        import resource
    except ModuleNotFoundError:
        return None
    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit // 2**20


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


def _git(*arguments: str) -> str | None:
    """Output of git in the checkout that gmbench runs from; None if it is not in one."""
    home = Path(__file__).resolve().parent.parent
    if not (home / ".git").exists():
        return None
    try:
        done = subprocess.run(["git", "-C", str(home), *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
