"""Importing folders of images: what is matched, what is set aside, and what hostile files and full disks can do."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import datasets
import numpy as np
import pytest
from made_images import MODELS, N, write_images
from PIL import Image

from conftest import make_images
from gmbench.data.cards import ROLES, find_dataset, read_card
from gmbench.data.dataset import Dataset, load_dataset
from gmbench.data.folders import data_folder
from gmbench.data.importing import chunks, importer
from gmbench.data.importing.cards import card_toml, new_card
from gmbench.data.importing.decoding import Options, Picture, Refused, decode
from gmbench.data.importing.importer import Report, import_dataset
from gmbench.data.importing.names import normalised, source_matcher
from gmbench.data.importing.scanning import READ
from gmbench.data.manifest import read_manifest
from gmbench.data.parquet import image_schema
from gmbench.data.png import image_id
from gmbench.errors import DataError, OutputError
from gmbench.records.store import read_record
from gmbench.support.cache import Cache
from gmbench.support.progress import Progress

PLAIN = Options(32)


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A folder per source, some nested, with spaces and non-ASCII letters, as one finds them."""
    origin = tmp_path / "my release"
    write_images(origin / "CIFAR10" / "real", "real", 2 * N, 0)
    for seed, (name, kind) in enumerate(MODELS.items(), start=1):
        write_images(origin / name, kind, N, seed)
    return origin


def bring(origin: Path, options: Options = PLAIN, **given) -> tuple[Path, Report]:  # type: ignore[no-untyped-def]
    """Imports a folder as gm-cifar10."""
    return import_dataset(find_dataset("gm-cifar10"), origin, options, Progress(), **given)


def load() -> Dataset:
    """The imported dataset."""
    return load_dataset(find_dataset("gm-cifar10"), Cache(), Progress())


def quarantined(folder: Path) -> dict[str, str]:
    """File and reason of what was not taken."""
    lines = (folder / "quarantine.jsonl").read_text().splitlines()
    return {entry["file"]: entry["reason"] for entry in map(json.loads, lines)}


class TestNames:
    """Folders to sources."""

    @pytest.mark.parametrize(
        "name", ["StyleGAN2", "stylegan-2", "style_gan 2", "STYLEGAN2_256x256", "100k samples stylegan2"]
    )
    def test_spellings(self, name: str) -> None:
        """Case and separators do not matter."""
        assert normalised(name) == "stylegan2"

    @pytest.mark.parametrize(
        ("path", "source"),
        [
            (("GAN", "DC-GAN"), "dcgan"),
            (("gan",), "gan"),
            (("celeba", "ddpm"), "ddpm"),
            (("ddpm", "celeba"), "ddpm"),
            (("img_align_celeba",), "real"),
            (("β-VAE",), "beta-vae"),
            (("wgan_lp", "samples"), "wgan-gp-lp"),
            (("Efficient-VDVAE",), "eff-vdvae"),
            (("other",), None),
        ],
    )
    def test_paths(self, path: tuple[str, ...], source: str | None) -> None:
        """The last model on the path decides; a name of reals only where there is no model."""
        assert source_matcher(find_dataset("gm-celeba"))(path).source == source

    @pytest.mark.parametrize("slug", ["gm-cifar10", "gm-celeba", "gm-chq", "gm-ffhq"])
    def test_no_alias_is_of_two_sources(self, slug: str) -> None:
        """Each source's own names lead to it."""
        card = find_dataset(slug)
        match = source_matcher(card)
        for name, source in card.generators.items():
            for alias in (name, source.title, *source.aliases):
                assert match((alias,)).source == name
        for alias in card.real.aliases:
            assert match((alias,)).source == "real"


class TestImport:
    """A folder becomes a dataset that loads."""

    def test_a_partial_dataset_can_be_used(self, release: Path) -> None:
        """Matched, missing and ignored are reported; the loaded dataset has the sources that are there."""
        write_images(release / "holidays", "real", 3, 9)
        (release / "readme.txt").write_text("text")
        folder, report = bring(release)
        assert report.matched["CIFAR10/Überblick/ddpm"] == ("ddpm", N)
        assert report.matched["gan/DDGAN samples"] == ("ddgan", N)
        assert report.ignored == {
            "holidays": "3 images in a folder of no source",
            "./*.txt": f"not read: 1 .txt (read: {READ})",
        }
        assert len(report.missing) == 9
        assert report.images == {"real": 2 * N, "stylegan2": N, "ddgan": N, "ddpm": N}
        dataset = load()
        assert dataset.card.sources == ("real", "stylegan2", "ddgan", "ddpm")
        assert {role: len(dataset[role]) for role in ROLES} == {"manifold": N, "train": 56, "val": 8, "test": 16}
        assert not quarantined(folder)

    def test_pixels_and_sources_are_those_of_the_files(self, release: Path) -> None:
        """Every image of every file is there once, under its source."""
        bring(release)
        dataset = load()
        found = {}
        for role in ROLES:
            labels = dataset[role].labels
            assert labels is not None
            found |= {id: dataset.card.sources[label] for id, label in zip(dataset[role].ids, labels, strict=True)}
        sources = {"CIFAR10/real": "real", "StyleGAN-2": "stylegan2", "gan/DDGAN samples": "ddgan"}
        for name, source in (sources | {"CIFAR10/Überblick/ddpm": "ddpm"}).items():
            for path in (release / name).glob("*.png"):
                assert found.pop(image_id(np.asarray(Image.open(path)))) == source
        assert not found

    def test_roles_come_from_the_images_alone(self, release: Path, tmp_path: Path) -> None:
        """Other names of files and folders, an array instead of files, more processes: the same bytes."""
        first, _ = bring(release)
        revision = read_manifest(first).revision
        other = tmp_path / "other"
        for number, path in enumerate(sorted(release.rglob("*.png"), reverse=True)):
            name = {"real": "reals", "ddpm": "DDPM"}.get(path.parent.name, path.parent.name)
            (other / name).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, other / name / f"image {number}.PNG")
        np.savez_compressed(
            other / "batch.npz", np.stack([np.asarray(Image.open(p)) for p in (other / "DDPM").iterdir()])
        )
        shutil.rmtree(other / "DDPM")
        (other / "DDPM").mkdir()
        (other / "batch.npz").rename(other / "DDPM" / "batch.npz")
        second, _ = bring(other, workers=2, replace=True)
        assert read_manifest(second).revision == revision

    def test_the_hub_library_reads_it(self, release: Path, tmp_path: Path) -> None:
        """`datasets.load_dataset(folder)` finds all roles through the README's metadata, shards and all."""
        folder, _ = bring(release)
        loaded = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "hf"))
        assert {split: len(rows) for split, rows in loaded.items()} == {
            "manifold": N,
            "train": 56,
            "val": 8,
            "test": 16,
        }
        row = loaded["test"][3]
        assert image_id(np.asarray(row["image"])) == row["id"]

    def test_columns_are_declared_to_the_hub_library(self) -> None:
        """The schema of a role's file, made without `datasets`, says to it what it would say itself."""
        texts = {name: datasets.Value("string") for name in ("id", "source", "category")}
        declared = datasets.Features({"image": datasets.Image()} | texts)
        assert datasets.Features.from_arrow_schema(image_schema()) == declared
        assert image_schema() == declared.arrow_schema

    def test_many_shards_are_one_role(self, release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A role that is too large for one file is cut into several, and reads the same."""
        bring(release)
        whole = load()["train"]
        monkeypatch.setattr(importer, "SHARD_BYTES", 40_000)
        folder, _ = bring(release, replace=True)
        assert len(list((folder / "data").glob("train-*-of-*.parquet"))) > 1
        np.testing.assert_array_equal(load()["train"].ids, whole.ids)
        np.testing.assert_array_equal(load()["train"].pixels(), whole.pixels())

    def test_a_limit_is_explicit(self, release: Path) -> None:
        """The first so many of each source, reals included."""
        _, report = bring(release, Options(32, limit_per_source=12))
        assert report.images == {"real": 12, "stylegan2": 12, "ddgan": 12, "ddpm": 12}

    @pytest.mark.parametrize("suffix", ["bmp", "webp", "jpg", "jpeg"])
    def test_formats(self, release: Path, suffix: str) -> None:
        """What these decode to is stored as PNG."""
        write_images(release / "nvae", "blurred", N, 7, suffix)
        _, report = bring(release)
        assert report.images["nvae"] == N

    @pytest.mark.parametrize("axis", [-1, 1], ids=["channels last", "channels first"])
    def test_arrays(self, release: Path, axis: int) -> None:
        """`.npy` of uint8 images, whichever way the channels are."""
        (release / "nvae").mkdir()
        pixels = make_images("blurred", N, 7)
        np.save(release / "nvae" / "batch.npy", pixels if axis == -1 else pixels.transpose(0, 3, 1, 2))
        bring(release)
        labels = load()["train"].labels
        assert labels is not None
        nvae = load().card.sources.index("nvae")
        assert set(load()["train"].ids[labels == nvae]) <= {image_id(image) for image in pixels}

    def test_a_second_import_is_refused_unless_it_replaces(self, release: Path) -> None:
        """What is there is not overwritten without a word."""
        bring(release)
        with pytest.raises(DataError, match=r"was imported before, into .* add --replace"):
            bring(release)

    def test_what_cannot_be_a_dataset(self, tmp_path: Path, release: Path) -> None:
        """No folder, no reals, no source: each is said."""
        with pytest.raises(DataError, match="does not exist"):
            bring(tmp_path / "nowhere")
        shutil.rmtree(release / "CIFAR10" / "real")
        with pytest.raises(DataError, match="no folder of real images; expected one of: real, "):
            bring(release)
        write_images(tmp_path / "alone" / "real", "real", N, 0)
        with pytest.raises(DataError, match="no folder of a source; expected some of: biggan-deep, stylegan2"):
            bring(tmp_path / "alone")


class TestQuarantine:
    """What is not taken is listed by name, with the reason."""

    def test_wrong_size_grey_and_duplicates(self, release: Path) -> None:
        """Never dropped or resized in silence; each is taken if asked for, but for duplicates."""
        ddpm = release / "CIFAR10" / "Überblick" / "ddpm"
        Image.fromarray(make_images("noisy", 1, 50, size=16)[0]).save(ddpm / "small.png")
        Image.fromarray(make_images("noisy", 1, 51)[0]).convert("L").save(ddpm / "grey.png")
        Image.fromarray(make_images("noisy", 1, 52)[0][:20]).save(ddpm / "flat.png")
        shutil.copy(ddpm / "00000.png", ddpm / "again.png")
        shutil.copy(release / "CIFAR10" / "real" / "00003.png", release / "StyleGAN-2" / "stolen.png")
        folder, report = bring(release)
        place = "CIFAR10/Überblick/ddpm"
        assert quarantined(folder) == {
            f"{place}/small.png": "wrong size: 16x16, expected 32x32",
            f"{place}/flat.png": "wrong size: 32x20, expected 32x32",
            f"{place}/grey.png": "grey",
            f"{place}/again.png": f"duplicate: the same pixels as {place}/00000.png",
            "StyleGAN-2/stolen.png": "in two sources: the same pixels as CIFAR10/real/00003.png",
            "CIFAR10/real/00003.png": "in two sources: the same pixels as StyleGAN-2/stolen.png",
        }
        assert report.quarantined == {"wrong size": 2, "grey": 1, "duplicate": 1, "in two sources": 2}
        folder, report = bring(release, Options(32, resize=True, allow_grey=True), replace=True)
        stolen = {"StyleGAN-2/stolen.png", "CIFAR10/real/00003.png"}
        assert set(quarantined(folder)) == {f"{place}/flat.png", f"{place}/again.png"} | stolen
        assert report.images["ddpm"] == N + 2

    def test_a_source_with_too_few_images(self, release: Path) -> None:
        """It is missing, and says why."""
        write_images(release / "nvae", "blurred", 3, 7)
        folder, report = bring(release)
        assert "nvae" in report.missing
        assert quarantined(folder)["nvae"] == "source with fewer than 5 images that can be used"

    def test_if_too_little_is_left_the_reasons_are(self, release: Path) -> None:
        """All reals of another size: no dataset, and the list says so."""
        with pytest.raises(DataError, match=r"too few can be used.*quarantine.jsonl"):
            bring(release, Options(64))
        listed = quarantined(data_folder() / ".gm-cifar10.import")
        assert listed["CIFAR10/real/00000.png"] == "wrong size: 32x32, expected 64x64"


def png(width: int, height: int, data: bytes) -> bytes:
    """A PNG file with this header and this data, whether or not they fit."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def whole_png() -> bytes:
    """An image as it should be."""
    buffer = io.BytesIO()
    Image.fromarray(make_images("noisy", 1, 60)[0]).save(buffer, "PNG")
    return buffer.getvalue()


class Bomb:
    """Would write a file if it were unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch /tmp/gmbench-was-unpickled",)


def pickled() -> bytes:
    """A `.npy` file of an object."""
    buffer = io.BytesIO()
    np.save(buffer, np.array([Bomb()], dtype=object), allow_pickle=True)
    return buffer.getvalue()


def array(values: np.ndarray) -> bytes:
    """A `.npy` file."""
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


def zipped(content: bytes) -> bytes:
    """A `.npz` file with one member."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("images.npy", content)
    return buffer.getvalue()


class TestHostileFiles:
    """Each is set aside by name; the rest of the import is as without it."""

    @pytest.mark.parametrize(
        ("name", "content", "reason"),
        [
            ("bomb.png", lambda: png(60_000, 60_000, bytes(1000)), "decompression bomb"),
            ("large.png", lambda: png(12_000, 8_000, bytes(1000)), "decompression bomb"),
            ("cut.png", lambda: whole_png()[:-200], "corrupt"),
            ("short.png", lambda: png(32, 32, bytes(100)), "corrupt"),
            ("text.png", lambda: b"this is text", "no image of a known format"),
            (
                "script.jpg",
                lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n",
                "no image of a known format",
            ),
            ("pickle.png", lambda: pickle.dumps(Bomb()), "no image of a known format"),
            ("empty.png", lambda: b"", "empty file"),
            ("empty.npy", lambda: b"", "corrupt"),
            ("objects.npy", pickled, "an array of Python objects"),
            ("objects.npz", lambda: zipped(pickled()), "an array of Python objects"),
            ("floats.npy", lambda: array(np.zeros((2, 32, 32, 3))), "array float64"),
            ("cut.npz", lambda: zipped(array(make_images("noisy", 3, 61)))[:-300], "corrupt"),
            ("no.npz", lambda: b"PK no archive", "corrupt"),
            ("cut.npy", lambda: array(make_images("noisy", 3, 62))[:-10], "truncated: 2 images of 3"),
            ("Zeichen und Räume é.png", lambda: b"", "empty file"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_it_is_set_aside(self, release: Path, name: str, content, reason: str) -> None:  # type: ignore[no-untyped-def]
        """Named with the reason, nothing else lost, nothing run."""
        (release / "StyleGAN-2" / name).write_bytes(content())
        folder, report = bring(release)
        (listed,) = quarantined(folder).items()
        assert listed[0] == f"StyleGAN-2/{name}"
        assert listed[1].startswith(reason)
        assert report.images["stylegan2"] == N + (2 if name == "cut.npy" else 0)
        assert not Path("/tmp/gmbench-was-unpickled").exists()

    @pytest.mark.parametrize("mode", ["RGBA", "LA", "CMYK", "I;16", "F"])
    def test_colour_modes(self, tmp_path: Path, mode: str) -> None:
        """Transparent, printing and deep images are refused; opaque RGBA is RGB."""
        path = tmp_path / f"x.{'tif' if mode == 'F' else 'jpg' if mode == 'CMYK' else 'png'}"
        image = Image.fromarray(make_images("noisy", 1, 63)[0])
        image = Image.new(mode, (32, 32)) if mode in ("I;16", "F") else image.convert(mode)
        if mode in ("RGBA", "LA"):
            image.putalpha(128)
        image.save(path)
        with pytest.raises(Refused, match=r"transparent|colour mode|no image|16 bits a channel"):
            decode(path, Options(32, allow_grey=True))

    def test_opaque_rgba_and_palettes_are_colours(self, tmp_path: Path) -> None:
        """They lose nothing as RGB."""
        pixels = make_images("noisy", 1, 64)[0]
        Image.fromarray(pixels).convert("RGBA").save(tmp_path / "a.png")
        np.testing.assert_array_equal(decode(tmp_path / "a.png", PLAIN).pixels, pixels)
        palette = Image.fromarray(pixels).quantize(16)
        palette.save(tmp_path / "p.png")
        np.testing.assert_array_equal(decode(tmp_path / "p.png", PLAIN).pixels, np.asarray(palette.convert("RGB")))

    def test_links_that_go_in_circles(self, release: Path) -> None:
        """Each folder is read once, under its own name; a link to itself, to nothing, and a pipe are named."""
        (release / "StyleGAN-2" / "up").symlink_to(release)
        (release / "aaa").symlink_to(release / "StyleGAN-2")
        (release / "self").symlink_to(release / "self")
        (release / "StyleGAN-2" / "gone.png").symlink_to(release / "nowhere.png")
        os.mkfifo(release / "StyleGAN-2" / "pipe.png")
        _, report = bring(release)
        assert report.images["stylegan2"] == N
        assert {"aaa", "StyleGAN-2/up", "StyleGAN-2/gone.png", "StyleGAN-2/pipe.png"} <= set(report.ignored)

    def test_a_linked_folder_is_read(self, release: Path, tmp_path: Path) -> None:
        """Images on another disk."""
        write_images(tmp_path / "elsewhere", "blurred", N, 8)
        (release / "nvae").symlink_to(tmp_path / "elsewhere")
        assert bring(release)[1].images["nvae"] == N

    def test_names_that_are_no_text(self, release: Path) -> None:
        """Bytes that are no UTF-8 are read and listed."""
        folder = os.fsencode(release / "nvae") + b"\xff"
        os.rename(release / "StyleGAN-2", os.path.join(os.fsencode(release), b"StyleGAN2"))
        os.mkdir(folder)
        (release / "StyleGAN2" / os.fsdecode(b"bad\xff.png")).write_bytes(b"")
        out, report = bring(release)
        assert report.images["stylegan2"] == N
        assert any(name.startswith("StyleGAN2/bad") for name in quarantined(out))


class TestInterruptions:
    """A stopped import goes on, and nothing half-written is taken for whole."""

    def test_a_stopped_import_goes_on(self, release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """What was decoded is not decoded again; the result is that of an import that was not stopped."""
        whole = read_manifest(bring(release)[0]).revision
        shutil.rmtree(data_folder())
        decoded: list[Path] = []

        def stopping(path: Path, options: Options) -> Picture:
            decoded.append(path)
            if len(decoded) == 3 * N:
                raise KeyboardInterrupt
            return decode(path, options)

        monkeypatch.setattr(chunks, "decode", stopping)
        with pytest.raises(KeyboardInterrupt):
            bring(release)
        assert not (data_folder() / "gm-cifar10").exists()
        folder, _ = bring(release)
        assert read_manifest(folder).revision == whole
        assert len(decoded) == 6 * N
        assert [path.name for path in data_folder().iterdir()] == ["gm-cifar10"]

    def test_a_changed_file_is_decoded_again(self, release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Pieces are known by names, sizes and times of their files."""
        with monkeypatch.context() as patch:
            patch.setattr(importer, "_write_roles", lambda *given: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                bring(release)
        Image.fromarray(make_images("noisy", 1, 70)[0]).save(release / "StyleGAN-2" / "00000.png")
        bring(release)
        ids = {id for role in ROLES for id in load()[role].ids}
        assert image_id(make_images("noisy", 1, 70)[0]) in ids

    def test_a_target_that_cannot_be_written_to(self, release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Found before anything is decoded."""
        monkeypatch.setenv("GMBENCH_DATA", "/dev/null/data")
        with pytest.raises(OutputError, match="cannot write to /dev/null/data"):
            bring(release)

    @pytest.fixture
    def disk(self, tmp_path: Path) -> Iterator[Path]:
        """A disk of a third of a megabyte."""
        folder = tmp_path / "disk"
        folder.mkdir()
        mounted = shutil.which("mount") and subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=320k", "tmpfs", str(folder)], capture_output=True, check=False
        )
        if not mounted or mounted.returncode:
            pytest.skip("no tmpfs can be mounted here")
        yield folder
        subprocess.run(["umount", str(folder)], check=True)

    def test_a_full_disk(self, release: Path, disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """One line that says so; with more room the same command goes on to the end."""
        monkeypatch.setenv("GMBENCH_DATA", str(disk))
        with pytest.raises(OutputError, match=r"No space left on device. Make room, or set GMBENCH_DATA"):
            bring(release)
        assert not (disk / "gm-cifar10").exists()
        subprocess.run(["mount", "-o", "remount,size=8m", str(disk)], check=True)
        bring(release)
        assert len(load()["train"]) == 56

    def test_a_read_only_disk(self, release: Path, disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """As for the administrator, whom permissions do not stop."""
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        monkeypatch.setenv("GMBENCH_DATA", str(disk))
        with pytest.raises(OutputError, match="Read-only file system"):
            bring(release)

    def test_a_quota(self, release: Path) -> None:
        """Writing fails in the middle of a file, in a worker process too: one line, and the next time it goes on."""
        code = (
            "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (30_000, resource.RLIM_INFINITY))\n"
            "from gmbench.cli.app import main\nif __name__ == '__main__':\n    main()\n"
        )
        script = release.parent / "limited.py"
        script.write_text(code)
        command = [
            sys.executable,
            str(script),
            "data",
            "import",
            "gm-cifar10",
            "--from",
            str(release),
            "--workers",
            "2",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("gmbench: ")]
        assert "File too large. Make room" in line
        assert "Traceback" not in done.stderr
        assert bring(release)[1].images["ddpm"] == N


class TestNew:
    """A dataset that nobody registered."""

    def test_its_card_is_written_and_it_runs(self, release: Path, command, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
        """`--new NAME` makes a dataset like any other: listed, shown, run."""
        flat = tmp_path / "flat"
        for name in ("real", "StyleGAN-2", "β model+"):
            shutil.copytree(release / ("CIFAR10/real" if name == "real" else "StyleGAN-2"), flat / name)
        for path in (flat / "β model+").iterdir():
            Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
        code, out, _ = command("data", "import", "--new", "my-set", "--from", str(flat), "--workers", "1")
        assert code == 0
        assert "80 images, 3 of 3 sources" in out
        card = find_dataset("my-set")
        assert list(card.generators) == ["stylegan-2", "beta-modelp"]
        assert card.generators["beta-modelp"].title == "β model+"
        assert card.resolution == 32
        assert "my-set" in command("list", "datasets")[1]
        assert "β model+" in command("info", "my-set")[1]
        code, out, _ = command(
            "run", "--method", "mccloskey18", "--dataset", "my-set", "--results", str(tmp_path / "r")
        )
        assert code == 0

    def test_a_card_survives_toml(self, tmp_path: Path) -> None:
        """Quotes, backslashes, control characters, other alphabets."""
        card = find_dataset("gm-chq")
        titles = {"title": 'a "b" \\ \x7f \t', "description": "日本 😀"}
        changed = card.model_copy(update=titles)
        (tmp_path / "card.toml").write_text(card_toml(changed), encoding="utf-8")
        assert read_card(tmp_path / "card.toml") == changed

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (("--new", "..."), "'...' cannot name a dataset"),
            (("--new", "gm-chq"), "give either the slug of a registered dataset, or --new"),
            ((), "give either the slug"),
            (("gm-chq", "--new", "x"), "give either the slug"),
            (("--new", "x", "--real", "nothing"), "has no folder of real images (nothing); name it with --real"),
        ],
    )
    def test_bad_input_is_one_line(self, release: Path, command, arguments: tuple[str, ...], words: str) -> None:  # type: ignore[no-untyped-def]
        """Which names there can be."""
        code, _, err = command("data", "import", *arguments, "--from", str(release))
        assert code == 2
        assert words in err
        assert err.count("\n") == 1

    def test_the_size_is_that_of_the_first_real_image_that_can_be_read(self, tmp_path: Path) -> None:
        """Unless it is given."""
        write_images(tmp_path / "real", "real", 2, 0)
        (tmp_path / "real" / "0.png").write_text("")
        assert new_card("x", tmp_path, None, None).resolution == 32
        assert new_card("x", tmp_path, None, 99).resolution == 99


def test_transfer_between_two_imported_datasets(command, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Fitted on gm-cifar10 at 32 pixels, tested on gm-celeba at 64, brought to 32, over the sources that both have."""
    for slug, size, models in (
        ("gm-cifar10", 32, {"NVAE": "blurred", "DDPM": "noisy", "StyleGAN2": "coarse"}),
        ("gm-celeba", 64, {"nvae": "blurred", "ddpm": "noisy", "DCGAN": "coarse"}),
    ):
        write_images(tmp_path / slug / "real", "real", 2 * N, size, size=size)
        for seed, (name, kind) in enumerate(models.items(), start=size + 1):
            write_images(tmp_path / slug / name, kind, N, seed, size=size)
        assert command("data", "import", slug, "--from", str(tmp_path / slug), "--workers", "1")[0] == 0
    out = str(tmp_path / "results")
    for method, given in (("mccloskey18", ()), ("manifpt-rgb", ("--set", "epochs=1"))):
        asked = (
            "transfer",
            "--method",
            method,
            "--train",
            "gm-cifar10",
            "--test",
            "gm-celeba",
            *given,
            "--results",
            out,
        )
        code, printed, err = command(*asked)
        assert code == 0, err
        assert "fitted on gm-cifar10, tested on gm-celeba" in printed
        assert "3 sources" in printed
    record = read_record(next((tmp_path / "results").rglob("record.json")).parent)
    assert record.identity.sources == ["real", "nvae", "ddpm"]
    assert record.images["test"] == 3 * N // 5
