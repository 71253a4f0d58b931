"""Progress in a terminal: bars, or a few plain lines where standard error is none."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import IO, TYPE_CHECKING, Any, Self, cast

from gmbench.support.progress import Phase, Progress

if TYPE_CHECKING:
    from rich.console import Console

SECONDS_BETWEEN_LINES = 15.0


@dataclass(frozen=True)
class ConsoleProgress(Progress):
    """Shows phases of work on standard error; as plain lines if asked to, or if that is no terminal."""

    name: str = ""
    plain: bool = False

    @cached_property
    def console(self) -> Console:
        """Where it is shown; made where it is used, since a console cannot be sent to a process."""
        from rich.console import Console

        # It is display alone: where nobody can read it, the work goes on.
        return Console(file=cast(IO[str], _Forgiving()), force_terminal=False if self.plain else None)

    @contextmanager
    def phase(self, description: str, total: int) -> Iterator[Phase]:
        if self.console.is_terminal:
            yield from _bar(self.console, self._named(description), total)
        else:
            lines = _Lines(self.console, self._named(description), total)
            yield lines
            lines.end()

    def say(self, text: str) -> None:
        self.console.print(self._named(text), highlight=False, soft_wrap=True)

    def named(self, name: str) -> Self:
        return replace(self, name=name)

    def for_process(self) -> Self:
        return replace(self, plain=True)

    def _named(self, text: str) -> str:
        return f"{self.name}, {text}" if self.name else text


class _Forgiving:
    """Standard error, which may be full or closed."""

    def write(self, text: str) -> int:
        with suppress(OSError):
            sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            sys.stderr.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr, name)


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
