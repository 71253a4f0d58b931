"""Runs leave records that say what their predictions say; leaderboards are rebuilt from them and notice tampering."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet as parquet
import pytest
from made_methods import CODE, write_method

import gmbench.data.cards
import gmbench.leaderboard.pages
import gmbench.records.integrity
import gmbench.runs.runner
from conftest import make_card, use_catalogue
from gmbench.errors import CannotRunError, MethodError, OutputError, ParameterError, RecordError
from gmbench.evaluators.accuracy import attribution_accuracy
from gmbench.leaderboard.pages import write_pages
from gmbench.manifold.encoders import Encoder
from gmbench.records.rows import read_entries
from gmbench.records.store import all_records, read_predictions, read_record
from gmbench.registry import Length, find_method
from gmbench.runs.runner import Outcome, Run, perform
from gmbench.support.cache import Cache
from gmbench.support.files import sha256_file
from gmbench.support.progress import Progress


@pytest.fixture(autouse=True)
def _small_dataset(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The small dataset is where embedded datasets are, and the others are not."""
    use_catalogue(monkeypatch, tiny_folder.parent)
    monkeypatch.setattr(gmbench.leaderboard.pages, "registered_cards", dict)


def run(results: Path, method: str = "durall20", **asked) -> Outcome:  # type: ignore[no-untyped-def]
    """A run on the small dataset."""
    return perform(Run(find_method(method), make_card(), **asked), results, Progress())


@pytest.fixture(scope="module")
def committed(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A leaderboard folder with records of two methods, two settings, two seeds: do not change it, copy it."""
    folder = tmp_path_factory.mktemp("leaderboards")
    cache = Cache(tmp_path_factory.mktemp("cache"))
    with pytest.MonkeyPatch.context() as patch:
        use_catalogue(patch, tiny_folder.parent)
        for method in ("durall20", "mccloskey18"):
            for setting in ("clean", "few-shot-10"):
                for seed in (0, 1):
                    asked = Run(find_method(method), make_card(), setting, seed)
                    perform(asked, folder / "results", Progress(), cache)
    return folder


@pytest.fixture
def board(committed: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(committed, tmp_path / "leaderboards"))


def edit(path: Path, *keys: str, value: object) -> None:
    """Changes one field of a record on disk."""
    content = json.loads(path.read_text())
    inner = content
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    path.write_text(json.dumps(content))


class TestRuns:
    """One run, one record."""

    def test_scores_follow_from_the_predictions(self, tmp_path: Path) -> None:
        """The record's accuracy is that of the stored probabilities against the stored labels of all test images."""
        outcome = run(tmp_path)
        record = read_record(outcome.folder)
        ids, labels, probabilities = read_predictions(outcome.folder, record.identity.sources)
        assert len(ids) == len(set(ids)) == record.images["test"] == 36
        assert record.scores.accuracy == attribution_accuracy(probabilities, labels, record.identity.sources)
        assert record.scores.accuracy.accuracy > 0.8
        assert record == outcome.record

    def test_the_record_says_how_to_run_it_again(self, tmp_path: Path) -> None:
        """Parameters, digests, versions, seed, hardware and the command are in it."""
        record = run(tmp_path, given={"C": "2"}, setting="few-shot-10", seed=3).record
        assert record.identity.given == {"C": 2.0}
        assert record.identity.parameters["gamma"] == 0.86
        assert len(record.identity.method_sha256) == len(record.identity.harness_sha256) == 64
        assert record.identity.packages["torch"]
        assert record.environment.hardware
        assert record.seconds["fit"] >= 0
        assert record.command == (
            "gmbench run --method durall20 --dataset tiny --setting few-shot-10 --seed 3 --set C=2.0 --device cpu"
        )

    def test_precision_is_part_of_a_run(self, tmp_path: Path) -> None:
        """A run in mixed precision has a record, a row and a command of its own."""
        single, mixed = run(tmp_path).record, run(tmp_path, precision="bf16-mixed").record
        assert (single.identity.entry, mixed.identity.entry) == ("durall20", "durall20+precision=bf16-mixed")
        assert mixed.command == f"{single.command} --precision bf16-mixed"
        assert len(list(all_records(tmp_path))) == 2

    def test_a_record_says_whether_its_training_is_known_to_be_long_enough(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """By the card's checks, of these very parameters; of what is not trained by epochs there is nothing to say."""
        figures = {"gm-garments": (90.0, 90.0), "gm-photos": (90.0, 90.0)}
        checked = Length(method="manifpt-sl", parameters={"epochs": 1, "encoder": "own"}, val_accuracy=figures)
        method = find_method("manifpt-sl")
        method = replace(method, card=method.card.model_copy(update={"lengths": [checked]}))
        monkeypatch.setattr(gmbench.runs.runner, "_encoder_of", lambda dataset: lambda *which: Encoder().eval())
        for more, converged in (({}, True), ({"head": "linear"}, False)):
            asked = Run(method, make_card(), given={"epochs": "1", "encoder": "own", **more})
            assert perform(asked, tmp_path, Progress()).record.converged is converged
        assert run(tmp_path, "durall20").record.converged is None

    def test_the_same_run_again_is_the_record_that_is_there(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nothing is fitted a second time, and the file is not touched."""
        first = run(tmp_path)
        before = (first.folder / "record.json").stat().st_mtime_ns
        monkeypatch.setattr(gmbench.runs.runner, "_measure", lambda *_: pytest.fail("ran again"))
        second = run(tmp_path)
        assert second.was_there
        assert second.record == first.record
        assert (first.folder / "record.json").stat().st_mtime_ns == before

    @pytest.mark.parametrize("change", [{"seed": 1}, {"setting": "few-shot-10"}, {"given": {"C": "3"}}])
    def test_another_run_has_another_record(self, tmp_path: Path, change: dict) -> None:
        """Repetition, setting and changed parameters each have a place of their own."""
        assert run(tmp_path).folder != run(tmp_path, **change).folder
        assert len(list(all_records(tmp_path))) == 2

    def test_a_default_given_by_hand_is_the_default(self, tmp_path: Path) -> None:
        """Saying what is usual is not a change."""
        run(tmp_path)
        assert run(tmp_path, given={"C": "6.37"}).was_there

    def test_changed_code_is_run_again(self, tmp_path: Path) -> None:
        """A record of a method's earlier code is not taken for its present one."""
        method = write_method(tmp_path / "changing")
        assert not run(tmp_path / "results", str(method)).was_there
        (method / "__init__.py").write_text(CODE + "\nCHANGED = True\n")
        said: list[str] = []
        progress = Progress()
        progress.say = said.append  # type: ignore[method-assign]
        asked = Run(find_method(str(method)), make_card())
        assert not perform(asked, tmp_path / "results", progress).was_there
        assert "is of another method_sha256; it will be replaced" in said[0]
        assert run(tmp_path / "results", str(method)).was_there
        assert str(method) in run(tmp_path / "results", str(method)).record.command

    def test_the_same_seed_gives_the_same_predictions(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Twice, in different places with different caches, byte for byte."""
        outcomes = []
        for name in ("one", "two"):
            monkeypatch.setenv("GMBENCH_CACHE", str(tmp_path / name / "cache"))
            outcomes.append(run(tmp_path / name, "manifpt-rgb", setting="few-shot-10", given={"epochs": "1"}))
        first, second = (outcome.record for outcome in outcomes)
        assert first.predictions_sha256 == second.predictions_sha256
        assert first.scores == second.scores

    def test_an_interrupted_run_resumes(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Stopped after one epoch, it leaves no record; started again, it goes on and ends as one in one go."""
        import gmbench.learning.training

        asked = {"method": "manifpt-freq", "setting": "few-shot-10", "given": {"epochs": "2"}}
        monkeypatch.setenv("GMBENCH_CACHE", str(tmp_path / "cache-whole"))
        whole = run(tmp_path / "whole", **asked)
        monkeypatch.setenv("GMBENCH_CACHE", str(tmp_path / "cache"))
        validate, epochs = gmbench.learning.training._validate, []

        def stop_in_the_second(*arguments):  # type: ignore[no-untyped-def]
            epochs.append(1)
            if len(epochs) == 2:
                raise KeyboardInterrupt
            return validate(*arguments)

        monkeypatch.setattr(gmbench.learning.training, "_validate", stop_in_the_second)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "stopped", **asked)
        assert not list((tmp_path / "stopped").rglob("*.json"))
        resumed = run(tmp_path / "stopped", **asked)
        assert len(epochs) == 3
        assert resumed.record.predictions_sha256 == whole.record.predictions_sha256
        assert resumed.record.training["val_accuracy"] == whole.record.training["val_accuracy"]

    def test_methods_never_see_test_labels(self, tmp_path: Path) -> None:
        """Labels come with train and val, not with what the method is asked about."""
        asked = "    def predict_proba(self, images):\n"
        fitted = "        self.sources_ ="
        code = CODE.replace(asked, f"{asked}        assert images.labels is None\n")
        code = code.replace(fitted, f"        assert train.labels is not None\n{fitted}", 1)
        code = code.replace(
            "    def embed(self, images):\n", "    def embed(self, images):\n        assert images.labels is None\n"
        )
        run(tmp_path / "results", str(write_method(tmp_path / "curious", code)))

    @pytest.mark.parametrize(
        ("right", "wrong", "message"),
        [
            ("1 / self.sources_", "0.5 / self.sources_", "rows that sum to 1"),
            ("(len(images), self.sources_)", "(3, 3)", r"predict_proba must return shape \(36, 3\), got \(3, 3\)"),
            ("astype(np.float32)", "astype(np.float32) * np.nan", "embed must return finite"),
            ("astype(np.float32)", "astype(np.float32) * 0", "embed: FDR needs features that vary"),
        ],
    )
    def test_a_method_that_breaks_the_contract_leaves_no_record(
        self, tmp_path: Path, right: str, wrong: str, message: str
    ) -> None:
        """The error names what must be returned."""
        folder = write_method(tmp_path / "breach", CODE.replace(right, wrong))
        with pytest.raises(MethodError, match=message):
            run(tmp_path / "results", str(folder))
        assert not list((tmp_path / "results").rglob("*.json"))

    def test_a_method_may_skip_with_a_reason(self, tmp_path: Path) -> None:
        """What it says is what the user reads."""
        code = CODE + "\n    def skip(self, dataset):\n        return 'images are too small'\n"
        with pytest.raises(CannotRunError, match="skipper cannot run on tiny: images are too small"):
            run(tmp_path / "results", str(write_method(tmp_path / "skipper", code)))

    def test_a_place_that_cannot_be_written_to(self, tmp_path: Path) -> None:
        """Found out before anything long begins."""
        (tmp_path / "file").write_text("")
        with pytest.raises(OutputError, match="cannot write to"):
            run(tmp_path / "file" / "results")

    def test_a_parameter_that_does_not_exist(self, tmp_path: Path) -> None:
        """Found out before anything is loaded."""
        with pytest.raises(ParameterError, match="no parameter of durall20 named 'c'"):
            run(tmp_path, given={"c": "1"})


class TestLeaderboard:
    """Pages from records."""

    def test_the_pages_have_every_entry_and_are_the_same_every_time(self, board: Path) -> None:
        """Byte for byte, and no matter where the folder is."""
        pages = write_pages(board / "results", board)
        first = [page.read_bytes() for page in pages]
        write_pages(board / "results", board)
        assert [page.read_bytes() for page in pages] == first
        text = (board / "attribution.md").read_text(encoding="utf-8")
        for part in (
            "## Setting `clean`",
            "## Setting `few-shot-10`",
            "`durall20`",
            "`mccloskey18`",
            "chance is 33.3 %",
        ):
            assert part in text
        assert all(str(board).encode() not in page for page in first)

    def test_entries_average_over_seeds(self, board: Path) -> None:
        """Accuracy, recall and interval of an entry are those of its records."""
        entries = read_entries(board / "results")
        assert len(entries) == 4
        for entry in entries:
            assert [record.identity.seed for record in entry.records] == [0, 1]
            assert entry.correct.shape == (2, 36)
            assert entry.accuracies.mean() == pytest.approx(entry.correct.mean())
            assert entry.interval[0] <= entry.correct.mean() <= entry.interval[1]
            assert np.mean(list(entry.recall.values())) == pytest.approx(entry.correct.mean())

    def test_few_shot_is_harder(self, board: Path) -> None:
        """Ten images per source teach less than forty-two."""
        accuracy = {(e.name, e.setting): e.accuracies.mean() for e in read_entries(board / "results")}
        assert accuracy["mccloskey18", "few-shot-10"] < accuracy["mccloskey18", "clean"]

    def test_without_a_folder_its_rows_are_gone_and_nothing_else(self, board: Path) -> None:
        """A row is its records; nothing is left of the method."""
        for path in (board / "results").glob("*/*/mccloskey18"):
            shutil.rmtree(path)
        write_pages(board / "results", board)
        lines = (board / "attribution.md").read_text().splitlines()
        assert not any("mccloskey18" in line for line in lines)
        assert any(line.startswith("| `durall20`") for line in lines)


class TestTampering:
    """What does not fit together is named by file and field, and no page is written."""

    RECORD = Path("results/tiny/clean/durall20/0/record.json")

    def refused(self, board: Path, *words: str) -> None:
        """Pages cannot be written, and the message has these words."""
        with pytest.raises(RecordError) as error:
            write_pages(board / "results", board)
        for word in words:
            assert word in str(error.value)
        assert not (board / "attribution.md").exists()

    def test_a_raised_score(self, board: Path) -> None:
        """The accuracy must follow from the predictions."""
        edit(board / self.RECORD, "scores", "accuracy", "accuracy", value=0.123)
        self.refused(board, str(self.RECORD), "scores.accuracy.accuracy", "0.123")

    def test_a_raised_recall(self, board: Path) -> None:
        """So must everything else that is printed."""
        edit(board / self.RECORD, "scores", "accuracy", "recall", "noisy", value=0.999)
        self.refused(board, str(self.RECORD), "scores.accuracy.recall")

    def rewrite(self, board: Path, change) -> None:  # type: ignore[no-untyped-def]
        """Changes the predictions and makes digest and scores fit, as a careful cheat would."""
        folder = board / self.RECORD.parent
        record = read_record(folder)
        table = change(parquet.read_table(folder / "predictions.parquet"))
        parquet.write_table(table, folder / "predictions.parquet")
        edit(board / self.RECORD, "predictions_sha256", value=sha256_file(folder / "predictions.parquet"))
        _, labels, probabilities = read_predictions(folder, record.identity.sources)
        accuracy = attribution_accuracy(probabilities, labels, record.identity.sources)
        edit(board / self.RECORD, "scores", "accuracy", value=accuracy.model_dump())

    def test_labels_that_fit_the_predictions(self, board: Path) -> None:
        """Labels are the dataset's."""

        def relabel(table: pyarrow.Table) -> pyarrow.Table:
            sources = read_record(board / self.RECORD.parent).identity.sources
            best = np.stack([table[source].to_numpy() for source in sources]).argmax(axis=0)
            wrong = np.roll(best, 1)
            return table.set_column(1, "label", pyarrow.array([sources[j] for j in wrong]))

        self.rewrite(board, relabel)
        self.refused(board, str(self.RECORD), "labels are not those of", "'label'")

    @pytest.mark.parametrize("case", ["missing", "twice", "swapped"])
    def test_other_test_images(self, board: Path, case: str) -> None:
        """All test images, once each, under their own ids."""

        def change(table: pyarrow.Table) -> pyarrow.Table:
            if case == "missing":
                return table.slice(1)
            if case == "twice":
                return pyarrow.concat_tables([table.slice(0, 1), table])
            ids = table["id"].to_pylist()
            return table.set_column(0, "id", pyarrow.array([ids[1], ids[0], *ids[2:]]))

        self.rewrite(board, change)
        self.refused(board, str(self.RECORD), "test images are not those of", "'id'")

    def test_an_embedded_dataset_says_which_images_and_revision(
        self, board: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Even if all records agree with each other, they must be about the dataset that is there."""
        use_catalogue(monkeypatch, cards={"tiny": make_card()})
        assert len(read_entries(board / "results")) == 4
        for path in (board / "results").rglob("record.json"):
            edit(path, "identity", "dataset_revision", value="f" * 40)
        self.refused(board, "is of revision ffffffffffff of tiny", "identity.dataset_revision")

    @pytest.mark.parametrize(
        ("field", "value"), [("method_sha256", "0" * 64), ("parameters", {"C": 1.0}), ("harness_sha256", "0" * 64)]
    )
    def test_seeds_of_different_things_are_not_averaged(self, board: Path, field: str, value: object) -> None:
        """One row is one method with one set of parameters, run by one harness."""
        edit(board / self.RECORD, "identity", field, value=value)
        self.refused(board, f"identity.{field}")

    def test_other_predictions(self, board: Path) -> None:
        """The predictions file is the one that the record was written with."""
        path = board / self.RECORD.with_name("predictions.parquet")
        table = parquet.read_table(path)
        parquet.write_table(table.slice(1), path)
        self.refused(board, "predictions.parquet", "predictions_sha256")

    def test_another_revision(self, board: Path) -> None:
        """Rows of one table are about the same images."""
        edit(board / self.RECORD, "identity", "dataset_revision", value="f" * 40)
        self.refused(board, str(self.RECORD), "identity.dataset_revision")

    def test_another_place(self, board: Path) -> None:
        """A record lies where its identity says."""
        shutil.copytree(board / self.RECORD.parent, board / "results/tiny/clean/better/0")
        self.refused(board, "better/0/record.json", "tiny/clean/durall20/0", "identity")

    def test_a_newer_schema(self, board: Path) -> None:
        """An older gmbench says that it is too old, and touches nothing."""
        edit(board / self.RECORD, "schema_version", value=99)
        before = (board / self.RECORD).read_bytes()
        self.refused(board, str(self.RECORD), "schema 99", "Update gmbench")
        assert (board / self.RECORD).read_bytes() == before

    @pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"schema_version": "1"}'])
    def test_a_damaged_record(self, board: Path, text: str) -> None:
        """What is not a record is called damaged."""
        (board / self.RECORD).write_text(text)
        self.refused(board, str(self.RECORD), "is damaged")

    def test_a_field_too_many(self, board: Path) -> None:
        """The schema is strict, and the field is named."""
        edit(board / self.RECORD, "note", value="best ever")
        self.refused(board, str(self.RECORD), "'note'")

    def test_missing_predictions(self, board: Path) -> None:
        """A score without predictions is no record."""
        (board / self.RECORD.with_name("predictions.parquet")).unlink()
        self.refused(board, "predictions.parquet is missing")

    def test_a_run_does_not_overwrite_what_it_cannot_read(self, board: Path) -> None:
        """A damaged or newer record in the way is left for the user to decide."""
        edit(board / self.RECORD, "schema_version", value=99)
        with pytest.raises(RecordError, match="schema 99"):
            run(board / "results")
        assert json.loads((board / self.RECORD).read_text())["schema_version"] == 99
