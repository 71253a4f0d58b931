"""Scores and tests that were computed before, by the content that decides them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from platform import python_version
from typing import Any

import numpy as np

from gmbench.errors import OutputError
from gmbench.support.cache import Cache, content_key
from gmbench.support.digests import evaluator_sha256
from gmbench.support.files import write_text


@cache
def versions() -> dict[str, str]:
    """Of what computes scores and tests besides gmbench."""
    import scipy

    return {"python": python_version(), "numpy": np.__version__, "scipy": scipy.__version__}


class Kept:
    """Values of one board, in a file of the cache that is read once and written once.

    A value is named by the evaluator, the digest of its code, the versions of packages and the content it is computed
    from, so that one of other code or content is never taken for it. The file can be deleted at any time; one that is
    damaged, or that cannot be written, is as good as none.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.before = _read(path)
        self.values: dict[str, Any] = {}
        self.digests: dict[int, tuple[np.ndarray, str]] = {}

    @classmethod
    def of_board(cls, results: Path) -> Kept:
        """What is kept of the records below `results`."""
        try:
            return cls(Cache().path("scores", ".json", board=str(results.resolve())))
        except OutputError:
            return cls(None)

    def value(self, evaluator: str, compute: Callable[[], Any], *arrays: np.ndarray, **parts: Any) -> Any:
        """What `compute` gives, a JSON value, computed unless it is kept.

        Args:
            evaluator: the module of `gmbench.evaluators` that decides it.
            arrays, parts: what it is computed from; the arrays must not change while this lives.
        """
        content = [self._digest(array) for array in arrays]
        key = content_key(evaluator=evaluator, code=evaluator_sha256(evaluator), **versions(), content=content, **parts)
        if key not in self.values:
            self.values[key] = self.before[key] if key in self.before else compute()
        return self.values[key]

    def write(self) -> None:
        """Keeps the values that were asked for, and no others."""
        if self.path is None or self.values.keys() == self.before.keys():
            return
        try:
            write_text(self.path, json.dumps(self.values))
        except OutputError:
            return

    def _digest(self, array: np.ndarray) -> str:
        if id(array) not in self.digests:
            content = hashlib.sha256(f"{array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
            self.digests[id(array)] = array, content.hexdigest()
        return self.digests[id(array)][1]


def _read(path: Path | None) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8")) if path is not None else {}
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
