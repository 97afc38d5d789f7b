"""Run kernels that call BLAS on several threads, each with a BLAS of one thread."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from threading import Lock, local
from types import TracebackType
from typing import Any, TypeVar

import numpy as np

# The BLAS of numba's products is SciPy's, and is looked for once.
import scipy.linalg  # noqa: F401
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

from m6rec.kernels.arrays.rows import Int64

# Each row costs about as much as this many entries, in addition to its own.
_ENTRIES_OF_A_ROW = 8

Work = TypeVar("Work")
Result = TypeVar("Result")


@cache
def _blas() -> ThreadpoolController:
    """What this process has loaded of BLAS. To look for it takes longer than a small product."""
    return ThreadpoolController().select(user_api="blas")


class _OneThread:
    """BLAS at one thread, from when the first block of this process asks until the last has ended.

    Blocks may overlap. If each restored what it had found, BLAS would have two threads within one
    of them, or one for ever, as it happens, and would round products otherwise.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._blocks = 0
        self._before: list[int] = []

    def begin(self) -> int:
        """Set BLAS to one thread; return how many it has outside of such blocks."""
        libraries = _blas().lib_controllers
        with self._lock:
            if not self._blocks:
                self._before = [int(library.num_threads) for library in libraries]
            self._blocks += 1
            for library in libraries:
                _set_threads(library, 1)
            return min(self._before, default=1)

    def end(self) -> None:
        """Give BLAS its threads again where this was the last block."""
        with self._lock:
            self._blocks -= 1
            for library, count in zip(_blas().lib_controllers, self._before, strict=True):
                # With OpenMP, each thread has a number of its own.
                if not self._blocks or getattr(library, "threading_layer", "") == "openmp":
                    _set_threads(library, count)


def _set_threads(library: Any, count: int) -> None:
    # Otherwise OpenBLAS listens only to the thread that asked first.
    if hasattr(library, "clear_controlling_thread"):
        library.clear_controlling_thread(force=True)
    library.set_num_threads(count)


_ONE_THREAD = _OneThread()
# Of a thread: whether it is one of those of a block, within which further blocks have one thread.
_OF_THREAD = local()


def _mark_thread() -> None:
    _OF_THREAD.is_within = True


class Threads:
    """As many threads as BLAS is set to; inside the `with` block BLAS itself uses one.

    Each of these threads does its own products, so that threads of BLAS never compete with them for
    the cores. Blocks in several threads at once have as many threads each, so that what they
    compute does not depend on when they meet.
    """

    count: int

    def __enter__(self) -> "Threads":
        own = _ONE_THREAD.begin()
        self.count = 1 if getattr(_OF_THREAD, "is_within", False) else own
        self._executor = ThreadPoolExecutor(self.count, initializer=_mark_thread)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._executor.shutdown(cancel_futures=True)
        _ONE_THREAD.end()

    def run(self, work: Callable[[Work], Result], parts: Iterable[Work]) -> list[Result]:
        """What `work` returns for each part, in order; the first error of a part is raised."""
        if self.count == 1:
            return [work(part) for part in parts]
        return list(self._executor.map(work, parts))

    def parts_of_rows(self, indptr: Int64, rows: slice | None = None) -> list[slice]:
        """One part of the rows for each thread, with about equal work.

        Args:
            indptr: int64 [n + 1]; row r holds the entries indptr[r] up to indptr[r + 1].
            rows: the range of rows to divide; all rows unless given.
        """
        first, last = (0, len(indptr) - 1) if rows is None else (rows.start, rows.stop)
        work = indptr[first : last + 1] + _ENTRIES_OF_A_ROW * np.arange(last + 1 - first)
        ends = np.searchsorted(work, np.linspace(work[0], work[-1], self.count + 1))
        return [slice(low, high) for low, high in pairwise((first + ends).tolist())]
