"""Digests of code: words do not count, everything else does."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import gmbench
from gmbench.support.digests import code_sha256, without_words

CODE = '''\
"""What this is."""

import math  # for pi

LIMIT = 3  # so many
"""What the limit is."""


class Thing:
    """A thing.

    With "quotes" and # no comment.
    """

    def area(self, r: float) -> float:
        """Of a circle."""
        # The formula.
        text = """first

        # third, which is text
        """
        return math.pi * r**2 + len(text + "#")  # noqa
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""What this is."""', '"""Something else.\n\nOn more lines.\n"""'),
        ("  # for pi", ""),
        ("# The formula.", "# The formula of Archimedes: ä."),
        ('"""What the limit is."""\n', ""),
        ('    With "quotes" and # no comment.\n', ""),
        ("\n\nclass", "\n# new\n\n\n\nclass"),
        ("  # noqa", "  # type: ignore"),
    ],
)
def test_words_do_not_count(old: str, new: str) -> None:
    """Comments, docstrings, strings that are statements, empty lines."""
    assert old in CODE
    assert without_words(CODE.replace(old, new)) == without_words(CODE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("LIMIT = 3", "LIMIT = 4"),
        ("first\n\n", "first\n"),
        ("# third", "# fourth"),
        ('"#"', '"##"'),
        ("r**2", "r**3"),
        ("        return", "    return"),
    ],
)
def test_all_else_counts(old: str, new: str) -> None:
    """Numbers, and every character of a text, also where it looks like a comment or an empty line."""
    changed = CODE.replace(old, new)
    assert changed != CODE
    try:
        assert without_words(changed) != without_words(CODE)
    except IndentationError:
        assert old.strip() == "return"


def test_a_string_beside_code_stays() -> None:
    """Nothing but words is taken out."""
    assert without_words('def f(): "doc"\n') == 'def f(): "doc"'
    assert without_words('"doc"; x = 1\n') == '"doc"; x = 1'


def test_what_is_left_of_gmbench_does_the_same() -> None:
    """Of every module: it is Python, and its syntax tree is the one without the strings that are statements."""

    class Stripped(ast.NodeTransformer):
        def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
            is_words = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
            return None if is_words else self.generic_visit(node)

    def tree(source: str) -> str:
        return ast.dump(Stripped().visit(ast.parse(source)))

    for path in Path(gmbench.__file__).parent.rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        stripped = without_words(source)
        try:
            after = tree(stripped)
        except SyntaxError:
            # A body of words alone is empty without them.
            assert "class " in source or "def " in source
            continue
        assert after == tree(source), path


def test_a_folder(tmp_path: Path) -> None:
    """Names count; compiled and skipped files do not; what is no Python counts as it is."""
    (tmp_path / "core.py").write_text(CODE)
    before = code_sha256(tmp_path)
    (tmp_path / "core.py").write_bytes(CODE.replace("  # for pi", "").replace("\n", "\r\n").encode())
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "core.pyc").write_text("compiled")
    assert code_sha256(tmp_path) == before
    (tmp_path / "cli.py").write_text("a")
    assert code_sha256(tmp_path) != before
    assert code_sha256(tmp_path, skip=("cli.py",)) == before
    (tmp_path / "cli.py").write_text("def (  # one")
    broken = code_sha256(tmp_path)
    (tmp_path / "cli.py").write_text("def (  # two")
    assert code_sha256(tmp_path) != broken
