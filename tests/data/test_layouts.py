"""Folders as they are found elsewhere: whose images they are, what is said of it, and that nothing merges unsaid."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import multiprocessing
import re
import shutil
import struct
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet as parquet
import pytest
from hypothesis import event, given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from conftest import make_card, make_images, use_catalogue
from gmbench.audit.report import audit_dataset
from gmbench.cli.app import main
from gmbench.data.cards import ROLES, DatasetCard, Source, find_dataset
from gmbench.data.dataset import load_dataset
from gmbench.data.folders import data_folder
from gmbench.data.importing.cards import new_card
from gmbench.data.importing.chunks import shares
from gmbench.data.importing.decoding import Options, Refused, decode
from gmbench.data.importing.importer import Dealing, Report, check_import, import_dataset, remove_dataset
from gmbench.data.importing.names import printable, says_only_real, source_matcher
from gmbench.data.importing.scanning import Found, Place, survey
from gmbench.data.manifest import read_manifest
from gmbench.data.png import image_id
from gmbench.errors import DataError, GmbenchError, OutputError, ParameterError
from gmbench.support.cache import Cache
from gmbench.support.files import locked
from gmbench.support.progress import Progress


def fill(folder: Path, n: int, seed: int, suffix: str = "png", size: int = 32, **options: object) -> None:
    """Writes n images, in one folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, pixels in enumerate(make_images("real", n, seed, size)):
        Image.fromarray(pixels).save(folder / f"{number:04d}.{suffix}", **options)  # type: ignore[arg-type]


def bring(origin: Path, slug: str | None = None, dealing: Dealing | None = None, **options: object):  # type: ignore[no-untyped-def]
    """Imports a folder as a registered dataset, or as one of its own: its card, folder and report."""
    names = {name: options.pop(name) for name in ("real", "labels") if name in options}
    card = find_dataset(slug) if slug else new_card("mine", origin, names.get("real"), None)  # type: ignore[arg-type]
    taken = Options(card.resolution, **options)  # type: ignore[arg-type]
    return card, *import_dataset(card, origin, taken, Progress(), replace=True, dealing=dealing, **names)  # type: ignore[arg-type]


def linear(profile: bytes) -> bytes:
    """A profile with the same name and primaries whose curves are straight lines."""
    changed = bytearray(profile)
    for number in range(struct.unpack(">I", profile[128:132])[0]):
        name, start, _ = struct.unpack(">4sII", profile[132 + 12 * number : 144 + 12 * number])
        if name in (b"rTRC", b"gTRC", b"bTRC"):
            changed[start : start + 12] = b"curv" + bytes(8)
    return bytes(changed)


def looked_at(origin: Path, slug: str | None = None, **names: str) -> Report:
    """What an import would take as what."""
    card = find_dataset(slug) if slug else new_card("mine", origin, names.get("real"), None)
    return check_import(card, origin, **names)[1]


def by_source(report: Report) -> dict[str, int]:
    """Images of each source in the table."""
    counts: Counter[str] = Counter()
    for source, n in report.matched.values():
        counts[source] += n
    return dict(counts)


class TestContradictions:
    """Paths that say two things."""

    @pytest.mark.parametrize(
        ("path", "source", "note"),
        [
            (("ddpm", "0_real"), "real", "also names ddpm"),
            (("ddpm", "1_fake"), "ddpm", ""),
            (("ddpm", "1_fake", "real"), "real", "also names ddpm, 1_fake"),
            (("sd", "nature"), "real", ""),
            (("real", "ddpm"), "ddpm", "also names real"),
            (("real", "1_fake"), None, "says generated beside a name of reals, and names no model"),
            (("cifar10", "fake"), None, "says generated beside a name of reals, and names no model"),
            (("fake", "cifar10"), None, "says generated beside a name of reals, and names no model"),
            (("fake", "cifar10", "ddpm"), "ddpm", "also names cifar10"),
            (("cifar10",), "real", ""),
            (("ddpm", "nvae"), "nvae", "also names ddpm"),
            (("ddpm", "masks"), None, "masks: no images of a source"),
            (("real", "masks"), None, "masks: no images of a source"),
            (("ai",), None, "says generated, and names no model"),
        ],
    )
    def test_the_deepest_clear_name_decides(self, path: tuple[str, ...], source: str | None, note: str) -> None:
        """And what else the path says is said."""
        match = source_matcher(find_dataset("gm-cifar10"))(path)
        assert (match.source, match.note) == (source, note)

    @pytest.mark.parametrize("slug", ["gm-cifar10", None])
    def test_reals_inside_generators(self, tmp_path: Path, slug: str | None) -> None:
        """CNNDetection's and GenImage's layout: each generator's folder has its reals."""
        for seed, (model, real, fake) in enumerate((("ddpm", "0_real", "1_fake"), ("stylegan2", "nature", "ai"))):
            fill(tmp_path / model / "car" / real, 8, seed)
            fill(tmp_path / model / "car" / fake, 9, 10 + seed)
        _, folder, report = bring(tmp_path, slug)
        assert report.images == {"real": 16, "ddpm": 9, "stylegan2": 9}
        assert report.joined == {"real": ["ddpm/car/0_real", "stylegan2/car/nature"]}
        names = parquet.read_table(folder / "files.parquet").to_pylist()
        sources = {row["id"]: row["source"] for role in ROLES for row in rows(folder, role)}
        assert all(
            (sources[row["id"]] == "real") == ("real" in row["file"] or "nature" in row["file"]) for row in names
        )

    def test_another_name_of_reals(self, tmp_path: Path) -> None:
        """`--real` says only "real", wherever it stands."""
        fill(tmp_path / "ddpm" / "photos", 8, 0)
        fill(tmp_path / "ddpm" / "out", 8, 1)
        assert by_source(looked_at(tmp_path, "gm-cifar10", real="photos")) == {"real": 8, "ddpm": 8}
        with pytest.raises(DataError, match="name it with --real"):
            looked_at(tmp_path, real="nothing")


def rows(folder: Path, role: str) -> list[dict]:
    """The stored rows of a role."""
    return [row for path in sorted((folder / "data").glob(f"{role}-*")) for row in parquet.read_table(path).to_pylist()]


class TestNames:
    """Names that are lost when they are made simpler."""

    def test_variants_are_sources_of_their_own(self, tmp_path: Path) -> None:
        """Sizes and counts in a name are part of it where nobody registered the source; imported again, too."""
        for seed, name in enumerate(("real", "adm_64", "adm_256", "sd_50k", "sd_100k")):
            fill(tmp_path / name, 8, seed)
        card, _, report = bring(tmp_path)
        counts = dict.fromkeys(("real", "adm-64", "adm-256", "sd-50k", "sd-100k"), 8)
        assert report.images == counts
        assert by_source(looked_at(tmp_path, card.slug)) == counts

    @pytest.mark.parametrize(("first", "second"), [("adm_64", "adm-64"), ("日本1", "中国1"), ("Straße", "strasse")])
    def test_two_with_one_slug_are_refused_by_name(self, tmp_path: Path, first: str, second: str) -> None:
        """In any script."""
        for seed, name in enumerate(("real", first, second)):
            fill(tmp_path / name, 6, seed)
        with pytest.raises(DataError, match="would both be the source") as error:
            looked_at(tmp_path)
        assert first in str(error.value)
        assert second in str(error.value)

    def test_two_folders_of_one_registered_source_are_said(self, tmp_path: Path) -> None:
        """They are one source, and a line says from which folders."""
        for seed, name in enumerate(("real", "ddpm_32", "DDPM 50k")):
            fill(tmp_path / name, 6, seed)
        assert looked_at(tmp_path, "gm-cifar10").joined == {"ddpm": ["DDPM 50k", "ddpm_32"]}

    def test_a_spelling_of_two_sources_is_of_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of a registered dataset, `adm` may be either variant; each variant is itself."""
        adm = Source(title="ADM", family="score", paper="none", aliases=["adm_64"])
        card = make_card().model_copy(
            update={
                "generators": {"adm-64": adm, "adm-256": adm.model_copy(update={"title": "x", "aliases": ["adm_256"]})}
            }
        )
        use_catalogue(monkeypatch, cards={"tiny": card})
        assert source_matcher(card)(("adm_256",)).source == "adm-256"
        match = source_matcher(card)(("adm",))
        assert match.source is None
        assert match.note == "'adm' may be adm-256 or adm-64: rename it"

    @pytest.mark.parametrize("name", ["real_fake", "generated-real", "Real-ESRGAN", "realnvp", "unreal", "not_real"])
    def test_more_than_real_is_not_real(self, name: str) -> None:
        """A name that also says something else."""
        assert not says_only_real(name)

    @pytest.mark.parametrize("name", ["Real", "REAL images 256x256", "0-real", "real_50k", "reals", "NATURE"])
    def test_spellings_of_real(self, name: str) -> None:
        """Size and number say nothing."""
        assert says_only_real(name)

    def test_names_that_speak_of_reals_are_said(self, tmp_path: Path) -> None:
        """A dataset of photographs, or a name with "real" in it, is a source only with a line that says so."""
        for seed, name in enumerate(("real", "cifar10", "real_ddpm", "ddpm/original", "ddpm/fake")):
            fill(tmp_path / name, 6, seed)
        report = looked_at(tmp_path)
        assert [line.split()[0] for line in report.warnings] == ["cifar10", "real-ddpm"]
        assert report.warnings[0].endswith("--real cifar10")
        assert report.notes["ddpm/original"] == "beside 'fake', and does not say whether it is generated or real"
        assert by_source(looked_at(tmp_path, real="cifar10"))["real"] == 12

    def test_an_image_of_two_sources_is_of_none(self, tmp_path: Path) -> None:
        """One of the two labels is wrong."""
        for seed, name in enumerate(("real", "dcgan")):
            fill(tmp_path / name, 8, seed)
        shutil.copy(tmp_path / "real" / "0003.png", tmp_path / "dcgan" / "x.png")
        shutil.copy(tmp_path / "real" / "0004.png", tmp_path / "real" / "y.png")
        _, folder, report = bring(tmp_path)
        assert report.images == {"real": 7, "dcgan": 8}
        assert report.quarantined == {"in two sources": 2, "duplicate": 1}
        stored = [row["file"] for row in parquet.read_table(folder / "files.parquet").to_pylist()]
        assert not {"real/0003.png", "dcgan/x.png"} & {*stored}

    def test_no_two_names_are_printed_alike(self) -> None:
        """Not even those that are no text; nothing in them steers a terminal."""
        names = [
            "a\\xff",
            "a\udcff",
            "a\udcfe",
            "a?",
            "a\\\\xff",
            "a\x1b",
            "a\\x1b",
            "a\u202e",
            "a\n",
            "a\x85",
            "a\udc85",
        ]
        assert all(printable(name).isprintable() for name in names)
        assert len(set(map(printable, names))) == len(names)

    def test_what_tools_leave(self, tmp_path: Path) -> None:
        """Ignored, with a line; no source."""
        for seed, name in enumerate(("real", "dcgan", ".ipynb_checkpoints", "__MACOSX", "@eaDir")):
            fill(tmp_path / name, 6, seed)
        fill(tmp_path / "real" / ".ipynb_checkpoints", 2, 9)
        for name in ("._0000.png", ".DS_Store", "Thumbs.db", "desktop.ini"):
            (tmp_path / "dcgan" / name).write_bytes(b"x")
        report = looked_at(tmp_path)
        assert by_source(report) == {"real": 6, "dcgan": 6}
        assert [why for why in report.ignored.values() if not why.startswith("left behind by a tool: ")] == []
        assert len(report.ignored) == 3

    def test_suffixes(self, tmp_path: Path) -> None:
        """What is not read is named; without a suffix, the content decides."""
        fill(tmp_path / "real", 6, 0)
        fill(tmp_path / "dcgan", 6, 1)
        picture = Image.fromarray(make_images("real", 1, 7)[0])
        for name, kind in (("a.tif", "TIFF"), ("a.jfif", "JPEG"), ("none", "PNG")):
            picture.save(tmp_path / "dcgan" / name, format=kind)
        (tmp_path / "dcgan" / "README").write_text("text")
        report = looked_at(tmp_path)
        assert by_source(report) == {"real": 6, "dcgan": 8}
        assert report.ignored["dcgan/*.tif"].startswith("not read: 1 .tif (read: .png, ")
        assert report.ignored["dcgan/*"].startswith("not read: 1 without suffix")


class TestTables:
    """Labels beside the images."""

    @pytest.fixture
    def artifact(self, tmp_path: Path) -> Path:
        """ArtiFact's layout: `metadata.csv` in each folder, target 0 for real."""
        fill(tmp_path / "real", 8, 0)
        fill(tmp_path / "cycle_gan", 16, 1)
        with (tmp_path / "cycle_gan" / "metadata.csv").open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["filename", "image_path", "target", "category"])
            table.writerows([f"img{i}", f"{i:04d}.png", 0 if i < 6 else 6, "horse"] for i in range(16))
        return tmp_path

    def test_a_contradiction_is_refused_unless_it_is_decided(self, artifact: Path) -> None:
        """By an option, for the table or for the folders."""
        with pytest.raises(DataError, match=r"says real of 6 images in a folder of cycle-gan.*--labels table or"):
            looked_at(artifact)
        assert by_source(looked_at(artifact, labels="table")) == {"real": 14, "cycle-gan": 10}
        assert by_source(looked_at(artifact, labels="folders")) == {"real": 8, "cycle-gan": 16}
        _, folder, report = bring(artifact, labels="table")
        assert report.images == {"real": 14, "cycle-gan": 10}
        files = {row["file"]: row["id"] for row in parquet.read_table(folder / "files.parquet").to_pylist()}
        real = {row["id"] for role in ROLES for row in rows(folder, role) if row["source"] == "real"}
        assert {file for file, id in files.items() if id in real and file.startswith("cycle_gan")} == {
            f"cycle_gan/{i:04d}.png" for i in range(6)
        }

    def test_a_table_that_agrees_is_read_without_a_word(self, artifact: Path) -> None:
        """So is one of captions."""
        (artifact / "cycle_gan" / "metadata.csv").write_text(
            "image_path,target\n" + "".join(f"{i:04d}.png,6\n" for i in range(16))
        )
        (artifact / "real" / "metadata.jsonl").write_text('{"file_name": "0000.png", "text": "a horse"}\n')
        assert by_source(looked_at(artifact)) == {"real": 8, "cycle-gan": 16}

    @pytest.mark.parametrize(
        "table",
        [
            ("metadata.csv", "image_path,target", "{0},{1}"),
            ("METADATA.CSV", "Image_Path;Target", "{0};{1}"),
            ("metadata.csv", "filename\ttarget", "{2}\t{1}.0"),
            ("metadata.csv", "file,label", "cycle_gan/{0},{1}"),
            ("metadata.csv", "file,label", "cycle_gan\\{0},{3}"),
            ("metadata.csv", "file,label,model", "{0},{3},Cycle-GAN"),
        ],
    )
    @pytest.mark.parametrize("packed", [False, True])
    def test_tables_in_any_spelling(self, tmp_path: Path, table: tuple[str, str, str], packed: bool) -> None:
        """Of columns, separators, numbers and paths; beside files and in an archive."""
        name, header, line = table
        fill(tmp_path / "in" / "real", 8, 0)
        fill(tmp_path / "in" / "cycle_gan", 8, 1)
        lines = [line.format(f"{i:04d}.png", 0 if i < 3 else 6, f"{i:04d}", "real" if i < 3 else "") for i in range(8)]
        (tmp_path / "in" / "cycle_gan" / name).write_text("\n".join([header, *lines]))
        origin = Path(shutil.make_archive(str(tmp_path / "in"), "zip", tmp_path / "in")) if packed else tmp_path / "in"
        with pytest.raises(DataError, match="says real of 3 images in a folder of cycle-gan"):
            looked_at(origin)

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            ("image_path,target\nx.png,6\n", "labels 1 files, and none of them is an image"),
            ("image_path,target\n0000.png,6\n0000.png,0\n", "says both 6 and 0 of 0000.png"),
            ("image_path,target,label\n0000.png,6,real\n", "says both real and 6 of 0000.png"),
            ("image_path,label\n0000.png,horse\n", "says horse of 1 images in a folder of cycle-gan"),
            ("\udcff", "corrupt: "),
        ],
    )
    def test_a_table_that_cannot_be_right(self, tmp_path: Path, content: str, words: str) -> None:
        """Is refused with its name, unless folders decide."""
        fill(tmp_path / "real", 8, 0)
        fill(tmp_path / "cycle_gan", 8, 1)
        (tmp_path / "cycle_gan" / "metadata.csv").write_bytes(content.encode(errors="surrogateescape"))
        with pytest.raises(DataError, match=words) as error:
            looked_at(tmp_path)
        assert "--labels" in str(error.value)
        card = new_card("mine", tmp_path, None, 32, labels="folders")
        assert by_source(check_import(card, tmp_path, labels="folders")[1]) == {"real": 8, "cycle-gan": 8}

    def test_image_folders_of_the_hub(self, tmp_path: Path) -> None:
        """`metadata.jsonl` with names; parquet with a column of images and names of labels; their splits."""
        flat = tmp_path / "flat"
        fill(flat, 18, 3)
        labels = ["real"] * 8 + ["dcgan"] * 5 + ["wgan"] * 5
        lines = (json.dumps({"file_name": f"{i:04d}.png", "model": label}) for i, label in enumerate(labels))
        (flat / "metadata.jsonl").write_text("\n".join(lines))
        assert by_source(looked_at(flat)) == {"real": 8, "dcgan": 5, "wgan": 5}

        pictures = [(flat / f"{i:04d}.png").read_bytes() for i in range(18)]
        names = ["real", "dcgan", "wgan"]
        features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
        schema = pyarrow.schema(
            {
                "image": pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()}),
                "label": pyarrow.int64(),
            },
            metadata={"huggingface": json.dumps({"info": {"features": features}})},
        )
        (tmp_path / "hub" / "data").mkdir(parents=True)
        for split, chosen in (("train", slice(0, None, 2)), ("test", slice(1, None, 2))):
            table = {
                "image": [{"bytes": content, "path": None} for content in pictures[chosen]],
                "label": [names.index(label) for label in labels[chosen]],
            }
            path = tmp_path / "hub" / "data" / f"{split}-00000-of-00001.parquet"
            parquet.write_table(pyarrow.table(table, schema=schema), path)
        card = new_card("hub", tmp_path / "hub", None, 32)
        folder, report = import_dataset(
            card, tmp_path / "hub", Options(32), Progress(), dealing=Dealing(keep_splits=True)
        )
        assert report.images == {"real": 8, "dcgan": 5, "wgan": 5}
        test = {row["id"] for row in rows(folder, "test")}
        assert test == {image_id(np.asarray(Image.open(flat / f"{i:04d}.png"))) for i in range(1, 18, 2)}

    @pytest.mark.parametrize("suffix", ["zip", "tar", "tar.gz"])
    def test_archives(self, tmp_path: Path, suffix: str) -> None:
        """One of everything, or one of each source: the same dataset as from folders, nothing unpacked."""
        for seed, name in enumerate(("real", "dcgan", "__MACOSX")):
            fill(tmp_path / "all" / name, 8, seed)
        _, folder, _ = bring(tmp_path / "all")
        revision = read_manifest(folder).revision
        kind = {"zip": "zip", "tar": "tar", "tar.gz": "gztar"}[suffix]
        whole = Path(shutil.make_archive(str(tmp_path / "release"), kind, tmp_path / "all"))
        (tmp_path / "each").mkdir()
        for name in ("real", "dcgan"):
            shutil.make_archive(str(tmp_path / "each" / name), kind, tmp_path / "all" / name)
        for origin in (whole, tmp_path / "each"):
            card = new_card("mine", origin, None, 32)
            folder, report = import_dataset(card, origin, Options(32), Progress(), replace=True)
            assert report.images == {"real": 8, "dcgan": 8}
            assert read_manifest(folder).revision == revision

    def test_hostile_archives(self, tmp_path: Path) -> None:
        """A name that points outside is not read, and one that is damaged is named."""
        fill(tmp_path / "real", 8, 0)
        fill(tmp_path / "dcgan", 8, 1)
        with zipfile.ZipFile(tmp_path / "wgan.zip", "w") as archive:
            archive.writestr("../../evil.png", (tmp_path / "real" / "0000.png").read_bytes())
        (tmp_path / "broken.zip").write_bytes(b"PK nothing")
        with tarfile.open(tmp_path / "links.tar", "w") as tar:
            link = tarfile.TarInfo("a.png")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(link)
        report = looked_at(tmp_path)
        assert by_source(report) == {"real": 8, "dcgan": 8}
        assert report.ignored["broken.zip"].startswith("corrupt: ")


class TestSplits:
    """Splits that somebody gave."""

    @pytest.fixture
    def split(self, tmp_path: Path) -> Path:
        """Real and DCGAN in train, val and test."""
        for seed, (part, n) in enumerate((("train", 30), ("val", 8), ("test", 12))):
            fill(tmp_path / part / "real", n, seed)
            fill(tmp_path / part / "dcgan", n, 10 + seed)
        return tmp_path

    def test_they_are_kept(self, split: Path) -> None:
        """Each image in the role of its folder; the manifold is a share of the reals of train."""
        _, folder, report = bring(split, dealing=Dealing(keep_splits=True))
        assert {role: len(rows(folder, role)) for role in ROLES} == {"manifold": 15, "train": 45, "val": 16, "test": 24}
        assert report.splits == ["train", "val", "test"]
        role_of = {row["id"]: role for role in ROLES for row in rows(folder, role)}
        for row in parquet.read_table(folder / "files.parquet").to_pylist():
            part = row["file"].partition("/")[0]
            assert role_of[row["id"]] in ((part, "manifold") if "train/real" in row["file"] else (part,))

    def test_or_their_loss_is_said(self, split: Path) -> None:
        """Pooled and dealt anew."""
        assert "the given splits (train, val, test) are pooled" in looked_at(split).warnings[0]

    def test_a_split_beside_other_folders(self, split: Path) -> None:
        """Its name would be that of a source: refused."""
        fill(split / "extra" / "dcgan", 6, 50)
        with pytest.raises(DataError, match="'test' is the name of a split, but not all folders beside it are"):
            looked_at(split)

    def test_no_splits_to_keep(self, split: Path) -> None:
        """Said before anything is decoded."""
        with pytest.raises(DataError, match="no given splits to keep"):
            check_import(new_card("mine", split / "train", None, None), split / "train", keep_splits=True)

    def test_images_in_no_split_are_refused_before_anything_is_decoded(self, split: Path) -> None:
        """By folder and number."""
        fill(split / "more" / "ddpm", 6, 50)
        card = find_dataset("gm-cifar10")
        (split / "train" / "dcgan").rename(split / "train" / "ddpm")
        with pytest.raises(DataError, match=r"no given splits|6 images of ddpm in more/ddpm are in none of the given"):
            check_import(card, split, keep_splits=True)

    def test_a_limit_is_in_the_check_too(self, split: Path) -> None:
        """What would be read is what is read."""
        card = new_card("mine", split, None, None)
        _, report = check_import(card, split, limit=20)
        assert report.reads == 40
        assert report.notes["limit, dcgan"] == "7 of test/dcgan, 7 of train/dcgan, 6 of val/dcgan"

    def test_a_category_called_train_is_no_split(self, tmp_path: Path) -> None:
        """CNNDetection has pictures of trains."""
        for seed, name in enumerate(("train", "cat")):
            fill(tmp_path / "progan" / name / "0_real", 6, seed)
            fill(tmp_path / "progan" / name / "1_fake", 6, 10 + seed)
        report = looked_at(tmp_path)
        assert report.splits == []
        assert by_source(report) == {"real": 12, "progan": 12}

    @pytest.mark.parametrize("way", ["split", "option"])
    def test_a_set_for_testing_only(self, split: Path, way: str, command, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
        """It loads for a transfer to it, is audited, and is refused for a run with one line."""
        if way == "split":
            for part in ("train", "val"):
                shutil.rmtree(split / part)
        dealing = Dealing(keep_splits=way == "split", test_only=way == "option")
        card, folder, report = bring(split, dealing=dealing)
        assert not rows(folder, "train")
        dataset = load_dataset(card, Cache(), Progress(), for_testing=True)
        assert len(dataset["train"]) == len(dataset["val"]) == 0
        assert len(dataset["test"]) + len(dataset["manifold"]) == sum(report.images.values())
        assert {check.name: check.passed for check in audit_dataset(card, Cache(), Progress()).checks}["sources"]
        code, _, err = command(
            "run", "--method", "mccloskey18", "--dataset", "mine", "--results", str(tmp_path / "out")
        )
        assert (code, err.count("\n")) == (2, 1)
        assert "mine is for testing only. Test on it what is fitted on another dataset: gmbench transfer" in err

    def test_a_limit_is_taken_evenly(self) -> None:
        """Over the places of a source, as far as they go."""
        found = [Found(Place(name, n), "dcgan") for name, n in (("a", 20), ("b", 3), ("c", 20))]
        assert shares(found, 20) == [9, 3, 8]
        assert shares(found, 100) == [20, 3, 20]
        assert shares(found, None) == [20, 3, 20]


class TestPictures:
    """Pictures as people have them."""

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_orientation_is_applied(self, tmp_path: Path, orientation: int) -> None:
        """As a viewer would show it, and counted."""
        pixels = make_images("noisy", 1, 3)[0]
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(pixels).save(tmp_path / "x.png", exif=exif)
        turns = {
            1: pixels, 2: pixels[:, ::-1], 3: pixels[::-1, ::-1], 4: pixels[::-1], 5: pixels.transpose(1, 0, 2),
            6: np.rot90(pixels, -1), 7: pixels[::-1, ::-1].transpose(1, 0, 2), 8: np.rot90(pixels),
        }  # fmt: skip
        taken = decode(tmp_path / "x.png", Options(32))
        np.testing.assert_array_equal(taken.pixels, turns[orientation])
        assert taken.changes == (() if orientation == 1 else ("turned",))

    def test_crops(self, tmp_path: Path) -> None:
        """The middle, or anywhere as the pixels decide; the shorter side with `resize`, else as large as is wanted."""
        pixels = make_images("noisy", 1, 4, size=64)[0][:48]
        Image.fromarray(pixels).save(tmp_path / "x.png")
        with pytest.raises(Refused, match="wrong size: 64x48"):
            decode(tmp_path / "x.png", Options(48, resize=True))
        taken = decode(tmp_path / "x.png", Options(48, crop="centre"))
        np.testing.assert_array_equal(taken.pixels, pixels[:, 8:56])
        assert (taken.size, taken.changes) == ("64x48", ("cropped",))
        np.testing.assert_array_equal(
            decode(tmp_path / "x.png", Options(32, crop="centre")).pixels, pixels[8:40, 16:48]
        )
        whole = decode(tmp_path / "x.png", Options(32, crop="random", resize=True))
        assert whole.pixels.shape == (32, 32, 3)
        assert whole.changes == ("cropped", "resized")
        again = decode(tmp_path / "x.png", Options(32, crop="random", resize=True))
        np.testing.assert_array_equal(whole.pixels, again.pixels)
        with pytest.raises(Refused, match="wrong size"):
            decode(tmp_path / "x.png", Options(64, crop="centre"))

    def test_colour_profiles(self, tmp_path: Path) -> None:
        """sRGB is what is stored; another profile is applied, one that is damaged set aside."""
        pixels = make_images("noisy", 1, 5)[0]
        srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        Image.fromarray(pixels).save(tmp_path / "x.png", icc_profile=srgb)
        assert decode(tmp_path / "x.png", Options(32)).changes == ()
        renamed = (
            ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes().replace(b"s\0R\0G\0B", b"o\0t\0h\0e")
        )
        Image.fromarray(pixels).save(tmp_path / "x.png", icc_profile=renamed)
        assert decode(tmp_path / "x.png", Options(32)).changes == ()
        Image.fromarray(pixels).save(tmp_path / "x.png", icc_profile=linear(srgb))
        taken = decode(tmp_path / "x.png", Options(32))
        assert taken.changes == ("colour profile applied",)
        assert (taken.pixels.astype(int) - pixels).mean() > 20  # sRGB's curve lifts what is linear
        Image.fromarray(pixels).save(tmp_path / "y.png", icc_profile=b"nothing")
        with pytest.raises(Refused, match="colour profile that cannot be applied"):
            decode(tmp_path / "y.png", Options(32))

    @pytest.mark.parametrize(
        ("chunks", "taken"),
        [
            ([(b"gAMA", struct.pack(">I", 45455))], True),
            ([(b"gAMA", struct.pack(">I", 100000))], False),
            ([(b"sRGB", b"\0"), (b"gAMA", struct.pack(">I", 100000))], True),
            ([(b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000))], True),
            ([(b"cHRM", struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000))], False),
            ([(b"cICP", bytes([1, 13, 0, 1]))], True),
            ([(b"cICP", bytes([9, 16, 0, 1]))], False),
        ],
    )
    def test_other_colours_than_srgb(self, chunks: list[tuple[bytes, bytes]], taken: bool) -> None:
        """A PNG that says that its values are to be read otherwise is set aside."""
        content = _png(make_images("noisy", 1, 5)[0])
        said = b"".join(
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
            for name, data in chunks
        )
        changed = content[:33] + said + content[33:]
        if taken:
            assert decode(changed, Options(32)).changes == ()
        else:
            with pytest.raises(Refused, match="colours that are not sRGB: "):
                decode(changed, Options(32))

    def test_a_balance(self, tmp_path: Path) -> None:
        """The imbalance is said with its remedy, which makes the audit's check pass."""
        for seed, name in enumerate(("real", "dcgan")):
            fill(tmp_path / name, 40, seed)
        card, _, report = bring(tmp_path)
        assert "train has 14 images of real and 28 of dcgan" in report.warnings[-1]
        assert "--balance" in report.warnings[-1]
        card, folder, report = bring(tmp_path, dealing=Dealing(balance=True))
        assert report.images == {"real": 40, "dcgan": 20}
        assert {check.name: check.passed for check in audit_dataset(card, Cache(), Progress()).checks}[
            "images per source"
        ]
        reasons = [json.loads(line)["reason"] for line in (folder / "quarantine.jsonl").read_text().splitlines()]
        assert "balanced: 14 more in train than other sources have" in reasons

    @pytest.mark.parametrize("share", [0.0, 1.0, -1.0])
    def test_a_manifold_of_none_is_refused(self, share: float) -> None:
        """And a small one is warned of."""
        with pytest.raises(ParameterError, match="--manifold-share"):
            Dealing(manifold_share=share)

    def test_a_small_manifold_is_warned_of(self, tmp_path: Path) -> None:
        """Distances to it say little."""
        fill(tmp_path / "real", 10, 0)
        fill(tmp_path / "dcgan", 8, 1)
        assert "the manifold has 5 images: below 100" in " ".join(bring(tmp_path)[2].warnings)


class TestHistory:
    """What happened to images before."""

    @pytest.mark.parametrize(
        ("real", "dcgan", "differs"),
        [
            ({"suffix": "jpg", "quality": 90}, {}, "formats: JPEG 90 100% of real, 0% of dcgan"),
            ({"suffix": "jpg", "quality": 90}, {"suffix": "jpg", "quality": 90}, ""),
            ({"suffix": "jpg", "quality": 90}, {"suffix": "jpg", "quality": 75}, "JPEG 75 100% of dcgan"),
            ({}, {}, ""),
            ({}, {"size": 64}, "sizes: 32x32 100% of real, 0% of dcgan"),
        ],
    )
    def test_sources_of_other_history(self, tmp_path: Path, real: dict, dcgan: dict, differs: str) -> None:
        """Warned of in one line, kept in the manifest, and failed by the audit."""
        fill(tmp_path / "real", 20, 0, **real)
        fill(tmp_path / "dcgan", 20, 1, **dcgan)
        card, folder, report = bring(tmp_path, resize=True)
        warned = [line for line in report.warnings if "unlike histories" in line]
        check = next(check for check in audit_dataset(card, Cache(), Progress()).checks if check.name == "history")
        assert check.passed == (not differs)
        assert bool(warned) == bool(differs)
        if differs:
            assert differs in check.found
            assert differs in warned[0]
        assert read_manifest(folder).history == report.history
        assert sum(report.history["dcgan"]["formats"].values()) == 20


def _import_once(origin: Path, data: Path, cache: Path) -> tuple[str, int]:
    """In a process of its own: what became of an import that replaces."""
    import os

    os.environ |= {"GMBENCH_DATA": str(data), "GMBENCH_CACHE": str(cache)}
    try:
        card = new_card("mine", origin, None, 32)
        import_dataset(card, origin, Options(32), Progress(), replace=True)
    except OutputError as error:
        return str(error), 2
    return "", 0


class TestTwoAtOnce:
    """Two processes on one dataset."""

    def test_each_try_is_one_of_the_two(self, tmp_path: Path) -> None:
        """Never a traceback, never a dataset lost: both end well, or the second says who is at it."""
        for name, first in (("a", 0), ("b", 5)):
            for seed, source in enumerate(("real", "dcgan")):
                fill(tmp_path / name / source, 8, first + seed)
        data = tmp_path / "data"
        jobs = [(tmp_path / name, data, tmp_path / "cache") for name in "ab"]
        revisions = set()
        for job in jobs:
            assert _import_once(*job) == ("", 0)
            revisions.add(read_manifest(data / "mine").revision)
        with multiprocessing.get_context("spawn").Pool(2) as pool:
            for _ in range(10):
                ended = pool.starmap(_import_once, jobs, chunksize=1)
                assert any(code == 0 for _, code in ended)
                assert all("is at it" in said for said, code in ended if code)
                assert read_manifest(data / "mine").revision in revisions
        assert [path.name for path in data.iterdir()] == ["mine"]

    def test_the_second_says_who_is_at_it(self, tmp_path: Path) -> None:
        """With process, host and time; the lock ends with the block."""
        with locked(tmp_path / "x.lock", "x is being imported"):
            again = locked(tmp_path / "x.lock", "x is being imported")
            with pytest.raises(OutputError, match=r"x is being imported: process \d+ on .*, since .* is at it"):
                again.__enter__()
        with locked(tmp_path / "x.lock", "x"):
            pass
        assert not list(tmp_path.iterdir())

    def test_a_process_that_was_killed_between_two_renames_loses_nothing(self, tmp_path: Path) -> None:
        """What it had moved away is put back."""
        for seed, name in enumerate(("real", "dcgan")):
            fill(tmp_path / name, 8, seed)
        card, folder, _ = bring(tmp_path)
        work = data_folder() / ".mine.import"
        work.mkdir()
        folder.rename(work / "replaced")
        with pytest.raises(DataError, match="was imported before"):
            import_dataset(card, tmp_path, Options(32), Progress())
        assert read_manifest(folder).dataset == "mine"


class TestRemove:
    """`gmbench data remove` and `gmbench cache`."""

    def test_a_dataset_is_removed(self, tmp_path: Path, command) -> None:  # type: ignore[no-untyped-def]
        """Whole, with what a stopped import left; what was not imported is refused."""
        for seed, name in enumerate(("real", "dcgan")):
            fill(tmp_path / name, 8, seed)
        bring(tmp_path)
        assert command("data", "remove", "mine")[0] == 0
        assert not list(data_folder().iterdir())
        code, _, err = command("data", "remove", "gm-garments")
        assert (code, err.count("\n")) == (2, 1)
        with pytest.raises(GmbenchError, match="was not imported here"):
            remove_dataset("mine")

    def test_the_cache(self, command) -> None:  # type: ignore[no-untyped-def]
        """Shown by kind, and cleared."""
        Cache().array("numbers", lambda: np.zeros(2**18))
        code, out, _ = command("cache", "show")
        assert code == 0
        assert any(line.split() == ["numbers", "1", "2.0"] for line in out.splitlines())
        assert command("cache", "clear", "nothing")[0] == 2
        assert command("cache", "clear", "numbers")[:2] == (0, "removed 2.0 MiB\n")
        assert not (Cache().folder / "numbers").exists()

    def test_families_and_checking(self, tmp_path: Path, command) -> None:  # type: ignore[no-untyped-def]
        """`--family` names a source's family; `--check` writes nothing; a name is made a slug."""
        for seed, name in enumerate(("real", "Model_A")):
            fill(tmp_path / "in" / name, 8, seed)
        asked = ("data", "import", "--new", "My Pics", "--from", str(tmp_path / "in"), "--family", "Model_A=gan")
        code, out, _ = command(*asked, "--check")
        assert code == 0
        assert "16 images would be read, of 2 of 2 sources, at 32x32. Nothing was written." in out
        assert not list(data_folder().iterdir())
        assert command(*asked, "--workers", "1")[0] == 0
        assert find_dataset("my-pics").generators["model-a"].family == "gan"
        code, out, _ = command("info", "my-pics")
        assert "on the Hub" not in out
        for family, words in (("nothing=gan", "no source named"), ("Model_A=nothing", "is none of: gan, vae")):
            code, _, err = command(*asked[:-1], family, "--check")
            assert (code, err.count("\n")) == (2, 1)
            assert words in err


NAMES = st.sampled_from(
    ["real", "0_real", "1_fake", "fake", "nature", "ai", "masks", "ddpm", "DDPM-32", "ddpm_64", "nvae", "cifar10",
     "train", "test", "val", "__MACOSX", ".hidden", "cat", "dog", "adm_64", "adm_256", "β model", "日本", "a\\b", "x y"]
)  # fmt: skip
FILES = st.sampled_from(["a.png", "b.png", "c.jpg", "._a.png", "Thumbs.db", "d.tif", "e.txt", "none"])
TREES = st.dictionaries(
    st.lists(NAMES, min_size=1, max_size=4).map("/".join), st.sets(FILES, min_size=1, max_size=4), max_size=8
)


def _png(pixels: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(content, "PNG")
    return content.getvalue()


PNG = io.BytesIO()
Image.new("RGB", (8, 8), (9, 30, 200)).save(PNG, "PNG")


class TestAnyTree:
    """Whatever the folders are called."""

    @given(tree=TREES)
    def test_every_file_is_taken_or_ignored_by_name_and_nothing_merges_unsaid(self, tree: dict[str, set[str]]) -> None:
        """The table's counts add up to the files, and sources of several folders are said to be."""
        with tempfile.TemporaryDirectory() as folder:
            origin = Path(folder)
            for name, files in tree.items():
                (origin / name).mkdir(parents=True, exist_ok=True)
                for file in files:
                    (origin / name / file).write_bytes(PNG.getvalue())
            images = {
                path.relative_to(origin).as_posix()
                for path in origin.rglob("*")
                if path.suffix in (".png", ".jpg", "") and path.is_file()
                and not any(part.startswith(".") or part == "__MACOSX" for part in path.relative_to(origin).parts)
            }  # fmt: skip
            assert sum(place.n for place in survey(origin).places) == len(images)
            for slug in ("gm-cifar10", None):
                try:
                    card = find_dataset(slug) if slug else new_card("mine", origin, None, 8)
                    folders, report = check_import(card, origin)
                except DataError:
                    continue
                taken = sum(n for _, n in report.matched.values())
                ignored = [why for why in report.ignored.values() if "images in a folder of no source" in why]
                assert taken + sum(int(why.split()[0]) for why in ignored) == len(images)
                assert taken == sum(found.place.n for found in folders.found)
                tops: dict[str, set[str]] = {}
                for found in folders.found:
                    decides = source_matcher(card)(found.place.parts).place
                    tops.setdefault(found.source, set()).add("/".join(decides))
                    if found.source == "real":
                        assert not {"1_fake", "fake", "ai"} & set(_below_real(found.place.parts))
                for source, places in tops.items():
                    if len(places) > 1 and not report.splits:
                        assert len(report.joined[source]) > 1
                if slug is None:
                    for found in folders.found:
                        if found.source in ("adm-64", "adm-256"):
                            assert found.source.replace("-", "_") in found.place.parts


PICTURES = [_png(np.random.default_rng(number).integers(0, 256, (32, 32, 3))) for number in range(200)]
FILLED = st.tuples(st.integers(1, 9), st.integers(0, 190), st.sets(FILES, max_size=2))
BASES = st.sampled_from(
    [("real", "ddpm"), ("ddpm/0_real", "ddpm/1_fake"), ("train/real", "train/ddpm", "test/real", "test/ddpm"), ()]
)
FULL_TREES = st.builds(
    lambda base, filled, more: {**more, **dict(zip(base, filled, strict=False))},
    BASES,
    st.lists(FILLED, min_size=4, max_size=4),
    st.dictionaries(
        st.lists(NAMES.filter(lambda name: name != "日本"), min_size=1, max_size=4).map("/".join),
        FILLED,
        min_size=1,
        max_size=5,
    ),
)
WAYS = st.sampled_from([(), *[("--test-only",)] * 5, ("--keep-splits",), ("--test-only", "--limit-per-source", "4")])


class TestTablesAndFiles:
    """What `--check` prints, what an import prints, and what it writes."""

    @given(tree=FULL_TREES, way=WAYS, slug=st.sampled_from(["gm-cifar10", "mine"]))
    def test_they_say_the_same(self, tree: dict, way: tuple[str, ...], slug: str) -> None:
        """One table; each image of a folder in it is stored as that folder's source or set aside by name; no other is
        stored; the numbers add up."""
        with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
            origin, data = Path(folder, "in"), Path(folder, "data")
            patch.setenv("GMBENCH_DATA", str(data))
            patch.setenv("COLUMNS", "600")
            on_disk: dict[str, set[str]] = {}
            for name, (n, first, odd) in tree.items():
                (origin / name).mkdir(parents=True, exist_ok=True)
                for number in range(n):
                    (origin / name / f"{number}.png").write_bytes(PICTURES[(first + number) % len(PICTURES)])
                for file in odd - {"none"}:
                    (origin / name / file).write_bytes(PICTURES[first])
            for path in origin.rglob("*"):
                if path.suffix in (".png", ".jpg") and path.is_file() and not path.name.startswith("."):
                    on_disk.setdefault(printable(path.parent.relative_to(origin).as_posix()), set()).add(path.name)
            asked = ("data", "import", *((slug,) if slug == "gm-cifar10" else ("--new", slug)), "--from", str(origin))
            said = _said(patch, *asked, *way, "--check")
            assert not data.exists()
            done = _said(patch, *asked, *way, "--workers", "1")
            event("refused" if said[0] else "too few" if done[0] else "imported")
            if said[0] or done[0]:
                assert not list(data.glob("*/manifest.json"))
                assert said[0] == 0 or said == done
                assert said[0] or "too few can be used" in done[1] or "has no image that can be used in" in done[1]
                assert done[1].count("gmbench: ") == 1
                return
            table, table_of_import = _table(said[1]), _table(done[1])
            assert table == table_of_import
            assert {folder: len(on_disk[folder]) for folder in table} == {folder: n for folder, (_, n) in table.items()}
            stored = _stored(data / slug)
            set_aside = [json.loads(line) for line in (data / slug / "quarantine.jsonl").read_text().splitlines()]
            aside = {line["file"] for line in set_aside}
            for file, source in stored.items():
                assert table[file.rpartition("/")[0]][0] == source
                assert file not in aside
            if "--limit-per-source" not in way:
                for folder, (source, _) in table.items():
                    for file in on_disk[folder]:
                        path = f"{folder}/{file}"
                        assert path in stored or path.replace("\\\\", "\\") in aside or source in aside
            sources = {source for source, _ in table.values()}
            if "--limit-per-source" in way:
                assert all(sum(named == source for named in stored.values()) <= 4 for source in sources)
            assert f": {len(stored)} images, " in done[1]
            joined = {line.split()[1] for line in said[1].splitlines() if line.startswith("joined: ")}
            for source in sources:
                tops = {folder for folder, (of_folder, _) in table.items() if of_folder == source}
                places = {
                    source_matcher(_card(slug, origin))(tuple(top.replace("\\\\", "\\").split("/"))) for top in tops
                }
                of_splits = "--keep-splits" in way or re.search("given splits", said[1])
                if len({match.place for match in places}) > 1 and not of_splits:
                    assert source in joined


def _card(slug: str, origin: Path) -> DatasetCard:
    return find_dataset(slug) if slug == "gm-cifar10" else new_card(slug, origin, None, 32)


def _said(patch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, str]:
    """Exit code and text of a command, without its progress."""
    said = io.StringIO()
    patch.setattr(sys, "argv", ["gmbench", *arguments])
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), pytest.raises(SystemExit) as stop:
        main()
    text = re.sub(r"(?m)^(decoding|writing): .*\n?", "", said.getvalue())
    return int(stop.value.code or 0), text


def _table(text: str) -> dict[str, tuple[str, int]]:
    """Folder to source and number of images, as they are printed."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("folder "))
    rows: dict[str, tuple[str, int]] = {}
    for line in lines[start + 1 :]:
        cells = re.split(r"\s{2,}", line.strip())
        if len(cells) < 3 or not cells[2].isdigit():
            break
        rows[cells[0]] = cells[1], int(cells[2])
    return rows


def _stored(folder: Path) -> dict[str, str]:
    """The file that each stored image was, to its source."""
    sources = {row["id"]: row["source"] for role in ROLES for row in rows(folder, role)}
    return {row["file"]: sources[row["id"]] for row in parquet.read_table(folder / "files.parquet").to_pylist()}


def _below_real(parts: tuple[str, ...]) -> tuple[str, ...]:
    """The names below the deepest one that says only "real"."""
    plain = [depth for depth, part in enumerate(parts) if part in ("real", "0_real", "nature")]
    return parts[plain[-1] + 1 :] if plain else parts
