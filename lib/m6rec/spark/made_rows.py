"""Rows that the executors make from an object of the driver, such as those of the items' tables.

Rows that the driver itself sends lie in the heap of its JVM, all at once. An object that it ships
lies in files, which the executors map (see `m6rec.spark.shipping`).
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import types as T

from m6rec.spark.arrow_rows import batches_of
from m6rec.spark.shipping import Shipped, ship

NUMBERS_OF_TASK = 1 << 25
NUMBERS_OF_BATCH = 1 << 20

MakeRows = Callable[[Any, int, int], pa.RecordBatch]


def made_rows(
    spark: SparkSession,
    value: object,
    make: MakeRows,
    schema: T.StructType | str,
    rows: int,
    numbers: int,
) -> DataFrame:
    """The rows that `make(value, start, stop)` gives for each part of `rows` rows, in order.

    Args:
        spark: the session.
        value: of which the executors get one copy each.
        make: it must pickle.
        schema: of the rows.
        rows: how many there are.
        numbers: about how many numbers they have together, for the number of tasks.
    """
    tasks = 1 + numbers // NUMBERS_OF_TASK
    of_batch = max(1, rows * NUMBERS_OF_BATCH // max(numbers, 1))
    write = partial(
        _rows_partition,
        shipped=ship(spark, value),
        make=make,
        rows=rows,
        tasks=tasks,
        size=of_batch,
    )
    return spark.range(0, tasks, 1, tasks).mapInArrow(write, schema)


def _rows_partition(
    batches: Iterable[pa.RecordBatch],
    shipped: Shipped,
    make: MakeRows,
    rows: int,
    tasks: int,
    size: int,
) -> Iterator[pa.RecordBatch]:
    value = shipped.load()
    for batch in batches:
        for number in batch.column("id").to_pylist():
            start, stop = (rows * place // tasks for place in (number, number + 1))
            for low, high in batches_of(stop - start, size):
                yield make(value, start + low, start + high)
