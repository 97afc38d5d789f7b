"""Measure how far pushed items rise in the lists of a ranker."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, fields
from functools import partial

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.kernels.arrays.rows import NO_ITEM, Int64
from m6rec.kernels.evaluation.pushed_items import Rise, RiseSums, rise_sums
from m6rec.spark.arrow_rows import list_column
from m6rec.spark.runtimes import arrow_table

HAD = "had"
# How many of the pushed items a user does not have.
_LEFT = "left"
_SUMS_OF_RISE = tuple(field.name for field in fields(RiseSums))


def rise_of_pushed(
    lists: DataFrame,
    item_index: DataFrame,
    pushed: Sequence[object],
    depth: int,
    k: int,
) -> Rise:
    """Where pushed items stand in a ranker's lists, of users who do not have them.

    Args:
        lists: item_indices, had, a row for each user; `had` is how many of the pushed items the
            user has, so that no list may hold them, and null where it is none.
        item_index: item_id, item_index.
        pushed: the owner's ids of the items. One that the index lacks stands in no list.
        depth: the most items of a list.
        k: how many items of each list count for the share.
    """
    ids = [str(item) for item in pushed]
    found = arrow_table(item_index.where(F.col(c.ITEM_ID).isin(ids)).select(c.ITEM_INDEX))
    items = found.column(0).to_numpy().astype(np.int64)
    left = (F.lit(len(ids)) - F.coalesce(HAD, F.lit(0))).cast("long").alias(_LEFT)
    add = partial(_rise_partition, pushed=items, depth=depth, k=k)
    schema = ", ".join(f"{name} long" for name in _SUMS_OF_RISE)
    rows = lists.select(c.ITEM_INDICES, left).mapInArrow(add, schema)
    sums = rows.agg(*map(F.sum, _SUMS_OF_RISE)).first()
    assert sums is not None
    return RiseSums(*sums).rise()


def _rise_partition(
    batches: Iterable[pa.RecordBatch], pushed: Int64, depth: int, k: int
) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        indptr, items = list_column(batch, c.ITEM_INDICES)
        ranked = np.full((batch.num_rows, depth), NO_ITEM, np.int32)
        users = np.repeat(np.arange(batch.num_rows), np.diff(indptr))
        ranked[users, np.arange(len(items)) - indptr[users]] = items
        pairs = int(batch.column(_LEFT).to_numpy().sum())
        yield pa.RecordBatch.from_pylist([asdict(rise_sums(ranked, pushed, pairs, k))])
