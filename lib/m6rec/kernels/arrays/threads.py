"""Threads for kernels that run without the GIL and call BLAS themselves."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from types import TracebackType
from typing import TypeVar

import numpy as np
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

from m6rec.kernels.arrays.rows import Int64

# A row costs about as much as so many entries, however few it has.
_ENTRIES_OF_A_ROW = 8

Result = TypeVar("Result")


class Threads:
    """As many threads as BLAS is set to; inside the `with` block BLAS itself has one.

    Each thread does its own products, so that threads of BLAS and ours never compete for the cores.
    """

    def __init__(self) -> None:
        self._pools = ThreadpoolController().select(user_api="blas")
        self.count = min((int(pool["num_threads"]) for pool in self._pools.info()), default=1)

    def __enter__(self) -> "Threads":
        self._limits = self._pools.limit(limits=1)
        self._executor = ThreadPoolExecutor(self.count)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._executor.shutdown(cancel_futures=True)
        self._limits.restore_original_limits()

    def run(self, work: Callable[[slice], Result], parts: Iterable[slice]) -> list[Result]:
        """What `work` returns for each part, in order; an error of any of them is raised."""
        if self.count == 1:
            return [work(part) for part in parts]
        return list(self._executor.map(work, parts))

    def parts_of_rows(self, indptr: Int64, rows: slice | None = None) -> list[slice]:
        """A part of the rows a thread, about equal in work.

        Args:
            indptr: int64 [n + 1]; row r holds the entries indptr[r] to indptr[r + 1].
            rows: a range of them; all unless given.
        """
        first, last = (0, len(indptr) - 1) if rows is None else (rows.start, rows.stop)
        work = indptr[first : last + 1] + _ENTRIES_OF_A_ROW * np.arange(last + 1 - first)
        ends = np.searchsorted(work, np.linspace(work[0], work[-1], self.count + 1))
        return [slice(low, high) for low, high in pairwise((first + ends).tolist())]
