"""Arrow record batches of the user-item matrix to and from arrays, without a copy a row."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import types as T

from m6rec import columns as c
from m6rec.errors import DataError
from m6rec.kernels.arrays.rows import UNKNOWN_TIME, Int64, Rows, concatenate_rows

MOST_VALUES = 2**31 - 1
"""Arrow counts the values of a list column in 32 bits."""
ROW_COLUMNS = (c.USER_INDEX, c.ITEM_INDICES, c.WEIGHTS)
ROW_SCHEMA = T.StructType(
    [
        T.StructField(c.USER_INDEX, T.LongType(), False),
        T.StructField(c.ITEM_INDICES, T.ArrayType(T.IntegerType(), False), False),
        T.StructField(c.WEIGHTS, T.ArrayType(T.FloatType(), False), False),
    ]
)


def rows_from_batch(batch: pa.RecordBatch) -> Rows:
    """The columns user_index, item_indices, weights of one batch as Rows."""
    indptr, items = list_column(batch, c.ITEM_INDICES)
    _, weights = list_column(batch, c.WEIGHTS)
    return Rows(
        batch.column(c.USER_INDEX).to_numpy(zero_copy_only=False).astype(np.int64, copy=False),
        indptr,
        items.astype(np.int32, copy=False),
        weights.astype(np.float32, copy=False),
    )


def rows_from_batches(batches: Iterable[pa.RecordBatch]) -> Rows:
    """All rows of a partition."""
    return concatenate_rows([rows_from_batch(batch) for batch in batches if batch.num_rows])


def list_column(batch: pa.RecordBatch, name: str) -> tuple[Int64, npt.NDArray[Any]]:
    """The indptr (int64 [n + 1], from 0) and flat values of a list column without nulls."""
    column = batch.column(name)
    indptr = column.offsets.to_numpy().astype(np.int64)
    values = column.values.slice(indptr[0], indptr[-1] - indptr[0])
    return indptr - indptr[0], values.to_numpy(zero_copy_only=False)


def times_column(batch: pa.RecordBatch) -> Int64:
    """When each interaction was, in microseconds or as `UNKNOWN_TIME`: int64 [entries]."""
    times = batch.column(c.TIMES)
    indptr = times.offsets.to_numpy().astype(np.int64)
    values = times.values.slice(indptr[0], indptr[-1] - indptr[0]).cast(pa.int64())
    known: Int64 = values.fill_null(int(UNKNOWN_TIME)).to_numpy(zero_copy_only=False)
    return known


def matrix_column(batch: pa.RecordBatch, name: str) -> npt.NDArray[np.float32]:
    """A list column whose lists all have one length, as float32 [n, length]."""
    return _matrix(batch, name).astype(np.float32, copy=False)


def doubles_column(batch: pa.RecordBatch, name: str) -> npt.NDArray[np.float64]:
    """A list column whose lists all have one length, as float64 [n, length]."""
    return _matrix(batch, name).astype(np.float64, copy=False)


def _matrix(batch: pa.RecordBatch, name: str) -> npt.NDArray[Any]:
    indptr, values = list_column(batch, name)
    width = int(indptr[1]) if batch.num_rows else 0
    return values.reshape(batch.num_rows, width)


def list_array(indptr: Int64, values: npt.NDArray[Any]) -> pa.ListArray:
    """Offsets and flat values as an Arrow list column.

    Raises:
        DataError: there are more values than one column of a batch can hold.
    """
    if indptr[-1] > MOST_VALUES:
        raise DataError(
            f"a batch has {len(indptr) - 1} rows with {indptr[-1]} values in a column of lists,"
            f" which holds at most {MOST_VALUES}; lower spark.sql.execution.arrow."
            "maxRecordsPerBatch"
        )
    return pa.ListArray.from_arrays(pa.array(indptr.astype(np.int32)), pa.array(values))


def list_array_from_matrix(matrix: npt.NDArray[Any]) -> pa.ListArray:
    """The rows of a matrix as an Arrow list column."""
    n, width = matrix.shape
    return list_array(np.arange(n + 1, dtype=np.int64) * width, matrix.reshape(-1))


def batches_of(rows: int, size: int) -> Iterator[tuple[int, int]]:
    """Start and stop of blocks of at most `size` rows."""
    for start in range(0, rows, size):
        yield start, min(start + size, rows)


__all__ = [
    "MOST_VALUES",
    "ROW_COLUMNS",
    "ROW_SCHEMA",
    "batches_of",
    "doubles_column",
    "list_array",
    "list_array_from_matrix",
    "list_column",
    "matrix_column",
    "rows_from_batch",
    "rows_from_batches",
    "times_column",
]
