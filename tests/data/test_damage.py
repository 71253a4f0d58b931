"""Datasets that came from elsewhere: one line each, only where that dataset is asked for; nothing is taken on trust."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet as parquet
import pytest
from PIL import Image

from conftest import make_card, make_images, write_dataset
from gmbench.audit.report import audit_dataset
from gmbench.data.cards import CARD, broken_cards, dataset_cards, find_dataset, read_card
from gmbench.data.dataset import load_dataset
from gmbench.data.folders import data_folder
from gmbench.data.importing.cards import card_toml
from gmbench.data.manifest import MANIFEST, role_path
from gmbench.data.png import image_id
from gmbench.errors import DataError, MethodError
from gmbench.manifold.neighbors import nearest
from gmbench.manifold.projection import project
from gmbench.manifold.space import Space
from gmbench.support.cache import Cache
from gmbench.support.files import sha256_file
from gmbench.support.progress import Progress

CARDS: dict[str, Callable[[Path], object]] = {
    "not TOML": lambda path: path.write_text("slug = "),
    "nested arrays": lambda path: path.write_text("x = " + "[" * 100_000),
    "nested tables": lambda path: path.write_text("[" + ".".join(["a"] * 50_000) + "]\nx = 1\n"),
    "not UTF-8": lambda path: path.write_bytes(b"slug = '\xff\xfe'"),
    "a folder": lambda path: path.mkdir(),
    "another slug": lambda path: path.write_text(card_toml(make_card("other"))),
    "negative": lambda path: path.write_text(card_toml(make_card("mine").model_copy(update={"resolution": -1}))),
    "huge": lambda path: path.write_text(card_toml(make_card("mine").model_copy(update={"resolution": 2 * 10**9}))),
    "a huge number": lambda path: path.write_text("resolution = " + "9" * 10_000),
}
MANIFESTS = {
    "brackets": "[" * 100_000,
    "a list": "[]",
    "nothing": "",
    "a number": '{"files": 3}',
    "a path outside": '{"dataset": "mine", "files": {"../x": {"sha256": "0", "rows": 1}}, "roles_sha256": "0"}',
}


@pytest.fixture
def neighbour() -> Path:
    """The folder of an imported dataset `mine`, whole."""
    card = make_card("mine").model_copy(update={"embedded": False})
    folder = write_dataset(data_folder() / "mine", card)
    (folder / CARD).write_text(card_toml(card), encoding="utf-8")
    return folder


def everyone_else_is_well(command) -> None:  # type: ignore[no-untyped-def]
    """What does not ask for `mine` works, and says in one line what is wrong with it."""
    for asked in (("list", "datasets"), ("data", "list"), ("doctor",)):
        code, out, _ = command(*asked)
        assert code == 0
        assert sum("damaged: " in line and "mine" in line for line in out.splitlines()) == 1
        assert "gm-garments" in out
    assert command("info", "gm-garments")[0] == 0
    for asked in (
        ("info", "mine"),
        ("data", "verify", "mine"),
        ("audit", "mine"),
        ("run", "--method", "mccloskey18", "--dataset", "mine"),
    ):
        code, _, err = command(*asked)
        assert (code, err.count("\n")) == (2, 1)
        assert "mine" in err


class TestNeighbours:
    """A dataset that cannot be read does not hide the others."""

    @pytest.mark.parametrize("flaw", CARDS)
    def test_a_broken_card(self, neighbour: Path, command, flaw: str) -> None:  # type: ignore[no-untyped-def]
        """A line in `list` and `doctor`, an error only where it is asked for."""
        (neighbour / CARD).unlink()
        CARDS[flaw](neighbour / CARD)
        with pytest.raises(DataError):
            find_dataset("mine")
        assert "mine" not in dataset_cards()
        assert list(broken_cards()) == ["mine"]
        everyone_else_is_well(command)

    @pytest.mark.parametrize("flaw", MANIFESTS)
    def test_a_broken_manifest(self, neighbour: Path, command, flaw: str) -> None:  # type: ignore[no-untyped-def]
        """Likewise."""
        (neighbour / MANIFEST).write_text(MANIFESTS[flaw])
        everyone_else_is_well(command)

    def test_a_resolution_has_limits(self, tmp_path: Path) -> None:
        """The message names the field."""
        CARDS["huge"](tmp_path / "card.toml")
        with pytest.raises(DataError, match="field 'resolution': Input should be less than or equal to 8192"):
            read_card(tmp_path / "card.toml")

    def test_a_broken_dataset_can_be_removed(self, neighbour: Path, command) -> None:  # type: ignore[no-untyped-def]
        """Whatever is wrong with it."""
        (neighbour / CARD).write_text("slug = ")
        assert command("data", "remove", "mine")[0] == 0
        assert not neighbour.exists()


def bomb() -> bytes:
    """A PNG that says it is of 60,000 by 60,000 pixels."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(100))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def with_images(change: Callable[[list], object]) -> Callable[[dict], object]:
    """Changes the column of images."""
    return lambda columns: change(columns["image"])


FLAWS: dict[str, tuple[Callable[[dict], object], str]] = {
    "a bomb": (with_images(lambda images: images[0].update(bytes=bomb())), r"image [0-9a-f]{16} "),
    "null": (with_images(lambda images: images.__setitem__(0, None)), r"image [0-9a-f]{16} "),
    "null bytes": (with_images(lambda images: images[0].update(bytes=None)), r"image [0-9a-f]{16} "),
    "no image": (with_images(lambda images: images[0].update(bytes=b"text")), r"image [0-9a-f]{16} "),
    "text": (lambda columns: columns.update(image=["text"] * len(columns["id"])), "column 'image' is string, expected"),
    "missing": (lambda columns: columns.pop("image"), "column 'image' is missing, expected"),
    "no id": (lambda columns: columns["id"].__setitem__(0, None), "1 images have no id"),
    "no source": (lambda columns: columns["source"].__setitem__(0, None), "1 images have no source"),
    "numbers": (lambda columns: columns.update(source=[1] * len(columns["id"])), "column 'source' is int64, expected"),
    "no sources": (lambda columns: columns.pop("source"), "column 'source' is missing, expected text"),
}  # fmt: skip


class TestParquet:
    """Files of images that are not what they should be; the manifest agrees with them."""

    @pytest.mark.parametrize("flaw", FLAWS)
    def test_it_is_one_line(self, neighbour: Path, flaw: str, command) -> None:  # type: ignore[no-untyped-def]
        """Loading, auditing and running name file and image or column."""
        change, words = FLAWS[flaw]
        path = neighbour / role_path("test")
        columns = parquet.read_table(path).to_pydict()
        change(columns)
        parquet.write_table(pyarrow.table(columns), path)
        self.trust(neighbour)
        card = find_dataset("mine")
        for read in (load_dataset, audit_dataset):
            with pytest.raises(DataError, match=f"test.parquet: {words}") as error:
                read(card, Cache(), Progress())
            assert "\n" not in str(error.value)
        code, _, err = command("run", "--method", "mccloskey18", "--dataset", "mine")
        assert (code, err.count("\n")) == (2, 1)

    def test_no_parquet(self, neighbour: Path) -> None:
        """Of any kind."""
        (neighbour / role_path("test")).write_bytes(b"PAR1 no PAR1")
        self.trust(neighbour)
        with pytest.raises(DataError, match=r"test.parquet cannot be read as parquet"):
            load_dataset(find_dataset("mine"), Cache(), Progress())

    @pytest.mark.parametrize("change", [{"rows": 10**12}, {"rows": 3}])
    def test_a_manifest_of_more_images_than_there_are(self, neighbour: Path, change: dict) -> None:
        """Named before room is made for them."""
        manifest = json.loads((neighbour / MANIFEST).read_text())
        manifest["files"][role_path("test")] |= change
        (neighbour / MANIFEST).write_text(json.dumps(manifest))
        for read in (load_dataset, audit_dataset):
            with pytest.raises(DataError, match=r"test.parquet holds \d+ images, expected"):
                read(find_dataset("mine"), Cache(), Progress())

    def test_a_history_that_says_nothing(self, neighbour: Path) -> None:
        """It is no traceback."""
        manifest = json.loads((neighbour / MANIFEST).read_text())
        (neighbour / MANIFEST).write_text(json.dumps(manifest | {"history": {"real": {}, "noisy": {"formats": {}}}}))
        names = [check.name for check in audit_dataset(find_dataset("mine"), Cache(), Progress()).checks]
        assert "history" in names

    @staticmethod
    def trust(folder: Path) -> None:
        """The manifest names the file as it is."""
        manifest = json.loads((folder / MANIFEST).read_text())
        manifest["files"][role_path("test")]["sha256"] = sha256_file(folder / role_path("test"))
        (folder / MANIFEST).write_text(json.dumps(manifest))


class Broken(Space):
    """A space in which one image has no place."""

    def __init__(self, id: str) -> None:
        self.id = id

    def embed(self, pixels: np.ndarray) -> np.ndarray:
        """Means of channels, one of them not finite."""
        vectors = pixels.reshape(len(pixels), -1, 3).mean(axis=1).astype(np.float32)
        for row, image in enumerate(pixels):
            if image_id(image) == self.id:
                vectors[row, 0] = np.nan
        return vectors

    def describe(self) -> dict[str, str]:
        """The image."""
        return {"id": self.id}


class TestProjection:
    """A vector that is not finite."""

    @pytest.mark.parametrize("role", ["manifold", "test"])
    def test_it_is_refused_with_its_row(self, tiny, role: str) -> None:  # type: ignore[no-untyped-def]
        """Instead of a projection of every image onto nothing."""
        id = str(tiny[role].ids[3])
        with pytest.raises(MethodError, match=rf"Broken: the vector of image {id} \(row 3 of \d+\) has values"):
            project(tiny["test"], tiny["manifold"], Broken(id), Cache(), Progress())

    def test_a_search_refuses_it_too(self) -> None:
        """Of queries and of references."""
        good = np.zeros((4, 2), np.float32)
        bad = good.copy()
        bad[2, 1] = np.inf
        with pytest.raises(ValueError, match="query 2 has values"):
            nearest(bad, good)
        with pytest.raises(ValueError, match="reference 2 has values"):
            nearest(good, bad)


def test_a_picture_that_was_stored_whole_is_read(neighbour: Path) -> None:
    """The strict reader takes what is as it should be."""
    dataset = load_dataset(find_dataset("mine"), Cache(), Progress())
    content = parquet.read_table(neighbour / role_path("test")).to_pylist()[0]["image"]["bytes"]
    np.testing.assert_array_equal(dataset["test"].pixels()[0], np.asarray(Image.open(io.BytesIO(content))))
    assert make_images("real", 1, 0).shape[1:] == dataset["test"].pixels().shape[1:]
