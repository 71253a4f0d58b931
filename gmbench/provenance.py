"""Where, with what code and with which versions a run was made."""

from __future__ import annotations

import os
import platform
import subprocess
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from gmbench.digests import code_sha256
from gmbench.records import Environment, Scores

PACKAGES = (
    "torch", "torchvision", "timm", "lightning-fabric", "numpy", "scipy", "scikit-learn", "faiss-cpu", "faiss-gpu",
    "pillow",
)  # fmt: skip
DECIDES_NO_PREDICTION = (
    "attributors/", "cache.py", "checking.py", "checkpoints.py", "cli.py", "data/audit.py", "data/card.py",
    "data/cards/", "data/dataset.py", "data/decoding.py", "data/embedded/", "data/encoding.py", "data/hub.py",
    "data/importing.py", "data/pieces.py", "data/places.py", "data/reals.py", "data/roles.py",
    "data/sampling.py", "data/source_names.py", "data/storage.py", "device.py", "digests.py", "doctor.py",
    "encoders/train.py", "errors.py", "evaluators/", "files.py", "generators/", "leaderboard/", "progress.py",
    "provenance.py", "records.py", "registry.py", "report.py", "rerun.py", "scaffold.py", "scoring.py", "submitting.py",
    "sweep.py", "testing.py", "trial.py", "validation.py",
)  # fmt: skip
"""Not in the digest of the harness: each image's pixels are checked against its id, and seed, parameters, revision and
roles are in the identity. A new file is in the digest unless it is named here."""


@cache
def harness_sha256() -> str:
    """A digest of the harness's code, less what cannot change predictions or features (evaluators, leaderboards, …)."""
    return code_sha256(Path(__file__).parent, "*.py", skip=DECIDES_NO_PREDICTION)


@cache
def evaluators_sha256() -> dict[str, str]:
    """Digests of the code that makes a record's scores from predictions and features, one for each group of them."""
    home = Path(__file__).parent / "evaluators"
    return {name: code_sha256(home, f"{name}.py") for name in Scores.model_fields}


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
        git_commit=_git("rev-parse", "HEAD"),
        git_dirty=None if changed is None else bool(changed),
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        hardware=torch.cuda.get_device_name(device) if on_gpu else _processor(),
        threads=torch.get_num_threads(),
    )


def uncommitted() -> list[str] | None:
    """The checkout's files, of code or data, that are not as in its commit; None outside of a checkout."""
    status = _git("status", "--porcelain", "--", ":!leaderboards")
    return None if status is None else [line.split(maxsplit=1)[1] for line in status.splitlines()]


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
