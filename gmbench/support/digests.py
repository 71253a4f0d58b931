"""Digests of code that change with what the code does, and not with what is said about it."""

from __future__ import annotations

import ast
import hashlib
import io
import tokenize
from functools import cache
from pathlib import Path

HOME = Path(__file__).parents[1]


def code_sha256(folder: Path, pattern: str = "*", skip: tuple[str, ...] = ()) -> str:
    """A digest of the names and contents of a folder's files, less compiled ones and paths that begin with a `skip`.

    Of Python files, comments, docstrings and the empty lines between lines do not count: records stay valid when
    their code is explained better.
    """
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob(pattern) if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if "__pycache__" not in name and not name.startswith(skip):
            digest.update(f"{name}\0".encode() + _content(path) + b"\0")
    return digest.hexdigest()


def _content(path: Path) -> bytes:
    content = path.read_bytes().replace(b"\r\n", b"\n")
    if path.suffix != ".py":
        return content
    try:
        return without_words(content.decode()).encode()
    except (SyntaxError, ValueError, tokenize.TokenError):
        return content


def without_words(source: str) -> str:
    """Python source without comments, without strings that are statements, and without empty lines.

    Lines are taken out as they stand, so that the result is the same in every version of Python; a string that shares
    its lines with other code stays, and so does all of a text that spans lines.

    Raises:
        SyntaxError, tokenize.TokenError: it is not Python.
    """
    lines = source.split("\n")
    words, texts = set(), set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            rows = range(node.lineno, (node.end_lineno or node.lineno) + 1)
            before, after = lines[rows[0] - 1].encode()[: node.col_offset], lines[rows[-1] - 1].encode()
            if not before.strip() and not after[node.end_col_offset :].strip():
                words |= set(rows)
        elif isinstance(node, ast.Constant | ast.JoinedStr) and node.lineno != node.end_lineno:
            texts |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        row, column = token.start
        if token.type == tokenize.COMMENT and row not in texts:
            lines[row - 1] = lines[row - 1][:column].rstrip()
    kept = enumerate(lines, start=1)
    return "\n".join(line for row, line in kept if row not in words and (line.strip() or row in texts))


DECIDES_NO_PREDICTION = (
    "__init__.py", "__main__.py", "api.py", "attributors/", "audit/", "building/", "cli/", "data/", "errors.py",
    "evaluators/", "generators/", "leaderboard/", "networks/checkpoints.py", "networks/recorded.py", "records/",
    "registry.py", "report/", "runs/", "submissions/", "support/", "testing.py",
)  # fmt: skip
DECIDES_AFTER_ALL = ("data/images.py", "runs/runner.py", "support/seeds.py")
"""Rooms that are not in the digest of the harness, and modules of theirs that are: each image's pixels are checked
against its id, and seed, parameters, revision and roles are in the identity. A new room is in the digest unless it is
named here."""


@cache
def harness_sha256() -> str:
    """A digest of the harness's code, less what cannot change predictions or features (evaluators, leaderboards, …)."""
    parts = [code_sha256(HOME, "*.py", skip=DECIDES_NO_PREDICTION)]
    parts += [code_sha256(HOME / room, name) for room, _, name in (path.partition("/") for path in DECIDES_AFTER_ALL)]
    return hashlib.sha256("".join(parts).encode()).hexdigest()


@cache
def evaluator_sha256(name: str) -> str:
    """A digest of the code that makes one group of a record's scores from predictions or features, by its name."""
    return code_sha256(HOME / "evaluators", f"{name}.py")
