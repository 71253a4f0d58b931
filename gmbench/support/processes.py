"""Work in processes of their own: one that ends takes nothing with it but the piece of work that it was at."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any

from gmbench.errors import MethodError

Tasks = Sequence[tuple[Any, ...]]
"""Arguments of the pieces of work that are done one after the other."""
LOOK_EVERY, PATIENCE = 1.0, 5.0
"""Seconds between looks at whether processes live, and to end by themselves in."""
PR_SET_PDEATHSIG = 1
"""What Linux calls it that a process is told when the one that began it ends."""
SIGNALS = {"SIGSEGV": "segmentation fault", "SIGBUS": "bus error", "SIGKILL": "killed; out of memory?"}


@dataclass(frozen=True)
class Done:
    """How a piece of work ended.

    Attributes:
        chain: the number of its tasks among all, from 0.
        task: its arguments.
        result: what it gave.
        ended: None, or how its process ended before it gave anything.
    """

    chain: int
    task: tuple[Any, ...]
    result: Any
    ended: str | None = None


def one_by_one(function: Callable[..., Any], chains: Iterable[Tasks]) -> Iterator[Done]:
    """What `in_processes` gives, from this process."""
    for number, tasks in enumerate(chains):
        for task in tasks:
            yield Done(number, task, function(*task))


def in_processes(
    function: Callable[..., Any],
    chains: Iterable[Tasks],
    workers: int,
    begin: Callable[[int], None] | None = None,
) -> Iterator[Done]:
    """Calls a function with many arguments, in several processes at a time; gives how each ended, as they do.

    The tasks of a chain are done in order, by one process as long as it lives; then another one goes on. Chains are
    taken as processes become free. What the function raises is raised here, and ends all processes.

    Args:
        function, begin: named in a module, since the processes import them anew, as arguments and results are sent.
        begin: is called first in each process, with its number from 0 to `workers` - 1.
    """
    slots = [_Slot(function, begin, index) for index in range(workers)]
    waiting = enumerate(chains)
    try:
        while True:
            for slot in slots:
                while slot.is_free and (chain := next(waiting, None)) is not None:
                    slot.take(*chain)
            busy = [slot for slot in slots if not slot.is_free]
            if not busy:
                return
            ready = wait([slot.connection for slot in busy], LOOK_EVERY)
            for slot in busy:
                if slot.connection in ready or not slot.lives:
                    yield slot.done()
    finally:
        for slot in slots:
            slot.end()


def in_words(exit_code: int | None) -> str:
    """How a process ended: `exit code 3`, or `signal SIGSEGV (segmentation fault)`."""
    if exit_code is None or exit_code >= 0:
        return f"exit code {exit_code}"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        return f"signal {-exit_code}"
    return f"signal {name} ({SIGNALS[name]})" if name in SIGNALS else f"signal {name}"


def watched() -> Callable[[], object]:
    """Goes on in a process of its own, which this one watches and ends as; gives what is to be called at the end.

    Whatever the process does to itself, exit code 0 means that it got there. Where a process cannot be divided (not on
    Linux, or there are libraries with threads already), it goes on alone.

    Raises:
        MethodError: in the watching process, if the other one crashes, or ends as if it were done.
    """
    if sys.platform != "linux" or "torch" in sys.modules:
        return lambda: None
    sys.stdout.flush()
    sys.stderr.flush()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        return partial(os.write, writer, b"1")
    os.close(writer)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # It reaches both, and the other one says so.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: os.kill(child, number))
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code == 0 and not _has_said(reader):
        raise MethodError(
            "the method ended the process, exit code 0; it left no record. A method raises an error instead."
        )
    if code < 0 and -code not in (signal.SIGTERM, signal.SIGHUP):
        raise MethodError(f"the run ended its process, {in_words(code)}. The same command goes on.")
    os._exit(code if code >= 0 else 128 - code)


def _has_said(reader: int) -> bool:
    os.set_blocking(reader, False)
    try:
        return os.read(reader, 1) == b"1"
    except BlockingIOError:
        return False


class _Slot:
    """A place for one process at a time, and the tasks that it is at."""

    def __init__(self, function: Callable[..., Any], begin: Callable[[int], None] | None, index: int) -> None:
        self._arguments = function, begin, index
        self._process: Any = None
        self.connection: Any = None
        self._chain, self._left = 0, iter(())  # type: tuple[int, Iterator[tuple[Any, ...]]]
        self._task: tuple[Any, ...] | None = None

    @property
    def is_free(self) -> bool:
        return self._task is None

    @property
    def lives(self) -> bool:
        return bool(self._process.is_alive())

    def take(self, number: int, tasks: Tasks) -> None:
        """Begins with the first of some tasks."""
        self._chain, self._left = number, iter(tasks)
        self._go_on()

    def done(self) -> Done:
        """How the task at hand ended, whose process has answered or ended; begins with the next."""
        task, chain = self._task, self._chain
        assert task is not None
        try:
            # A process that ended may have answered before.
            has_answered, well = self.connection.poll(), True
            result: Any = None
            if has_answered:
                well, result = self.connection.recv()
        except (EOFError, OSError):
            has_answered = False
        if has_answered and not well:
            raise result
        ended = None
        if not has_answered:
            self._process.join(PATIENCE)
            ended = in_words(self._process.exitcode)
            self.end()
        self._go_on()
        return Done(chain, task, result, ended)

    def end(self) -> None:
        """Ends the process, if there is one."""
        if self._process is None:
            return
        if self.is_free:
            with suppress(OSError):
                self.connection.send(None)
        else:
            self._process.terminate()
        self._process.join(PATIENCE)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self.connection.close()
        self._process = None

    def _go_on(self) -> None:
        self._task = next(self._left, None)
        if self._task is None:
            return
        if self._process is not None and not self._process.is_alive():
            self.end()
        if self._process is None:
            context = get_context("spawn")
            self.connection, theirs = context.Pipe()
            self._process = context.Process(target=_work, args=(theirs, *self._arguments))
            self._process.start()
            theirs.close()
        with suppress(OSError):
            self.connection.send(self._task)


def _work(
    connection: Connection, function: Callable[..., Any], begin: Callable[[int], None] | None, index: int
) -> None:
    # An interrupt from the keyboard reaches all processes; the first one decides, and ends the others in good order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        if begin is not None:
            begin(index)
        while (task := connection.recv()) is not None:
            try:
                answer = True, function(*task)
            except Exception as error:
                error.add_note(traceback.format_exc())
                answer = False, error
            try:
                connection.send(answer)
            except (TypeError, AttributeError, ValueError) as error:
                connection.send((False, RuntimeError(f"{answer[1]!r} cannot be sent: {error}")))
    except (EOFError, KeyboardInterrupt):
        return


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
