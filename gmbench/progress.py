"""Progress of long work: bars in a terminal, a few plain lines elsewhere, nothing when asked to be quiet."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")
SECONDS_BETWEEN_LINES = 15.0


class Phase(Protocol):
    """One piece of long work that is under way."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """`steps` more are done; `note` says how it goes, such as the loss."""


class Progress:
    """Shows phases of work one after the other. Quiet without a console.

    `name`, of one of many runs, is put before what is shown.
    """

    def __init__(self, console: Console | None = None, name: str = "") -> None:
        self.console, self.name = console, name

    @contextmanager
    def phase(self, description: str, total: int) -> Iterator[Phase]:
        """Shows a phase of `total` steps while the block runs."""
        if self.console is None:
            yield _Quiet()
        elif self.console.is_terminal:
            yield from _bar(self.console, self._named(description), total)
        else:
            lines = _Lines(self.console, self._named(description), total)
            yield lines
            lines.end()

    def track(self, items: Iterable[T], description: str, total: int) -> Iterator[T]:
        """The items, with a phase that advances by one after each."""
        with self.phase(description, total) as phase:
            for item in items:
                yield item
                phase.advance()

    def say(self, text: str) -> None:
        """A line of its own."""
        if self.console is not None:
            self.console.print(self._named(text), highlight=False, soft_wrap=True)

    def _named(self, text: str) -> str:
        return f"{self.name}, {text}" if self.name else text


class _Quiet:
    def advance(self, steps: int = 1, note: str = "") -> None:
        pass


class _Lines:
    """A line every 15 seconds and one at the end."""

    def __init__(self, console: Console, description: str, total: int) -> None:
        self.console, self.description, self.total = console, description, total
        self.done, self.note, self.spoke = 0, "", time.monotonic()

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.done += steps
        self.note = note or self.note
        if time.monotonic() - self.spoke >= SECONDS_BETWEEN_LINES:
            self.end()

    def end(self) -> None:
        self.spoke = time.monotonic()
        line = f"{self.description}: {self.done}/{self.total} {self.note}".rstrip()
        self.console.print(line, highlight=False, soft_wrap=True)


def _bar(console: Console, description: str, total: int) -> Iterator[Phase]:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", style="dim"),
    )
    with RichProgress(*columns, console=console) as bar:
        task = bar.add_task(description, total=total, note="")

        class Bar:
            def advance(self, steps: int = 1, note: str = "") -> None:
                bar.advance(task, steps)
                if note:
                    bar.update(task, note=note)

        yield Bar()
