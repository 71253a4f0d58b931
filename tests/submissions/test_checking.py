"""`gmbench new` and `gmbench check`: what they write passes, and what methods may not do is named."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest
from made_methods import CARD, CODE, fill_in, findings, method_in, write_method

import gmbench.submissions.check
from gmbench.errors import CannotRunError
from gmbench.registry import find_method, methods
from gmbench.submissions.check import Checked, check
from gmbench.submissions.new import new_method
from gmbench.submissions.reading import Finding
from gmbench.support.progress import Progress
from gmbench.testing import check_constructor

ROOT = Path(__file__).parents[2]


@pytest.fixture
def static(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is run."""
    monkeypatch.setattr(gmbench.submissions.check, "_tried", lambda method, progress: [])


class TestNew:
    """`gmbench new`."""

    def test_it_passes_once_it_is_filled_in(self, command, tmp_path: Path, only_tiny: None) -> None:  # type: ignore[no-untyped-def]
        """The check says time and memory, and leaves what it found in a file."""
        code, out, _ = command("new", "my-method", "--kind", "features", "--out", str(tmp_path))
        assert code == 0
        folder = tmp_path / "my_method"
        assert f"gmbench check {folder}" in out
        assert (folder / "test_my_method.py").is_file()
        fill_in(folder)
        code, out, _ = command("check", str(folder), "--json")
        assert code == 0, out
        assert "MiB at most" in out
        (said,) = json.loads(out)
        assert all(finding["ok"] for finding in said["findings"])

    def test_a_network_runs_at_once(self, command, tmp_path: Path, only_tiny: None, static: None) -> None:  # type: ignore[no-untyped-def]
        """As it was written, and its constructor is the card's."""
        assert command("new", "my-method", "--out", str(tmp_path))[0] == 0
        folder = tmp_path / "my_method"
        check_constructor(find_method(str(folder)))
        asked = ("--dataset", "tiny", "--set", "epochs=1", "--device", "cpu", "--results", str(tmp_path / "results"))
        assert command("run", "--method", str(folder), *asked)[0] == 0
        fill_in(folder)
        assert all(finding.ok for finding in findings(folder).values())

    def test_what_is_to_be_filled_in_is_named(self, tmp_path: Path, static: None) -> None:
        """Paper and what it looks at in the card, three lines of the README, one test."""
        new_method("my-method", "features", tmp_path)
        found = findings(tmp_path / "my_method")
        assert "fill in 'paper'" in found["card"].message
        assert "method.toml, line 4: decide, and remove the TODO" in found["card"].message
        assert found["documentation"].message.count("still to fill in") == 4
        assert "test_my_method.py, line 2" in found["documentation"].message

    @pytest.mark.parametrize("kind", ["network", "features"])
    def test_its_own_test_passes(self, tmp_path: Path, kind: str) -> None:
        """The known case that the template begins with."""
        new_method("my-method", kind, tmp_path)
        path = tmp_path / "my_method" / "test_my_method.py"
        names = runpy.run_path(str(path))
        names["test_a_known_case"](find_method(str(path.parent)))

    def test_a_method_without_code(self, tmp_path: Path, static: None) -> None:
        """Card and README alone are checked; running it is refused with what to do instead."""
        new_method("my-method", "predictions", tmp_path)
        folder = tmp_path / "my_method"
        assert set(findings(folder)) == {"card", "documentation"}
        with pytest.raises(CannotRunError, match="gmbench submit my-method --predictions"):
            find_method(str(folder)).build({})

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (("My_Method",), "lower-case letters, digits and hyphens, such as 'my-method'"),
            (("durall20",), "there is a method named 'durall20' already"),
            (("my-method", "--kind", "magic"), "expected network, features, predictions"),
            (("taken",), "is there already"),
        ],
    )
    def test_refusals(self, command, tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:  # type: ignore[no-untyped-def]
        """One line, and nothing is written."""
        (tmp_path / "taken").mkdir()
        code, _, err = command("new", *arguments, "--out", str(tmp_path))
        assert code == 2
        assert words in err
        assert [path.name for path in tmp_path.iterdir()] == ["taken"]
        assert not list((tmp_path / "taken").iterdir())


@pytest.mark.usefixtures("static")
class TestReading:
    """What can be said without running it."""

    @pytest.mark.parametrize(
        ("line", "words"),
        [
            ("from gmbench.runs.runner import perform", "gmbench.runs.runner is not for methods"),
            ("from gmbench.data.dataset import load_dataset", "gmbench.data.dataset is not for methods"),
            ("from gmbench import load_dataset", "gmbench.load_dataset is not for methods"),
            ("from gmbench import run", "gmbench.run is not for methods"),
            ("import gmbench; gmbench.read_records", "gmbench is not for methods"),
            ("from gmbench.data import parquet", "gmbench.data.parquet is not for methods"),
            ("import gmbench.records.integrity", "gmbench.records.integrity is not for methods"),
            ("from gmbench.learning.network_attributor import _hidden", "_hidden is private"),
            ("import gc", "no business with gc"),
            ("import sys; frame = sys._getframe(1)", "no business with _getframe"),
            ("exec('1')", "no business with exec"),
            ("from . import test_hidden", "test_hidden is a test"),
            ("from .test_hidden import fit", "test_hidden is a test"),
            ("import test_hidden", "test_hidden is a test"),
        ],
    )
    def test_private_parts_of_the_harness(self, tmp_path: Path, line: str, words: str) -> None:
        """A method that could reach test labels, or that leans on what may change, is named with file and line."""
        finding = findings(method_in(tmp_path / "nosy", f"{CODE}\n{line}\n"))["imports"]
        assert not finding.ok
        assert words in finding.message
        assert "__init__.py, line 19" in finding.message

    @pytest.mark.parametrize("slug", methods())
    def test_the_methods_that_are_here_pass(self, slug: str) -> None:
        """Card, README and imports of each."""
        (checked,) = [c for c in check(str(find_method(slug).folder), Progress()) if c.method == slug]
        assert checked.ok, checked

    def test_no_readme(self, tmp_path: Path) -> None:
        """What it should say is said."""
        finding = findings(write_method(tmp_path / "silent"))["documentation"]
        assert not finding.ok
        assert "which reading" in finding.message

    def test_a_slug_that_shadows_a_baseline(self, command, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
        """Exit code 1, and both folders are named."""
        code, out, _ = command("check", str(method_in(tmp_path / "durall20")))
        assert code == 1
        assert "two methods are named 'durall20'" in out

    def test_a_damaged_card(self, tmp_path: Path) -> None:
        """A field that is missing, or a parameter without a meaning."""
        finding = findings(method_in(tmp_path / "a", card=CARD.replace("year = 2026\n", "")))["card"]
        assert "field 'year'" in finding.message
        finding = findings(method_in(tmp_path / "b", card=CARD.replace('"exponent"', '""')))["card"]
        assert "say what parameter 'power' means" in finding.message

    def test_nothing_of_that_name(self, command) -> None:  # type: ignore[no-untyped-def]
        """One line."""
        code, _, err = command("check", "durall21")
        assert code == 2
        assert "Nearest: durall20" in err


@pytest.mark.usefixtures("only_tiny")
class TestTrying:
    """What a tiny run in a process of its own shows."""

    def test_what_a_method_may_not_do_is_seen(self, tmp_path: Path) -> None:
        """It replaces a function of the harness and writes at import, reads test labels, and leaves a file at home."""
        test_images = ROOT / "gmbench" / "data" / "embedded" / "gm-garments" / "data" / "test.parquet"
        code = CODE.replace(
            "import numpy as np\n",
            "import numpy as np\nimport pathlib\nimport pyarrow.parquet\nimport gmbench.learning.training as training\n"
            "training.train_classifier = print\n"
            f"pathlib.Path({str(tmp_path / 'mark')!r}).write_text('here')\n",
        ).replace(
            "        return self\n",
            f"        pyarrow.parquet.read_table({str(test_images)!r})\n"
            "        (pathlib.Path.home() / '.trace').write_text('x')\n        return self\n",
        )
        found = findings(method_in(tmp_path / "bad", code))
        assert "gmbench.learning.training.train_classifier" in found["leaves the harness as it is"].message
        assert f"{tmp_path / 'mark'} (at import)" in found["writes only to cache and scratch"].message
        assert ".trace" in found["writes only to cache and scratch"].message
        assert str(test_images) in found["reads no dataset by itself"].message
        assert found["no network at import"].ok

    def test_network_at_import(self, tmp_path: Path) -> None:
        """It is refused, and named."""
        code = "import socket\nsocket.create_connection(('localhost', 9))\n" + CODE
        found = findings(method_in(tmp_path / "online", code))
        assert not found["import"].ok
        assert not found["no network at import"].ok
        assert "line 2" in found["import"].message

    def test_a_card_that_differs_and_a_seed_that_is_ignored(self, tmp_path: Path) -> None:
        """Both are said at once."""
        code = CODE.replace("power: float = 1.0", "power: float = 2.0").replace(
            "return np.full((len(images), self.sources_), 1 / self.sources_, dtype=np.float32)",
            "return np.random.dirichlet(np.ones(self.sources_), len(images)).astype(np.float32)",
        )
        found = findings(method_in(tmp_path / "random", code))
        assert "default 1.0 on the card, 2.0 in the constructor" in found["constructor"].message
        assert not found["contract"].ok
        assert "everything random must come from context.random_state" in found["tiny run"].message

    def test_a_network_whose_seed_is_no_seed(self, tmp_path: Path) -> None:
        """Drawn from the system: the contract says so. Always the same: the tiny run does."""
        new_method("my-method", "network", tmp_path)
        folder = tmp_path / "my_method"
        code = (folder / "__init__.py").read_text()
        for seed, check_name, words in (
            ("int.from_bytes(os.urandom(4))", "contract", "everything random must come from context.random_state"),
            ("0", "tiny run", "another seed gave the same predictions"),
        ):
            fit = (
                "    def fit(self, train, val, context):\n        import os\n        from dataclasses import replace\n"
            )
            fit += f"        return super().fit(train, val, replace(context, random_state={seed}))\n\n"
            (folder / "__init__.py").write_text(code.replace("    def inputs", fit + "    def inputs"))
            found = findings(folder)[check_name]
            assert not found.ok
            assert words in found.message

    def test_a_method_without_chance(self, tmp_path: Path) -> None:
        """That the seed decides nothing is said, and is no fault."""
        found = findings(method_in(tmp_path / "constant"))["tiny run"]
        assert found.ok
        assert "another seed gives the same predictions" in found.message

    def test_a_process_that_ends(self, tmp_path: Path) -> None:
        """A crash is a finding, not a crash of the check."""
        code = CODE.replace(
            "        self.sources_ =", "        import os\n        os._exit(3)\n        self.sources_ ="
        )
        found = findings(method_in(tmp_path / "gone", code))
        assert "the process ended here, exit code 3" in found["contract"].message


def test_a_report_in_which_one_thing_failed_failed() -> None:
    """All findings count."""
    well, badly = Finding(check="a", ok=True), Finding(check="b", ok=False)
    assert Checked(method="m", findings=[well]).ok
    assert not Checked(method="m", findings=[well, badly]).ok
