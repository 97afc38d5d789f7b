"""Bring rows to the driver, however many bytes they are together.

Spark holds the results of a job in the driver's JVM, whose heap and `spark.driver.maxResultSize`
bound them. What is larger is kept by the executors on disk and comes in parts, a job for each.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pyarrow as pa
from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from m6rec.spark.runtimes import arrow_table

# One part takes so small a share of what the driver may hold that Spark's own copies fit as well.
_SHARE_OF_RESULTS = 4
_SHARE_OF_HEAP = 8
_MOST_BYTES = 512 << 20
_ROW, _PARTITION, _ROWS, _BYTES = "_row", "_partition", "_rows", "_bytes"
# monotonically_increasing_id counts a partition's rows in the bits below.
_BITS_OF_ROW = 33
BYTES_OF_NUMBER = 8
BYTES_OF_WORDS = 256
"""More than an item's id, title or names usually take."""
BYTES_OF_ITEM = 4096
"""More than an item's factors, features and neighbours usually take."""


def collected_batches(
    frame: DataFrame, most_bytes: int, at_once: int | None = None
) -> Iterator[pa.RecordBatch]:
    """All rows of a frame, in order; they are computed once.

    Args:
        frame: of arrays, strings, bytes and numbers.
        most_bytes: about how many bytes all rows may have.
        at_once: how many bytes come by one job; as many as the driver bears unless given.
    """
    for table in _collected(frame, most_bytes, at_once):
        yield from table.to_batches()


def collected_table(frame: DataFrame, most_bytes: int) -> pa.Table:
    """The same as a table, whose columns stay in chunks: one array may be too small for all."""
    return pa.concat_tables(_collected(frame, most_bytes, None))


def _collected(frame: DataFrame, most_bytes: int, at_once: int | None) -> Iterator[pa.Table]:
    limit = bytes_at_once(frame.sparkSession) if at_once is None else at_once
    if most_bytes <= limit:
        yield arrow_table(frame)
        return
    kept = frame.withColumn(_ROW, F.monotonically_increasing_id()).persist(StorageLevel.DISK_ONLY)
    try:
        for first, end in part_bounds(_partitions(kept), limit) or [(0, 0)]:
            part = kept.where((F.col(_ROW) >= first) & (F.col(_ROW) < end)).drop(_ROW)
            yield arrow_table(part)
    finally:
        kept.unpersist()


def bytes_at_once(spark: SparkSession) -> int:
    """How many bytes of rows one job may bring to the driver."""
    if type(spark).__module__.startswith("pyspark.sql.connect"):
        # The server's heap is not known here.
        return _MOST_BYTES
    jvm: Any = spark._jvm
    settings: Any = spark.sparkContext._jsc.sc().conf()
    most = int(settings.getSizeAsBytes("spark.driver.maxResultSize", "1g")) or _MOST_BYTES * 4
    heap = int(jvm.java.lang.Runtime.getRuntime().maxMemory())
    return min(most // _SHARE_OF_RESULTS, heap // _SHARE_OF_HEAP, _MOST_BYTES)


@dataclass(frozen=True)
class KeptPartition:
    """A partition of the rows that executors keep.

    Attributes:
        number: of the partition; its rows are numbered from number * 2^33 on.
        rows: how many there are.
        bytes: about how many these have.
    """

    number: int
    rows: int
    bytes: int


def part_bounds(partitions: Iterable[KeptPartition], limit: int) -> list[tuple[int, int]]:
    """Parts of about `limit` bytes at most: of each the first row, and the one after its last."""
    starts, waiting, end = list[int](), 0, 0
    for one in sorted(partitions, key=lambda one: one.number):
        first, end = one.number << _BITS_OF_ROW, (one.number + 1) << _BITS_OF_ROW
        pieces = max(1, min(math.ceil(one.bytes / limit), one.rows))
        if not starts or waiting + one.bytes > limit:
            starts.append(first)
            waiting = 0
        starts += [first + one.rows * piece // pieces for piece in range(1, pieces)]
        waiting += one.bytes // pieces
    return list(pairwise([*starts, end]))


def _partitions(kept: DataFrame) -> list[KeptPartition]:
    number = F.shiftright(_ROW, _BITS_OF_ROW).alias(_PARTITION)
    size = sum((_bytes_of(field) for field in kept.schema.fields), start=F.lit(0).cast("long"))
    counted = kept.groupBy(number).agg(F.count(F.lit(1)).alias(_ROWS), F.sum(size).alias(_BYTES))
    return [KeptPartition(row[_PARTITION], row[_ROWS], row[_BYTES]) for row in counted.collect()]


def _bytes_of(field: T.StructField) -> Column:
    """About how many bytes a row has in a column."""
    column = F.col(field.name)
    match field.dataType:
        case T.ArrayType():
            return F.greatest(F.size(column), F.lit(0)).cast("long") * BYTES_OF_NUMBER
        case T.StringType() | T.BinaryType():
            return F.coalesce(F.octet_length(column), F.lit(0)).cast("long")
        case _:
            return F.lit(BYTES_OF_NUMBER).cast("long")
