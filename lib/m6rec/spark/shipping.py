"""Objects that hold large arrays on their way between the driver and the executors.

To the executors, large arrays travel as files that the Python workers of an executor map and share;
what remains of the object is small and travels with the task. To the driver, a task hands an object
over as rows of bytes: Spark copies them whole, where it would take a list number by number.
"""

import functools
import hashlib
import io
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark import SparkFiles
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import types as T

from m6rec.errors import ClusterError, DataError
from m6rec.files import written_whole
from m6rec.spark.collecting import collected_batches
from m6rec.spark.runtimes import arrow_schema
from m6rec.spark.session import is_local

_PREFIX = "m6rec-"
_MAPPED_FILES = 128
_ONE_AT_A_TIME = Lock()
SMALLEST_FILE_BYTES = 4096
# A row holds at most this many bytes of an array, because Spark collects batches of some thousand
# rows, and a batch may hold 2 GiB at most.
_BYTES_OF_ROW = 65_536
_ROWS_OF_BATCH = 64
_NAME, _DTYPE, _SHAPE, _POSITION, _CONTENT = "name", "dtype", "shape", "position", "content"
# What is left of an object without its large arrays travels as an array whose name is empty.
_SKELETON = ""

HANDED_OVER = T.StructType(
    [
        T.StructField(_NAME, T.StringType(), False),
        T.StructField(_DTYPE, T.StringType(), False),
        T.StructField(_SHAPE, T.ArrayType(T.LongType(), False), False),
        T.StructField(_POSITION, T.LongType(), False),
        T.StructField(_CONTENT, T.BinaryType(), False),
    ]
)

_ARROW_SCHEMA = arrow_schema(HANDED_OVER)
Handed = TypeVar("Handed")


@dataclass(frozen=True)
class ShippedArrays:
    """A handle to arrays that every executor can map; it pickles to some hundred bytes.

    Attributes:
        files: pairs of the array's name and its file's name, unique by content.
    """

    files: tuple[tuple[str, str], ...]

    def load(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays by name, read-only and mapped, the same objects at each call in a process.

        Raises:
            ClusterError: a file did not reach this executor.
        """
        return {name: _map_file(SparkFiles.get(file)) for name, file in self.files}


def ship_arrays(spark: SparkSession, arrays: Mapping[str, npt.NDArray[Any]]) -> ShippedArrays:
    """Send each array to all executors, present and future; equal arrays are sent once.

    Args:
        spark: a classic session; Spark Connect has no SparkContext to send files with.
        arrays: arrays of numbers by name, any shape; empty ones too.
    """
    return ShippedArrays(tuple((name, _ship(spark, array)) for name, array in arrays.items()))


@contextmanager
def freeing_shipped_arrays(spark: SparkSession) -> Iterator[None]:
    """When the block ends, free the disk of arrays that were not sent before it, in local mode.

    Spark takes back no file that it has named to executors: each of them has its own, and one that
    comes later fetches them all. So on a cluster the arrays stay, and in local mode, where the
    driver and all tasks have one file of an array, that is left there without its content.
    """
    sent = partial(Path(SparkFiles.getRootDirectory()).glob, f"{_PREFIX}*")
    before = set(sent())
    try:
        yield
    finally:
        if is_local(spark):
            for file in set(sent()) - before:
                # Workers may have mapped what was there.
                with written_whole(file) as empty:
                    empty.touch()


def _ship(spark: SparkSession, array: npt.NDArray[Any]) -> str:
    contiguous = np.ascontiguousarray(array).reshape(array.shape)
    file = f"{_PREFIX}{_digest(contiguous)}.npy"
    # Spark makes no copy of a file that lies where it would copy it to on the driver. In local mode
    # tasks read it there, so that it has to be whole before Spark names it.
    place = Path(SparkFiles.getRootDirectory()) / file
    # Another thread that sends an equal array must not go on before the file is whole.
    with _ONE_AT_A_TIME:
        if not _is_there(place):
            with written_whole(place) as unfinished, unfinished.open("wb") as stream:
                np.save(stream, contiguous, allow_pickle=False)
        # Spark ignores a file that it has been given before, but a new session needs it again.
        spark.sparkContext.addFile(place.as_uri())
    return file


def _is_there(file: Path) -> bool:
    return file.is_file() and file.stat().st_size > 0


def _digest(array: npt.NDArray[Any]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    digest.update(f"{array.dtype.str}{array.shape}".encode())
    digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


@lru_cache(maxsize=_MAPPED_FILES)
def _map_file(path: str) -> npt.NDArray[Any]:
    if not _is_there(Path(path)):
        raise ClusterError(
            f"the array file {path} is not on this executor; it is sent by ship_arrays in the"
            " session that runs the stage: call it again in this session"
        )
    array: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


@dataclass(frozen=True)
class Shipped:
    """A handle that tasks carry; `load` gives the object back, once a worker process."""

    skeleton: bytes
    arrays: ShippedArrays

    def load(self) -> Any:
        """The object, its large arrays read-only and shared between the workers of a machine."""
        return _load_shipped(self)

    def __hash__(self) -> int:
        return hash(self.skeleton)


def ship(spark: SparkSession, value: Any) -> Shipped:
    """Send `value` to where tasks will run; there, all of its arrays are read-only."""
    skeleton, arrays = _apart(value, _FreezingPickler)
    return Shipped(skeleton, ship_arrays(spark, arrays))


@functools.lru_cache(maxsize=4)
def _load_shipped(shipped: Shipped) -> Any:
    return _ArrayUnpickler(io.BytesIO(shipped.skeleton), shipped.arrays.load()).load()


def hand_over(value: object) -> Iterator[pa.RecordBatch]:
    """The rows, of schema HANDED_OVER, from which `collect_value` makes `value` again."""
    skeleton, arrays = _apart(value, _ArrayPickler)
    for name, array in {_SKELETON: np.frombuffer(skeleton, np.uint8), **arrays}.items():
        content = array.reshape(-1).view(np.uint8)
        starts = range(0, max(len(content), 1), _BYTES_OF_ROW)
        for first in range(0, len(starts), _ROWS_OF_BATCH):
            rows = [
                {
                    _NAME: name,
                    _DTYPE: array.dtype.str,
                    _SHAPE: list(array.shape),
                    _POSITION: start,
                    # Of a view PyArrow 14 keeps a reference, and the worker its arrays, for ever.
                    _CONTENT: content[start : start + _BYTES_OF_ROW].tobytes(),
                }
                for start in starts[first : first + _ROWS_OF_BATCH]
            ]
            yield pa.RecordBatch.from_pylist(rows, _ARROW_SCHEMA)


def collect_value(frame: DataFrame, kind: type[Handed], most_bytes: int = 0) -> Handed:
    """The object, of class `kind`, that one task of `frame` has handed over.

    `most_bytes` is about how many bytes its arrays may have; see `collected_batches`.

    Raises:
        DataError: there is none, or not all of it.
    """
    arrays: dict[str, npt.NDArray[Any]] = {}
    missing: dict[str, int] = {}
    for batch in collected_batches(frame, most_bytes):
        columns = [batch.column(name).to_pylist() for name in (_NAME, _DTYPE, _SHAPE, _POSITION)]
        for name, dtype, shape, position, content in zip(
            *columns, batch.column(_CONTENT), strict=True
        ):
            if name not in arrays:
                arrays[name] = np.empty(shape, dtype)
                missing[name] = arrays[name].nbytes
            part = np.frombuffer(content.as_buffer(), np.uint8)
            arrays[name].reshape(-1).view(np.uint8)[position : position + len(part)] = part
            missing[name] -= len(part)
    incomplete = DataError(
        f"{kind.__name__} was not handed over whole: bytes missing of its arrays {missing};"
        " exactly one task of the stage must hand it over"
    )
    if any(missing.values()):
        raise incomplete
    try:
        value = _ArrayUnpickler(io.BytesIO(arrays[_SKELETON].tobytes()), arrays).load()
    except KeyError as error:
        raise incomplete from error
    assert isinstance(value, kind)
    return value


def _apart(
    value: object, pickler: "type[_ArrayPickler]"
) -> tuple[bytes, dict[str, npt.NDArray[Any]]]:
    """An object without its large arrays, and these by name."""
    arrays: dict[str, npt.NDArray[Any]] = {}
    buffer = io.BytesIO()
    pickler(buffer, arrays).dump(value)
    return buffer.getvalue(), arrays


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


class _FreezingPickler(_ArrayPickler):
    """Makes small arrays read-only where they arrive, as the large ones are that are mapped there.

    To numba they would be of another type otherwise, and each kernel would be compiled anew where
    an array is the first of its place to be large.
    """

    def reducer_override(self, value: Any) -> Any:
        """How a small array is made again."""
        if type(value) is not np.ndarray or value.dtype.hasobject:
            return NotImplemented
        return np.ndarray, (value.shape, value.dtype, value.tobytes())


class _ArrayUnpickler(pickle.Unpickler):
    def __init__(self, buffer: io.BytesIO, arrays: dict[str, npt.NDArray[Any]]) -> None:
        super().__init__(buffer)
        self._arrays = arrays

    def persistent_load(self, name: str) -> npt.NDArray[Any]:
        """The array that was stored apart under `name`."""
        return self._arrays[name]
