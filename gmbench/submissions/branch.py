"""What a branch changes: which methods, whether the code that judges them, and whose records."""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from gmbench.attributors import METHOD_FOLDERS
from gmbench.errors import NotFoundError
from gmbench.records.store import refuse_links as refuse_linked_records
from gmbench.registry import CARD, refuse_links
from gmbench.submissions.reading import Finding

LEADERBOARDS, RESULTS = "leaderboards", "leaderboards/results/"
HANDED_IN = ("methods/*", "baselines/*", f"{LEADERBOARDS}/*", "docs/*", "*.md", "LICENSE", "CITATION.cff")
JUDGES_ANYWHERE = (".gitattributes", ".gitmodules", ".gitignore", "conftest.py")
"""Everything else counts as code that judges: the package, what installs it, workflows. So do these, wherever they
are: git and pytest read them in every folder."""
SHOWN = 10


class Change(NamedTuple):
    """A file that differs: its path in the checkout, and whether it was there before."""

    path: str
    was_there: bool


class Branch:
    """What differs from where this branch left another; changes that are in no commit too.

    Raises:
        NotFoundError: this is no checkout, or has no branch or commit of that name.
        DataError, RecordError: there is a link in `methods/`, `baselines/` or `leaderboards/`.
    """

    def __init__(self, against: str) -> None:
        self.top = METHOD_FOLDERS[0].parent
        for home in METHOD_FOLDERS:
            refuse_links(home)
        refuse_linked_records(self.top / LEADERBOARDS)
        self.base = _git(self.top, "merge-base", "--end-of-options", against, "HEAD").strip()
        differing = _git(self.top, "diff", "--name-status", "--no-renames", "-z", self.base).split("\0")
        fresh = _git(self.top, "ls-files", "--others", "--exclude-standard", "-z").split("\0")
        self.changes = [
            *(Change(path, status != "A") for status, path in zip(differing[::2], differing[1::2], strict=False)),
            *(Change(path, False) for path in fresh if path),
        ]

    @property
    def methods(self) -> list[str]:
        """Folders of methods that differ and are here, as paths."""
        return [str(self.top / folder) for folder in self._folders() if (self.top / folder).is_dir()]

    def findings(self) -> list[Finding]:
        """What is to be said of the branch before its methods: code that judges first, then other people's records."""
        judging = [change.path for change in self.changes if _judges(change.path)]
        mine = {slug for folder in self._folders() for slug in self._slugs(folder)}
        others = [
            change.path
            for change in self.changes
            if change.was_there and change.path.startswith(RESULTS) and _slug_of(change.path) not in mine
        ]
        return [
            Finding(
                check="code that judges",
                ok=True,
                message=f"changes too, so review it first: {_some(judging)}" if judging else "as it was",
            ),
            Finding(
                check="records of others",
                ok=not others,
                message=f"of methods that are not changed here, these changed or are gone: {_some(others)}"
                if others
                else "as they were",
            ),
        ]

    def _folders(self) -> list[str]:
        homes = "|".join(re.escape(home.name) for home in METHOD_FOLDERS)
        found = (re.match(rf"(?:{homes})/[^/]+(?=/)", change.path) for change in self.changes)
        return sorted({match.group() for match in found if match is not None})

    def _slugs(self, folder: str) -> Iterator[str]:
        """The slugs of a method's folder, now and before."""
        yield Path(folder).name.replace("_", "-")
        for text in (self._before(f"{folder}/{CARD}"), _now(self.top / folder / CARD)):
            try:
                yield from tomllib.loads(text).get("methods", {})
            except (tomllib.TOMLDecodeError, RecursionError, AttributeError):
                continue

    def _before(self, path: str) -> str:
        try:
            return _git(self.top, "show", f"{self.base}:{path}")
        except NotFoundError:
            return ""


def _judges(path: str) -> bool:
    return Path(path).name in JUDGES_ANYWHERE or not any(fnmatch(path, pattern) for pattern in HANDED_IN)


def _slug_of(path: str) -> str:
    """The method of a file of a record, by its place below the results: dataset, setting, entry, seed."""
    parts = path.removeprefix(RESULTS).split("/")
    return parts[2].partition("+")[0] if len(parts) > 2 else ""


def _some(paths: Iterable[str]) -> str:
    paths = sorted(paths)
    return ", ".join(map(ascii, paths[:SHOWN])) + (f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else "")


def _now(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _git(top: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(top), *arguments], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", None)
        why = " ".join((said.decode(errors="replace") if said else str(error)).split())
        raise NotFoundError(
            f"git cannot compare {top}: {why}. Name methods, or another branch with --against."
        ) from error
    return done.stdout.decode(errors="replace")
