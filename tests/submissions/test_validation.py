"""`gmbench validate`: an honest record is ok; whatever is not as it says is named by file and field."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet as parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import gmbench.data.cards
import gmbench.runs.reproduce
from conftest import make_card, use_catalogue, write_dataset
from gmbench.api import read_records
from gmbench.cli.printing import print_validated
from gmbench.errors import RecordError
from gmbench.records.command import cell_of
from gmbench.records.rows import read_entries
from gmbench.records.store import read_predictions, read_record
from gmbench.registry import find_method
from gmbench.runs.reproduce import choose, compared, of_features
from gmbench.runs.runner import Run, perform
from gmbench.submissions.validate import Validated, validate
from gmbench.support.cache import Cache
from gmbench.support.files import sha256_file
from gmbench.support.progress import Progress

pytestmark = pytest.mark.usefixtures("only_tiny")


@pytest.fixture(scope="module")
def honest(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records of a method, two seeds: do not change them, copy them."""
    home = tmp_path_factory.mktemp("honest")
    with pytest.MonkeyPatch.context() as patch:
        use_catalogue(patch, tiny_folder.parent)
        for seed in (0, 1):
            asked = Run(find_method("mccloskey18"), make_card(), "clean", seed)
            perform(asked, home / "results", Progress(), Cache(home / "cache"))
    return home / "results"


@pytest.fixture
def results(honest: Path, tmp_path: Path) -> Path:
    """Records that a test may change."""
    return Path(shutil.copytree(honest, tmp_path / "results"))


@pytest.fixture(scope="module")
def honest_once(honest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records that a property test changes and puts back."""
    return Path(shutil.copytree(honest, tmp_path_factory.mktemp("once") / "results"))


@pytest.fixture
def folder(results: Path) -> Path:
    """The folder of one record."""
    return results / "tiny" / "clean" / "mccloskey18" / "0"


def edit(folder: Path, *keys: str, value: object) -> None:
    """Changes one value of a record by hand."""
    path = folder / "record.json"
    content = place = json.loads(path.read_text())
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    path.write_text(json.dumps(content))


def wrong(folder: Path) -> str:
    """What is wrong with a record, alone, in one text."""
    (of_record,) = validate([folder])
    return " ".join(of_record.problems)


def test_honest_records_are_ok(command, results: Path) -> None:  # type: ignore[no-untyped-def]
    """Exit code 0, a line for each; `--json` has the same."""
    code, out, _ = command("validate", str(results))
    assert code == 0
    assert out.count("ok  ") == 2
    assert "2 records, 0 wrong" in out
    code, out, _ = command("validate", str(results), "--json")
    assert code == 0
    assert [of_record["problems"] for of_record in json.loads(out)["records"]] == [[], []]


def test_many_records_have_a_line_per_row(capsys: pytest.CaptureFixture[str]) -> None:
    """Those of which there is nothing to say are counted; the others have their lines, and are counted too."""
    quiet = [Validated(folder=f"r/a/{row}/{i}", problems=[], warnings=[]) for row in ("x", "y") for i in range(15)]
    wrong = Validated(folder="r/a/y/15", problems=["it is wrong"], warnings=[])
    warned = Validated(folder="r/a/z/0", problems=[], warnings=["it is old"])
    print_validated(Console(), [*quiet, wrong, warned])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("32 records, 1 wrong, 1 with warnings")
    assert lines[1:5] == ["WRONG  r/a/y/15", "  it is wrong", "ok  r/a/z/0", "  warning: it is old"]
    assert lines[5:] == ["ok  r/a/x: 15", "ok  r/a/y: 15"]


@pytest.mark.parametrize(
    ("keys", "value", "field"),
    [
        (("scores", "accuracy", "accuracy"), 0.99, "scores.accuracy.accuracy"),
        (("scores", "detection", "auroc"), 0.999, "scores.detection.auroc"),
        (("scores", "calibration", "ece"), 0.0, "scores.calibration.ece"),
        (("scores", "fdr"), None, "predictions_only"),
        (("identity", "dataset_revision"), "f" * 40, "identity.dataset_revision"),
        (("identity", "roles_sha256"), "f" * 64, "identity.roles_sha256"),
        (("identity", "random_state"), 5, "identity.random_state"),
        (("identity", "parameters"), {"C": 3.0}, "identity.parameters"),
        (("identity", "setting"), "laundered", "'identity'"),
        (("command",), "gmbench run --method durall20 --dataset tiny --setting clean --seed 0", "'command'"),
        (("command",), "rm -r --force /", "'command'"),
        (("predictions_only",), True, "predictions_only"),
        (("predictions_sha256",), "0" * 64, "predictions_sha256"),
        (("schema_version",), 99, "schema 99"),
        (("more",), 1, "'more'"),
    ],
)
def test_what_was_changed_by_hand_is_named(folder: Path, keys: tuple[str, ...], value: object, field: str) -> None:
    """A raised score, another revision, other roles, a command of something else: file and field."""
    edit(folder, *keys, value=value)
    assert field in wrong(folder)
    assert str(folder) in wrong(folder)


def test_one_wrong_record_does_not_hide_the_others(command, results: Path, folder: Path) -> None:  # type: ignore[no-untyped-def]
    """Exit code 1, and the other one is still ok."""
    edit(folder, "scores", "accuracy", "accuracy", value=0.99)
    code, out, _ = command("validate", str(results))
    assert code == 1
    assert "2 records, 1 wrong" in out
    assert out.count("ok  ") == 1


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("missing", "1 is missing, the first is {0}"),
        ("doubled", "1 is there twice, the first is {0}"),
        ("swapped", "image {1} stands where {0} is expected"),
        ("stranger", "1 is missing, the first is {0}"),
        ("relabelled", "labels are not those of dataset tiny: 1 differ, the first is image {0}"),
    ],
)
def test_test_images_are_named(folder: Path, case: str, words: str) -> None:
    """An id that is swapped, missing, doubled or unknown, or a wrong label, in predictions whose sha256 fits."""
    path = folder / "predictions.parquet"
    table = parquet.read_table(path)
    ids, labels = table["id"].to_pylist(), table["label"].to_pylist()
    named = words.format(*ids)
    if case == "missing":
        table = table.slice(1)
    elif case == "doubled":
        table = pyarrow.concat_tables([table.slice(0, 1), table])
    elif case == "relabelled":
        other = "noisy" if labels[0] != "noisy" else "real"
        table = table.set_column(1, "label", pyarrow.array([other, *labels[1:]]))
    else:
        changed = [ids[1], ids[0], *ids[2:]] if case == "swapped" else ["f" * 16, *ids[1:]]
        table = table.set_column(0, "id", pyarrow.array(changed))
    parquet.write_table(table, path)
    edit(folder, "predictions_sha256", value=sha256_file(path))
    assert named in wrong(folder)


def test_the_summary_comes_first(command, results: Path, folder: Path) -> None:  # type: ignore[no-untyped-def]
    """How many are wrong is the first line; `--quiet` shows nothing else but these."""
    right = folder.parent / ("1" if folder.name == "0" else "0")
    edit(folder, "identity", "random_state", value=5)
    for options, shown in (((), True), (("--quiet",), False)):
        code, out, _ = command("validate", str(folder.parent), *options)
        lines = out.splitlines()
        assert (code, lines[0].partition(",")[0]) == (1, "2 records")
        assert any(line.startswith("WRONG") and line.endswith(folder.name) for line in lines)
        assert any(line.startswith("ok") and line.endswith(right.name) for line in lines) == shown


def test_seeds_of_different_code_do_not_share_a_row(results: Path, folder: Path) -> None:
    """Old records stay valid history, but only among themselves."""
    edit(folder, "identity", "method_sha256", value="0" * 64)
    assert wrong(folder) == ""
    assert "identity.method_sha256" in " ".join(p for of_record in validate([results]) for p in of_record.problems)


@pytest.mark.parametrize("keys", [("method_sha256",), ("harness_sha256",), ("evaluators_sha256", "nmi")])
def test_code_that_changed_since_is_a_warning_that_says_what_to_run(folder: Path, keys: tuple[str, ...]) -> None:
    """The record is still true of its own code."""
    edit(folder, "identity", *keys, value="0" * 64)
    (of_record,) = validate([folder])
    assert of_record.ok
    assert any(
        "Run again: gmbench run --method mccloskey18 --dataset tiny --setting clean --seed 0 --device cpu" in warning
        for warning in of_record.warnings
    )


def test_code_of_what_is_computed_anew_does_not_matter(results: Path, folder: Path) -> None:
    """Scores that follow from predictions are compared with those of the code that is here; FDR's code must be one."""
    edit(folder, "identity", "evaluators_sha256", "accuracy", value="0" * 64)
    assert all(of_record.ok for of_record in validate([results]))
    assert "the code of" not in " ".join(warning for of_record in validate([results]) for warning in of_record.warnings)
    edit(folder, "identity", "evaluators_sha256", "fdr", value="0" * 64)
    said = " ".join(problem for of_record in validate([results]) for problem in of_record.problems)
    assert "field 'identity.evaluators_sha256.fdr'" in said


@pytest.mark.parametrize(("field", "value"), [("git_commit", None), ("git_dirty", True)])
def test_code_that_nobody_can_get_is_a_warning(folder: Path, field: str, value: object) -> None:
    """No commit, or a dirty tree."""
    edit(folder, "environment", "git_commit", value="a" * 40)
    edit(folder, "environment", field, value=value)
    (of_record,) = validate([folder])
    assert of_record.ok
    assert any(f"environment.{field}" in warning for warning in of_record.warnings)


def test_a_path_without_records(command, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """One line."""
    code, _, err = command("validate", str(tmp_path))
    assert code == 2
    assert "no record at" in err


def test_a_command_says_which_cell_it_is_of() -> None:
    """Of a run with changed parameters by path, and of transfer."""
    command = "gmbench run --method ../my_method --dataset d --setting clean --seed 1 --set 'a=b c' --device cpu"
    assert cell_of(command) == {
        "method": "my-method", "dataset": "d", "setting": "clean", "seed": "1", "set": {"a": "b c"}, "device": "cpu",
        "precision": "32-true",
    }  # fmt: skip
    moved = cell_of("gmbench transfer --method m --train one --test two --seed 0 --device cpu")
    assert (moved["dataset"], moved["setting"]) == ("one", "to-two")


class TestRerun:
    """`--rerun`."""

    def test_an_honest_record_is_made_again(self, command, folder: Path) -> None:  # type: ignore[no-untyped-def]
        """The same predictions come out."""
        code, out, _ = command("validate", str(folder), "--rerun", "--device", "cpu")
        assert code == 0
        assert "the same source for 100.0% of the test images" in out

    def test_predictions_that_the_code_does_not_give(  # type: ignore[no-untyped-def]
        self, command, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """All right where the code is not: every check of the record alone passes, the run does not.

        There are too few test images here for a small p, so the level is raised.
        """
        monkeypatch.setattr(gmbench.runs.reproduce, "LEVEL", 1.01)
        from gmbench.records.scoring import score_predictions

        path, sources = folder / "predictions.parquet", read_record(folder).identity.sources
        table = parquet.read_table(path)
        for j, source in enumerate(sources):
            column = pyarrow.array([float(label == source) for label in table["label"].to_pylist()], pyarrow.float32())
            table = table.set_column(2 + j, source, column)
        parquet.write_table(table, path)
        edit(folder, "predictions_sha256", value=sha256_file(path))
        _, labels, probabilities = read_predictions(folder, sources)
        for name, score in score_predictions(probabilities, labels, sources).items():
            edit(folder, "scores", name, value=score.model_dump())
        assert wrong(folder) == ""
        code, out, _ = command("validate", str(folder), "--rerun", "--device", "cpu")
        assert code == 1
        assert "the record says 100.0%" in out
        assert "the code does not give this record" in out

    def test_noise_of_another_machine_is_no_fraud(self, folder: Path) -> None:
        """Two images won and one lost prove nothing; twenty won and none lost do."""
        import numpy as np

        record = read_record(folder)
        labels = np.zeros(100, int)
        right = np.eye(3)[labels]

        def answers(*wrong_rows: int) -> np.ndarray:
            found = right.copy()
            found[list(wrong_rows)] = np.eye(3)[1]
            return found

        claimed = record.model_copy(
            update={
                "scores": record.scores.model_copy(
                    update={"accuracy": record.scores.accuracy.model_copy(update={"accuracy": 0.99})}
                )
            }
        )
        assert compared(folder, claimed, labels, answers(0), answers(1, 2)).holds
        assert not compared(folder, claimed, labels, answers(), answers(*range(20))).holds

    def test_predictions_alone_cannot_be_run_again(self, folder: Path) -> None:
        """Then there is nothing to choose from."""
        edit(folder, "predictions_only", value=True)
        assert choose([folder]) is None

    @pytest.mark.parametrize(
        ("group", "change", "words"),
        [
            ("fdr", lambda fdr: fdr | {name: 9 * fdr[name] for name in ("ratio", "between", "sd")}, "FDR"),
            ("fdr", lambda fdr: fdr | {"d": 3}, "FDR"),
            ("nmi", lambda _: {"loss": {"values": 2, "nmi": 0.9, "nmi_arithmetic": 0.9, "ami": 0.9, "null": 0}}, "NMI"),
        ],
    )
    def test_scores_of_features_are_compared_too(self, folder: Path, group: str, change, words: str) -> None:  # type: ignore[no-untyped-def]
        """An FDR many times the run's, one of other features, an NMI that the run does not have: each is named."""
        found = read_record(folder).scores
        claimed = type(found)(**{**found.model_dump(), group: change(found.model_dump()[group])})
        (problem,) = of_features(claimed, found)
        assert problem.startswith(words)
        assert of_features(found, found) == ()


class TestOnePlace:
    """Records that lie elsewhere are an error to every command that searches for records."""

    @pytest.mark.parametrize("place", ["x/tiny", "."])
    def test_too_deep_or_too_high(self, command, results: Path, place: str) -> None:  # type: ignore[no-untyped-def]
        """Both for `validate` and for the pages, which name it."""
        moved = results / place
        if place == ".":
            (results / "tiny" / "clean").rename(results / "clean")
            (results / "tiny").rmdir()
        else:
            moved.parent.mkdir()
            (results / "tiny").rename(moved)
        assert command("validate", str(results))[0] == 1
        assert not any(of_record.ok for of_record in validate([results]))
        for asked in (("leaderboard", "--results", str(results)),):
            code, _, err = command(*asked)
            assert (code, err.count("\n")) == (2, 1)
            assert "is the record of tiny/clean/mccloskey18/0 (field 'identity'). Move it there." in err
        with pytest.raises(RecordError, match="is the record of"):
            read_records(results)

    def test_behind_a_link(self, results: Path, tmp_path: Path) -> None:
        """It is refused by all alike, also where the link leads to itself."""
        (tmp_path / "elsewhere").mkdir()
        (results / "tiny").rename(tmp_path / "elsewhere" / "tiny")
        (results / "tiny").symlink_to(tmp_path / "elsewhere" / "tiny")
        (tmp_path / "elsewhere" / "tiny" / "again").symlink_to(tmp_path / "elsewhere" / "tiny")
        for ask in (lambda: validate([results]), lambda: read_records(results)):
            with pytest.raises(RecordError, match=r"tiny is a link"):
                ask()

    def test_the_folder_around_results_may_be_asked_for(self, results: Path) -> None:
        """And any folder in it."""
        for asked in (results.parent, results, results / "tiny", results / "tiny" / "clean" / "mccloskey18" / "0"):
            assert all(of_record.ok for of_record in validate([asked]))

    def test_a_damaged_record_hides_no_other(self, results: Path, folder: Path) -> None:
        """Where others are asked for."""
        (folder.parents[1] / "other" / "0").mkdir(parents=True)
        (folder.parents[1] / "other" / "0" / "record.json").write_text("{")
        assert len(read_records(results, dataset="tiny", setting="clean", method="mccloskey18")) == 2
        with pytest.raises(RecordError, match="is damaged"):
            read_records(results)

    def test_seeds_of_two_revisions(self, results: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of a dataset that is not embedded, `validate` and `compare` say the same."""
        monkeypatch.setattr("gmbench.records.integrity._embedded", lambda dataset: None)
        edit(folder, "identity", "dataset_revision", value="f" * 40)
        said = [" ".join(of_record.problems) for of_record in validate([results])]
        assert any("is of revision" in text and "field 'identity.dataset_revision'" in text for text in said)
        with pytest.raises(RecordError, match="is of revision"):
            read_entries(results)


FIGURES = st.sampled_from(
    [("accuracy", "accuracy"), ("accuracy", "low"), ("accuracy", "macro_f1"), ("detection", "auroc"),
     ("detection", "average_precision"), ("calibration", "ece"), ("calibration", "aurc"), ("fdr", "ratio"),
     ("fdr", "sd"), ("fdr", "between"), ("fdr", "within"), ("fdr", "n"), ("fdr", "d"), ("fdr", "halvings")]
)  # fmt: skip


@given(figure=FIGURES, value=st.one_of(st.floats(), st.integers(-100, 10**6), st.none(), st.text(max_size=3)))
def test_any_figure_of_a_valid_record_is_possible_and_follows(
    figure: tuple[str, str], value: object, honest_once: Path
) -> None:
    """Whatever is written into it: it is wrong, or the figure is that of the predictions, or one that FDR can have."""
    path = honest_once / "tiny" / "clean" / "mccloskey18" / "0" / "record.json"
    before = path.read_text()
    try:
        edit(path.parent, "scores", *figure, value=value)
        if wrong(path.parent):
            return
        scores = read_record(path.parent).scores
    finally:
        path.write_text(before)
    said = getattr(getattr(scores, figure[0]), figure[1])
    if figure[0] != "fdr":
        assert said == pytest.approx(json.loads(before)["scores"][figure[0]][figure[1]], abs=1e-8)
    assert scores.fdr is not None
    assert scores.fdr.contradiction is None
    assert scores.fdr.n == 6
    assert np.isfinite(said)
    assert said >= 0


def test_without_enough_images_there_is_no_fdr(command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    """It is said before the fit, with source and number; the record keeps all else and the reason, and is valid."""
    card = make_card(per_source=15)
    write_dataset(tmp_path / "embedded" / "tiny", card)
    use_catalogue(monkeypatch, tmp_path / "embedded", {"tiny": card})
    out = str(tmp_path / "results")
    code, said, err = command("run", "--method", "mccloskey18", "--dataset", "tiny", "--results", out)
    assert code == 0
    why = "FDR needs 4 test images of each source, real has 3, blurred has 3, noisy has 3"
    assert err.index(f"there will be no FDR: {why}.") < err.index("fitting")
    said = " ".join(said.split())
    assert why in said
    assert "average precision" in said
    assert "0.667 is chance" in said
    folder = tmp_path / "results" / "tiny" / "clean" / "mccloskey18" / "0"
    assert read_record(folder).scores.absent == {"fdr": why}
    assert not wrong(folder)
    for value in ({}, {"fdr": "no reason"}):
        edit(folder, "scores", "absent", value=value)
        assert "field 'scores.absent'" in wrong(folder)


@pytest.fixture(scope="module")
def two_methods(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records of two methods, in which there is chance: do not change them, copy them."""
    home = tmp_path_factory.mktemp("two")
    with pytest.MonkeyPatch.context() as patch:
        use_catalogue(patch, tiny_folder.parent, {"tiny": make_card()})
        for method in ("mccloskey18", "durall20"):
            perform(Run(find_method(method), make_card()), home / "results", Progress(), Cache(home / "cache"))
    return home / "results"


class TestCopies:
    """Predictions that are another record's."""

    def take(self, results: Path, of: str, for_: str, noise: float = 0.0) -> Path:
        """Puts one record's predictions, with a little noise, and their scores into another record."""
        from gmbench.records.scoring import score_predictions
        from gmbench.records.store import write_record

        source, target = results / "tiny" / of, results / "tiny" / for_
        record = read_record(target)
        ids, labels, probabilities = read_predictions(source, record.identity.sources)
        random = np.random.default_rng(0)
        probabilities = np.abs(probabilities + random.uniform(-noise, noise, probabilities.shape))
        probabilities = (probabilities / probabilities.sum(axis=1, keepdims=True)).astype(np.float32)
        scores = record.scores.model_copy(update=score_predictions(probabilities, labels, record.identity.sources))
        write_record(target, record.model_copy(update={"scores": scores}), ids, labels, probabilities)
        return target

    @pytest.mark.parametrize("noise", [0.0, 1e-4])
    def test_of_another_method(self, two_methods: Path, tmp_path: Path, noise: float) -> None:
        """Named, though the other record is not among those that are asked about; before it is a copy, it is fine."""
        results = Path(shutil.copytree(two_methods, tmp_path / "results"))
        assert all(of_record.ok for of_record in validate([results]))
        copy = self.take(results, "clean/mccloskey18/0", "clean/durall20/0", noise)
        (of_record,) = validate([copy])
        (problem,) = of_record.problems
        assert str(copy / "record.json") in problem
        assert "are those of" in problem
        assert "mccloskey18/0/record.json, which is of another method" in problem

    def test_of_another_seed(self, results: Path) -> None:
        """A warning: in some methods nothing is random."""
        self.take(results, "clean/mccloskey18/0", "clean/mccloskey18/1")
        for of_record in validate([results]):
            assert of_record.ok
            assert any("nothing is random, or a copy" in warning for warning in of_record.warnings)
