"""Kernels return the same numbers whether a process compiles them or loads them from the cache.

By `fastmath`, LLVM may add up in another order each time that it compiles a kernel. For each kernel
that calls another one, it compiles a copy of the latter. Of equal functions a process keeps the one
that it has got first: a process that compiles, the kernel's own; one that loads from the cache, the
caller's copy, unless it has loaded the kernel itself before. By `forceinline` all callers have the
called kernel within themselves, and no process has a choice.
"""

import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

from numba.core.dispatcher import Dispatcher

from m6rec import kernels
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
