"""`gmbench new`: a method that runs at once, to be changed into another."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from gmbench.attributors import METHOD_FOLDERS
from gmbench.errors import OutputError, ParameterError
from gmbench.registry import methods
from gmbench.support.files import write_text

KINDS = ("network", "features", "predictions")
TEMPLATES = Path(__file__).parent / "templates"
TITLE, CLASS, FOLDER = "My method", "MyMethod", "my_method"
"""What the templates are called; a new method's own names take their place."""


def new_method(slug: str, kind: str, home: Path | None = None) -> list[Path]:
    """Writes a method's folder below `home` (default: `methods/` of the checkout); returns its files.

    Args:
        slug: lower case, with hyphens; the folder has underscores instead.
        kind: `network`, `features`, or `predictions` (no code).

    Raises:
        ParameterError: the name cannot be a slug, or another method has it; or there is no checkout, and no `home`.
        OutputError: the folder is there already.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", slug):
        better = re.sub(r"[^a-z0-9]+", "-", slug.lower()).strip("-0123456789") or "my-method"
        raise ParameterError(
            f"a method's name is of lower-case letters, digits and hyphens, such as '{better}', got '{slug}'."
        )
    if kind not in KINDS:
        raise ParameterError(f"--kind: expected {', '.join(KINDS)}, got '{kind}'.")
    if slug in methods():
        raise ParameterError(f"there is a method named '{slug}' already, in {methods()[slug].folder}.")
    checkout = METHOD_FOLDERS[1]
    if home is None and not (checkout.parent / "pyproject.toml").is_file():
        raise ParameterError("gmbench does not run from a checkout. Name a folder for the method with --out.")
    folder = (home or checkout) / slug.replace("-", "_")
    if folder.exists():
        raise OutputError(f"{folder} is there already. Choose another name, or remove it.")
    words = slug.split("-")
    own = {TITLE: " ".join(words).capitalize(), CLASS: "".join(map(str.capitalize, words)), FOLDER: folder.name}
    written = []
    for template in sorted(path for path in (TEMPLATES / kind).iterdir() if path.is_file()):
        written.append(folder / _renamed(template.name, own))
        write_text(written[-1], _renamed(template.read_text(encoding="utf-8"), own))
    return written


def _renamed(text: str, own: Mapping[str, str]) -> str:
    for name, of_method in own.items():
        text = text.replace(name, of_method)
    return text
