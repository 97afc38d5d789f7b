"""Send sparse rows between tasks and the driver as a few rows of bytes.

Spark copies a row of bytes whole, but a list number by number.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from m6rec.kernels.arrays.rows import (
    Float32,
    Int32,
    Int64,
    entries_of_rows,
    indptr_of,
    slices_of_rows,
)
from m6rec.spark.collecting import collected_batches

COST_PER_TASK = 1_000_000
PIECE_ENTRIES = 2_000_000
# A row has a key and a place in indptr, an entry an index and a value.
_BYTES_OF_ROW, _BYTES_OF_ENTRY = 16, 8
PACKED_SCHEMA = "keys binary, indptr binary, indices binary, values binary"


@dataclass(frozen=True)
class Pieces:
    """Sparse rows with their keys, in the form in which they are packed into bytes.

    Attributes:
        keys: int64 [n].
        indptr: int64 [n + 1].
        indices: int32 [entries].
        values: float32 [entries].
    """

    keys: Int64
    indptr: Int64
    indices: Int32
    values: Float32


def packed_pieces(pieces: Pieces) -> Iterator[pa.RecordBatch]:
    """The rows as batches of one row of bytes, each with about `PIECE_ENTRIES` entries."""
    for start, stop in slices_of_rows(pieces.indptr, PIECE_ENTRIES):
        low, high = pieces.indptr[start], pieces.indptr[stop]
        yield pack_pieces(
            Pieces(
                pieces.keys[start:stop],
                pieces.indptr[start : stop + 1] - low,
                pieces.indices[low:high],
                pieces.values[low:high],
            )
        )


def pack_pieces(pieces: Pieces) -> pa.RecordBatch:
    """All rows as one row of bytes, of schema PACKED_SCHEMA."""
    return pack_groups(pieces, np.array([0, len(pieces.keys)]))


def pack_groups(pieces: Pieces, bounds: Int64) -> pa.RecordBatch:
    """Groups of neighbouring rows, each as one row of bytes, of schema PACKED_SCHEMA.

    Args:
        pieces: the rows.
        bounds: int64 [groups + 1], from 0 on; group g has the rows bounds[g] up to bounds[g + 1].
    """
    groups = np.arange(len(bounds))
    # Each group has an indptr of its own, which begins with 0 and is longer than its rows by one.
    group = np.repeat(groups[:-1], np.diff(bounds) + 1)
    entries = pieces.indptr[bounds]
    indptr = pieces.indptr[np.arange(len(group)) - group] - entries[group]
    return pa.RecordBatch.from_arrays(
        [
            _cut(pieces.keys.astype(np.int64, copy=False), bounds),
            _cut(indptr.astype(np.int64, copy=False), bounds + groups),
            _cut(pieces.indices.astype(np.int32, copy=False), entries),
            _cut(pieces.values.astype(np.float32, copy=False), entries),
        ],
        names=["keys", "indptr", "indices", "values"],
    )


def _cut(array: npt.NDArray[Any], bounds: Int64) -> pa.Array:
    """The bytes of an array, cut at these places."""
    # Arrow refuses places beyond 2 GiB.
    places = pa.array(bounds * array.itemsize, pa.int32()).buffers()[1]
    content = pa.py_buffer(np.ascontiguousarray(array))
    return pa.Array.from_buffers(pa.binary(), len(bounds) - 1, [None, places, content])


def bounds_of_runs(numbers: npt.NDArray[Any]) -> Int64:
    """int64 [runs + 1]: where each run of equal neighbours starts, and where the last one ends."""
    starts: Int64 = np.flatnonzero(np.diff(numbers, prepend=numbers[:1] - 1))
    return np.append(starts, len(numbers))


def unpack_pieces(batch: pa.RecordBatch, row: int) -> Pieces:
    """The sparse rows that `pack_pieces` has packed into this row of a batch."""
    keys, indptr, indices, values = (
        batch.column(name)[row].as_buffer() for name in ("keys", "indptr", "indices", "values")
    )
    return Pieces(
        np.frombuffer(keys, np.int64),
        np.frombuffer(indptr, np.int64),
        np.frombuffer(indices, np.int32),
        np.frombuffer(values, np.float32),
    )


def collect_pieces(packed: DataFrame, rows: int, entries: int) -> Pieces:
    """Collect the packed rows of a frame, in their order.

    Args:
        packed: of schema PACKED_SCHEMA.
        rows: about how many sparse rows there are.
        entries: how many entries one of them has at most.
    """
    parts = [
        unpack_pieces(batch, row)
        for batch in collected_batches(packed, rows * (_BYTES_OF_ROW + entries * _BYTES_OF_ENTRY))
        for row in range(batch.num_rows)
    ]
    counts = [np.diff(part.indptr) for part in parts]
    return Pieces(
        np.concatenate([np.empty(0, np.int64), *(part.keys for part in parts)]),
        indptr_of(np.concatenate([np.empty(0, np.int64), *counts])),
        np.concatenate([np.empty(0, np.int32), *(part.indices for part in parts)]),
        np.concatenate([np.empty(0, np.float32), *(part.values for part in parts)]),
    )


def sorted_by_key(pieces: Pieces) -> Pieces:
    """The rows by ascending key; rows of one key stay in their order."""
    order = np.argsort(pieces.keys, kind="stable")
    indptr, entries = entries_of_rows(pieces.indptr, order)
    return Pieces(pieces.keys[order], indptr, pieces.indices[entries], pieces.values[entries])


def task_count(spark: SparkSession) -> int:
    """How many tasks it takes to keep the cluster busy."""
    return max(2, spark.sparkContext.defaultParallelism)
