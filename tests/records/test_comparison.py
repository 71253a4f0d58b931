"""`gmbench compare`: from records to a table and a sentence."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from made_methods import write_method

from conftest import make_card, use_catalogue
from gmbench.evaluators.significance import paired_difference
from gmbench.records.comparison import WHICH_IS_WHICH, Comparison
from gmbench.records.rows import read_entries
from gmbench.registry import find_method
from gmbench.runs.runner import Run, perform
from gmbench.support.cache import Cache
from gmbench.support.progress import Progress


@pytest.fixture(scope="module")
def results(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records of a method that learns, twice, the same with another parameter, and one that always says the same."""
    constant = write_method(tmp_path_factory.mktemp("methods") / "constant")
    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        use_catalogue(patch, tiny_folder.parent)
        for method, seed, given in [
            ("durall20", 0, {}),
            ("durall20", 1, {}),
            ("durall20", 0, {"C": "6.36"}),
            (str(constant), 0, {}),
        ]:
            asked = Run(find_method(method), make_card(), "clean", seed, given)
            perform(asked, folder, Progress(), Cache(tmp_path_factory.mktemp("cache")))
    return folder


class Row(NamedTuple):
    """What a verdict needs of an entry."""

    name: str
    correct: np.ndarray


def verdict(first: np.ndarray, second: np.ndarray) -> str:
    """On methods `one` and `two` with these correct attributions (seeds, images)."""
    return Comparison(Row("one", first), Row("two", second), paired_difference(first, second)).verdict  # type: ignore[arg-type]


def right(count: int, n: int = 1000) -> np.ndarray:
    """One seed that is right about its first so many images."""
    return np.arange(n)[None] < count


class TestVerdict:
    """One sentence that the numbers bear out."""

    def test_the_better_one_is_named_first(self) -> None:
        """Whichever order they were given in, with an interval of the same sign."""
        for said, better, worse in [
            (verdict(right(900), right(700)), "one", "two"),
            (verdict(right(700), right(900)), "two", "one"),
        ]:
            start = rf"With these seeds, {better} is better than {worse} by 20.0 percentage points"
            match = re.match(start + r" \(([\d.]+) to ([\d.]+)\) on these 1,000 test images\. ", said)
            assert match
            assert 17 < float(match[1]) < 20 < float(match[2]) < 23

    def test_what_chance_can_do_is_not_called_better(self) -> None:
        """Three images of a thousand."""
        said = verdict(right(703), right(700))
        assert said.startswith("With these seeds, one and two are not distinguishable on these 1,000 test images. ")

    def test_one_sentence_says_which_is_which(self) -> None:
        """After the answers with these seeds and with new ones; without three seeds of each there is no second."""
        said = verdict(right(900), right(700))
        assert "Of new seeds nothing is known: that takes 3 of each." in said
        assert said.endswith(WHICH_IS_WHICH)

    def test_new_seeds(self) -> None:
        """200 images better on average: where seeds agree also with new ones, else with these alone."""
        near, far = (np.concatenate([right(n) for n in counts]) for counts in ((895, 900, 905), (750, 950, 1000)))
        worse = np.concatenate([right(n) for n in (695, 700, 705)])
        for said, better, other in [(verdict(near, worse), "one", "two"), (verdict(worse, near), "two", "one")]:
            match = re.search(
                rf"With new seeds, {better} is better than {other} by ([\d.]+) to ([\d.]+) points\.", said
            )
            assert match
            assert 16 < float(match[1]) < 20 < float(match[2]) < 24
        said = verdict(far, worse)
        assert "With these seeds, one is better than two by 20.0 percentage points" in said
        assert "With new seeds, they are not distinguishable." in said

    def test_many_small_wins_are_not_better(self) -> None:
        """Many images won by a tenth, few lost by a lot."""
        often, seldom = np.zeros((10, 100), dtype=bool), np.zeros((10, 100), dtype=bool)
        often[:, :4], seldom[0, 4:24] = True, True
        assert "not distinguishable" in verdict(often, seldom)
        assert "not distinguishable" in verdict(seldom, often)


class TestCommand:
    """`gmbench compare` on records."""

    def test_table_and_sentence(self, command, results: Path) -> None:  # type: ignore[no-untyped-def]
        """Accuracies, difference, wins and p are those of the records' predictions."""
        code, out, _ = command("compare", "durall20", "constant", "--dataset", "tiny", "--results", str(results))
        assert code == 0
        by_name = {entry.name: entry for entry in read_entries(results)}
        learned, constant = by_name["durall20"], by_name["constant"]
        paired = paired_difference(learned.correct, constant.correct)
        assert re.search(rf"durall20 +{learned.correct.mean():.1%} +95 % interval .*, 2 seeds", out)
        assert re.search(r"constant +33.3% +95 % interval .*, 1 seed *\n", out)
        assert f"+{100 * (learned.correct.mean() - 1 / 3):.1f} points" in out
        assert f"{paired.wins} / {paired.losses}" in out
        assert re.search(rf"with these seeds +\S+ to \S+ +95 % interval; p = {paired.p:.2g} \(permutation test\)", out)
        assert "with new seeds" not in out
        assert "durall20 is better than constant by" in out.splitlines()[-1]
        assert "on these 36 test images." in out.splitlines()[-1]

    def test_entries_with_changed_parameters(self, command, results: Path) -> None:  # type: ignore[no-untyped-def]
        """They are named as on the leaderboard; an almost equal C makes no difference."""
        code, out, _ = command("compare", "durall20", "durall20+C=6.36", "--dataset", "tiny", "--results", str(results))
        assert code == 0
        assert "durall20 and durall20+C=6.36 are not distinguishable on these 36 test images." in out.splitlines()[-1]

    @pytest.mark.parametrize(
        ("first", "second", "dataset", "setting", "words"),
        [
            (
                "durall20", "manifpt-rgb", "tiny", "clean",
                "no record of 'manifpt-rgb' on tiny in setting clean. It has: constant, durall20, durall20+C=6.36.",
            ),
            ("durall20", "constant", "tiny", "few-shot-10", "in setting few-shot-10. It has: tiny in setting clean."),
            ("durall20", "constant", "gm-garments", "clean", "no records on gm-garments in setting clean."),
            ("durall20", "durall20", "tiny", "clean", "two different entries, got 'durall20' twice"),
        ],
        ids=["method", "setting", "dataset", "same"],
    )  # fmt: skip
    def test_what_is_not_there_is_one_line(  # type: ignore[no-untyped-def]
        self, command, results: Path, first: str, second: str, dataset: str, setting: str, words: str
    ) -> None:
        """It names what there is."""
        code, out, err = command(
            "compare", first, second, "--dataset", dataset, "--setting", setting, "--results", str(results)
        )
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert words in err

    def test_a_folder_without_records(  # type: ignore[no-untyped-def]
        self, command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Or one that does not exist."""
        monkeypatch.chdir(tmp_path)
        code, _, err = command("compare", "a", "b", "--dataset", "tiny", "--results", str(tmp_path / "nowhere"))
        assert code == 2
        assert "nowhere. Run gmbench in a checkout, or name a folder with --results." in err

    def test_no_torch(self, results: Path) -> None:
        """Comparing reads files; the networks behind them are not needed."""
        code = (
            "import sys\nfrom gmbench.cli.app import main\n"
            f"results = {str(results)!r}\n"
            "sys.argv = f'gmbench compare durall20 constant --dataset tiny --results {results}'.split()\n"
            "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code, stop.code\n"
            "assert 'torch' not in sys.modules\n"
        )
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
