"""Progress of long work, as a contract: silent here, drawn by the command line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol, Self, TypeVar

T = TypeVar("T")


class Phase(Protocol):
    """One piece of long work that is under way."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """`steps` more are done; `note` says how it goes, such as the loss."""


class Progress:
    """Is told of phases of work one after the other, and shows nothing of it."""

    @contextmanager
    def phase(self, description: str, total: int) -> Iterator[Phase]:
        """A phase of `total` steps, while the block runs."""
        yield _Silent()

    def track(self, items: Iterable[T], description: str, total: int) -> Iterator[T]:
        """The items, with a phase that advances by one after each."""
        with self.phase(description, total) as phase:
            for item in items:
                yield item
                phase.advance()

    def say(self, text: str) -> None:
        """A line of its own."""

    def named(self, name: str) -> Self:
        """The progress of one of many runs, whose name is put before what is shown."""
        return self

    def for_process(self) -> Self:
        """What another process may be given: it writes plain lines, as bars of several processes would mix."""
        return self


class _Silent:
    def advance(self, steps: int = 1, note: str = "") -> None:
        pass
