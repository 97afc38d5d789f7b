"""Convert item-item weights to rows of table `item_neighbours` and back."""

from collections.abc import Iterable, Iterator
from functools import partial

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from m6rec import columns as c
from m6rec.errors import DataError
from m6rec.kernels.arrays.rows import Int64, entries_of_rows, indptr_of
from m6rec.kernels.neighbours.item_neighbours import ItemWeights
from m6rec.spark.arrow_rows import list_array, rows_from_batches
from m6rec.spark.shipping import Shipped, ship
from m6rec.stages.training.pieces import (
    COST_PER_TASK,
    Pieces,
    sorted_by_key,
    task_count,
)

# The tables demand lists without nulls, which a schema given as a string cannot express.
_LISTS = (
    T.StructField(c.NEIGHBOUR_INDICES, T.ArrayType(T.IntegerType(), False), False),
    T.StructField(c.WEIGHTS, T.ArrayType(T.FloatType(), False), False),
)


def item_weights_to_frame(spark: SparkSession, weights: ItemWeights, method: str) -> DataFrame:
    """The rows that have entries, as method, item_index, neighbour_indices, weights."""
    shipped = ship(spark, weights)
    tasks = max(1, min(task_count(spark), len(weights.weights) // COST_PER_TASK))
    schema = T.StructType(
        [
            T.StructField(c.METHOD, T.StringType(), False),
            T.StructField(c.ITEM_INDEX, T.LongType(), False),
            *_LISTS,
        ]
    )
    numbers = spark.range(0, tasks, 1, tasks).withColumn("tasks", F.lit(tasks))
    return numbers.mapInArrow(partial(_weights_partition, shipped=shipped, method=method), schema)


def item_weights_from_batches(batches: Iterable[pa.RecordBatch], n_items: int) -> ItemWeights:
    """The ItemWeights of the rows of one method: item_index, neighbour_indices, weights.

    Raises:
        DataError: an item has two rows, as where methods are mixed, or lies beyond n_items.
    """
    as_rows = {
        c.USER_INDEX: c.ITEM_INDEX,
        c.ITEM_INDICES: c.NEIGHBOUR_INDICES,
        c.WEIGHTS: c.WEIGHTS,
    }
    found = rows_from_batches(
        pa.RecordBatch.from_arrays([batch.column(name) for name in as_rows.values()], [*as_rows])
        for batch in batches
    )
    pieces = Pieces(found.user_index, found.indptr, found.item_indices, found.weights)
    return item_weights_of_pieces(pieces, n_items)


def _weights_partition(
    batches: Iterable[pa.RecordBatch], shipped: Shipped, method: str
) -> Iterator[pa.RecordBatch]:
    weights: ItemWeights = shipped.load()
    filled = np.flatnonzero(np.diff(weights.indptr))
    for batch in batches:
        numbers = zip(
            batch.column("id").to_pylist(), batch.column("tasks").to_pylist(), strict=True
        )
        for number, tasks in numbers:
            for items in np.array_split(filled, max(tasks, len(filled) // 4096 + 1))[number::tasks]:
                yield _weights_batch(weights, items, method)


def _weights_batch(weights: ItemWeights, items: Int64, method: str) -> pa.RecordBatch:
    indptr, entries = entries_of_rows(weights.indptr, items)
    return pa.RecordBatch.from_arrays(
        [
            pa.array([method] * len(items), pa.string()),
            pa.array(items),
            list_array(indptr, weights.neighbour_indices[entries]),
            list_array(indptr, weights.weights[entries]),
        ],
        names=[c.METHOD, c.ITEM_INDEX, c.NEIGHBOUR_INDICES, c.WEIGHTS],
    )


def item_weights_of_pieces(pieces: Pieces, n_items: int) -> ItemWeights:
    """The ItemWeights of rows in any order; an item without a row gets an empty one.

    Raises:
        DataError: a key stands twice or is no item index.
    """
    ordered = sorted_by_key(pieces)
    keys = ordered.keys
    if len(keys) and (np.any(np.diff(keys) == 0) or keys[0] < 0 or keys[-1] >= n_items):
        raise DataError(
            f"item weights have rows {keys[:5].tolist()} ... {keys[-1]}, expected each item of"
            f" {n_items} once at most; select one run, fit and method of item_neighbours"
        )
    counts = np.zeros(n_items, np.int64)
    counts[keys] = np.diff(ordered.indptr)
    return ItemWeights(indptr_of(counts), ordered.indices, ordered.values)
