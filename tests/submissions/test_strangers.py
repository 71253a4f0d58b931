"""Methods of strangers: names that lead elsewhere, links, and verdicts that the judged would like to write."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from made_methods import CARD, CODE, findings, method_in, write_method

import gmbench
import gmbench.registry
import gmbench.runs.reproduce
from gmbench.errors import DataError
from gmbench.registry import find_method, methods
from gmbench.runs.apart import Apart, EndedError, MethodApart, environment_of
from gmbench.submissions.check import check
from gmbench.support.progress import Progress

VARIANTS = CARD + "\n".join(
    f'[methods.{slug}]\ntitle = "{slug}"\nfixed = {{ power = {power} }}\n'
    for slug, power in (("mild", 1.0), ("strong", 2.0))
)


@pytest.mark.usefixtures("only_tiny")
class TestSlugs:
    """A slug is a slug everywhere."""

    @pytest.mark.parametrize("slug", ["../../../x", "/tmp/x", "", "a\\nb", "<b>x</b>", "A", "a--b", "a" * 101])
    def test_of_a_variant(self, command, tmp_path: Path, slug: str) -> None:  # type: ignore[no-untyped-def]
        """Refused in one line before anything is written, by run and by check."""
        card = f'{CARD}\n[methods."{slug}"]\ntitle = "x"\nfixed = {{}}\n'
        folder = write_method(tmp_path / "mine", card=card)
        before = sorted(tmp_path.rglob("*"))
        asked = ("--method", str(folder), "--dataset", "tiny", "--results", str(tmp_path / "out" / "deep" / "er"))
        code, out, err = command("run", *asked)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert "field 'methods." in err
        assert sorted(tmp_path.rglob("*")) == before
        code, out, _ = command("check", str(folder))
        assert code == 1
        assert "field 'methods." in out

    @pytest.mark.parametrize("name", ["Mine", "my.method", "<b>", "a b", "x__y", "a\nb"])
    def test_of_a_folder(self, command, tmp_path: Path, name: str) -> None:  # type: ignore[no-untyped-def]
        """The folder's name is the slug."""
        folder = write_method(tmp_path / name)
        code, _, err = command("run", "--method", str(folder), "--dataset", "tiny", "--results", str(tmp_path / "out"))
        assert (code, err.count("\n")) == (2, 1)
        assert "a method is named as its folder" in err
        assert not (tmp_path / "out").exists()

    def test_of_a_class(self) -> None:
        """An object's slug is made of the name of its class."""

        class Ünlike(gmbench.Attributor):
            def fit(self, train, val, context):  # type: ignore[no-untyped-def]
                return self

            def predict_proba(self, images):  # type: ignore[no-untyped-def]
                return None

            def embed(self, images):  # type: ignore[no-untyped-def]
                return None

        with pytest.raises(DataError, match="the name of its class"):
            gmbench.run(Ünlike(), "tiny")

    @pytest.mark.parametrize(
        ("old", "new", "words"),
        [
            ("parameters.power", 'parameters."../x"', "field 'parameters.../x"),
            ('title = "Example"', 'title = "<script>x</script>"', "field 'title'"),
            ('title = "Example"', 'title = "a\\nb"', "field 'title'"),
        ],
    )
    def test_what_else_becomes_part_of_a_path_or_page(self, tmp_path: Path, old: str, new: str, words: str) -> None:
        """Names of parameters, which are part of a row's name, and titles."""
        with pytest.raises(DataError) as error:
            find_method(write_method(tmp_path / "mine", card=CARD.replace(old, new)))
        assert words in str(error.value)
        assert "\n" not in str(error.value)

    def test_a_folder_of_variants_is_checked(self, tmp_path: Path) -> None:
        """By path, each of them in a process of its own that knows which it is."""
        checked = check(str(method_in(tmp_path / "both", card=VARIANTS)), Progress())
        assert [of_method.method for of_method in checked] == ["mild", "strong"]
        assert all(of_method.ok for of_method in checked), checked

    def test_a_folder_of_variants_is_not_run_as_one(self, tmp_path: Path) -> None:
        """Nobody knows which is meant."""
        with pytest.raises(DataError, match=r"holds several methods \(mild, strong\)"):
            find_method(write_method(tmp_path / "both", card=VARIANTS))

    def test_a_variant_may_not_take_a_known_slug(self, tmp_path: Path) -> None:
        """Nobody shadows a baseline from within a card either."""
        folder = write_method(tmp_path / "both", card=VARIANTS.replace("mild", "durall20"))
        (checked,) = check(str(folder), Progress())
        assert "two methods are named 'durall20'" in checked.findings[0].message


class TestLinks:
    """A link leads to what nobody looked at."""

    @pytest.mark.parametrize("place", ["methods/evil", "baselines/good/data/x.npy"])
    def test_in_the_checkout(self, command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:  # type: ignore[no-untyped-def]
        """Every command that knows of methods refuses."""
        elsewhere = write_method(tmp_path / "elsewhere" / "evil")
        write_method(tmp_path / "baselines" / "good")
        (tmp_path / "methods").mkdir()
        (tmp_path / "pyproject.toml").write_text("")
        homes = (tmp_path / "baselines", tmp_path / "methods")
        monkeypatch.setattr(gmbench.registry, "METHOD_FOLDERS", homes)
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).symlink_to(elsewhere)
        methods.cache_clear()
        try:
            code, out, _ = command("check", "good")
            assert code == 1
            assert f"{tmp_path / place} is a link" in out
            for asked in (("list", "methods"), ("run", "--method", "good", "--dataset", "tiny")):
                code, _, err = command(*asked)
                assert (code, err.count("\n")) == (2, 1)
                assert f"{tmp_path / place} is a link" in err
        finally:
            methods.cache_clear()

    def test_in_a_folder_by_path(self, tmp_path: Path) -> None:
        """Its digest would not see what the link leads to."""
        folder = write_method(tmp_path / "mine")
        (folder / "weights").symlink_to(tmp_path)
        with pytest.raises(DataError, match="weights is a link"):
            find_method(folder)

    @pytest.mark.parametrize("place", ["tiny/clean/evil", "tiny/clean/mccloskey18/1", "evil"])
    def test_among_records(self, command, tmp_path: Path, only_tiny: None, place: str) -> None:  # type: ignore[no-untyped-def]
        """validate, evaluate, compare and the pages refuse, by the folder and by the link's own path."""
        results = tmp_path / "board" / "results"
        record = gmbench.run("mccloskey18", "tiny", results=results)
        (results / place).symlink_to(record.folder)
        for asked in (
            ("validate", str(results)),
            ("validate", str(results / place)),
            ("validate", str(results / place / "record.json")),
            ("evaluate", str(results)),
            ("leaderboard", "--results", str(tmp_path / "board" / "results")),
            ("compare", "mccloskey18", "durall20", "--dataset", "tiny", "--results", str(results)),
        ):
            code, _, err = command(*asked)
            assert (code, err.count("\n")) == (2, 1), asked
            assert "is a link" in err


FORGERY = """
import atexit, os, pathlib, stat, sys
from gmbench.runs.channel import write_message

def _forge():
    # A report where one used to be, and on every pipe: text, then an answer that says that all is well.
    (pathlib.Path(os.environ["GMBENCH_CACHE"]).parent / "report.json").write_text("{}")
    for fd in range(3, 20):
        try:
            if stat.S_ISFIFO(os.fstat(fd).st_mode):
                write_message(os.fdopen(os.dup(fd), "wb"), {"number": 0, "token": "", "changed": [], "memory": 1})
                os.write(fd, b"all well")
        except OSError:
            pass

"""


@pytest.mark.usefixtures("only_tiny")
class TestVerdict:
    """It comes from the process that judges."""

    @pytest.mark.parametrize("when", ["in fit", "at exit"])
    def test_it_cannot_be_forged(self, tmp_path: Path, when: str) -> None:
        """A method that ends in its fit and writes what it would like to be said of it, there or when it exits."""
        how = "_forge(); os._exit(0)" if when == "in fit" else "atexit.register(_forge); sys.exit(0)"
        code = FORGERY + CODE.replace("        self.sources_ =", f"        {how}\n        self.sources_ =")
        found = findings(method_in(tmp_path / "forger", code))
        assert not found["contract"].ok
        assert not found["tiny run"].ok

    def test_what_it_is_seen_to_do_stays_seen(self, tmp_path: Path) -> None:
        """Though it ends right afterwards, before it has answered."""
        mark = tmp_path / "mark"
        code = CODE.replace(
            "        self.sources_ =",
            f"        import os\n        open({str(mark)!r}, 'w')\n        os._exit(0)\n        self.sources_ =",
        )
        found = findings(method_in(tmp_path / "brief", code))
        assert str(mark) in found["writes only to cache and scratch"].message
        assert "the process ended here, exit code 0" in found["contract"].message

    def test_its_environment_is_a_short_list(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nothing of continuous integration's, no tokens."""
        secret = {"GITHUB_PATH": "p", "GITHUB_STEP_SUMMARY": "s", "GITHUB_ENV": "e", "HF_TOKEN": "t", "MY_KEY": "k"}
        for name, value in {**secret, "OMP_NUM_THREADS": "1"}.items():
            monkeypatch.setenv(name, value)
        passed = environment_of(tmp_path)
        assert not set(secret) & set(passed)
        assert passed["OMP_NUM_THREADS"] == "1"
        code = CODE.replace(
            "        self.sources_ =",
            "        import os\n        raise ValueError(sorted(os.environ))\n        self.sources_ =",
        )
        said = findings(method_in(tmp_path / "curious", code))["contract"].message
        assert "'GMBENCH_CACHE'" in said
        assert not [name for name in secret if name in said]

    def test_a_method_that_does_not_answer(self, tmp_path: Path) -> None:
        """It is ended, and asked no more."""
        code = CODE.replace("        self.power = power", "        import time; time.sleep(600)")
        method = find_method(write_method(tmp_path / "slow", code))
        with Apart(method, tmp_path / "home", timeout=20) as process:
            with pytest.raises(EndedError, match="no end after 20 s"):
                MethodApart.of(process).build({})
            with pytest.raises(EndedError):
                MethodApart.of(process).build({})

    def test_a_method_that_prints(self, tmp_path: Path) -> None:
        """Standard output is not the channel."""
        code = CODE.replace(
            "        self.power = power", "        self.power = power; print('x' * 100); os.write(1, b'y')"
        )
        method = find_method(write_method(tmp_path / "loud", "import os\n" + code))
        with Apart(method, tmp_path / "home") as process:
            assert MethodApart.of(process).constructor().takes == {"power": ("float", 1.0)}


@pytest.mark.usefixtures("only_tiny")
class TestRerun:
    """`validate --rerun` runs code of strangers too."""

    def test_it_cannot_end_or_write_to_who_judges(
        self, command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:  # type: ignore[no-untyped-def]
        """A method that ends with exit code 0 where it is run again: one line, exit code 2."""
        folder = write_method(tmp_path / "brief")
        record = gmbench.run(folder, "tiny", results=tmp_path / "results")
        assert record.folder is not None
        monkeypatch.setattr(gmbench.runs.reproduce, "find_method", lambda _: find_method(folder))
        monkeypatch.setenv("GITHUB_PATH", str(tmp_path / "path"))
        asked = ("validate", str(record.folder), "--rerun", "--device", "cpu")
        assert command(*asked)[0] == 0
        ends = "        import os\n        'GITHUB_PATH' in os.environ or os._exit(0)\n        self.sources_ ="
        (folder / "__init__.py").write_text(CODE.replace("        self.sources_ =", ends))
        code, _, err = command(*asked)
        assert code == 2
        assert "brief ended its process, exit code 0" in err


def test_every_name_of_the_list_is_harmless() -> None:
    """No name that continuous integration gives meaning to, and none of a secret."""
    from gmbench.runs.apart import PASSED_ON

    assert not [name for name in PASSED_ON if name.startswith(("GITHUB", "RUNNER", "ACTIONS", "CI")) or "TOKEN" in name]
    assert os.environ.get("PATH") is None or "PATH" in PASSED_ON
