"""Matrices of runs, transfer between datasets, and scores computed anew, through the command line."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from made_methods import CODE, write_method

import gmbench.data.cards
import gmbench.learning.training
import gmbench.registry
import gmbench.runs.runner
from conftest import make_card, use_catalogue, write_dataset
from gmbench.data.cards import CARD as DATASET_CARD
from gmbench.data.cards import DatasetCard
from gmbench.data.importing.cards import card_toml
from gmbench.records.store import read_record
from gmbench.runs.sweep import BOARD, _gpu_of


@pytest.fixture(autouse=True)
def _two_datasets(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`tiny`, and `other` with the same sources, are the embedded datasets."""
    home = tmp_path / "embedded"
    home.mkdir()
    (home / "tiny").symlink_to(tiny_folder)
    cards: dict[str, DatasetCard] = {"tiny": make_card(), "other": make_card("other", per_source=40)}
    write_dataset(home / "other", cards["other"], first_seed=10)
    use_catalogue(monkeypatch, home, cards)


class TestSweep:
    """`gmbench sweep`."""

    def test_runs_the_missing_cells(self, command, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
        """Two methods, two datasets, transfer one way: the first sweep runs all, the second none."""
        out = str(tmp_path / "results")
        asked = ("sweep", "--methods", "mccloskey18,durall20", "--datasets", "tiny,other", "--results", out)
        code, printed, err = command(*asked, "--settings", "clean,to-other", "--seeds", "1")
        assert code == 0
        assert "6 run, 0 recorded before" in printed
        assert "1/6 mccloskey18 tiny clean 0: " in err
        assert len(list((tmp_path / "results").rglob("record.json"))) == 6
        assert "0 run, 6 recorded before" in command(*asked, "--settings", "clean,to-other", "--seeds", "1")[1]
        assert "4 run, 4 recorded before" in command(*asked, "--settings", "clean", "--seeds", "2")[1]

    def test_goes_on_past_a_cell_that_fails(  # type: ignore[no-untyped-def]
        self, command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A method with a bug is named at the end with its error, exit code 1; one that skips is no failure."""
        bug = write_method(
            tmp_path / "a" / "bug", CODE.replace("        self.sources_ =", "        1 / 0\n        self.sources_ =")
        )
        shy = write_method(
            tmp_path / "a" / "shy", CODE + "\n    def skip(self, dataset):\n        return 'too small'\n"
        )
        asked = (
            "sweep",
            "--datasets",
            "tiny",
            "--settings",
            "clean",
            "--seeds",
            "1",
            "--results",
            str(tmp_path / "results"),
        )
        code, printed, _ = command(*asked, "--methods", f"{bug},{shy},mccloskey18")
        assert code == 1
        assert "1 run, 0 recorded before" in printed
        assert "FAILED: bug tiny clean 0: ZeroDivisionError: division by zero" in printed
        assert "skipped: shy tiny clean 0: shy cannot run on tiny: too small" in printed

    def test_all_settings(self, command, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
        """By default, and asked for as `all`: the four that the leaderboard shows."""
        asked = ("sweep", "--methods", "mccloskey18", "--datasets", "tiny", "--seeds", "1", "--results", str(tmp_path))
        assert "4 run, 0 recorded before" in command(*asked)[1]
        assert "0 run, 4 recorded before" in command(*asked, "--settings", "all")[1]
        assert sorted(path.name for path in (tmp_path / "tiny").iterdir()) == sorted(BOARD)

    @pytest.mark.parametrize("option", ["--methods", "--datasets", "--settings"])
    def test_nothing_asked_for(self, command, tmp_path: Path, option: str) -> None:  # type: ignore[no-untyped-def]
        """An empty list is an error and not an empty matrix."""
        code, _, err = command("sweep", option, ",", "--results", str(tmp_path))
        assert code == 2
        assert f"{option}: expected names separated by commas, or all" in err

    def test_a_typo_is_found_before_anything_runs(self, command, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
        """Of a method, a dataset or a setting."""
        for option, value in (("--methods", "durall2"), ("--datasets", "tony"), ("--settings", "clean,to-nowhere")):
            code, printed, err = command("sweep", option, value, "--results", str(tmp_path))
            assert (code, printed) == (2, "")
            assert "Nearest" in err


class TestJobs:
    """`gmbench sweep --jobs`: several processes."""

    @pytest.fixture(autouse=True)
    def _mine(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """`mine`, an imported dataset, which other processes see too."""
        folder, card = (
            Path(os.environ["GMBENCH_DATA"]) / "mine",
            make_card("mine").model_copy(update={"embedded": False}),
        )
        write_dataset(folder, card)
        (folder / DATASET_CARD).write_text(card_toml(card))

    def test_the_same_records(self, command, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
        """Two processes leave what one leaves, share the cores, go past a failure, and find what was run before."""
        bug = write_method(tmp_path / "bug", CODE.replace("        self.sources_ =", "        1 / 0  #"))
        asked = ("sweep", "--methods", f"mccloskey18,durall20,{bug}", "--datasets", "mine", "--seeds", "1")
        asked += ("--settings", "clean,few-shot-10")
        code, printed, err = command(*asked, "--jobs", "2", "--results", str(tmp_path / "two"))
        assert code == 1
        assert "4 run, 0 recorded before" in printed
        assert "FAILED: bug mine clean 0: ZeroDivisionError" in printed
        assert "mccloskey18 mine clean 0: " in err
        assert command(*asked, "--results", str(tmp_path / "one"))[0] == 1
        records = sorted(path.relative_to(tmp_path / "two") for path in (tmp_path / "two").rglob("record.json"))
        assert len(records) == 4
        for path in records:
            one, two = (read_record((tmp_path / name / path).parent) for name in ("one", "two"))
            assert one.predictions_sha256 == two.predictions_sha256
            assert two.environment.threads == max(1, (os.cpu_count() or 1) // 2)
        assert "0 run, 4 recorded before" in command(*asked, "--jobs", "2", "--results", str(tmp_path / "two"))[1]

    @pytest.mark.parametrize("jobs", ["1", "2"])
    def test_a_run_ends_only_itself(self, command, tmp_path: Path, jobs: str) -> None:  # type: ignore[no-untyped-def]
        """A crash and exits at import are failures of these runs; the others have records."""
        ends = {
            "crash": ("        self.sources_ =", "        import ctypes; ctypes.string_at(0)\n        self.sources_ ="),
            "leaving": ("class Example", "raise SystemExit(0)\nclass Example"),
            "vanishing": ("class Example", "import os; os._exit(0)\nclass Example"),
        }
        paths = [str(write_method(tmp_path / name, CODE.replace(*change))) for name, change in ends.items()]
        names = ",".join([paths[0], "mccloskey18", *paths[1:]])
        asked = ("sweep", "--methods", names, "--datasets", "mine", "--seeds", "1", "--settings", "clean")
        code, printed, _ = command(*asked, "--jobs", jobs, "--results", str(tmp_path / "results"))
        assert code == 1
        assert "1 run, 0 recorded before" in printed
        failed = {line.split()[1]: line for line in printed.splitlines() if line.startswith("FAILED: ")}
        assert set(failed) == set(ends)
        assert "its process ended, signal SIGSEGV (segmentation fault); the same command goes on" in failed["crash"]
        assert "its import ended the process (exit 0)" in failed["leaving"]
        assert "its process ended, exit code 0" in failed["vanishing"]
        assert [path.parts[-3] for path in (tmp_path / "results").rglob("record.json")] == ["mccloskey18"]

    def test_runs_that_share_fits_go_on(self, command, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
        """Those of one method that follow a crash are done by another process."""
        code = CODE.replace(
            "        self.sources_ =", "        len(train) == 30 and __import__('os')._exit(9)\n        self.sources_ ="
        )
        method = write_method(tmp_path / "frail", code)
        asked = ("sweep", "--methods", str(method), "--datasets", "mine", "--seeds", "1", "--jobs", "2")
        code, printed, _ = command(
            *asked, "--settings", "clean,few-shot-10,laundered", "--results", str(tmp_path / "out")
        )
        assert code == 1
        assert "2 run, 0 recorded before" in printed
        assert printed.count("FAILED") == printed.count("FAILED: frail mine few-shot-10 0: its process ended") == 1

    def test_gpus_by_turns(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """On `cuda` each process gets one of those that are visible; a device that is named stays."""
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
        assert [_gpu_of(worker, "cuda") for worker in range(3)] == ["2", "5", "2"]
        assert [_gpu_of(worker, "cuda:1") for worker in range(2)] == ["", ""]
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
        monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
        assert [_gpu_of(worker, "cuda") for worker in range(5)] == ["0", "1", "2", "3", "0"]


class TestSharedFits:
    """Settings that differ in the test images alone are fitted once."""

    def test_the_network_fitted_for_clean_is_reused(  # type: ignore[no-untyped-def]
        self, command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """`clean-to-laundered` and transfer take no training step after `clean`; `laundered` does."""
        steps: list[int] = []
        shuffled = gmbench.learning.training._shuffled
        monkeypatch.setattr(gmbench.learning.training, "_shuffled", lambda *a: steps.append(1) or shuffled(*a))
        asked = ("--method", "manifpt-rgb", "--set", "epochs=1", "--results", str(tmp_path))
        assert command("run", *asked, "--dataset", "tiny")[0] == 0
        assert len(steps) == 1
        assert command("run", *asked, "--dataset", "tiny", "--setting", "clean-to-laundered")[0] == 0
        assert command("transfer", *asked, "--train", "tiny", "--test", "other")[0] == 0
        assert len(steps) == 1
        assert command("run", *asked, "--dataset", "tiny", "--setting", "laundered")[0] == 0
        assert len(steps) == 2
        clean, transferred = (
            read_record(tmp_path / "tiny" / setting / "manifpt-rgb+epochs=1" / "0") for setting in ("clean", "to-other")
        )
        assert clean.training == transferred.training


class TestTransfer:
    """`gmbench transfer`."""

    def test_the_record_says_what_was_fitted_on_and_tested_on(self, command, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
        """Its test images are the other dataset's, and its command makes it again."""
        code, printed, _ = command(
            "transfer", "--method", "mccloskey18", "--train", "tiny", "--test", "other", "--results", str(tmp_path)
        )
        assert code == 0
        assert "fitted on tiny, tested on other" in printed
        record = read_record(tmp_path / "tiny" / "to-other" / "mccloskey18" / "0")
        assert record.identity.tested_on == "other"
        assert record.identity.tested_revision
        assert record.images == {"manifold": 50, "train": 126, "val": 18, "test": 24}
        assert record.command == "gmbench transfer --method mccloskey18 --train tiny --test other --seed 0 --device cpu"

    def test_artifacts_are_taken_against_the_other_manifold(self, command, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
        """A method is told of the test images' reals, once, and asked in that state."""
        code = CODE.replace(
            "    def embed",
            "    def with_manifold(self, manifold):\n        import copy\n        moved = copy.copy(self)\n"
            "        moved.reals_ = manifold.origin\n        return moved\n\n    def embed",
        ).replace(
            "        return np.full(",
            "        assert self.reals_.startswith('other@'), self.reals_\n        return np.full(",
        )
        method = write_method(tmp_path / "moving", code)
        asked = (
            "transfer",
            "--method",
            str(method),
            "--train",
            "tiny",
            "--test",
            "other",
            "--results",
            str(tmp_path / "r"),
        )
        assert command(*asked)[0] == 0


class TestEvaluate:
    """`gmbench evaluate`."""

    @pytest.fixture
    def folder(self, command, tmp_path: Path) -> Path:  # type: ignore[no-untyped-def]
        """A record's folder."""
        command("run", "--method", "mccloskey18", "--dataset", "tiny", "--results", str(tmp_path))
        return tmp_path / "tiny" / "clean" / "mccloskey18" / "0"

    def test_an_honest_record(self, command, folder: Path) -> None:  # type: ignore[no-untyped-def]
        """All scores come out again, with the features that the run left; every one that is compared is shown."""
        code, printed, _ = command("evaluate", str(folder))
        assert code == 0
        assert "differs" not in printed
        assert "no longer in the cache" not in printed
        names = [line.split()[0] for line in printed.split("\n\n")[0].splitlines()[1:]]
        assert f"{len(names)} scores compared" in printed
        assert {"accuracy.low", "accuracy.recall.real", "accuracy.confusion", "calibration.risk", "fdr.sd"} <= {*names}

    @pytest.mark.parametrize(("group", "field"), [("accuracy", "accuracy"), ("detection", "auroc"), ("fdr", "sd")])
    def test_a_score_raised_by_hand(self, command, folder: Path, group: str, field: str) -> None:  # type: ignore[no-untyped-def]
        """It is named, exit code 1; with --write the record gets the true scores back."""
        path, true = folder / "record.json", read_record(folder)
        content = json.loads(path.read_text())
        content["scores"][group][field] = 0.999
        path.write_text(json.dumps(content))
        code, printed, _ = command("evaluate", str(folder))
        assert code == 1
        assert re.search(rf"\n{group}.{field} +0.999 .* differs *\n", printed)
        assert f"these are not those of its predictions and features: {group}.{field} (0.999, now " in printed
        assert command("evaluate", str(folder), "--write")[0] == 0
        assert read_record(folder).scores == true.scores

    @pytest.mark.parametrize(("change", "code"), [(1e-16, 0), (1e-10, 0), (1e-8, 1)])
    def test_rounding_is_no_difference(self, command, folder: Path, change: float, code: int) -> None:  # type: ignore[no-untyped-def]
        """Another number of threads sums in another order: up to 1e-9 scores are the same, what is more is shown."""
        path = folder / "record.json"
        content = json.loads(path.read_text())
        content["scores"]["fdr"]["sd"] += change
        content["scores"]["calibration"]["risk"][3] += change
        path.write_text(json.dumps(content))
        found, printed, _ = command("evaluate", str(folder))
        assert found == code
        assert printed.count("differs") == 2 * code
        assert ("differs: 1 of 10 numbers" in printed) == bool(code)

    def test_without_features(self, command, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
        """With an empty cache the predictions alone are scored, and that is said; FDR is not shown as compared."""
        monkeypatch.setenv("GMBENCH_CACHE", str(tmp_path / "empty"))
        code, printed, _ = command("evaluate", str(folder))
        assert code == 0
        assert "FDR and NMI are the record's: its features are no longer in the cache" in printed
        assert "fdr." not in printed

    def test_scores_of_other_evaluators(  # type: ignore[no-untyped-def]
        self, command, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """Without features, what follows from predictions is brought up to date, and FDR and NMI keep the digest of the
        code that made them; with features these are too."""
        path, true = folder / "record.json", read_record(folder)
        content = json.loads(path.read_text())
        content["identity"]["evaluators_sha256"] = dict.fromkeys(true.identity.evaluators_sha256, "0" * 64)
        content["scores"]["accuracy"]["low"] = content["scores"]["fdr"]["sd"] = 0.5
        path.write_text(json.dumps(content))
        cache = os.environ["GMBENCH_CACHE"]
        monkeypatch.setenv("GMBENCH_CACHE", str(tmp_path / "empty"))
        assert command("evaluate", str(folder), "--write")[0] == 0
        written, now = read_record(folder), true.identity.evaluators_sha256
        assert written.identity.evaluators_sha256 == now | {"fdr": "0" * 64, "nmi": "0" * 64}
        assert written.scores.accuracy == true.scores.accuracy
        assert written.scores.fdr is not None
        assert written.scores.fdr.sd == 0.5
        monkeypatch.setenv("GMBENCH_CACHE", cache)
        assert command("evaluate", str(folder), "--write")[0] == 0
        assert read_record(folder) == true

    def test_many_records(self, command, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
        """A line for each below a folder; one that is wrong is named with what differs."""
        for seed in ("0", "1"):
            command(
                "run",
                "--method",
                "mccloskey18",
                "--dataset",
                "tiny",
                "--seed",
                seed,
                "--results",
                str(tmp_path / "results"),
            )
        code, printed, err = command("evaluate", str(tmp_path / "results"))
        assert code == 0, err
        assert printed.count("scores compared\n") == 2
        path = tmp_path / "results" / "tiny" / "clean" / "mccloskey18" / "1" / "record.json"
        content = json.loads(path.read_text())
        content["scores"]["accuracy"]["recall"]["real"] = 0.999
        path.write_text(json.dumps(content))
        code, printed, _ = command("evaluate", str(tmp_path / "results"))
        assert code == 1
        assert printed.startswith("ok  ")
        assert re.search(r"\nWRONG  \S+1: .*accuracy.recall.real \(0.999, now ", printed)
        assert printed.endswith("2 records, 1 wrong\n")

    def test_nothing_there(self, command, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
        """One line."""
        code, _, err = command("evaluate", str(tmp_path / "nowhere"))
        assert code == 2
        assert "no record at" in err


def test_peak_memory_is_of_the_run(tmp_path: Path) -> None:
    """A large array that was there before and is gone is not counted."""
    from gmbench.runs.environment import forget_peak_memory, peak_memory_mib

    np.ones(300 * 2**17).sum()
    before = peak_memory_mib()
    forget_peak_memory()
    after = peak_memory_mib()
    assert before is not None
    assert after is not None
    assert after <= before - 250 or not Path("/proc/self/clear_refs").exists()
