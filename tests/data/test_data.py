"""Datasets on disk: what is written is what is read, roles are disjoint, damage is found."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import datasets
import numpy as np
import pyarrow
import pyarrow.parquet as parquet
import pytest
from made_images import write_fashion_mnist

from conftest import image_set, make_card, make_images, write_dataset
from gmbench.building.reals import fashion_mnist
from gmbench.data.cards import ROLES, dataset_cards, find_dataset, read_card
from gmbench.data.dataset import Dataset, load_dataset
from gmbench.data.images import ImageSet
from gmbench.data.manifest import read_manifest, role_path, write_manifest
from gmbench.data.parquet import write_role
from gmbench.data.png import image_id
from gmbench.errors import DataError, NotFoundError
from gmbench.manifold.neighbors import nearest
from gmbench.support.cache import Cache
from gmbench.support.files import sha256_file
from gmbench.support.progress import Progress


def load(folder: Path) -> Dataset:
    """The small dataset from a folder."""
    return load_dataset(make_card(), Cache(), Progress(), folder)


@pytest.fixture
def copy(tiny_folder: Path, tmp_path: Path) -> Path:
    """A copy of the small dataset that a test may damage."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "tiny"))


class TestImageSet:
    """Slicing, batches, labels."""

    def test_slices_of_slices(self) -> None:
        """A slice of a selection reads the right pixels, ids and labels."""
        pixels = make_images("real", 10, 0)
        images = image_set(pixels, np.arange(10))
        chosen = images[np.array([7, 2, 5])][1:]
        assert chosen.ids.tolist() == ["0002", "0005"]
        assert chosen.labels is not None
        assert chosen.labels.tolist() == [2, 5]
        np.testing.assert_array_equal(chosen.pixels(), pixels[[2, 5]])

    def test_batches_cover_everything_in_order(self) -> None:
        """The last batch may be smaller."""
        pixels = make_images("real", 10, 1)
        batches = list(image_set(pixels).batches(4))
        assert [len(batch) for batch in batches] == [4, 4, 2]
        np.testing.assert_array_equal(np.concatenate(batches), pixels)

    def test_without_labels(self) -> None:
        """What a method is asked about has no labels; the digest stays."""
        images = image_set(make_images("real", 3, 2), np.arange(3))
        assert images.without_labels().labels is None
        assert images.without_labels().digest == images.digest
        assert images[1:].digest != images.digest

    @pytest.mark.parametrize("pixels", [np.zeros((2, 4, 4, 3)), np.zeros((2, 4, 4), np.uint8)], ids=["float", "grey"])
    def test_other_pixels_are_refused(self, pixels: np.ndarray) -> None:
        """Only uint8 RGB."""
        with pytest.raises(ValueError, match="uint8"):
            ImageSet.of(pixels, np.array(["a", "b"]), ("real",))


def test_what_is_written_is_what_is_read(tiny: Dataset) -> None:
    """Pixels survive PNG and parquet exactly, and each keeps its source."""
    per_role = {"manifold": 50, "train": 126, "val": 18, "test": 36}
    assert {role: len(tiny[role]) for role in ROLES} == per_role
    written = {image_id(image): "real" for image in make_images("real", 50, 99)}
    for seed, source in enumerate(make_card().sources):
        written |= {image_id(image): source for image in make_images(source, 60, seed)}
    for role in ROLES:
        images = tiny[role]
        assert images.labels is not None
        for id, label, image in zip(images.ids, images.labels, images.pixels(), strict=True):
            assert image_id(image) == id
            assert images.sources[label] == written[id]


def test_pixels_are_memory_mapped(tiny: Dataset) -> None:
    """Nothing holds all images in memory."""
    assert isinstance(tiny["train"].store, np.memmap)


def test_the_hub_library_reads_the_folder(tiny_folder: Path, tmp_path: Path) -> None:
    """The layout is that of a Hub dataset: `datasets` reads it without gmbench."""
    path = str(tiny_folder / role_path("test"))
    table = datasets.load_dataset("parquet", data_files={"test": path}, cache_dir=str(tmp_path))["test"]
    assert table.column_names == ["image", "id", "source", "category"]
    assert image_id(np.asarray(table[3]["image"])) == table[3]["id"]


class TestDamage:
    """Each kind of damage is one error that names the file."""

    @pytest.mark.parametrize("role", ROLES)
    def test_a_truncated_file(self, copy: Path, role: str) -> None:
        """Half a file is not taken for whole, even after it was read once."""
        load(copy)
        path = copy / role_path(role)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(DataError, match=rf"{role}.parquet is not the file of the manifest"):
            load(copy)

    def test_an_altered_byte(self, copy: Path) -> None:
        """One bit is enough."""
        path = copy / role_path("test")
        content = bytearray(path.read_bytes())
        content[1000] ^= 1
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"test.parquet is not the file of the manifest"):
            load(copy)

    def test_a_missing_file(self, copy: Path) -> None:
        """A role without file."""
        (copy / role_path("val")).unlink()
        with pytest.raises(DataError, match=r"val.parquet is missing"):
            load(copy)

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"dataset": "tiny"}'])
    def test_a_damaged_manifest(self, copy: Path, text: str) -> None:
        """A manifest that is not one."""
        (copy / "manifest.json").write_text(text)
        with pytest.raises(DataError, match=r"manifest.json is damaged"):
            load(copy)

    def test_no_manifest(self, tmp_path: Path) -> None:
        """An empty folder is no dataset."""
        with pytest.raises(DataError, match=r"manifest.json is missing"):
            load(tmp_path)

    def test_another_dataset(self, copy: Path) -> None:
        """A dataset under another's name."""
        with pytest.raises(DataError, match="holds 'tiny', expected 'other'"):
            load_dataset(make_card("other"), Cache(), Progress(), copy)

    def test_an_image_in_two_roles(self, copy: Path) -> None:
        """The manifest may be right and the roles still overlap."""
        shared = make_images("real", 60, 0)
        ids = {role: list(load(copy)[role].ids) for role in ROLES}
        ids["manifold"] = write_role(copy / role_path("manifold"), shared, ["real"] * 60, [None] * 60)
        write_manifest(copy, make_card(), ids, {})
        with pytest.raises(DataError, match=r"is in role manifold and again in train"):
            load(copy)

    def test_a_source_that_the_card_does_not_know(self, copy: Path) -> None:
        """Also a generated image on the manifold."""
        ids = {role: list(load(copy)[role].ids) for role in ROLES}
        ids["manifold"] = write_role(
            copy / role_path("manifold"), make_images("noisy", 5, 9), ["noisy"] * 5, [None] * 5
        )
        write_manifest(copy, make_card(), ids, {})
        with pytest.raises(DataError, match=r"manifold.parquet: source 'noisy' is not one of: real"):
            load(copy)

    def test_an_image_of_another_size(self, copy: Path) -> None:
        """Sizes are the card's."""
        ids = {role: list(load(copy)[role].ids) for role in ROLES}
        small = make_images("real", 5, 9, size=16)
        ids["manifold"] = write_role(copy / role_path("manifold"), small, ["real"] * 5, [None] * 5)
        write_manifest(copy, make_card(), ids, {})
        with pytest.raises(DataError, match="is RGB 16x16, expected RGB 32x32"):
            load(copy)

    def rewrite(self, copy: Path, role: str, change) -> None:  # type: ignore[no-untyped-def]
        """Changes a role's table and makes the manifest fit."""
        ids = {name: list(load(copy)[name].ids) for name in ROLES}
        path = copy / role_path(role)
        parquet.write_table(change(parquet.read_table(path)), path)
        write_manifest(copy, make_card(), ids, {})

    def test_pixels_of_another_image(self, copy: Path) -> None:
        """An id is that of the pixels, so no image gets into a second role under another's id."""

        def swap(table: pyarrow.Table) -> pyarrow.Table:
            images = table["image"].to_pylist()
            return table.set_column(0, table.schema.field(0), pyarrow.array([images[1], *images[1:]]))

        self.rewrite(copy, "test", swap)
        with pytest.raises(DataError, match=r"test.parquet: image \w+ has other pixels than its id says"):
            load(copy)

    def test_an_image_that_is_none(self, copy: Path) -> None:
        """Bytes that are no picture."""

        def spoil(table: pyarrow.Table) -> pyarrow.Table:
            images = [{"bytes": b"no picture", "path": "x.png"}, *table["image"].to_pylist()[1:]]
            return table.set_column(0, table.schema.field(0), pyarrow.array(images))

        self.rewrite(copy, "val", spoil)
        with pytest.raises(DataError, match=r"val.parquet: image \w+ cannot identify image file"):
            load(copy)

    def test_a_manifest_that_counts_wrongly(self, copy: Path) -> None:
        """The number of images is the manifest's."""
        self.rewrite(copy, "val", lambda table: table.slice(1))
        with pytest.raises(DataError, match=r"val.parquet holds 17 images, expected 18"):
            load(copy)

    def test_a_file_that_is_not_parquet(self, copy: Path) -> None:
        """Even under a sha256 that fits."""
        ids = {name: list(load(copy)[name].ids) for name in ROLES}
        (copy / role_path("val")).write_text("text")
        write_manifest(copy, make_card(), ids, {})
        with pytest.raises(DataError, match=r"val.parquet cannot be read as parquet"):
            load(copy)

    def test_roles_that_were_moved(self, copy: Path) -> None:
        """The digest of the roles is that of the files."""
        manifest = json.loads((copy / "manifest.json").read_text())
        (copy / "manifest.json").write_text(json.dumps(manifest | {"roles_sha256": "0" * 64}))
        with pytest.raises(DataError, match="the roles of the images are not those of the manifest"):
            load(copy)


def test_the_revision_names_the_content(copy: Path) -> None:
    """It changes with the images and not with their provenance."""
    before = read_manifest(copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps(manifest | {"provenance": {"note": "more"}}))
    assert read_manifest(copy).revision == before.revision
    other = write_dataset(copy.parent / "other", make_card(per_source=50))
    assert read_manifest(other).revision != before.revision


def test_writing_again_gives_the_same_bytes(tiny_folder: Path, tmp_path: Path) -> None:
    """Nothing of time or place gets into the files."""
    again = write_dataset(tmp_path / "again", make_card())
    for role in ROLES:
        assert sha256_file(again / role_path(role)) == sha256_file(tiny_folder / role_path(role))


class TestCards:
    """Cards of datasets."""

    def test_an_unknown_dataset(self) -> None:
        """A typo is answered with the nearest names."""
        with pytest.raises(NotFoundError, match="Nearest: gm-garments"):
            find_dataset("gm-garment")

    def test_damaged_cards(self, tmp_path: Path) -> None:
        """Not TOML, a field too few, a field too many."""
        path = tmp_path / "card.toml"
        good = (Path(find_dataset("gm-garments").folder).parent.parent / "cards" / "gm-garments.toml").read_text()
        for text, message in [
            ("slug =", "is not TOML"),
            (good.replace("resolution = 32\n", ""), "field 'resolution'"),
            ("colour = 3\n" + good, "field 'colour'"),
        ]:
            path.write_text(text)
            with pytest.raises(DataError, match=message):
                read_card(path)


@pytest.mark.parametrize("slug", [slug for slug, card in dataset_cards().items() if card.embedded])
class TestEmbedded:
    """The datasets that come with the project."""

    def test_is_what_its_card_says(self, slug: str) -> None:
        """Counts, roles and sources; every file with the sha256 of its manifest."""
        card = find_dataset(slug)
        dataset = load_dataset(card, Cache(), Progress())
        n = card.images.per_source
        assert len(dataset["manifold"]) == card.images.manifold
        for role, share in (("train", 0.7), ("val", 0.1), ("test", 0.2)):
            labels = dataset[role].labels
            assert labels is not None
            assert np.bincount(labels).tolist() == [round(share * n)] * len(card.sources)

    def test_roles_are_disjoint(self, slug: str) -> None:
        """By id, and ids are those of the pixels, so by image too."""
        dataset = load_dataset(find_dataset(slug), Cache(), Progress())
        ids = [id for role in ROLES for id in dataset[role].ids]
        assert len(set(ids)) == len(ids)
        for role in ROLES:
            assert [image_id(image) for image in dataset[role].pixels()] == dataset[role].ids.tolist()

    def test_no_two_images_are_near_duplicates(self, slug: str) -> None:
        """Within a role or across roles, images differ by at least 4 grey levels (root mean square)."""
        dataset = load_dataset(find_dataset(slug), Cache(), Progress())
        pixels = np.concatenate([dataset[role].pixels() for role in ROLES])
        vectors = pixels.reshape(len(pixels), -1).astype(np.float32)
        _, distances = nearest(vectors, vectors, k=2)
        assert distances[:, 1].min() >= 4 * np.sqrt(vectors.shape[1]) - 1e-3

    def test_grey_images_are_grey_in_every_source(self, slug: str) -> None:
        """Colour handling gives no source away: either all images are grey or every source has colour."""
        dataset = load_dataset(find_dataset(slug), Cache(), Progress())
        pixels = np.concatenate([dataset[role].pixels() for role in ROLES])
        grey = (pixels == pixels[..., :1]).all(axis=(1, 2, 3))
        assert grey.all() or not grey.any()

    def test_the_hub_library_reads_it(self, slug: str, tmp_path: Path) -> None:
        """`datasets.load_dataset(folder)` finds all roles as splits, through the README's metadata."""
        loaded = datasets.load_dataset(str(find_dataset(slug).folder), cache_dir=str(tmp_path))
        assert set(loaded) == set(ROLES)
        assert len(loaded["manifold"]) == find_dataset(slug).images.manifold


def test_fashion_mnist_is_read_and_resized(tmp_path: Path) -> None:
    """Only the wanted classes, one channel, the wanted size."""
    reals = fashion_mnist("train", ["Trouser", "Coat"], 32, write_fashion_mnist(tmp_path, 3))
    assert reals.images.shape == (6, 32, 32, 1)
    assert reals.images.dtype == np.uint8
    assert sorted(reals.categories) == ["Coat"] * 3 + ["Trouser"] * 3


def test_a_folder_without_fashion_mnist(tmp_path: Path) -> None:
    """The missing file is named."""
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte.gz is missing"):
        fashion_mnist("train", ["Coat"], 32, tmp_path)


def test_a_stored_image_is_png(tiny_folder: Path) -> None:
    """One lossless format for all, so that no codec gives the source away."""
    from PIL import Image

    for role in ROLES:
        for image in parquet.read_table(tiny_folder / role_path(role)).column("image").to_pylist():
            assert Image.open(io.BytesIO(image["bytes"])).format == "PNG"


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", None], ids=["empty", "header", "truncated"])
def test_damaged_work_in_the_cache_is_done_again(tiny_folder: Path, content: bytes | None) -> None:
    """Decoded pixels that a full disk cut short are decoded anew, not trusted and not fatal."""
    whole = load(tiny_folder)["test"].pixels()
    for path in (Cache().folder / "pixels").iterdir():
        path.write_bytes(path.read_bytes()[:-100] if content is None else content)
    np.testing.assert_array_equal(load(tiny_folder)["test"].pixels(), whole)
    cached = Cache()
    kept = cached.array("numbers", lambda: np.arange(3), of="three")
    path = cached.path("numbers", ".npy", of="three")
    path.write_bytes(path.read_bytes()[:-1] if content is None else content)
    np.testing.assert_array_equal(cached.array("numbers", lambda: np.arange(3), of="three"), kept)
