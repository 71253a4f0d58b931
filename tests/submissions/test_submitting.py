"""`gmbench submit`: from a new method to a row, by running it or from its predictions; and `gmbench doctor`."""

from __future__ import annotations

import urllib.error
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet as parquet
import pytest
from made_methods import fill_in

import gmbench.attributors
import gmbench.data.cards
import gmbench.registry
import gmbench.runs.environment
import gmbench.runs.sweep
import gmbench.submissions.branch
import gmbench.submissions.new
import gmbench.submissions.submit
from conftest import SOURCES, make_card, use_catalogue, write_dataset
from gmbench.data.manifest import role_path
from gmbench.data.parquet import read_columns
from gmbench.errors import RecordError
from gmbench.records.store import read_record
from gmbench.registry import methods
from gmbench.submissions.predictions import read_submission
from gmbench.support.processes import one_by_one


def commit_all(monkeypatch: pytest.MonkeyPatch, dirty: bool = False) -> None:
    """As if all code were in a commit, or not all of it."""
    for module in (gmbench.runs.environment, gmbench.submissions.submit, gmbench.runs.sweep):
        monkeypatch.setattr(module, "uncommitted", lambda: ["methods/mine/"] if dirty else [])


@pytest.fixture
def checkout(tmp_path: Path, only_tiny: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with `methods/` of its own, beside the baselines that are here, in which commands run."""
    homes = (gmbench.attributors.METHOD_FOLDERS[0], tmp_path / "methods")
    homes[1].mkdir()
    (tmp_path / "pyproject.toml").write_text("")
    for module in (gmbench.registry, gmbench.submissions.new, gmbench.submissions.submit, gmbench.submissions.branch):
        monkeypatch.setattr(module, "METHOD_FOLDERS", homes)
    commit_all(monkeypatch)
    # What is put in place here is not so in other processes.
    monkeypatch.setattr(gmbench.runs.sweep, "in_processes", lambda function, chains, *_: one_by_one(function, chains))
    monkeypatch.setattr(gmbench.attributors, "__path__", [str(home) for home in homes])
    monkeypatch.chdir(tmp_path)
    methods.cache_clear()
    yield tmp_path
    methods.cache_clear()


def rows(page: str) -> list[str]:
    """The methods that have a row in the main table of a page, without their bold type."""
    return [line.split("`")[1] for line in page.splitlines() if line.startswith("| `") and "cpu" in line]


SUBMIT = ("--datasets", "tiny", "--seeds", "1", "--device", "cpu")


def test_from_new_to_a_row(command, checkout: Path) -> None:  # type: ignore[no-untyped-def]
    """new, edit, check, submit, validate: the tables change by one row; without the record, it is gone again."""
    assert command("submit", "mccloskey18", *SUBMIT)[0] == 0
    page = checkout / "leaderboards" / "attribution.md"
    before = rows(page.read_text())
    assert set(before) == {"mccloskey18"}

    assert command("new", "my-method", "--kind", "features")[0] == 0
    methods.cache_clear()
    assert command("leaderboard", "--check")[0] == 0
    code, _, err = command("submit", "my-method", *SUBMIT)
    assert code == 2
    assert "my-method is not fit to be proposed (card): fill in 'paper'" in err
    folder = checkout / "methods" / "my_method"
    fill_in(folder)
    methods.cache_clear()
    code = (folder / "__init__.py").read_text()
    (folder / "__init__.py").write_text(code.replace("values.std(axis=(1, 2))", "np.log1p(values.std(axis=(1, 2)))"))
    code, out, _ = command("check", "my-method")
    assert code == 0, out

    code, out, _ = command("submit", "my-method", *SUBMIT)
    assert code == 0
    assert "4 run, 0 recorded before" in out
    assert "Now: gmbench validate leaderboards && git add methods/my_method leaderboards && git commit" in out
    code, out, _ = command("validate")
    assert code == 0, out
    assert "8 records, 0 wrong" in out
    assert command("leaderboard", "--check")[0] == 0
    after = rows(page.read_text())
    assert sorted(after) == sorted([*before, *["my-method"] * 4])

    for record in checkout.glob("leaderboards/results/*/*/my-method/*/*"):
        record.unlink()
    assert command("leaderboard")[0] == 0
    assert rows(page.read_text()) == before


def test_by_path_and_through_an_entry_point(  # type: ignore[no-untyped-def]
    command, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A method outside the project, and the same one as an installed package, give the same predictions."""
    home = checkout / "elsewhere"
    assert command("new", "my-guest", "--kind", "features", "--out", str(home))[0] == 0
    fill_in(home / "my_guest")
    code, out, _ = command("submit", str(home / "my_guest"), *SUBMIT, "--results", "by-path/results")
    assert code == 0
    assert "lies outside the project" in out
    assert command("validate", "by-path/results")[0] == 0
    metadata = home / "my_guest-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: my-guest\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[gmbench.methods]\nmine = my_guest\n")
    monkeypatch.syspath_prepend(home)
    methods.cache_clear()
    assert command("submit", "my-guest", *SUBMIT, "--results", "installed/results")[0] == 0
    place = Path("results/tiny/clean/my-guest/0/predictions.parquet")
    assert (Path("by-path") / place).read_bytes() == (Path("installed") / place).read_bytes()


def test_transfer_where_two_datasets_share_a_generative_model(  # type: ignore[no-untyped-def]
    command, checkout: Path, tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ways, and only there."""
    home = tmp_path / "embedded"
    home.mkdir()
    (home / "tiny").symlink_to(tiny_folder)
    cards = {"tiny": make_card(), "other": make_card("other", per_source=40)}
    write_dataset(home / "other", cards["other"], first_seed=10)
    use_catalogue(monkeypatch, home, cards)
    monkeypatch.setattr(gmbench.submissions.submit, "BOARD", ("clean",))
    assert command("submit", "mccloskey18", "--datasets", "tiny,other", *SUBMIT[2:])[0] == 0
    found = {"/".join(path.parts[-5:-3]) for path in checkout.glob("leaderboards/results/*/*/*/*/record.json")}
    assert found == {"tiny/clean", "other/clean", "tiny/to-other", "other/to-tiny"}


def test_a_run_that_fails_leaves_the_pages_alone(command, checkout: Path) -> None:  # type: ignore[no-untyped-def]
    """Exit code 1."""
    assert command("new", "my-broken", "--kind", "features")[0] == 0
    methods.cache_clear()
    fill_in(checkout / "methods" / "my_broken")
    methods.cache_clear()
    path = checkout / "methods" / "my_broken" / "__init__.py"
    path.write_text(path.read_text().replace("values = ", "values = 1 / 0 * "))
    code, out, _ = command("submit", "my-broken", *SUBMIT)
    assert code == 1
    assert "ZeroDivisionError" in out
    assert not (checkout / "leaderboards" / "attribution.md").exists()


class TestUncommitted:
    """Code that is in no commit."""

    def test_it_is_not_submitted(  # type: ignore[no-untyped-def]
        self, command, checkout: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Unless that is asked for; such records are made again once all is committed, and the badge is gone."""
        commit_all(monkeypatch, dirty=True)
        code, _, err = command("submit", "mccloskey18", *SUBMIT)
        assert code == 2
        assert "methods/mine/: not in a commit" in err
        assert "(or --allow-dirty" in err
        assert not (checkout / "leaderboards" / "results" / "tiny").exists()
        page = checkout / "leaderboards" / "attribution.md"
        assert command("submit", "mccloskey18", *SUBMIT, "--allow-dirty")[0] == 0
        assert "cpu, dirty tree" in page.read_text()
        assert "0 run, 4 recorded before" in command("submit", "mccloskey18", *SUBMIT, "--allow-dirty")[1]
        commit_all(monkeypatch)
        code, out, err = command("submit", "mccloskey18", *SUBMIT)
        assert "4 run, 0 recorded before" in out
        assert "its record is of code that was in no commit; made again" in err
        assert "cpu, dirty tree" not in page.read_text()
        assert "0 run, 4 recorded before" in command("submit", "mccloskey18", *SUBMIT)[1]
        assert not list(checkout.rglob("*.uncommitted"))

    def test_a_run_that_fails_keeps_the_record(  # type: ignore[no-untyped-def]
        self, command, checkout: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The one that was there is there afterwards."""
        commit_all(monkeypatch, dirty=True)
        asked = ("sweep", "--methods", "mccloskey18", *SUBMIT, "--settings", "clean", "--results", "results")
        assert command(*asked)[0] == 0
        record = checkout / "results" / "tiny" / "clean" / "mccloskey18" / "0" / "record.json"
        before = record.read_bytes()
        commit_all(monkeypatch)
        monkeypatch.setattr(gmbench.runs.sweep, "perform", lambda *_: 1 / 0)
        assert command(*asked)[0] == 1
        assert record.read_bytes() == before
        assert not list(checkout.rglob("*.uncommitted"))


class TestPredictions:
    """Methods without published code."""

    @pytest.fixture
    def ids(self, tiny_folder: Path) -> np.ndarray:
        """Ids of the test images, in the dataset's order."""
        return read_columns(tiny_folder / role_path("test"))["id"]

    def write(self, path: Path, ids: np.ndarray, **columns: object) -> Path:
        """A file in which every image is taken for `noisy`, but for the columns that are given."""
        taken = {source: np.full(len(ids), float(source == "noisy"), np.float32) for source in SOURCES}
        parquet.write_table(pyarrow.table({"id": ids.tolist(), **taken, **columns}), path)
        return path

    def test_they_are_scored_and_badged(self, command, checkout: Path, ids: np.ndarray) -> None:  # type: ignore[no-untyped-def]
        """A third is right, there is no FDR, and the row says what it is; the record is valid and cannot be re-run."""
        assert command("new", "secret", "--kind", "predictions")[0] == 0
        methods.cache_clear()
        path = self.write(checkout / "p.parquet", ids)
        asked = ("submit", "secret", "--predictions", str(path), "--dataset", "tiny", "--seed", "1")
        code, _, err = command(*asked)
        assert code == 2
        assert "secret is not fit to be proposed (card): fill in 'paper'" in err
        assert not (checkout / "leaderboards").exists()
        fill_in(checkout / "methods" / "secret")
        methods.cache_clear()
        code, out, _ = command(*asked)
        assert code == 0, out
        record = read_record(checkout / "leaderboards" / "results" / "tiny" / "clean" / "secret" / "1")
        assert record.scores.accuracy.accuracy == pytest.approx(1 / 3)
        assert (record.scores.fdr, record.scores.nmi) == (None, {})
        page = (checkout / "leaderboards" / "attribution.md").read_text()
        line = next(line for line in page.splitlines() if line.startswith("| `secret`"))
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert cells[5:8] == ["-", "-", "-"]
        assert cells[-1] == "1 seed, predictions only, not re-run"
        code, out, _ = command("validate")
        assert code == 0, out
        assert "none can be run again" in command("validate", "--rerun")[1]
        assert command("evaluate", "leaderboards/results/tiny/clean/secret/1")[0] == 0

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda ids: ids[1:], "1 is missing, the first is {0}"),
            (lambda ids: ids[[0, *range(len(ids))]], "1 is there twice, the first is {0}"),
            (lambda ids: ids[[1, 0, *range(2, len(ids))]], "image {1} stands where {0} is expected"),
            (lambda ids: np.array([*ids, "stranger"]), "1 is not among them, the first is stranger"),
        ],
    )
    def test_ids_that_are_not_the_test_images(self, tmp_path: Path, ids: np.ndarray, change, words: str) -> None:  # type: ignore[no-untyped-def]
        """Missing, doubled, swapped or unknown: refused by name."""
        path = self.write(tmp_path / "p.parquet", change(ids))
        with pytest.raises(RecordError) as error:
            read_submission(path, ids, SOURCES)
        assert words.format(*ids) in str(error.value)

    @pytest.mark.parametrize(
        ("columns", "words"),
        [
            ({"noisy": 0.5}, "does not sum to 1"),
            ({"noisy": -1.0}, "is not finite or below 0"),
            ({"noisy": np.nan}, "is not finite or below 0"),
            ({"label": 1.0}, "has an unknown column 'label'"),
        ],
    )
    def test_what_is_no_probability(self, tmp_path: Path, ids: np.ndarray, columns: dict, words: str) -> None:
        """The image or the column is named."""
        filled = {name: np.full(len(ids), value, np.float32) for name, value in columns.items()}
        with pytest.raises(RecordError) as error:
            read_submission(self.write(tmp_path / "p.parquet", ids, **filled), ids, SOURCES)
        assert words in str(error.value)

    def test_a_method_with_code_is_run(self, command, checkout: Path, ids: np.ndarray) -> None:  # type: ignore[no-untyped-def]
        """Nobody hands in predictions of a baseline."""
        path = self.write(checkout / "p.parquet", ids)
        code, _, err = command("submit", "durall20", "--predictions", str(path), "--dataset", "tiny")
        assert code == 2
        assert "durall20 has code, so it is run" in err


class TestDoctor:
    """`gmbench doctor`."""

    def test_it_says_what_a_bug_report_needs(self, command, only_tiny: None, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
        """Every fact is there, and the home folder is not."""

        def out_of_reach(*_: object, **named: float) -> None:
            assert named["timeout"] <= 5
            raise urllib.error.URLError("no route")

        monkeypatch.setattr("urllib.request.urlopen", out_of_reach)
        code, out, _ = command("doctor")
        assert code == 0
        facts = {line[:14].strip(): line[14:] for line in out.splitlines()}
        for name in ("gmbench", "Python", "platform", "packages", "device", "faiss", "cache", "data", "dataset tiny"):
            assert facts[name].strip()
        assert "out of reach: no route" in facts["Hub"]
        assert "embedded" in facts["dataset tiny"]
        assert str(Path.home()) not in out
