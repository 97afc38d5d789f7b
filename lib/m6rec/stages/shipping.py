"""Ship an object that holds large arrays to the executors: once each, mapped into memory.

Large arrays travel as files that the Python workers of an executor share; what remains of the
object is small and travels with the task.
"""

import functools
import io
import pickle
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pyspark.sql import SparkSession

from m6rec.stages.item_side import ShippedArrays, ship_arrays

SMALLEST_FILE_BYTES = 4096


@dataclass(frozen=True)
class Shipped:
    """A handle that tasks carry; `load` gives the object back, once a worker process."""

    skeleton: bytes
    arrays: ShippedArrays

    def load(self) -> Any:
        """The object, its large arrays read-only and shared between the workers of a machine."""
        return _load(self)

    def __hash__(self) -> int:
        return hash(self.skeleton)


def ship(spark: SparkSession, value: Any) -> Shipped:
    """Send `value` to where tasks will run."""
    arrays: dict[str, npt.NDArray[Any]] = {}
    buffer = io.BytesIO()
    _ArrayPickler(buffer, arrays).dump(value)
    return Shipped(buffer.getvalue(), ship_arrays(spark, arrays))


@functools.lru_cache(maxsize=4)
def _load(shipped: Shipped) -> Any:
    return _ArrayUnpickler(io.BytesIO(shipped.skeleton), shipped.arrays.load()).load()


class _ArrayPickler(pickle.Pickler):
    def __init__(self, buffer: io.BytesIO, arrays: dict[str, npt.NDArray[Any]]) -> None:
        super().__init__(buffer, protocol=pickle.HIGHEST_PROTOCOL)
        self._arrays = arrays
        self._names: dict[int, str] = {}

    def persistent_id(self, value: Any) -> str | None:
        """A name for a large array, which is then stored apart; None for all else."""
        if not isinstance(value, np.ndarray) or value.nbytes < SMALLEST_FILE_BYTES:
            return None
        if id(value) not in self._names:
            self._names[id(value)] = f"array_{len(self._arrays)}"
            self._arrays[self._names[id(value)]] = np.ascontiguousarray(value)
        return self._names[id(value)]


class _ArrayUnpickler(pickle.Unpickler):
    def __init__(self, buffer: io.BytesIO, arrays: dict[str, npt.NDArray[Any]]) -> None:
        super().__init__(buffer)
        self._arrays = arrays

    def persistent_load(self, name: str) -> npt.NDArray[Any]:
        """The array that was stored apart under `name`."""
        return self._arrays[name]
