"""What can go wrong, as one tree.

GmbenchError                every error that gmbench raises on purpose; the CLI prints it as one line, exit code 2
├── NotFoundError           no method, dataset, generator or record of that name (names those there are)
├── ParameterError          a parameter that does not exist, has the wrong type or a value out of range
├── DataError               a dataset, card or image that is damaged, incomplete or not as declared
├── UnavailableError        a dataset that is not here and cannot be had, or a Hub that refuses or fails
├── RecordError             a record that is damaged, from a newer schema, or at odds with its predictions
├── OutputError             a place that cannot be written to
├── CannotRunError          a method that cannot run on a dataset (its `skip` says why)
├── MethodError             a method that does not keep to the contract of `gmbench.attributor`
└── MissingExtraError       an optional dependency that is not installed (names the extra)
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class GmbenchError(Exception):
    """Base of every error that gmbench raises on purpose."""


NEAR, SOME = 0.6, 8


class NotFoundError(GmbenchError):
    """No method, dataset, generator or record has that name."""

    @classmethod
    def of(cls, kind: str, name: str, known: Iterable[str]) -> NotFoundError:
        """An error for the unknown `name` that lists the nearest of the `known` names, or some where none is near."""
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=3, cutoff=NEAR)
        if near:
            return cls(f"no {kind} named '{name}'. Nearest: {', '.join(near)}.")
        some = f"{', '.join(names[:SOME])}{', …' if len(names) > SOME else ''}" if names else "none"
        return cls(f"no {kind} named '{name}'. There is: {some}.")


class ParameterError(GmbenchError):
    """A parameter does not exist, has the wrong type or a value out of range."""


class DataError(GmbenchError):
    """A dataset, card or image is damaged, incomplete or not as declared."""


class UnavailableError(GmbenchError):
    """A dataset is not here and cannot be had, or the Hub refuses or fails."""


class RecordError(GmbenchError):
    """A record is damaged, written by a newer schema, or at odds with its predictions."""


class OutputError(GmbenchError):
    """A place cannot be written to."""


class CannotRunError(GmbenchError):
    """A method cannot run on a dataset."""


class MethodError(GmbenchError):
    """A method does not keep to the contract."""


class MissingExtraError(GmbenchError):
    """An optional dependency is not installed."""

    @classmethod
    def of(cls, module: str, extra: str) -> MissingExtraError:
        """An error that says which extra brings `module`."""
        return cls(f"{module} is not installed. Install it with: pip install 'gmbench[{extra}]'")
