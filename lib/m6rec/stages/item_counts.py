"""How often each item was interacted with, in the rows of one fit."""

from collections.abc import Iterable, Iterator
from functools import partial

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.kernels.rows import Int64
from m6rec.stages.arrow_rows import list_column


def interaction_counts(matrix: DataFrame, n_items: int) -> Int64:
    """int64 [n_items]: users that have each item; `matrix` has a column item_indices."""
    count = partial(_count_partition, n_items=n_items)
    parts = matrix.select(c.ITEM_INDICES).mapInArrow(count, f"{c.ITEM_INDEX} long, users long")
    table = parts.groupBy(c.ITEM_INDEX).agg(F.sum("users").alias("users")).toArrow()
    counts = np.zeros(n_items, dtype=np.int64)
    counts[table.column(c.ITEM_INDEX).to_numpy()] = table.column("users").to_numpy()
    return counts


def _count_partition(batches: Iterable[pa.RecordBatch], n_items: int) -> Iterator[pa.RecordBatch]:
    """A partition counts its own rows, and sends only the items that it has."""
    users = np.zeros(n_items, np.int64)
    for batch in batches:
        users += np.bincount(list_column(batch, c.ITEM_INDICES)[1], minlength=n_items)
    held = np.flatnonzero(users)
    yield pa.RecordBatch.from_arrays(
        [pa.array(held), pa.array(users[held])], names=[c.ITEM_INDEX, "users"]
    )
