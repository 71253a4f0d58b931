"""The pool of processes: order, failures, and processes that end."""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from pathlib import Path

import pytest

from gmbench.support.processes import in_processes, in_words, one_by_one


def double(number: int) -> int:
    """Twice the number; a process dies of 13, and 7 is refused."""
    if number == 13:
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 7:
        raise ValueError("seven")
    return 2 * number


def note(folder: Path, number: int) -> None:
    """Leaves a file for each process that begins."""
    (folder / f"{number}-{os.getpid()}").touch()


def nap(seconds: float) -> None:
    """Takes long."""
    time.sleep(seconds)


def unsendable() -> object:
    """What no process can be sent."""
    return lambda: None


CHAINS = [[(1,), (2,)], [(3,)], [(4,), (13,), (5,)]]


def test_every_task_ends_once_and_in_the_order_of_its_chain(tmp_path: Path) -> None:
    """A process that is killed is blamed on the task that it was at; the next is done by another one of its number."""
    done = list(in_processes(double, iter(CHAINS), 2, partial(note, tmp_path)))
    for chain, tasks in enumerate(CHAINS):
        of_chain = [each for each in done if each.chain == chain]
        assert [each.task for each in of_chain] == tasks
        for each in of_chain:
            killed = each.task == (13,)
            assert each.result == (None if killed else double(*each.task))
            assert each.ended == ("signal SIGKILL (killed; out of memory?)" if killed else None)
    numbers = sorted(path.name.partition("-")[0] for path in tmp_path.iterdir())
    assert set(numbers) == {"0", "1"}
    assert len(numbers) == 3


def test_without_processes() -> None:
    """The same of what does not end."""
    chains = [[(1,), (2,)], [(3,)]]
    assert list(one_by_one(double, chains)) == sorted(in_processes(double, chains, 1), key=lambda each: each.task)


def test_what_it_raises_is_raised_and_ends_the_others() -> None:
    """With a note of where it was; nobody waits for the others."""
    started = time.monotonic()
    with pytest.raises(ValueError, match="seven") as error:
        list(in_processes(double, [[(7,)]], 1))
    assert "in double" in "".join(error.value.__notes__)
    with pytest.raises(RuntimeError, match="cannot be sent"):
        list(in_processes(unsendable, [[()]], 1))
    done = in_processes(nap, [[(0.0,)], [(600.0,)]], 2)
    next(done)
    done.close()
    assert time.monotonic() - started < 300


@pytest.mark.parametrize(
    ("code", "words"),
    [(0, "exit code 0"), (3, "exit code 3"), (-11, "signal SIGSEGV (segmentation fault)"), (-2, "signal SIGINT")],
)
def test_how_a_process_ended(code: int, words: str) -> None:
    """In words."""
    assert in_words(code) == words
