"""Independent pieces of numerical work, side by side, with results that do not depend on the number of threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def side_by_side(tasks: Sequence[Callable[[], T]]) -> list[T]:
    """What the tasks give, in their order; as many run at a time as numpy may use threads here.

    Each has one thread of its own: with other numbers of threads, sums are rounded otherwise, and threads that wait for
    each other take longer. It should spend its time in compiled code, which lets other threads run.
    """
    from threadpoolctl import threadpool_info, threadpool_limits

    at_a_time = max((library["num_threads"] for library in threadpool_info()), default=1)
    # The number of threads of OpenMP belongs to the thread that sets it, that of others to the process: the limit out
    # here ends when all tasks have ended.
    with threadpool_limits(1):
        if at_a_time == 1 or len(tasks) < 2:
            return [task() for task in tasks]
        with ThreadPoolExecutor(min(at_a_time, len(tasks)), initializer=threadpool_limits, initargs=(1,)) as pool:
            return list(pool.map(lambda task: task(), tasks))
