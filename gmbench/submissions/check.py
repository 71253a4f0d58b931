"""`gmbench check`: is a method fit to be proposed? What can be said without running it, then what a tiny run shows."""

from __future__ import annotations

import json
import os
import re
import site
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from gmbench.attributors import METHOD_FOLDERS
from gmbench.data.cards import ROLES, dataset_cards
from gmbench.errors import DataError, NotFoundError
from gmbench.registry import CARD, Method, find_method, methods
from gmbench.support.cache import Cache
from gmbench.support.progress import Progress
from gmbench.support.schema import Strict

if TYPE_CHECKING:
    pass
from gmbench.submissions.reading import Finding, read_findings

PER_SOURCE = {"train": 20, "val": 5, "test": 5}
MANIFOLD = 200
TIMEOUT = 1800


class Checked(Strict):
    """What was found of one method."""

    method: str
    findings: list[Finding]

    @property
    def ok(self) -> bool:
        """Whether all is well."""
        return all(finding.ok for finding in self.findings)


def check(name: str, progress: Progress) -> list[Checked]:
    """Checks the method of a slug, or all methods in a folder.

    Raises:
        NotFoundError: there is no method of that name.
    """
    try:
        found = _methods_of(name)
    except DataError as error:
        return [Checked(method=name, findings=[Finding(check="card", ok=False, message=str(error))])]
    return [_checked(method, progress) for method in found]


def _methods_of(name: str) -> list[Method]:
    if "/" in name or "\\" in name or (name not in methods() and (Path(name) / CARD).is_file()):
        folder = Path(name).resolve()
        known = [method for method in methods().values() if method.folder.resolve() == folder]
        return known or [find_method(str(folder))]
    return [find_method(name)]


def _checked(method: Method, progress: Progress) -> Checked:
    findings = read_findings(method)
    if method.card.attributor is not None:
        findings += _tried(method, progress)
    return Checked(method=method.slug, findings=findings)


def _tried(method: Method, progress: Progress) -> list[Finding]:
    """What a process of its own found: import, constructor, contract, a tiny run and what it did meanwhile."""
    from gmbench.submissions.guarded import REPORT, SLICE

    with TemporaryDirectory(prefix="gmbench-check-") as folder:
        home = Path(folder).resolve()
        watched = {name: home / name for name in ("home", "tmp", "work")}
        for path in (*watched.values(), home / "scratch", home / "cache"):
            path.mkdir()
        labels = write_slice(home / SLICE, progress)
        name = method.slug if method.card.methods else str(method.folder.resolve())
        environment = os.environ | {
            "HOME": str(watched["home"]), "TMPDIR": str(watched["tmp"]), "GMBENCH_CACHE": str(home / "cache"),
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUSERBASE": site.getuserbase(), "XDG_CACHE_HOME": str(home / "libraries"),
            "MPLCONFIGDIR": str(home / "libraries"),
        }  # fmt: skip
        progress.say(f"trying {method.slug}")
        try:
            done = subprocess.run(
                [sys.executable, "-m", "gmbench.submissions.guarded", name, str(home)],
                cwd=watched["work"], env=environment, capture_output=True, text=True, timeout=TIMEOUT,
            )  # fmt: skip
            ended = f"exit code {done.returncode}: {' '.join(done.stderr.splitlines()[-1:])}"
        except subprocess.TimeoutExpired:
            ended = f"no end after {TIMEOUT} s. Give quick parameters in the card's table [quick]"
        path = home / REPORT
        report = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        left = [str(path.relative_to(home)) for at in watched.values() for path in at.rglob("*") if path.is_file()]
        answers = home / "predictions.npy"
        accuracy = float((np.load(answers).argmax(axis=1) == labels).mean()) if answers.is_file() else None
    return list(_findings(report, left, accuracy, len(set(labels.tolist())), ended))


def _findings(
    report: dict[str, Any], left: list[str], accuracy: float | None, sources: int, ended: str
) -> Iterator[Finding]:
    for step in ("import", "constructor", "contract", "tiny run"):
        said = report.get(step, {"ok": False, "message": "not reached" if report else f"not reached, {ended}"})
        message = said["message"]
        if message == "the process ended here":
            message = f"the process ended here, {ended}"
        if step == "tiny run" and said["ok"] and accuracy is not None:
            message += f"; {accuracy:.0%} right of a slice of the test images, chance is {1 / sources:.0%}"
        yield Finding(check=step, ok=said["ok"], message=message)
    seen = report.get("seen", {"network": [], "writes": [], "labels": []})
    written = [*seen["writes"], *(f"{name} (left behind)" for name in left)]
    for check, found, what in (
        ("no network at import", seen["network"], "while it is imported, it asks for"),
        ("writes only to cache and scratch", written, "it writes to"),
        ("reads no dataset by itself", seen["labels"], "it reads"),
        ("leaves the harness as it is", report.get("harness", []), "it changes"),
    ):
        yield Finding(check=check, ok=not found, message=f"{what} {', '.join(found[:5])}" if found else "")


def write_slice(path: Path, progress: Progress) -> np.ndarray:
    """Writes a few images of each source of the first embedded dataset: of every role, with labels of all but `test`.

    Returns:
        The labels (n,) of the test images in the slice.
    """
    from gmbench.data.dataset import load_dataset

    card = next(card for card in dataset_cards().values() if card.embedded)
    dataset = load_dataset(card, Cache(), progress)
    arrays: dict[str, Any] = {"sources": np.array(card.sources), "card": np.array(card.model_dump_json())}
    for role in ROLES:
        images = dataset[role]
        assert images.labels is not None
        rows = np.sort(
            np.concatenate(
                [
                    np.flatnonzero(images.labels == label)[: PER_SOURCE.get(role, MANIFOLD)]
                    for label in range(len(card.sources))
                ]
            )
        )
        arrays |= {f"{role}_pixels": images.pixels(rows), f"{role}_ids": images.ids[rows]}
        arrays[f"{role}_labels"] = images.labels[rows]
    labels = arrays.pop("test_labels")
    np.savez(path, **arrays)
    return labels


def changed_methods(against: str) -> list[str]:
    """Folders of methods that differ from where this branch left `against`, as paths; uncommitted ones too.

    Raises:
        NotFoundError: this is no checkout, or has no branch or commit of that name.
    """
    top = METHOD_FOLDERS[0].parent
    base = _git(top, "merge-base", against, "HEAD").strip()
    names = _git(top, "diff", "--name-only", base, "--", *(home.name for home in METHOD_FOLDERS)).splitlines()
    names += _git(
        top, "ls-files", "--others", "--exclude-standard", "--", *(home.name for home in METHOD_FOLDERS)
    ).splitlines()
    folders = {"/".join(name.split("/")[:2]) for name in names if re.match(r"[^/]+/[^/]+/", name)}
    return [str(top / folder) for folder in sorted(folders) if (top / folder).is_dir()]


def _git(top: Path, *arguments: str) -> str:
    try:
        return subprocess.run(["git", "-C", str(top), *arguments], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        why = " ".join(getattr(error, "stderr", str(error)).split())
        raise NotFoundError(
            f"git cannot compare {top}: {why}. Name methods, or another branch with --against."
        ) from error
