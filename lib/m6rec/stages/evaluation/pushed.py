"""Measure how far pushed items rise in the lists of a ranker."""

from collections.abc import Sequence

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.kernels.arrays.rows import NO_ITEM
from m6rec.kernels.evaluation.pushed_items import Rise, rise_of_items
from m6rec.spark.arrow_rows import list_column


def rise_of_pushed(
    lists: DataFrame, item_index: DataFrame, pushed: Sequence[object], depth: int, k: int
) -> Rise:
    """Where pushed items stand in a ranker's lists, which the driver collects.

    Args:
        lists: item_indices, a row for each user.
        item_index: item_id, item_index.
        pushed: the owner's ids of the items.
        depth: the most items of a list.
        k: how many items of each list count for the share.
    """
    ids = [str(item) for item in pushed]
    found = item_index.where(F.col(c.ITEM_ID).isin(ids)).select(c.ITEM_INDEX).toArrow()
    [batch] = lists.select(c.ITEM_INDICES).toArrow().combine_chunks().to_batches()
    indptr, items = list_column(batch, c.ITEM_INDICES)
    ranked = np.full((batch.num_rows, depth), NO_ITEM, np.int32)
    users = np.repeat(np.arange(batch.num_rows), np.diff(indptr))
    ranked[users, np.arange(len(items)) - indptr[users]] = items
    return rise_of_items(ranked, found.column(0).to_numpy().astype(np.int64), k)
