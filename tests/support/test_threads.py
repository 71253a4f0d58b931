"""Pieces of work side by side give what they give one after the other."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from gmbench.support.threads import side_by_side


def product(seed: int) -> float:
    """A sum that is rounded otherwise by other numbers of threads."""
    random = np.random.default_rng(seed)
    return float((random.normal(size=(300, 3000)) @ random.normal(size=(3000, 300))).sum())


def most_threads() -> int:
    """How many threads a library may use here."""
    return max(library["num_threads"] for library in threadpool_info())


def test_results_come_in_order_whatever_the_number_of_threads() -> None:
    """Bit by bit those of one thread."""
    tasks = [partial(product, seed) for seed in range(7)]
    with threadpool_limits(1):
        expected = [task() for task in tasks]
    assert side_by_side(tasks) == expected
    with threadpool_limits(3):
        assert side_by_side(tasks) == expected


def test_each_has_one_thread_and_the_limit_ends_with_them() -> None:
    """Libraries have as many threads afterwards as before."""
    with threadpool_limits(2):
        before = most_threads()
        assert side_by_side([most_threads] * 4) == [1] * 4
        assert most_threads() == before


def test_an_error_is_passed_on() -> None:
    """As if the task had been called here."""

    def fails() -> None:
        raise ValueError("FDR needs something")

    with pytest.raises(ValueError, match="needs something"):
        side_by_side([fails, fails])
