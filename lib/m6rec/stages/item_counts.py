"""How often each item was interacted with, in the rows of one fit."""

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.kernels.rows import Int64


def interaction_counts(matrix: DataFrame, n_items: int) -> Int64:
    """int64 [n_items]: users that have each item; `matrix` has a column item_indices."""
    counted = matrix.select(F.explode(c.ITEM_INDICES).alias(c.ITEM_INDEX)).groupBy(c.ITEM_INDEX)
    table = counted.count().toArrow()
    counts = np.zeros(n_items, dtype=np.int64)
    counts[table.column(c.ITEM_INDEX).to_numpy()] = table.column("count").to_numpy()
    return counts
