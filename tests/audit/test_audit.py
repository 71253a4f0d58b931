"""The audit: a clean dataset passes, and each planted flaw is found by the check that is for it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import faiss
import numpy as np
import pyarrow
import pyarrow.parquet as parquet
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import gmbench.audit.duplicates
import gmbench.audit.probe
import gmbench.audit.traces
import gmbench.data.cards
from conftest import SOURCES, make_card, make_images, use_catalogue
from gmbench.audit.check import AuditReport, Check
from gmbench.audit.report import audit_dataset, audit_markdown
from gmbench.data.cards import ROLES
from gmbench.data.judgements import PROBE_BOUND
from gmbench.data.manifest import role_path, write_manifest
from gmbench.data.png import encode_png, image_id
from gmbench.errors import DataError
from gmbench.support.cache import Cache
from gmbench.support.progress import Progress

COUNTS = {"train": 20, "val": 4, "test": 10}
CHECKS = (
    "format", "metadata", "encoder settings", "ids", "sources", "images per source", "near-duplicates across roles",
    "near-duplicates between sources", "copies of training reals", "probe on trivial statistics", "JPEG traces",
)  # fmt: skip
Images = dict[tuple[str, str], np.ndarray]
Rows = list[dict]


@pytest.fixture(autouse=True)
def _small_work(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Few trees, and one thread for many tiny searches: what an audit of a small dataset would spend its time on."""
    monkeypatch.setattr(gmbench.audit.probe, "TREES", 10)
    monkeypatch.setattr(gmbench.audit.traces, "TREES", 10)
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    yield
    faiss.omp_set_num_threads(threads)


def fair_images() -> Images:
    """Images of all roles and sources that differ in nothing that tells sources apart."""
    images = {("manifold", "real"): make_images("real", 15, 99)}
    for seed, source in enumerate(SOURCES):
        drawn = make_images("real", sum(COUNTS.values()), seed)
        for role, part in zip(COUNTS, np.split(drawn, np.cumsum(list(COUNTS.values()))[:-1]), strict=True):
            images[role, source] = part
    return images


@cache
def file_of(pixels: bytes) -> tuple[str, bytes]:
    """Id and PNG of an image."""
    image = np.frombuffer(pixels, np.uint8).reshape(32, 32, 3)
    return image_id(image), encode_png(image)


def stored(pixels: bytes, source: str) -> dict:
    """The row of an image."""
    id, content = file_of(pixels)
    return {"image": {"bytes": content, "path": f"{id}.png"}, "id": id, "source": source, "category": None}


def write(folder: Path, images: Images, alter: Callable[[str, Rows], None] = lambda role, rows: None) -> Path:
    """A dataset on disk; `alter` may change the stored rows of a role."""
    ids = {}
    (folder / "data").mkdir(parents=True)
    for role in ROLES:
        parts = [(source, pixels) for (of, source), pixels in images.items() if of == role]
        rows = [stored(image.tobytes(), source) for source, pixels in parts for image in pixels]
        alter(role, rows)
        parquet.write_table(pyarrow.Table.from_pylist(rows), folder / role_path(role))
        ids[role] = [row["id"] for row in rows]
    write_manifest(folder, make_card(), ids, {})
    return folder


def audited(folder: Path, **options: object) -> AuditReport:
    """The report on a folder."""
    return audit_dataset(make_card(), Cache(), Progress(), folder, **options)  # type: ignore[arg-type]


def failed(report: AuditReport) -> dict[str, Check]:
    """The checks that failed."""
    return {check.name: check for check in report.checks if not check.passed}


def only(report: AuditReport, name: str) -> Check:
    """The one check that failed."""
    assert list(failed(report)) == [name]
    return failed(report)[name]


def first_of_test(change: Callable[[dict], None]) -> Callable[[str, Rows], None]:
    """Changes one stored row: the first test image of the source `noisy`."""

    def alter(role: str, rows: Rows) -> None:
        if role == "test":
            change(next(row for row in rows if row["source"] == "noisy"))

    return alter


def encoded(image: Image.Image, **options: object) -> bytes:
    """A file of an image."""
    buffer = io.BytesIO()
    image.save(buffer, **{"format": "PNG", "optimize": True} | options)  # type: ignore[arg-type]
    return buffer.getvalue()


def reencoded(change: Callable[[Image.Image], Image.Image] = lambda image: image, **options: object):  # type: ignore[no-untyped-def]
    """Stores one image in another way, with the id of its pixels."""

    def alter(row: dict) -> None:
        content = encoded(change(Image.open(io.BytesIO(row["image"]["bytes"]))), **options)
        row["image"]["bytes"] = content
        row["id"] = image_id(np.asarray(Image.open(io.BytesIO(content))))

    return first_of_test(alter)


def with_regions(regions: dict[str, str]) -> Callable[[str, Rows], None]:
    """Gives the real images of each role a region."""

    def alter(role: str, rows: Rows) -> None:
        for row in rows:
            row["region"] = regions[role] if row["source"] == "real" else None

    return alter


REGIONS = {role: f"astronaut:{i}" for i, role in enumerate(ROLES)}


def test_a_fair_dataset_passes(tmp_path: Path) -> None:
    """Every check passes, and the figures are those of the images."""
    report = audited(write(tmp_path / "tiny", fair_images()))
    assert tuple(check.name for check in report.checks) == CHECKS
    assert report.passed, failed(report)
    assert report.images == {"manifold": 15, "train": 60, "val": 12, "test": 30}
    probe = report.checks[-2].figures
    assert probe["chance"] == pytest.approx(1 / 3)
    assert probe["allowed"] == pytest.approx(2 / 3)
    assert probe["low"] <= probe["accuracy"] <= probe["high"]


class TestFiles:
    """How images are stored."""

    @pytest.mark.parametrize(
        ("alter", "name", "found"),
        [
            (reencoded(lambda image: image.resize((40, 40))), "format", "1 PNG 40x40 RGB"),
            (reencoded(lambda image: image.convert("L")), "format", "1 PNG 32x32 L"),
            (reencoded(optimize=False, compress_level=1), "encoder settings", "1 compression 0 of 3"),
        ],
        ids=["size", "mode", "compression"],
    )
    def test_one_image_that_is_stored_otherwise(
        self, tmp_path: Path, alter: Callable[[str, Rows], None], name: str, found: str
    ) -> None:
        """The check says what it is."""
        assert found in only(audited(write(tmp_path / "tiny", fair_images(), alter)), name).found

    def test_a_jpeg(self, tmp_path: Path) -> None:
        """Another format also has other settings."""
        checks = failed(audited(write(tmp_path / "tiny", fair_images(), reencoded(format="JPEG", optimize=False))))
        assert list(checks) == ["format", "encoder settings"]
        assert "1 JPEG 32x32 RGB" in checks["format"].found

    def test_a_png_that_says_it_was_a_jpeg(self, tmp_path: Path) -> None:
        """Text chunks are named, with the source of the image."""
        text = PngInfo()
        text.add_text("comment", "from a JPEG")
        check = only(audited(write(tmp_path / "tiny", fair_images(), reencoded(pnginfo=text))), "metadata")
        assert check.found == "1 tEXt (of 1 noisy)"

    def test_bytes_after_the_image(self, tmp_path: Path) -> None:
        """Decoders ignore them; a classifier on file sizes does not."""

        def append(row: dict) -> None:
            row["image"]["bytes"] += b"made by noisy"

        check = only(audited(write(tmp_path / "tiny", fair_images(), first_of_test(append))), "metadata")
        assert "bytes after the image" in check.found


class TestRoles:
    """Which images are in which role."""

    def test_an_image_in_two_roles(self, tmp_path: Path) -> None:
        """It fails a check and is no error; it is a near-duplicate too."""
        images = fair_images()
        images["test", "noisy"][0] = images["train", "noisy"][0]
        checks = failed(audited(write(tmp_path / "tiny", images)))
        assert list(checks) == ["ids", "near-duplicates across roles"]
        assert checks["ids"].found == "1 in two roles"

    def test_an_image_twice_in_a_role(self, tmp_path: Path) -> None:
        """The same image again."""
        images = fair_images()
        images["test", "noisy"][0] = images["test", "noisy"][1]
        assert only(audited(write(tmp_path / "tiny", images)), "ids").found == "1 twice in a role"

    def test_an_id_that_is_not_of_the_pixels(self, tmp_path: Path) -> None:
        """Such as one that names the source."""
        alter = first_of_test(lambda row: row.update(id="noisy-0001"))
        assert only(audited(write(tmp_path / "tiny", fair_images(), alter)), "ids").found == "1 not of their pixels"

    def test_regions(self, tmp_path: Path) -> None:
        """Of one photograph, no region is in two roles; the check is there if the dataset has regions."""
        clean = audited(write(tmp_path / "clean", fair_images(), with_regions(REGIONS)))
        assert clean.passed
        assert len(clean.checks) == len(CHECKS) + 1
        regions = REGIONS | {"test": REGIONS["train"]}
        report = audited(write(tmp_path / "tiny", fair_images(), with_regions(regions)))
        assert only(report, "regions of photographs").found == "1 of 3 in two: astronaut:1"

    def test_a_missing_and_an_unknown_source(self, tmp_path: Path) -> None:
        """Sources that are not those of the card."""
        images = {(role, source.replace("noisy", "grainy")): x for (role, source), x in fair_images().items()}
        check = only(audited(write(tmp_path / "tiny", images)), "sources")
        assert check.found == "missing: noisy; unknown: grainy"

    def test_a_source_with_fewer_images(self, tmp_path: Path) -> None:
        """The role, the source and the counts are named."""
        images = fair_images()
        images["train", "noisy"] = images["train", "noisy"][1:]
        check = only(audited(write(tmp_path / "tiny", images)), "images per source")
        assert "train 19 (noisy) to 20 (" in check.found
        assert check.figures["train"] == {"real": 20, "blurred": 20, "noisy": 19}


class TestNear:
    """Images that are nearly the same."""

    @pytest.mark.parametrize(
        ("of", "to", "names"),
        [
            (("train", "noisy"), ("test", "noisy"), ["near-duplicates across roles"]),
            (("val", "real"), ("test", "real"), ["near-duplicates across roles"]),
            (("test", "blurred"), ("test", "noisy"), ["near-duplicates between sources"]),
            (("manifold", "real"), ("val", "noisy"), ["near-duplicates across roles", "copies of training reals"]),
            (("train", "real"), ("train", "noisy"), ["near-duplicates between sources", "copies of training reals"]),
        ],
    )
    def test_a_near_duplicate(self, tmp_path: Path, of: tuple[str, str], to: tuple[str, str], names: list[str]) -> None:
        """It is found wherever it is, with its source and distance."""
        images = fair_images()
        images[to][2] = images[of][1] ^ 2
        checks = failed(audited(write(tmp_path / "tiny", images)))
        assert list(checks) == names
        for check in checks.values():
            assert check.figures["images"][to[1]] == sum(check.figures["images"].values()) == 1
            assert check.figures["closest"] == pytest.approx(2)

    def test_distances_do_not_depend_on_block_size(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Parts that come in several blocks and batches give the same report as in one."""
        write(tmp_path / "tiny", fair_images())
        whole = audited(tmp_path / "tiny")
        monkeypatch.setattr(gmbench.audit.duplicates, "BLOCK_BYTES", 7 * 3 * 32 * 32)
        assert audited(tmp_path / "tiny") == whole

    def test_beyond_the_threshold(self, tmp_path: Path) -> None:
        """Images that differ by as much as `gmbench build` allows are no near-duplicates."""
        images = fair_images()
        images["test", "noisy"][2] = images["train", "noisy"][1] ^ 4
        report = audited(write(tmp_path / "tiny", images))
        assert report.passed
        (check,) = (check for check in report.checks if check.name == "near-duplicates across roles")
        assert check.figures["closest"] == pytest.approx(4)

    def test_looking_at_some_images_only(self, tmp_path: Path) -> None:
        """The report says how many were looked at."""
        report = audited(write(tmp_path / "tiny", fair_images()), neighbors_of=2)
        searched = {check.name: check.figures["searched"] for check in report.checks if "searched" in check.figures}
        assert list(searched.values()) == [2 * 9, 2 * 6, 2 * 6]


class TestProbe:
    """Sources that anyone can tell apart."""

    def test_brightness(self, tmp_path: Path) -> None:
        """Sources of other brightness fail, unless the bound is raised; the figure is there in any case."""
        images = fair_images()
        for (_, source), pixels in images.items():
            pixels[:] = pixels // 2 + 60 * SOURCES.index(source)
        write(tmp_path / "tiny", images)
        check = only(audited(tmp_path / "tiny"), "probe on trivial statistics")
        assert check.figures["accuracy"] > 0.9
        assert check.figures["alone"]["mean colour"] > 0.9 > check.figures["alone"]["file size"]
        assert audited(tmp_path / "tiny", probe_bound=1).passed

    def test_file_size(self, tmp_path: Path) -> None:
        """Noise makes files larger: the size alone tells."""
        images = fair_images()
        random = np.random.default_rng(0)
        for (_, source), pixels in images.items():
            pixels ^= random.integers(0, [1, 8, 64][SOURCES.index(source)], pixels.shape, dtype=np.uint8)
        check = only(audited(write(tmp_path / "tiny", images)), "probe on trivial statistics")
        assert "file size alone" in check.found


class TestCommand:
    """`gmbench audit`."""

    @pytest.fixture
    def embedded(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """The folder of an embedded dataset that is not there yet."""
        use_catalogue(monkeypatch, tmp_path / "embedded", {"tiny": make_card()})
        monkeypatch.setenv("COLUMNS", "80")
        return tmp_path / "embedded" / "tiny"

    def test_a_fair_dataset(self, command, embedded: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
        """Exit code 0, a table that fits, and the same report as JSON and as markdown."""
        write(embedded, fair_images())
        code, out, _ = command("audit", "tiny")
        assert code == 0
        assert "10 of 10 checks passed" in out
        assert max(map(len, out.splitlines())) <= 80
        code, out, _ = command("audit", "tiny", "--json")
        assert code == 0
        report = AuditReport(**json.loads(out))
        assert report == audited(embedded)
        assert report.checks[-2].figures["bound"] == PROBE_BOUND
        table = audit_markdown(report).splitlines()
        assert len(table) == len(CHECKS) + 2
        for name, line in zip(CHECKS, table[2:], strict=True):
            assert line.startswith(f"| {name} ")
            assert line.rstrip("| ").endswith(" figure" if name == "JPEG traces" else " pass")

    def test_an_unfair_dataset(self, command, embedded: Path) -> None:  # type: ignore[no-untyped-def]
        """Exit code 1; what failed is in the table."""
        images = fair_images()
        images["train", "noisy"] = images["train", "noisy"][1:]
        write(embedded, images)
        code, out, _ = command("audit", "tiny")
        assert code == 1
        assert out.count("FAIL") == 1
        assert "9 of 10 checks passed" in out

    def test_bad_input(self, command, embedded: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
        """An unknown dataset, a place that cannot be written to, damaged files: exit code 2 and one line."""
        write(embedded, fair_images())
        for arguments, words in [
            (("tinny",), "no dataset named 'tinny'. Nearest: tiny"),
            (("tiny", "--probe-bound", "2"), "--probe-bound"),
        ]:
            code, out, err = command("audit", *arguments)
            assert (code, out, err.count("\n")) == (2, "", 1)
            assert words in err
        (embedded / role_path("val")).unlink()
        code, out, err = command("audit", "tiny", "--json")
        assert (code, err.count("\n")) == (2, 1)
        assert "val.parquet is missing" in err
        assert "val.parquet is missing" in json.loads(out)["error"]


def test_an_image_that_cannot_be_decoded(tmp_path: Path) -> None:
    """It is damage, not a flaw: the error names file and image, and nothing is left in the cache."""
    alter = first_of_test(lambda row: row["image"].update(bytes=encode_png(make_images("real", 1, 5)[0])[:60]))
    with pytest.raises(DataError, match=r"test.parquet: image [0-9a-f]{16} cannot be read"):
        audited(write(tmp_path / "tiny", fair_images(), alter))
    assert not list((Cache().folder / "audit").iterdir())
