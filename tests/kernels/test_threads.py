"""BLAS has one thread within `Threads`, whichever thread enters it."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from threadpoolctl import ThreadpoolController

from m6rec.kernels.arrays.threads import Threads


def threads_of_blas() -> set[int]:
    return {pool["num_threads"] for pool in ThreadpoolController().select(user_api="blas").info()}


def within() -> tuple[int, set[int]]:
    with Threads() as threads:
        return threads.count, threads_of_blas()


def test_threads_after_each_other_each_limit_blas() -> None:
    before = threads_of_blas()
    if before == {1}:
        pytest.skip("BLAS has one thread on this machine")
    first = within()
    with ThreadPoolExecutor(1) as other:
        assert other.submit(within).result() == first == (min(before), {1})
    assert within() == first
    assert threads_of_blas() == before


def test_what_runs_within_threads_has_one() -> None:
    with Threads() as threads:
        assert {count for count, _ in threads.run(lambda _: within(), range(4))} == {1}
    assert threads_of_blas() != {1} or threads.count == 1


def test_threads_that_overlap_are_as_many_as_without_others() -> None:
    alone, _ = within()
    with Threads() as threads, ThreadPoolExecutor(1) as other:
        beside = other.submit(within).result()
        assert (threads.count, beside) == (alone, (alone, {1}))
        assert threads_of_blas() == {1}


def test_of_threads_that_overlap_the_last_to_leave_leaves_blas_as_it_was() -> None:
    before = threads_of_blas()
    first, second = Threads(), Threads()
    first.__enter__()
    with ThreadPoolExecutor(1) as other:
        other.submit(second.__enter__).result()
        first.__exit__(None, None, None)
        assert threads_of_blas() == {1}
        other.submit(second.__exit__, None, None, None).result()
    assert threads_of_blas() == before
