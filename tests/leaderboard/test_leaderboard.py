"""Pages say what the records say: who is tied, what was left out, what is above chance; and notice what was edited."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import gmbench.data.cards
import gmbench.evaluators.significance
import gmbench.leaderboard.pages
import gmbench.records.integrity
import gmbench.records.kept
from conftest import SOURCES, make_card, use_catalogue
from gmbench.errors import RecordError
from gmbench.evaluators.accuracy import attribution_accuracy
from gmbench.evaluators.calibration import calibration
from gmbench.evaluators.detection import detection
from gmbench.evaluators.fdr import FDR
from gmbench.evaluators.nmi import Alignment
from gmbench.leaderboard.datasets import datasets_page
from gmbench.leaderboard.errata import errata
from gmbench.leaderboard.findings import leading, methods_and_baselines
from gmbench.leaderboard.pages import build_pages, stale_pages, write_pages
from gmbench.leaderboard.paper import FIGURES
from gmbench.records.rows import read_entries
from gmbench.records.schema import SCHEMA_VERSION, Environment, Identity, Record, Scores
from gmbench.records.store import record_folder, write_record
from gmbench.support.cache import cache_folder

PER_SOURCE = 40
LABELS = np.repeat(np.arange(3), PER_SOURCE)
IDS = np.array([f"{i:04d}" for i in range(len(LABELS))])


def right(n: int, start: int = 0) -> np.ndarray:
    """Which of the 120 test images are attributed rightly: `n` of them, from `start` on."""
    return np.isin(np.arange(len(LABELS)), (start + np.arange(n)) % len(LABELS))


def answers(is_right: np.ndarray, labels: np.ndarray = LABELS, sources: int = 3) -> np.ndarray:
    """Probabilities: 0.8 for the true source or, where that is not right, for the next one."""
    probabilities = np.full((len(labels), sources), 0.2 / (sources - 1), dtype=np.float32)
    probabilities[np.arange(len(labels)), np.where(is_right, labels, (labels + 1) % sources)] = 0.8
    return probabilities


def write(results: Path, method: str, is_right: np.ndarray, **changes) -> Path:  # type: ignore[no-untyped-def]
    """A record of a method's answers; `changes` go where a field of that name is. Returns the record's file."""
    sources = changes.get("sources", list(SOURCES))
    labels, ids = changes.pop("labels", LABELS), changes.pop("ids", IDS)
    probabilities = changes.pop("probabilities", answers(is_right, labels, len(sources)))
    fdr = {"ratio": 5.0, "sd": 0.1, "between": 10.0, "within": 2.0, "n": 20, "d": 8, "halvings": 10}
    scores = {
        "accuracy": attribution_accuracy(probabilities, labels, sources),
        "detection": detection(probabilities, labels),
        "calibration": calibration(probabilities, labels),
        "fdr": FDR(**fdr | changes.pop("fdr", {})),
        "nmi": changes.pop("nmi", {}),
    }
    identity = {
        "dataset": "tiny", "dataset_revision": "a" * 40, "roles_sha256": "b" * 64, "setting": "clean", "method": method,
        "method_sha256": "c" * 64, "parameters": {}, "given": {}, "seed": 0, "random_state": 1, "sources": sources,
        "harness_sha256": "d" * 64, "evaluators_sha256": {}, "packages": {}, "device": "cpu",
        "tested_on": None, "tested_revision": None,
    }  # fmt: skip
    made_in = {
        "gmbench": "0.1.0", "git_commit": "e" * 40, "git_dirty": False, "python": "3.11", "platform": "Linux",
        "hardware": "a processor", "threads": 1,
    }  # fmt: skip
    identity |= {name: changes.pop(name) for name in list(changes) if name in identity}
    made_in |= {name: changes.pop(name) for name in list(changes) if name in made_in}
    training, converged = changes.pop("training", {}), changes.pop("converged", None)
    assert not changes
    record = Record(
        schema_version=SCHEMA_VERSION, identity=Identity(**identity), images={"train": 300, "test": len(labels)},
        scores=Scores(**scores), training=training, environment=Environment(**made_in),
        command=f"gmbench run --method {method} --seed {identity['seed']}", seconds={}, peak_memory_mib=None,
        predictions_sha256="", converged=converged,
    )  # fmt: skip
    folder = record_folder(results, record.identity)
    write_record(folder, record, ids, labels, probabilities)
    return folder / "record.json"


def row(page: str, method: str) -> list[str]:
    """The cells of a method's first row on a page."""
    line = next(line for line in page.splitlines() if line.startswith("|") and f"`{method}`" in line)
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Where the records of a leaderboard folder go."""
    return tmp_path / "results"


class TestAttribution:
    """The main table."""

    def page(self, results: Path) -> str:
        """Built from the records so far."""
        return build_pages(results)["attribution.md"]

    def test_the_tied_group_is_bold_and_the_rest_is_not(self, results: Path) -> None:
        """110 and 109 right of 120 cannot be told apart; 40 right is worse than both."""
        for method, n in (("manifpt-rgb", 110), ("durall20", 109), ("mccloskey18", 40)):
            write(results, method, right(n))
        page = self.page(results)
        assert [row(page, method)[1] for method in ("manifpt-rgb", "durall20", "mccloskey18")] == [
            "**91.7**", "**90.8**", "33.3"
        ]  # fmt: skip
        assert (
            "`manifpt-rgb` has the highest accuracy (91.7 %); with these seeds, the tests do not separate it from "
            "`durall20`. Of new seeds nothing is known: that takes 3 of each." in page
        )

    def test_equal_results_are_both_first(self, results: Path) -> None:
        """Two methods with the same predictions are both bold, and neither is said to lead."""
        for method in ("durall20", "manifpt-rgb"):
            write(results, method, right(90))
        write(results, "mccloskey18", right(30))
        page = self.page(results)
        assert [row(page, method)[1] for method in ("durall20", "manifpt-rgb", "mccloskey18")] == [
            "**75.0**", "**75.0**", "25.0"
        ]  # fmt: skip
        assert "the tests do not separate it from `manifpt-rgb`" in page

    def test_methods_without_a_record_are_named(self, results: Path) -> None:
        """A reader must know which methods a table, and what is said of it, leave out: those that are on the board
        elsewhere. A method that is on no table yet changes none, so its folder makes no page stale."""
        write(results, "durall20", right(90))
        for method in ("wang20", "yu19"):
            write(results, method, right(90), setting="few-shot-10")
        page = self.page(results)
        assert page.count("Not run yet") == 2
        assert "Not run yet, and so not in these sentences: `wang20` and `yu19`." in page
        assert "Not run yet, and so not in these sentences: `durall20`." in page
        write(results, "wang20", right(90))
        write(results, "yu19", right(90))
        write(results, "durall20", right(90), setting="few-shot-10")
        assert "Not run yet" not in self.page(results)

    def test_cards_are_linked(self, results: Path) -> None:
        """Those of the project's methods; one from elsewhere has none here."""
        for method in ("manifpt-rgb", "durall20", "stranger"):
            write(results, method, right(90))
        page = self.page(results)
        for slug, folder in (("durall20", "baselines/durall20"), ("manifpt-rgb", "methods/manifpt")):
            assert f"[`{slug}`](../{folder}/README.md)" in page
            assert (Path(__file__).parents[2] / folder / "README.md").is_file()
        assert "[`stranger`]" not in page

    def test_a_leader_that_stands_alone(self, results: Path) -> None:
        """120 right against 60: every one of the 60 images on which they differ is won."""
        write(results, "durall20", right(120))
        write(results, "manifpt-rgb", right(60))
        page = self.page(results)
        assert row(page, "durall20")[1] == "**100.0**"
        assert row(page, "manifpt-rgb")[1] == "50.0"
        assert "`durall20` leads with 100.0 %, and with these seeds the tests separate it from all others" in page
        assert "the next, `manifpt-rgb`, lies 50.0 points below." in page
        assert "the best of `methods/`, `manifpt-rgb`, lies below the best of `baselines/`, `durall20`" in page
        assert "difference -50.0 points" in page

    @pytest.mark.parametrize(
        ("seeds", "words"),
        [
            ((100, 101, 102), "With new seeds, they do so too."),
            ((70, 101, 119), "With new seeds, they do not separate it from `manifpt-rgb`."),
        ],
    )
    def test_new_seeds(self, results: Path, seeds: tuple[int, ...], words: str) -> None:
        """100 right on average against 60 is better with these seeds; with new ones, if the seeds are not far apart."""
        for seed, n in enumerate(seeds):
            write(results, "durall20", right(n), seed=seed)
            write(results, "manifpt-rgb", right(60), seed=seed)
        page = self.page(results)
        assert "with these seeds the tests separate it from all others; the next, `manifpt-rgb`, lies" in page
        assert words in page
        assert re.search(r"95 % interval -\S+ to -\S+, p < 0\.001; with new seeds -\S+ to -?\S+, p [=<] \S+\)", page)

    def test_released_code_is_left_out(self, results: Path) -> None:
        """Where the class `real` is free, a method is on no page, however good it looks."""
        write(results, "durall20", right(60))
        write(results, "manifpt-rgb", right(120), setting="released-code")
        assert len(read_entries(results)) == 2
        for page in build_pages(results).values():
            assert "released-code" not in page
            assert "100.0" not in page

    def test_badges(self, results: Path) -> None:
        """Few seeds, what it learnt from, where it ran, and a tree that no commit has."""
        for seed in range(3):
            write(results, "durall20", right(60), seed=seed)
        write(results, "manifpt-rgb", right(50), git_dirty=True, device="cuda", training={"weights_sha256": "f" * 64})
        write(results, "manifpt-sl", right(40), git_commit=None, training={"encoder_sha256": "f" * 64})
        page = self.page(results)
        assert row(page, "durall20")[-1] == "scratch, cpu"
        assert row(page, "manifpt-rgb")[-1] == "1 seed, pretrained, gpu, dirty tree"
        assert row(page, "manifpt-sl")[-1] == "1 seed, encoder, cpu, no commit"

    def test_a_training_that_may_be_too_short_is_marked(self, results: Path) -> None:
        """One seed is enough for the mark; where nothing was trained, or the record is older, there is none."""
        for seed, converged in enumerate((True, False, True)):
            write(results, "manifpt-rgb", right(60), seed=seed, converged=converged)
            write(results, "manifpt-freq", right(50), seed=seed, converged=True)
            write(results, "durall20", right(40), seed=seed)
        page = self.page(results)
        assert row(page, "manifpt-rgb")[-1] == "scratch, cpu, not converged"
        assert row(page, "manifpt-freq")[-1] == row(page, "durall20")[-1] == "scratch, cpu"

    def test_an_fdr_of_fewer_images_than_features_is_marked(self, results: Path) -> None:
        """20 images in a half: 19 features are fine, 20 are marked."""
        write(results, "durall20", right(60), fdr={"d": 19})
        write(results, "manifpt-rgb", right(50), fdr={"d": 20})
        page = self.page(results)
        assert row(page, "durall20")[5] == "5.00"
        assert row(page, "manifpt-rgb")[5] == "5.00 †"

    def test_recall_by_family(self, results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Both generated sources are GANs: taken for each other, they are still right as a family."""
        card = make_card().model_copy(update={"embedded": False})
        use_catalogue(monkeypatch, cards={"tiny": card})
        write(results, "durall20", LABELS != 1)
        lines = self.page(results).split("Recall by family")[1].splitlines()
        header, numbers = (next(line for line in lines if word in line) for word in ("| Method", "`durall20`"))
        assert [cell.strip() for cell in header.strip("|").split("|")] == ["Method", "real", "gan"]
        assert [cell.strip() for cell in numbers.strip("|").split("|")][1:] == ["100", "100"]

    def test_the_commands_are_there(self, results: Path) -> None:
        """A row can be made again: its command, hardware, commit, and threads where they are stated."""
        made = ["a processor, 1 thread", "a processor, 2 threads", "a processor"]
        for seed, threads in enumerate((1, 2, 0)):
            write(results, "durall20", right(60), seed=seed, threads=threads)
        for seed, where in enumerate(made):
            command = f"gmbench run --method durall20 --dataset tiny --setting clean --seed {seed} --device cpu"
            assert f"{command}  # {where}, commit {'e' * 12}" in self.page(results)


class TestFindings:
    """The sentences are true of their records."""

    def test_one_method(self, results: Path) -> None:
        """Nothing to compare with is said."""
        write(results, "durall20", right(60))
        entries = read_entries(results)
        assert leading(entries) == "`durall20` is the only one so far (50.0 %)."
        assert methods_and_baselines(entries) == "So far there is none of `methods/` to compare with."

    def test_the_choice_of_the_best_is_paid_for(self, results: Path) -> None:
        """8 images won and none lost is p = 2/2^8 < 0.05, but not after choosing the best of seven baselines."""
        write(results, "manifpt-rgb", right(68))
        write(results, "durall20", right(60))
        assert "lies above" in methods_and_baselines(read_entries(results))
        for C in range(6):
            write(results, "durall20", right(50), given={"C": float(C)})
        assert "do not tell" in methods_and_baselines(read_entries(results))

    def test_a_method_from_elsewhere_is_neither(self, results: Path) -> None:
        """It is ranked, but is no part of the comparison of methods with baselines."""
        write(results, "mine", right(120))
        write(results, "manifpt-rgb", right(60))
        write(results, "durall20", right(60))
        entries = read_entries(results)
        assert "`mine` leads" in leading(entries)
        assert "mine" not in methods_and_baselines(entries)


class TestTransfer:
    """Fitted here, tested there."""

    SHARED = ["real", "noisy"]

    def pair(self, results: Path) -> None:
        """Datasets `one` (three sources) and `two` share two sources; durall20 goes both ways."""
        of_two = LABELS < 2
        write(results, "durall20", right(90), dataset="one")
        two = {"sources": self.SHARED, "labels": LABELS[of_two], "ids": np.char.add("two", IDS[of_two])}
        one = {"sources": self.SHARED, "labels": (LABELS[LABELS != 1] > 0).astype(int), "ids": IDS[LABELS != 1]}
        there = {"tested_on": "two", "tested_revision": "f" * 40, "setting": "to-two", "dataset": "one"}
        back = {"tested_on": "one", "tested_revision": "a" * 40, "setting": "to-one", "dataset": "two"}
        write(results, "durall20", right(20)[of_two], **two, **there)
        write(results, "durall20", right(60)[LABELS != 1], **one, **back, dataset_revision="f" * 40)

    def test_rows_in_both_directions_beside_the_accuracy_at_home(self, results: Path) -> None:
        """At home, 90 right are all `real` and `blurred` and a quarter of `noisy`; its others are taken for `real`."""
        self.pair(results)
        page = build_pages(results)["transfer.md"]
        there, back = page.split("### Fitted on two, tested on one")
        assert row(there, "durall20")[1:] == ["**25.0**", row(there, "durall20")[2], "62.5", "-37.5", "1"]
        assert row(back, "durall20")[3:5] == ["-", "-"]
        assert "2 sources: `real` and `noisy`. 80 test images; chance is 50.0 %." in there
        assert "durall20" in build_pages(results)["attribution.md"]
        assert "to-two" not in build_pages(results)["attribution.md"]

    def test_among_fewer_sources_the_answer_is_the_likeliest_of_these(self, results: Path) -> None:
        """An image of `noisy` taken for `blurred`, and for `noisy` next, is right where `blurred` is no answer."""
        probabilities = np.tile(np.array([0.1, 0.6, 0.3], dtype=np.float32), (len(LABELS), 1))
        write(results, "durall20", right(0), probabilities=probabilities)
        (entry,) = read_entries(results)
        assert entry.accuracies.tolist() == pytest.approx([1 / 3])
        assert entry.accuracies_among(["real", "noisy"]).tolist() == [0.5]

    def test_test_images_are_those_of_the_dataset_tested_on(self, results: Path) -> None:
        """One that another record of that dataset does not have is refused."""
        self.pair(results)
        kept = LABELS != 1
        path = write(
            results, "mccloskey18", right(60)[kept], dataset="two", dataset_revision="f" * 40, setting="to-one",
            tested_on="one", tested_revision="a" * 40, sources=self.SHARED, labels=(LABELS[kept] > 0).astype(int),
            ids=np.char.add("x", IDS[kept]),
        )  # fmt: skip
        with pytest.raises(RecordError, match="test images are not those of") as error:
            read_entries(results)
        assert str(path) in str(error.value)

    def test_no_source_is_left_out(self, results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where both datasets have cards, the sources are all that they share."""
        self.pair(results)
        cards = {slug: make_card(slug).model_copy(update={"embedded": False}) for slug in ("one", "two")}
        use_catalogue(monkeypatch, cards=cards)
        with pytest.raises(RecordError, match=r"share 3 sources, the record has 2 .*identity\.sources"):
            read_entries(results)

    def test_revisions_are_not_mixed(self, results: Path) -> None:
        """Tested on another revision of a dataset than others were fitted on: file and field are named."""
        self.pair(results)
        path = results / "two/to-one/durall20/0/record.json"
        content = json.loads(path.read_text())
        content["identity"]["tested_revision"] = "9" * 40
        path.write_text(json.dumps(content))
        with pytest.raises(RecordError, match=r"of revision 9{12} of one.*identity\.tested_revision") as error:
            read_entries(results)
        assert str(path) in str(error.value)


def alignment(nmi: float, null: float) -> dict[str, Alignment]:
    """A score of one design choice."""
    return {"last_nonlinearity": Alignment(values=3, nmi=nmi, nmi_arithmetic=nmi, ami=0.0, null=null)}


class TestNMI:
    """Design choices."""

    @pytest.mark.parametrize(
        ("scores", "cell", "cells"),
        [
            ([(0.5, 0.2), (0.52, 0.2)], "**0.510 (0.200)**", "1 of 1"),
            ([(0.5, 0.2), (0.1, 0.2)], "0.300 (0.200)", "0 of 1"),
            ([(0.2, 0.2), (0.2, 0.2)], "0.200 (0.200)", "0 of 1"),
            ([(0.5, 0.2)], "0.500 (0.200)", "0 of 1"),
        ],
        ids=["above for sure", "spread is larger", "at the null", "one seed"],
    )
    def test_bold_above_the_null_by_more_than_the_spread(
        self, results: Path, scores: list[tuple[float, float]], cell: str, cells: str
    ) -> None:
        """Gaps of 0.3 and 0.32 are; 0.3 and -0.1 are not; no gap is none; one seed has no spread."""
        for seed, of_seed in enumerate(scores):
            write(results, "manifpt-rgb", right(60), seed=seed, nmi=alignment(*of_seed))
        page = build_pages(results)["nmi.md"]
        assert row(page, "manifpt-rgb")[1] == cell
        assert "last nonlinearity (3) ↑" in page
        assert f"in {cells} cells" in page

    def test_methods_and_baselines(self, results: Path) -> None:
        """Mean gaps 0.3 and 0.1, each with no spread, differ by more than it."""
        for seed in (0, 1):
            write(results, "manifpt-rgb", right(60), seed=seed, nmi=alignment(0.5, 0.2))
            write(results, "durall20", right(60), seed=seed, nmi=alignment(0.2, 0.1))
        page = build_pages(results)["nmi.md"]
        assert (
            "0.300 for the best of `methods/`, `manifpt-rgb`, and 0.100 for the best of `baselines/`, `durall20`"
            in page
        )
        assert "the difference is more than its spread over the seeds (0.000)" in page


class TestSignificance:
    """Pair by pair, and ranks."""

    def test_marks_and_signs(self, results: Path) -> None:
        """Row minus column: +50 points is marked; 1 of 120 images is not."""
        write(results, "durall20", right(120))
        write(results, "manifpt-rgb", right(60))
        write(results, "mccloskey18", right(59))
        page = build_pages(results)["significance.md"]
        assert row(page, "durall20")[1:] == ["+50.0*", "+50.8*"]
        assert row(page, "manifpt-rgb")[1:] == ["-", "+0.8"]
        assert "With these seeds, the tests separate 2 of 3 pairs; of new seeds nothing is known" in page
        assert "the method is ahead in 0 and the baseline in 1; 1 are undecided" in page

    def test_marks_of_new_seeds(self, results: Path) -> None:
        """Two stars where seeds agree that 110 right are more than 60; one where a method's seeds lie far apart."""
        for seed, (first, second, third) in enumerate(((110, 40, 20), (111, 60, 20), (112, 80, 21))):
            write(results, "durall20", right(first), seed=seed)
            write(results, "manifpt-rgb", right(second), seed=seed)
            write(results, "mccloskey18", right(third), seed=seed)
        page = build_pages(results)["significance.md"]
        assert row(page, "durall20")[1:] == ["+42.5*", "+75.6**"]
        assert row(page, "manifpt-rgb")[1:] == ["-", "+33.1*"]
        assert "the tests separate 3 of 3 pairs; with new seeds 1." in page

    def test_mean_ranks(self, results: Path) -> None:
        """Always first, second, third on four seeds: ranks 1, 2, 3, and Friedman's statistic is N (k - 1) = 8."""
        for seed in range(4):
            for method, n in (("durall20", 90), ("manifpt-rgb", 60), ("mccloskey18", 30)):
                write(results, method, right(n), seed=seed)
        write(results, "dzanic20", right(50))
        page = build_pages(results)["significance.md"]
        assert "The 3 methods (without `dzanic20`, for want of records) differ on 4 blocks" in page
        assert "chi-square 8.0" in page
        ranks = page.split("Mean rank")[1]
        assert [row(ranks, m)[1] for m in ("durall20", "manifpt-rgb", "mccloskey18")] == ["1.00", "2.00", "3.00"]

    def test_too_few_for_ranks(self, results: Path) -> None:
        """Two methods are not ranked."""
        write(results, "durall20", right(90))
        write(results, "manifpt-rgb", right(60))
        assert "Too few records" in build_pages(results)["significance.md"]


class TestDatasets:
    """What there is, from the cards."""

    def test_every_dataset_is_there(self) -> None:
        """With its sources by family, its licence, its audit and its revision."""
        cards = gmbench.data.cards.dataset_cards()
        page = datasets_page(list(cards.values()))
        for card in cards.values():
            assert f"### {card.slug}" in page
            assert card.licence in row(page, card.slug)
            assert f"{card.resolution}x{card.resolution}" in row(page, card.slug)
            for source in card.generators.values():
                assert source.title in page

    def test_an_audit_of_other_files_is_not_shown_as_theirs(self, tiny_folder: Path, tmp_path: Path) -> None:
        """An audit says which revision it is about."""
        card = make_card("small")
        page = self.page_with_audit(card, tiny_folder, tmp_path, "f" * 40, passed=True)
        assert "- `small`: of an earlier revision" in page

    def test_failed_checks_are_named(self, tiny_folder: Path, tmp_path: Path) -> None:
        """What failed, what was found and what was expected."""
        from gmbench.data.manifest import read_manifest

        revision = read_manifest(tiny_folder).revision
        page = self.page_with_audit(make_card("small"), tiny_folder, tmp_path, revision, passed=False)
        assert "- `small`: failed in 1 of 1 checks: format (JPEG; expected PNG)." in page

    def page_with_audit(self, card, stored: Path, tmp_path: Path, revision: str, passed: bool) -> str:  # type: ignore[no-untyped-def]
        """The page of a dataset whose audit has one check."""
        import shutil

        check = {"name": "format", "passed": passed, "expected": "PNG", "found": "JPEG", "figures": {}}
        audit = {"dataset": "small", "revision": revision, "gmbench": "0", "images": {}, "checks": [check]}
        folder = Path(shutil.copytree(stored, tmp_path / "small"))
        (folder / "audit.json").write_text(json.dumps(audit))
        with pytest.MonkeyPatch.context() as patch:
            use_catalogue(patch, tmp_path)
            return datasets_page([card])


class TestPaper:
    """Published figures."""

    def test_the_errata_of_table_5_follow_from_its_rows(self) -> None:
        """The printed averages are not the means of the four rows for three design choices."""
        sentence = errata(json.loads(FIGURES.read_text()))[0]
        assert sentence.endswith(
            "for normalization, downsampling and skip: the means are 0.532, 0.571 and 0.412, printed are 0.465, 0.532 "
            "and 0.571."
        )

    def test_how_many_variants_lead_in_transfer(self) -> None:
        """Counted by hand: 4, 2, 2 and 3 of four; with another figure, another count."""
        paper = json.loads(FIGURES.read_text())
        sentence = errata(paper)[4]
        assert "4 on gm-cifar10 → gm-celeba, 2 on gm-celeba → gm-cifar10 (manifpt-rgb (60.2)" in sentence
        assert "below yu19 (60.4)), 2 on gm-chq → gm-ffhq (manifpt-sl (57.6) and manifpt-ssl (58.1)" in sentence
        assert "3 on gm-ffhq → gm-chq (manifpt-rgb (53.2) lies below wang20 (53.4))" in sentence
        paper["table4_transfer_accuracy"]["manifpt-rgb"]["gm-celeba->gm-cifar10"] = 60.5
        assert "3 on gm-celeba → gm-cifar10 (manifpt-sl (60.3) lies below yu19 (60.4))" in errata(paper)[4]

    def test_what_the_text_says_against_the_tables(self) -> None:
        """Networks below hand-crafted features, margins that are left out, models that are miscounted."""
        _, fdrs, accuracies, margins, _, models, _ = errata(json.loads(FIGURES.read_text()))
        assert "on gm-chq wang20 (30.3), marra18 (20.5) and marra19 (34.9) lie below all hand-crafted methods" in fdrs
        assert "on gm-celeba yu19 (60.6) lies below all hand-crafted methods (61.1 to 62.6)" in accuracies
        assert "on gm-chq marra18 (51.3) lies below all hand-crafted methods (56.3 to 59.1)" in accuracies
        assert "11.6, 3.7 and 1.9, 5.73 on average: gm-cifar10 (9.8) is left out" in margins
        assert "11 models (4 vae, 5 gan, 1 flow, 1 score); Table 1 lists 13 (5 vae, 5 gan, 1 flow, 2 score)" in models

    def test_table_1_is_that_of_the_cards(self) -> None:
        """The cards of the four datasets have as many models of each family."""
        for slug, table in json.loads(FIGURES.read_text())["table1_datasets"].items():
            families = [source.family for source in gmbench.data.cards.dataset_cards()[slug].generators.values()]
            for family in ("gan", "vae", "flow", "score"):
                assert families.count(family) == len(table[family]), (slug, family)

    def test_figures_stand_beside_those_made_here(self, results: Path) -> None:
        """A dataset with records has a column for them; methods without one, a dash; other datasets, no column."""
        write(results, "manifpt-rgb", right(60), dataset="gm-ffhq")
        page = build_pages(results)["paper.md"]
        here = page.split("### gm-ffhq")[1]
        assert row(here, "manifpt-rgb")[1:] == ["65.3 ± 0.1", "50.0", "50.1", "5.0"]
        assert row(here, "durall20")[1:] == ["60.9 ± 0.3", "-", "37.9", "-"]
        assert row(page.split("### gm-chq")[1], "manifpt-rgb")[1:] == ["63.7 ± 1.2", "64.2"]


class TestReading:
    """Records are checked, pages are the same every time."""

    @pytest.mark.parametrize(
        ("evaluator", "field", "change"),
        [
            ("detection", "auroc", lambda value: value + 0.01),
            ("detection", "average_precision", lambda value: value - 0.01),
            ("calibration", "ece", lambda value: value / 2),
            ("calibration", "risk", lambda value: [*value[:-1], 0.0]),
            ("accuracy", "balanced", lambda value: value + 0.01),
        ],
    )
    def test_an_edited_score_is_refused(
        self, results: Path, evaluator: str, field: str, change: Callable[[object], object]
    ) -> None:
        """Whatever follows from the predictions must; file and field are named, and no page is written."""
        path = write(results, "durall20", right(60))
        content = json.loads(path.read_text())
        content["scores"][evaluator][field] = change(content["scores"][evaluator][field])
        path.write_text(json.dumps(content))
        with pytest.raises(RecordError, match=rf"scores\.{evaluator}\.{field}") as error:
            write_pages(results, results.parent)
        assert str(path) in str(error.value)
        assert not list(results.parent.glob("*.md"))

    def test_no_source_is_left_out(self, results: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A record without the hardest source is not about the dataset's test images."""
        from gmbench.data.manifest import read_manifest, role_path
        from gmbench.data.parquet import read_columns

        use_catalogue(monkeypatch, tiny_folder.parent, {"tiny": make_card()})
        columns = read_columns(tiny_folder / role_path("test"))
        kept = columns["source"] != "noisy"
        labels = (columns["source"][kept] == "blurred").astype(int)
        path = write(
            results, "durall20", np.ones(len(labels), bool), labels=labels, ids=columns["id"][kept],
            sources=["real", "blurred"], dataset_revision=read_manifest(tiny_folder).revision,
        )  # fmt: skip
        with pytest.raises(RecordError, match="test images are not those of dataset tiny") as error:
            read_entries(results)
        assert str(path) in str(error.value)

    def test_rounding_is_no_edit(self, results: Path) -> None:
        """Another machine sums in another order."""
        path = write(results, "durall20", right(60))
        content = json.loads(path.read_text())
        content["scores"]["calibration"]["ece"] += 1e-12
        path.write_text(json.dumps(content))
        assert len(read_entries(results)) == 1

    def test_the_same_records_give_the_same_bytes(
        self, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Wherever they are, and in whatever order they were written."""
        other = tmp_path / "other" / "results"
        runs = [(method, seed) for method in ("durall20", "manifpt-rgb", "mccloskey18") for seed in (0, 1)]
        for method, seed in runs:
            write(results, method, right(60, start=seed), seed=seed)
        for method, seed in reversed(runs):
            write(other, method, right(60, start=seed), seed=seed)
        pages = build_pages(results)
        monkeypatch.setenv("GMBENCH_CACHE", str(tmp_path / "empty cache"))
        assert build_pages(other) == pages

    def test_seeds_are_in_the_order_of_their_numbers(self, results: Path) -> None:
        """10 comes after 2."""
        for seed in (10, 2):
            write(results, "durall20", right(60), seed=seed)
        (entry,) = read_entries(results)
        assert [record.identity.seed for record in entry.records] == [2, 10]


class TestKept:
    """What was computed before is not computed again, and changes no byte."""

    METHODS = ("durall20", "manifpt-rgb", "mccloskey18")

    @pytest.fixture
    def board(self, results: Path) -> Path:
        """Three methods of three seeds each."""
        for number, method in enumerate(self.METHODS):
            for seed in range(3):
                write(results, method, right(60 + 10 * number, start=seed), seed=seed)
        return results

    @pytest.fixture
    def computed(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """Grows by a name for every test of two methods and every record that is scored."""
        calls: list[str] = []

        def counted(name: str, function):  # type: ignore[no-untyped-def]
            def counting(*arguments):  # type: ignore[no-untyped-def]
                calls.append(name)
                return function(*arguments)

            return counting

        for module, name in (
            (gmbench.evaluators.significance, "permutation_test"),
            (gmbench.records.integrity, "score_predictions"),
        ):
            monkeypatch.setattr(module, name, counted(name, getattr(module, name)))
        return calls

    @staticmethod
    def without_cache(folder: Path, monkeypatch: pytest.MonkeyPatch, empty: Path) -> dict[str, str]:
        """The pages as they are built with nothing kept."""
        with monkeypatch.context() as patched:
            patched.setenv("GMBENCH_CACHE", str(empty))
            return build_pages(folder)

    def test_an_unchanged_board_reads_no_record(self, board: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The pages are there, for the same bytes."""
        before = build_pages(board)
        monkeypatch.setattr(gmbench.leaderboard.pages, "read_entries", lambda *_: pytest.fail("built again"))
        assert build_pages(board) == before

    def test_one_new_record_recomputes_what_it_touches(
        self, board: Path, computed: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """The scores of that one, and tests of that method with others; the bytes are those without a cache."""
        build_pages(board)
        computed.clear()
        write(board, "durall20", right(90), seed=3)
        pages = build_pages(board)
        assert computed.count("score_predictions") == 3, "accuracy, detection and calibration of one record"
        touched = computed.count("permutation_test")
        computed.clear()
        assert self.without_cache(board, monkeypatch, tmp_path / "empty") == pages
        assert 0 < touched < computed.count("permutation_test")
        assert computed.count("score_predictions") == 3 * 10

    def test_other_code_of_an_evaluator_is_not_trusted(
        self, board: Path, computed: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its scores and tests are computed again, those of other evaluators are not."""
        build_pages(board)
        computed.clear()
        real = gmbench.records.kept.evaluator_sha256
        other = {"detection": "other code"}
        monkeypatch.setattr(gmbench.records.kept, "evaluator_sha256", lambda name: other.get(name) or real(name))
        shutil.rmtree(cache_folder() / "pages")
        build_pages(board)
        assert computed == ["score_predictions"] * 9

    def test_other_code_of_gmbench_builds_pages_again(self, board: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whichever file it is in."""
        build_pages(board)
        built = []
        monkeypatch.setattr(gmbench.leaderboard.pages, "_built", lambda _: built.append("again") or {})
        monkeypatch.setattr(gmbench.leaderboard.pages, "HOME", board)
        build_pages(board)
        assert built == ["again"]

    def test_a_record_that_was_altered_is_found(self, board: Path) -> None:
        """What is kept of the record as it was does not hide it."""
        build_pages(board)
        path = board / "tiny" / "clean" / "durall20" / "0" / "record.json"
        content = json.loads(path.read_text())
        content["scores"]["detection"]["auroc"] = 0.123
        path.write_text(json.dumps(content))
        with pytest.raises(RecordError, match="auroc"):
            build_pages(board)

    @pytest.mark.parametrize("damage", ["", "[]", "{"])
    def test_what_is_kept_can_be_damaged_or_deleted(self, board: Path, damage: str) -> None:
        """It is computed again."""
        before = build_pages(board)
        (scores,) = (cache_folder() / "scores").iterdir()
        scores.write_text(damage)
        shutil.rmtree(cache_folder() / "pages")
        assert build_pages(board) == before
        shutil.rmtree(cache_folder())
        assert build_pages(board) == before

    def test_without_a_place_for_a_cache(self, board: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Pages are built all the same."""
        before = build_pages(board)
        (tmp_path / "a file").touch()
        monkeypatch.setenv("GMBENCH_CACHE", str(tmp_path / "a file"))
        assert build_pages(board) == before


class TestCheck:
    """`gmbench leaderboard --check`."""

    def test_fresh_pages_pass(self, command, results: Path) -> None:  # type: ignore[no-untyped-def]
        """Exit code 0, and nothing is said."""
        write(results, "durall20", right(60))
        write_pages(results, results.parent)
        assert command("leaderboard", "--check", "--results", str(results)) == (0, "", "")

    def test_somebodys_own_readme_stays(self, command, results: Path) -> None:  # type: ignore[no-untyped-def]
        """Nothing is written where a page would take its place."""
        write(results, "durall20", right(60))
        (results.parent / "README.md").write_text("mine")
        code, _, err = command("leaderboard", "--results", str(results))
        assert (code, err.count("\n")) == (2, 1)
        assert "is no page of gmbench, and stays" in err
        assert [path.name for path in results.parent.glob("*.md")] == ["README.md"]

    def test_stale_pages_are_named_and_left_alone(self, command, results: Path) -> None:  # type: ignore[no-untyped-def]
        """A line for each page that was edited, lacks a record or is missing; exit code 1."""
        write(results, "durall20", right(60))
        pages = {path.name: path for path in write_pages(results, results.parent)}
        pages["paper.md"].write_text("edited")
        pages["nmi.md"].unlink()
        write(results, "mccloskey18", right(50))
        code, out, _ = command("leaderboard", "--check", "--results", str(results))
        assert code == 1
        named = [Path(line.split()[0]).name for line in out.splitlines()]
        assert sorted(named) == ["README.md", "attribution.md", "nmi.md", "paper.md", "significance.md"]
        assert pages["paper.md"].read_text() == "edited"
        assert not pages["nmi.md"].exists()
        assert len(stale_pages(results, results.parent)) == 5


class TestOverview:
    """`README.md`."""

    def test_means_ranks_and_sentences(self, results: Path) -> None:
        """Of two methods on one dataset: the better is first, in table and words; what is not there is a dash."""
        for setting, better, worse in (("few-shot-10", 100, 60), ("clean-to-laundered", 90, 60), ("clean", 110, 100)):
            write(results, "durall20", right(better), setting=setting)
            write(results, "mccloskey18", right(worse), setting=setting)
        write(results, "manifpt-rgb", right(119), setting="clean")
        page = build_pages(results)["README.md"]
        lines = [line for line in page.splitlines() if line.startswith("| `")]
        cells = {line.split("`")[1]: [cell.strip() for cell in line.strip("|").split("|")[1:]] for line in lines}
        assert list(cells) == ["durall20", "mccloskey18", "manifpt-rgb"]
        n = len(LABELS)
        assert cells["durall20"][:3] == ["1.0", f"{100 * 100 / n:.1f}", f"{100 * 90 / n:.1f}"]
        assert cells["mccloskey18"][0] == "2.0"
        assert cells["manifpt-rgb"][:4] == ["-"] * 4
        assert f"With ten images a source, `durall20` has {100 * 100 / n:.1f} % on average, `mccloskey18` " in page
        assert "On another dataset" not in page
