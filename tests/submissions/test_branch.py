"""What `gmbench check --against` says of a branch: a pull request is a stranger's."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from made_methods import CARD, README, write_method

import gmbench.submissions.branch
from gmbench.errors import DataError, NotFoundError, RecordError
from gmbench.submissions.branch import Branch
from gmbench.submissions.reading import Finding

RECORD = "leaderboards/results/tiny/clean/{}/0/record.json"


class Project:
    """A checkout with an old method and records of it, on a branch `mine`."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.git("init", "-b", "main")
        write_method(top / "baselines" / "old")
        for slug in ("old", "other+epochs=2"):
            self.write(RECORD.format(slug), "{}")
        self.write("pyproject.toml", "[project.scripts]\n")
        self.write("gmbench/core.py", "")
        self.write("README.md", README)
        self.commit()
        self.git("checkout", "-b", "mine")

    def git(self, *arguments: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        command = ["git", "-C", str(self.top), *who, *arguments]
        subprocess.run(command, check=True, capture_output=True, env=os.environ)

    def write(self, path: str, text: str) -> Path:
        file = self.top / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def commit(self) -> None:
        self.git("add", ".")
        self.git("commit", "-m", "some")

    def findings(self) -> dict[str, Finding]:
        return {finding.check: finding for finding in Branch("main").findings()}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Where commands look for the checkout."""
    monkeypatch.setattr(gmbench.submissions.branch, "METHOD_FOLDERS", (tmp_path / "baselines", tmp_path / "methods"))
    return Project(tmp_path)


def test_what_changed_is_found_by_git(project: Project) -> None:
    """Committed and uncommitted methods that are not on main; files that lie beside them are none."""
    top = project.top
    write_method(top / "methods" / "committed")
    project.commit()
    write_method(top / "methods" / "fresh")
    (top / "methods" / "notes.txt").write_text("not a method")
    assert Branch("main").methods == [str(top / "methods" / "committed"), str(top / "methods" / "fresh")]
    (top / "baselines" / "old" / "method.toml").write_text(CARD + "\n")
    assert Branch("main").methods[0] == str(top / "baselines" / "old")


@pytest.mark.parametrize(
    "path",
    [
        "gmbench/core.py",
        "pyproject.toml",
        "hatch_build.py",
        ".github/workflows/submission.yml",
        ".ci/run",
        ".gitattributes",
        "leaderboards/.gitattributes",
        "methods/mine/.gitattributes",
        "methods/mine/conftest.py",
        "sitecustomize.py",
        "setup.cfg",
    ],
)
def test_code_that_judges_is_named_first(project: Project, path: str) -> None:
    """The package, what installs it, workflows, what git and pytest read in any folder; committed or not."""
    project.write(path, "# mine\n")
    for _ in range(2):
        first = Branch("main").findings()[0]
        assert (first.check, first.ok) == ("code that judges", True)
        assert f"review it first: '{path}'" in first.message
        project.commit() if _ == 0 else None


def test_what_is_handed_in_judges_nothing(project: Project) -> None:
    """A method, records, pages, documents."""
    write_method(project.top / "methods" / "mine")
    for path in (RECORD.format("mine"), "leaderboards/attribution.md", "docs/x.md", "CHANGELOG.md"):
        project.write(path, "x")
    project.commit()
    found = project.findings()
    assert found["code that judges"].message == "as it was"
    assert found["records of others"].ok


@pytest.mark.parametrize("slug", ["old", "other+epochs=2"])
@pytest.mark.parametrize(
    "change", [lambda path: path.write_text("{1}"), lambda path: path.unlink()], ids=["changed", "gone"]
)
def test_records_of_others_are_named(project: Project, slug: str, change: Callable[[Path], object]) -> None:
    """Changed or gone, beside a method of one's own."""
    write_method(project.top / "methods" / "mine")
    change(project.top / RECORD.format(slug))
    project.commit()
    found = project.findings()["records of others"]
    assert not found.ok
    assert RECORD.format(slug) in found.message


def test_records_of_a_method_that_changes_are_its_own(project: Project) -> None:
    """Also where it leaves with its method, and where slugs are in the card."""
    project.git("checkout", "main")
    two = CARD + '\n[methods.one]\ntitle = "One"\nfixed = {}\n[methods.two]\ntitle = "Two"\nfixed = {}\n'
    write_method(project.top / "methods" / "both", card=two)
    project.write(RECORD.format("two"), "{}")
    project.commit()
    project.git("checkout", "mine")
    project.git("merge", "main")
    for path in ("baselines/old", "methods/both", RECORD.format("old"), RECORD.format("two")):
        project.git("rm", "-rq", path)
    project.git("commit", "-m", "gone")
    assert project.findings()["records of others"].ok
    assert Branch("main").methods == []


@pytest.mark.parametrize("place", ["methods/evil", "baselines/old/data/weights.bin", "leaderboards/results/evil"])
def test_links_are_refused(project: Project, place: str) -> None:
    """To a folder or a file, at any depth; never `0 checked, all well`."""
    link = project.top / place
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(project.top / "baselines" / "old")
    project.commit()
    with pytest.raises((DataError, RecordError), match=f"{place} is a link"):
        Branch("main")


def test_no_such_branch(project: Project) -> None:
    """Nor an option in its place."""
    for name in ("nowhere", "--output=x"):
        with pytest.raises(NotFoundError, match="git cannot compare"):
            Branch(name)
    assert not (project.top / "x").exists()
