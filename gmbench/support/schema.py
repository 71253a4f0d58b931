"""Models that refuse what they do not know, and what they find wrong in one line."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, ValidationError


class Strict(BaseModel):
    """A model that refuses what it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def first_problem(error: ValidationError) -> str:
    """The first thing that a schema found wrong, in one line: field, what was expected, what came."""
    problem = error.errors()[0]
    field = ".".join(str(part) for part in problem["loc"]) or "file"
    try:
        came = repr(problem["input"])
    except RecursionError:
        came = "something nested too deeply"
    return f"field '{field}': {problem['msg']}, got {came if len(came) <= 60 else came[:57] + '...'}"
