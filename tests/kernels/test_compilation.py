"""Kernels return the same numbers whether a process compiles them or loads them from the cache.

By `fastmath`, LLVM may add up in another order each time that it compiles a kernel. For each kernel
that calls another one, it compiles a copy of the latter. Of equal functions a process keeps the one
that it has got first: a process that compiles, the kernel's own; one that loads from the cache, the
caller's copy, unless it has loaded the kernel itself before. By `forceinline` all callers have the
called kernel within themselves, and no process has a choice.

A kernel is compiled once whether what it reads is of numpy, or of Arrow and may not be written to.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numba.core.dispatcher import Dispatcher

from m6rec import kernels
from m6rec.kernels.arrays.read_only import read_only
from m6rec.kernels.arrays.recency import later_counts, recency_ranks
from m6rec.kernels.arrays.rows import Float32, Int32, Int64, Rows
from m6rec.kernels.factors.projection import build_factor_model, project
from m6rec.kernels.ranking.members import SparseRows, Terms
from m6rec.kernels.ranking.sparse_sums import dots_at, sums_at
from tests.shell_environment import run_python

# A kernel that calls one with `fastmath`, as `solve_targets` and `content_weights` do.
PROGRAM = """
import numba
import numpy as np

from m6rec.kernels.neighbours.ridge import conjugate_gradient


@numba.njit(cache=True)
def solve(systems, rights):
    solutions = np.empty_like(rights)
    for place in range(len(rights)):
        solutions[place] = conjugate_gradient(systems[place], rights[place])
    return solutions


factors = np.random.default_rng(1).random((4, 37, 37), dtype=np.float32)
systems = factors @ factors.transpose(0, 2, 1) + np.eye(37, dtype=np.float32)
"""
SOLVE = "print(solve(systems, factors[0, :4]).tobytes().hex())\n"
CALL_IT_ALONE = "conjugate_gradient(systems[0], factors[0, 0])\n"


def test_numbers_do_not_depend_on_what_a_process_compiles_or_loads_first(tmp_path: Path) -> None:
    settings = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    (tmp_path / "program.py").write_text(PROGRAM)
    printed = []
    for calls in (SOLVE, SOLVE, CALL_IT_ALONE + SOLVE):
        done = run_python("-c", f"from program import *\n{calls}", cwd=tmp_path, **settings)
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout)
    assert list((tmp_path / "cache").rglob("program.solve-*.nbc"))
    compiling, loading, loading_it_alone_before = printed
    assert compiling == loading == loading_it_alone_before


def test_kernels_that_add_up_in_any_order_are_compiled_into_their_callers() -> None:
    called = {one for kernel in every_kernel() for one in kernels_called_by(kernel)}
    assert "conjugate_gradient" in {kernel.__name__ for kernel in called}
    separate = {
        kernel.__name__
        for kernel in called
        if adds_up_in_any_order(kernel) and not kernel.targetoptions.get("forceinline")
    }
    assert separate == set()


INDPTR = np.array([0, 2, 3], np.int64)
ITEMS = np.array([0, 2, 1], np.int32)
VALUES = np.array([1.0, 2.0, 3.0], np.float32)
VECTORS = np.eye(3, dtype=np.float32)
# A row for each item, of one entry.
ROWS = SparseRows(np.arange(4), ITEMS, VALUES)


def project_least_squares(indptr: Int64, items: Int32, values: Float32, vectors: Float32) -> None:
    parameters = {
        "unobserved_weight": 0.1,
        "weight_scale": 1.0,
        "regularisation": 0.1,
        "frequency_exponent": 0.0,
        "frequency_offset": 0.0,
        "explicit": 0.0,
        "mean_rating": 0.0,
    }
    counts = np.ones(len(vectors), np.int64)
    model = build_factor_model("als", vectors, None, VALUES, parameters, counts)
    project(replace(model, factors=vectors), Rows(np.arange(2), indptr, items, values))


READERS: dict[str, Callable[[Int64, Int32, Float32, Float32], object]] = {
    "recency": lambda indptr, items, values, vectors: recency_ranks(indptr, items.astype(np.int64)),
    "later": lambda indptr, items, values, vectors: later_counts(indptr, items.astype(np.int64)),
    "dots": lambda indptr, items, values, vectors: dots_at(vectors, vectors, indptr, items),
    "sums": lambda indptr, items, values, vectors: sums_at(
        Terms(indptr, items, values), ROWS, False, indptr, items, 3
    ),
    "least squares": project_least_squares,
}


@pytest.mark.parametrize("reader", READERS)
def test_a_kernel_is_compiled_once_whether_its_arrays_may_be_written_to_or_not(reader: str) -> None:
    read = READERS[reader]
    read(INDPTR, ITEMS, VALUES, VECTORS)
    compiled = signatures()
    read(*read_only(INDPTR, ITEMS, VALUES, VECTORS))
    read(*read_only(INDPTR, ITEMS), VALUES, VECTORS)
    assert signatures() == compiled


def test_a_view_that_is_only_read_is_of_the_same_memory() -> None:
    given = np.arange(3)
    (view,) = read_only(given)
    given[0] = 7
    assert view[0] == 7
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 8


def signatures() -> dict[str, int]:
    """How many combinations of types each kernel has been compiled for, or loaded."""
    return {f"{one.__module__}.{one.__name__}": len(one.signatures) for one in every_kernel()}


def every_kernel() -> Iterator[Dispatcher]:
    for module in pkgutil.walk_packages(kernels.__path__, f"{kernels.__name__}."):
        values = vars(importlib.import_module(module.name)).values()
        yield from (value for value in values if isinstance(value, Dispatcher))


def kernels_called_by(kernel: Dispatcher) -> list[Dispatcher]:
    function = kernel.py_func
    values = [function.__globals__.get(name) for name in function.__code__.co_names]
    return [value for value in values if isinstance(value, Dispatcher)]


def adds_up_in_any_order(kernel: Dispatcher) -> bool:
    """Whether `fastmath` holds in a kernel, or in one that is compiled into it."""
    own = bool(kernel.targetoptions.get("fastmath"))
    return own or any(map(adds_up_in_any_order, kernels_called_by(kernel)))
