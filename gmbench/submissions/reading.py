"""What can be said of a method by reading it: its card, its documentation, what it imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from gmbench.attributor import FOR_METHODS
from gmbench.registry import CARD, Method
from gmbench.support.schema import Strict

PUBLIC = (
    "gmbench.attributor", "gmbench.data.cards", "gmbench.data.images", "gmbench.errors", "gmbench.evaluators",
    "gmbench.learning", "gmbench.manifold", "gmbench.networks", "gmbench.support",
)  # fmt: skip
"""What methods may import of gmbench. Everything else runs, scores or judges them, or knows the test images' labels."""
PRYING = {"gc", "inspect", "ctypes", "importlib"}
PRYING_NAMES = {"exec", "eval", "__import__"}
PRYING_ATTRIBUTES = {"_getframe", "_current_frames", "tb_frame", "f_back", "f_locals", "__subclasses__"}
YEARS = range(1950, 2100)


class Finding(Strict):
    """One thing that was looked at. `message`: what is wrong and what to do, or what a reader may want to know."""

    check: str
    ok: bool
    message: str = ""


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
    named = module in ("gmbench", "gmbench.data") and names
    wanted = [f"{module}.{name}" for name in names] if named else [module]
    allowed = (*PUBLIC, *(f"gmbench.{name}" for name in FOR_METHODS))
    for name in wanted:
        if not any(name == public or name.startswith(f"{public}.") for public in allowed):
            yield (
                f"{name} is not for methods; they may import {', '.join(FOR_METHODS)} from gmbench, and from "
                f"{', '.join(PUBLIC)}"
            )
