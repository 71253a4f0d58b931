"""Small real things that the tests share: images that differ by how they were made, and datasets of them on disk."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants
from hypothesis import HealthCheck, settings

import gmbench.data.cards
import gmbench.leaderboard.pages
from gmbench.attributor import RunContext
from gmbench.cli.app import main
from gmbench.data.cards import ROLES, Counts, DatasetCard, RealImages, Source
from gmbench.data.dataset import Dataset, load_dataset
from gmbench.data.folders import catalogue_folder
from gmbench.data.images import ImageSet
from gmbench.data.importing.cards import card_toml
from gmbench.data.manifest import role_path, write_manifest
from gmbench.data.parquet import write_role
from gmbench.support.cache import Cache
from gmbench.support.progress import Progress
from gmbench.testing import _encoder as blank_encoder

SOURCES = ("real", "blurred", "noisy")

# `pytest --hypothesis-profile thorough` takes a thousand examples of everything.
settings.register_profile("usual", max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", settings.get_profile("usual"), max_examples=1000)
settings.load_profile("usual")


def pytest_configure(config: pytest.Config) -> None:
    """Tests run side by side, a process per core: each computes with one thread, and so does what it starts."""
    if hasattr(config, "workerinput"):
        import torch

        os.environ.setdefault("OMP_NUM_THREADS", "1")
        torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test has its own cache, data folder and Hub cache."""
    monkeypatch.setenv("GMBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("GMBENCH_DATA", str(tmp_path_factory.mktemp("data")))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path_factory.mktemp("hub")))
    monkeypatch.delenv("GMBENCH_HUB_NAMESPACE", raising=False)


def make_images(source: str, n: int, seed: int, size: int = 32) -> np.ndarray:
    """uint8 (n, size, size, 3): random smooth shapes; `blurred`, `coarse` ones are smoother, `noisy` ones noisy."""
    random = np.random.default_rng(seed)
    coarse = random.uniform(0, 255, (n, 3, size // 4, size // 4))
    spectrum = np.fft.rfft2(np.kron(coarse, np.ones((4, 4))))
    keep = {"real": 10, "blurred": 5, "noisy": 10, "coarse": 3}[source]
    spectrum[..., keep : size - keep, :] = 0
    spectrum[..., keep:] = 0
    images = np.fft.irfft2(spectrum, s=(size, size))
    if source == "noisy":
        images = images + random.normal(0, 6, images.shape)
    return images.clip(0, 255).round().astype(np.uint8).transpose(0, 2, 3, 1)


def make_card(slug: str = "tiny", per_source: int = 60) -> DatasetCard:
    """A card for images of `make_images`."""
    source = {"family": "gan", "paper": "none"}
    return DatasetCard(
        slug=slug,
        title="Tiny",
        description="Made by the tests.",
        resolution=32,
        licence="CC0-1.0",
        real=RealImages(title="shapes", licence="CC0-1.0", url="https://example.org"),
        images=Counts(per_source=per_source, manifold=50),
        generators={name: Source(title=name, **source) for name in SOURCES[1:]},
        embedded=True,
    )


def use_catalogue(
    patch: pytest.MonkeyPatch, embedded: Path | None = None, cards: dict[str, DatasetCard] | None = None
) -> None:
    """The registered datasets are those of these cards, and the embedded ones those in a folder; None: as they are."""
    before, folder = catalogue_folder(), Path(tempfile.mkdtemp(prefix="catalogue."))
    (folder / "embedded").symlink_to(embedded or before / "embedded")
    if cards is None:
        (folder / "cards").symlink_to(before / "cards")
    else:
        (folder / "cards").mkdir()
        for slug, card in cards.items():
            (folder / "cards" / f"{slug}.toml").write_text(card_toml(card), encoding="utf-8")
    patch.setenv("GMBENCH_CATALOGUE", str(folder))


def write_dataset(folder: Path, card: DatasetCard, first_seed: int = 0) -> Path:
    """A dataset of `make_images` on disk, roles 70 : 10 : 20."""
    n = card.images.per_source
    parts = {role: ([], []) for role in ROLES}
    parts["manifold"] = ([make_images("real", card.images.manifold, first_seed + 99)], ["real"] * card.images.manifold)
    for seed, source in enumerate(card.sources, start=first_seed):
        images = make_images(source, n, seed)
        for role, start, end in (("train", 0, 0.7), ("val", 0.7, 0.8), ("test", 0.8, 1)):
            chosen = images[round(start * n) : round(end * n)]
            parts[role][0].append(chosen)
            parts[role][1].extend([source] * len(chosen))
    ids = {}
    for role, (images, sources) in parts.items():
        pixels = np.concatenate(images)
        ids[role] = write_role(folder / role_path(role), pixels, sources, [None] * len(pixels))
    write_manifest(folder, card, ids, {})
    return folder


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small dataset on disk: do not change it, copy it."""
    return write_dataset(tmp_path_factory.mktemp("embedded") / "tiny", make_card())


@pytest.fixture
def tiny(tiny_folder: Path) -> Dataset:
    """A small dataset, loaded."""
    return load_dataset(make_card(), Cache(), Progress(), tiny_folder)


@pytest.fixture
def context(tiny: Dataset, tmp_path: Path) -> RunContext:
    """What a run would lend to a method on the small dataset."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return RunContext(tiny["manifold"], 7, "cpu", Cache(), scratch, Progress(), blank_encoder)


def image_set(pixels: np.ndarray, labels: np.ndarray | None = None, sources: tuple[str, ...] = SOURCES) -> ImageSet:
    """An ImageSet with ids of its own."""
    return ImageSet.of(pixels, np.array([f"{i:04d}" for i in range(len(pixels))]), sources, labels, origin="test")


@pytest.fixture
def only_tiny(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The small dataset is the only one that is registered and embedded."""
    use_catalogue(monkeypatch, tiny_folder.parent, {"tiny": make_card()})
    monkeypatch.setattr(gmbench.leaderboard.pages, "registered_cards", dict)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    """Runs a command in this process: exit code, stdout, stderr."""

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["gmbench", *arguments])
        with pytest.raises(SystemExit) as stop:
            main()
        code = stop.value.code
        return int(code or 0), *capsys.readouterr()

    return call
