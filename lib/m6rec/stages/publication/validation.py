"""Compare how two runs rank on validation, each on what it holds out itself."""

from collections.abc import Iterable, Iterator
from functools import partial

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.kernels.arrays.rows import Int64
from m6rec.kernels.evaluation.metrics import Booleans, hit_matrix, ndcg
from m6rec.kernels.publication.comparison import PairedChange
from m6rec.spark.arrow_rows import list_column

_HELD_OUT = "held_out"


def ndcg_by_user(lists: DataFrame, targets: DataFrame, k: int) -> DataFrame:
    """user_index and NDCG@k of each user who has both a list and held-out items.

    Args:
        lists: user_index, item_indices (best first) of one ranker, and domain where targets have.
        targets: user_index, item_indices (held out); with a column domain, a user has a row for
            each, and gets their mean.
        k: the depth.
    """
    key = [c.USER_INDEX, c.DOMAIN] if c.DOMAIN in targets.columns else [c.USER_INDEX]
    held_out = targets.where(F.size(c.ITEM_INDICES) > 0).select(
        *key, F.col(c.ITEM_INDICES).cast("array<int>").alias(_HELD_OUT)
    )
    joined = lists.select(
        *key, F.slice(F.col(c.ITEM_INDICES).cast("array<int>"), 1, k).alias(c.ITEM_INDICES)
    ).join(held_out, key, how="inner")
    found = joined.mapInArrow(partial(_measure, k=k), f"{c.USER_INDEX} long, {c.VALUE} double")
    if c.DOMAIN not in key:
        return found
    return found.groupBy(c.USER_INDEX).agg(F.mean(c.VALUE).alias(c.VALUE))


def paired_change(earlier: DataFrame, now: DataFrame) -> PairedChange:
    """Compare the values of the users who have one in both; columns user_index, value."""
    before = earlier.select(c.USER_INDEX, F.col(c.VALUE).alias("before"))
    difference = F.col(c.VALUE) - F.col("before")
    row = (
        now.join(before, c.USER_INDEX, how="inner")
        .agg(
            F.count("*").alias("users"),
            F.sum("before").alias("before"),
            F.sum(c.VALUE).alias("now"),
            F.sum(difference * difference).alias("squares"),
        )
        .collect()[0]
    )
    return PairedChange(
        row["users"], row["before"] or 0.0, row["now"] or 0.0, row["squares"] or 0.0
    )


def _measure(batches: Iterable[pa.RecordBatch], k: int) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        if batch.num_rows:
            values = ndcg(*_hits(batch, k), k)
            yield pa.RecordBatch.from_arrays(
                [batch.column(c.USER_INDEX), pa.array(values)], [c.USER_INDEX, c.VALUE]
            )


def _hits(batch: pa.RecordBatch, k: int) -> tuple[Booleans, Int64]:
    """Which places of the users' lists are hits, and how many items each user holds out."""
    indptr, items = list_column(batch, c.ITEM_INDICES)
    lengths = np.diff(indptr)
    users = np.repeat(np.arange(batch.num_rows), lengths)
    ranked = np.full((batch.num_rows, k), -1, dtype=np.int32)
    ranked[users, np.arange(len(items)) - indptr[users]] = items
    held_out, targets = list_column(batch, _HELD_OUT)
    return hit_matrix(ranked, held_out, targets.astype(np.int32)), np.diff(held_out)
