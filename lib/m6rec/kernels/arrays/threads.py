"""Run kernels that call BLAS on several threads, each with a BLAS of one thread."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from types import TracebackType
from typing import TypeVar

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


class Threads:
    """As many threads as BLAS is set to; inside the `with` block BLAS itself uses one.

    Each of these threads does its own products, so that threads of BLAS never compete with them for
    the cores.
    """

    def __init__(self) -> None:
        self._pools = _blas()
        self.count = min((int(pool["num_threads"]) for pool in self._pools.info()), default=1)

    def __enter__(self) -> "Threads":
        # Only within its own `with` does a limit of OpenBLAS hold for whichever thread sets it.
        # Where BLAS has one thread already, who has set that restores it.
        self._limits = None if self.count == 1 else self._pools.limit(limits=1).__enter__()
        self._executor = ThreadPoolExecutor(self.count)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._executor.shutdown(cancel_futures=True)
        if self._limits is not None:
            self._limits.__exit__(kind, error, trace)

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
