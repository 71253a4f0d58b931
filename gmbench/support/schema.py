"""Models that refuse what they do not know, and what they find wrong in one line."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints, ValidationError

LONGEST_LINE = 300
UNSAFE = "`<>|$\\"


def _one_line(text: str) -> str:
    if len(text) > LONGEST_LINE or not text.isprintable() or any(letter in UNSAFE for letter in text):
        raise ValueError(f"expected one printable line of at most {LONGEST_LINE} letters, without any of {UNSAFE}")
    return text


Line = Annotated[str, AfterValidator(_one_line)]
"""Free text that may stand on a page: a line without markup, and nothing that a shell would do something with."""
Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=100)]
"""A name of a method, dataset or setting: lower case and digits, with single hyphens."""


Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=100)]
"""A name of a parameter, as Python has them."""


class Strict(BaseModel):
    """A model that refuses what it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def printable(text: str) -> str:
    """The text in one line, with escapes for what cannot be printed."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def first_problem(error: ValidationError) -> str:
    """The first thing that a schema found wrong, in one line: field, what was expected, what came."""
    problem = error.errors()[0]
    field = printable(".".join(str(part) for part in problem["loc"])) or "file"
    try:
        came = repr(problem["input"])
    except RecursionError:
        came = "something nested too deeply"
    return f"field '{field}': {problem['msg']}, got {came if len(came) <= 60 else came[:57] + '...'}"
