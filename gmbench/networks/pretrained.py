"""Published weights of networks: downloaded once, checked, or read from a file of the user's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torch import Tensor

from gmbench.errors import CannotRunError, DataError
from gmbench.support.files import sha256_file


@dataclass(frozen=True)
class Published:
    """Where a network's weights are published. `sha256`: the first digits of the file's digest, where known."""

    url: str
    sha256: str

    @property
    def path(self) -> Path:
        """Where torch keeps the file once it is downloaded."""
        return Path(torch.hub.get_dir()) / "checkpoints" / self.url.rpartition("/")[2]


IMAGENET_MEAN, IMAGENET_SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PUBLISHED = {
    "resnet50": Published("https://download.pytorch.org/models/resnet50-0676ba61.pth", "0676ba61"),
    "inception_v3": Published("https://download.pytorch.org/models/inception_v3_google-0cc3c7bd.pth", "0cc3c7bd"),
    "xception": Published(
        "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-cadene/xception-43020ad28.pth",
        "43020ad28",
    ),
    # The release does not say its file's digest.
    "barlow-twins": Published(
        "https://dl.fbaipublicfiles.com/barlowtwins/ep1000_bs2048_lrw0.2_lrb0.0048_lambd0.0051/resnet50.pth", ""
    ),
}


_random: ContextVar[bool] = ContextVar("random", default=False)


@contextmanager
def random_weights() -> Iterator[None]:
    """Networks made within the block start from random weights, whatever is asked for: they are to be given others."""
    token = _random.set(True)
    try:
        yield
    finally:
        _random.reset(token)


def only_random_weights() -> bool:
    """Whether that is so here."""
    return _random.get()


def published_weights(name: str, file: str = "") -> tuple[dict[str, Tensor], str]:
    """Weights by name of parameter, and the sha256 of their file.

    Args:
        name: `resnet50`, `inception_v3`, `xception` (all ImageNet) or `barlow-twins` (a ResNet-50).
        file: a file of the same weights to read instead of the published one, `.pth` or `.safetensors`.

    Raises:
        CannotRunError: the file is not here and cannot be downloaded; the message says what to put where.
        DataError: a file is damaged, or is not the published one.
    """
    published = PUBLISHED[name]
    path = Path(file) if file else published.path
    if not path.is_file():
        if file:
            raise DataError(f"weights: no file {file}.")
        _download(name, published)
    digest = sha256_file(path)
    if not file and not digest.startswith(published.sha256):
        raise DataError(f"{path} is not the published file: its sha256 is not {published.sha256}…. Remove it.")
    return _read(path), digest


def _download(name: str, published: Published) -> None:
    published.path.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(
            published.url, str(published.path), hash_prefix=published.sha256 or None, progress=False
        )
    except (URLError, OSError, RuntimeError) as error:
        raise CannotRunError(
            f"the weights of {name} cannot be downloaded ({error}). Put {published.url} at {published.path}, "
            "or give a file (--set weights=PATH), or train from scratch (--set pretrained=false)."
        ) from error


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise DataError(f"{path} cannot be read as weights: {' '.join(str(error).split())[:200]}") from error
