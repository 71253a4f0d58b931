"""`gmbench doctor`: what to paste into a bug report. Says nothing of who you are: the home folder is written as ~."""

from __future__ import annotations

import os
import platform
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from gmbench.data.cards import broken_cards, dataset_cards
from gmbench.data.folders import data_folder
from gmbench.data.locations import state_in_words
from gmbench.registry import broken_methods
from gmbench.runs.environment import environment, package_versions
from gmbench.support.cache import cache_folder
from gmbench.support.digests import harness_sha256

SECONDS = 3.0


def diagnosis() -> dict[str, str]:
    """Facts by name, in the order in which they are shown; never raises for what is broken, but says so."""
    made_in = environment("cpu")
    commit = made_in.git_commit[:12] if made_in.git_commit else "not in a checkout"
    return {
        "gmbench": f"{made_in.gmbench}, commit {commit}{' with changes' if made_in.git_dirty else ''}",
        "harness": harness_sha256()[:12],
        "Python": f"{platform.python_version()} ({_without_home(Path(sys.executable))})",
        "platform": platform.platform(),
        "processor": f"{made_in.hardware}, {made_in.threads} threads of torch",
        "packages": ", ".join(f"{name} {version}" for name, version in package_versions().items()),
        "device": _device(),
        "faiss": _faiss(),
        "cache": _size_of(cache_folder()),
        "data": _size_of(data_folder()),
        "Hub": hub(),
        **{f"dataset {slug}": state_in_words(card) for slug, card in dataset_cards().items()},
        **{f"dataset {slug}": f"damaged: {error}" for slug, error in broken_cards().items()},
        **{f"method {slug}": f"damaged: {error}" for slug, error in broken_methods().items()},
    }


def hub(seconds: float = SECONDS) -> str:
    """Whether the Hugging Face Hub answers within so many seconds."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "not asked (HF_HUB_OFFLINE is set)"
    started = time.monotonic()
    try:
        with urllib.request.urlopen(
            urllib.request.Request(constants.ENDPOINT, method="HEAD"), timeout=seconds
        ) as answer:
            return f"{constants.ENDPOINT} answers {answer.status} in {time.monotonic() - started:.1f} s"
    except (urllib.error.URLError, OSError, ValueError) as error:
        return f"{constants.ENDPOINT} is out of reach: {getattr(error, 'reason', error)}"


def _device() -> str:
    import torch

    from gmbench.support.device import resolve_device

    found = resolve_device("auto")
    if found.startswith("cuda"):
        found += f" ({torch.cuda.get_device_name(0)}, CUDA {torch.version.cuda})"
    return found


def _faiss() -> str:
    try:
        import faiss
    except ImportError as error:
        return f"cannot be imported: {error}"
    gpus = faiss.get_num_gpus() if hasattr(faiss, "get_num_gpus") else 0
    return f"{faiss.__version__}, {gpus} GPU{'' if gpus == 1 else 's'}, {faiss.omp_get_max_threads()} threads"


def _size_of(folder: Path) -> str:
    if not folder.is_dir():
        return f"{_without_home(folder)}, not there yet"
    size = 0
    for path in folder.rglob("*"):
        try:
            size += path.lstat().st_size
        except OSError:
            continue
    writable = "" if os.access(folder, os.W_OK) else ", cannot be written to"
    return f"{_without_home(folder)}, {size / 2**20:,.0f} MiB{writable}"


def _without_home(path: Path) -> str:
    try:
        return f"~/{path.relative_to(Path.home()).as_posix()}"
    except ValueError:
        return str(path)
