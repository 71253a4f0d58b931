"""`gmbench check`: is a method fit to be proposed? What can be said without running it, then what a tiny run shows."""

from __future__ import annotations

import ast
import json
import os
import re
import site
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from gmbench.attributors import METHOD_FOLDERS
from gmbench.cache import Cache
from gmbench.data.card import ROLES, Strict, dataset_cards
from gmbench.errors import DataError, NotFoundError
from gmbench.progress import Progress
from gmbench.registry import CARD, Method, find_method, methods

if TYPE_CHECKING:
    from rich.console import Console

PUBLIC = (
    "gmbench.attributor", "gmbench.cache", "gmbench.checkpoints", "gmbench.data.card", "gmbench.data.images",
    "gmbench.device", "gmbench.encoders", "gmbench.errors", "gmbench.features", "gmbench.files", "gmbench.neighbors",
    "gmbench.networks", "gmbench.neural", "gmbench.pretrained", "gmbench.progress", "gmbench.seeds",
    "gmbench.spaces", "gmbench.spectra", "gmbench.training",
)  # fmt: skip
"""What methods may import of gmbench. Everything else runs, scores or judges them, or knows the test images' labels."""
PRYING = {"gc", "inspect", "ctypes", "importlib"}
PRYING_NAMES = {"exec", "eval", "__import__"}
PRYING_ATTRIBUTES = {"_getframe", "_current_frames", "tb_frame", "f_back", "f_locals", "__subclasses__"}
PER_SOURCE = {"train": 20, "val": 5, "test": 5}
MANIFOLD = 200
YEARS = range(1950, 2100)
TIMEOUT = 1800


class Finding(Strict):
    """One thing that was looked at. `message`: what is wrong and what to do, or what a reader may want to know."""

    check: str
    ok: bool
    message: str = ""


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


def read_findings(method: Method) -> list[Finding]:
    """What can be said of a method by reading its folder: card, documentation and imports."""
    findings = [_finding("card", _card_problems(method)), _finding("documentation", _documentation_problems(method))]
    if method.card.attributor is not None:
        findings.append(_finding("imports", _import_problems(method)))
    return findings


def _finding(check: str, problems: Iterator[str]) -> Finding:
    found = list(problems)
    return Finding(check=check, ok=not found, message="; ".join(found))


def _card_problems(method: Method) -> Iterator[str]:
    card, path = method.card, method.folder / CARD
    for field, text in (("title", card.title), ("paper", card.paper)):
        if not text.strip() or "TODO" in text:
            yield f"fill in '{field}' in {path}"
    if card.year not in YEARS:
        yield f"'year' in {path} is {card.year}"
    for name, parameter in card.parameters.items():
        if not parameter.meaning.strip() or "TODO" in parameter.meaning:
            yield f"say what parameter '{name}' means in {path}"
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if "TODO" in line.partition("#")[2]:
            yield f"{path}, line {number}: decide, and remove the TODO"
    if unknown := set(card.quick) - set(card.parameters):
        yield f"'quick' in {path} names '{min(unknown)}', which is not a parameter"


def _documentation_problems(method: Method) -> Iterator[str]:
    path = method.folder / "README.md"
    if not path.is_file():
        yield f"write {path}: the algorithm, which reading you chose where the paper leaves one open, what it reports"
        return
    text = path.read_text(encoding="utf-8")
    if "Which reading" not in text:
        yield f"say 'Which reading' of the paper was chosen in {path}, or that there is no paper"
    for file in (path, *sorted(method.folder.rglob("*.py"))):
        for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
            if "TODO" in line:
                yield f"{file}, line {number}: still to fill in"


def _import_problems(method: Method) -> Iterator[str]:
    """What the code names that methods may not: found in the source, without running it."""
    for path in sorted(method.folder.rglob("*.py")):
        if path.name.startswith("test_"):
            continue
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError) as error:
            yield f"{path} is not Python: {error}"
            continue
        for node in ast.walk(tree):
            for problem in _node_problems(node, method):
                yield f"{path}, line {getattr(node, 'lineno', 0)}: {problem}"


def _node_problems(node: ast.AST, method: Method) -> Iterator[str]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield from _test_problems(node)
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield from _module_problems(alias.name, method)
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        yield from _module_problems(node.module, method, [alias.name for alias in node.names])
    elif isinstance(node, ast.Name) and node.id in PRYING_NAMES:
        yield f"a method has no business with {node.id}"
    elif isinstance(node, ast.Attribute) and node.attr in PRYING_ATTRIBUTES:
        yield f"a method has no business with {node.attr}"


def _test_problems(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    """Tests are neither looked at nor in the method's digest, so nothing that runs may come from them."""
    module = (getattr(node, "module", None) or "").split(".")
    for name in (*module, *(part for alias in node.names for part in alias.name.split("."))):
        if name.startswith("test_"):
            yield f"{name} is a test, which a method may not import"


def _module_problems(module: str, method: Method, names: Sequence[str] = ()) -> Iterator[str]:
    top = module.partition(".")[0]
    if top in PRYING:
        yield f"a method has no business with {module}"
    if top != "gmbench" or module.startswith(f"gmbench.attributors.{method.folder.name}"):
        return
    if any(part.startswith("_") for part in (*module.split("."), *names)):
        yield f"{module}: {', '.join(name for name in names if name.startswith('_')) or module} is private"
    wanted = [f"{module}.{name}" for name in names] if module in ("gmbench", "gmbench.data") else [module]
    for name in wanted:
        if not any(name == public or name.startswith(f"{public}.") for public in PUBLIC):
            yield f"{name} is not for methods; they may import {', '.join(PUBLIC)}"


def _tried(method: Method, progress: Progress) -> list[Finding]:
    """What a process of its own found: import, constructor, contract, a tiny run and what it did meanwhile."""
    from gmbench.trial import REPORT, SLICE

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
                [sys.executable, "-m", "gmbench.trial", name, str(home)],
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
    arrays: dict[str, Any] = {"sources": np.array(card.classes), "card": np.array(card.model_dump_json())}
    for role in ROLES:
        images = dataset[role]
        assert images.labels is not None
        rows = np.sort(
            np.concatenate(
                [
                    np.flatnonzero(images.labels == label)[: PER_SOURCE.get(role, MANIFOLD)]
                    for label in range(len(card.classes))
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


def print_checked(console: Console, checked: Sequence[Checked]) -> None:
    """A line per finding."""
    for of_method in checked:
        console.print(f"[bold]{of_method.method}[/bold]", highlight=False)
        for finding in of_method.findings:
            line = f"  {'ok  ' if finding.ok else 'FAIL'}  {finding.check}"
            console.print(
                f"{line}: {finding.message}" if finding.message else line, highlight=False, markup=False, soft_wrap=True
            )
    wrong = [of_method.method for of_method in checked if not of_method.ok]
    verdict = f"failed: {', '.join(wrong)}" if wrong else "all well"
    console.print(f"\n{len(checked)} checked, {verdict}", highlight=False)
