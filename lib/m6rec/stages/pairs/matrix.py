"""Make the user-item matrix, a row of arrays for each user and fit, and count and sample it."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.kernels.arrays.rows import Int64
from m6rec.spark.arrow_rows import list_column
from m6rec.spark.collecting import BYTES_OF_NUMBER, collected_table
from m6rec.stages.pairs.user_rows import matrix_of, user_rows

_SEEN = "_seen"


def user_item_matrix(
    splits: DataFrame, user_indices: DataFrame | None = None, fits: Sequence[str] = c.FITS
) -> DataFrame:
    """Gather each user's pairs into one row for each fit.

    Args:
        splits: user_index, item_index, weight, event_time, positive, fold. Of rows of one pair, a
            fit takes that of the latest of its own folds.
        user_indices: user_index; these users get a row whether or not they have a pair.
        fits: the fits that get rows.

    Returns:
        fit, user_index long, item_indices array<int> (the positive pairs of the fit's folds,
        ascending), weights array<float>, times array<timestamp>, excluded_indices array<int>
        (seen in the fit's folds but not positive, ascending). Each user of either input has a
        row in each of the fits, with empty arrays where there is no history.
    """
    columns = (c.USER_INDEX, c.ITEM_INDEX, c.WEIGHT, c.EVENT_TIME, c.POSITIVE, c.FOLD)
    rows = user_rows(splits.select(*columns), (), fits, user_indices, kept=())
    return matrix_of(rows, fits)


def with_seen(matrix: DataFrame, seen: DataFrame) -> DataFrame:
    """The rows of the matrix with more items that their users have seen, but are not learned from.

    Args:
        matrix: as `user_item_matrix` gives it.
        seen: user_index, item_index; in any number of rows. Users without a row are left out.
    """
    of_users = seen.groupBy(c.USER_INDEX).agg(
        F.collect_set(F.col(c.ITEM_INDEX).cast("int")).alias(_SEEN)
    )
    together = F.array_sort(F.array_union(c.EXCLUDED_INDICES, _SEEN))
    excluded = F.when(F.col(_SEEN).isNull(), F.col(c.EXCLUDED_INDICES)).otherwise(together)
    joined = matrix.join(of_users, c.USER_INDEX, how="left")
    return joined.withColumn(c.EXCLUDED_INDICES, excluded).select(matrix.columns)


def target_rows(splits: DataFrame, fold: str) -> DataFrame:
    """The held-out items of `fold`: user_index long, item_indices array<int>, ascending.

    Users without a positive pair in the fold have no row.
    """
    held = splits.where((F.col(c.FOLD) == fold) & F.col(c.POSITIVE))
    items = F.sort_array(F.collect_list(F.col(c.ITEM_INDEX).cast("int")))
    return held.groupBy(c.USER_INDEX).agg(items.alias(c.ITEM_INDICES))


def sample_users(rows: DataFrame, maximum: int, seed: int, second_draw: bool = False) -> DataFrame:
    """At most `maximum` rows, those of smallest hash of seed and user_index.

    The same users are drawn whatever the partitioning is, and a larger sample holds a smaller one.

    Args:
        rows: a row for each user, with a column user_index.
        maximum: how many rows to keep.
        seed: of the hash.
        second_draw: draw independently of the sample that the same seed gives without this.
    """
    parts = (F.lit(seed), F.col(c.USER_INDEX))
    order = F.xxhash64(*(reversed(parts) if second_draw else parts))
    return rows.orderBy(order, c.USER_INDEX).limit(maximum)


def interaction_counts(matrix: DataFrame, n_items: int) -> Int64:
    """int64 [n_items]: how many users have each item; `matrix` has a column item_indices."""
    count = partial(_count_partition, n_items=n_items)
    parts = matrix.select(c.ITEM_INDICES).mapInArrow(count, f"{c.ITEM_INDEX} long, users long")
    of_items = parts.groupBy(c.ITEM_INDEX).agg(F.sum("users").alias("users"))
    table = collected_table(of_items, 2 * n_items * BYTES_OF_NUMBER)
    counts = np.zeros(n_items, dtype=np.int64)
    counts[table.column(c.ITEM_INDEX).to_numpy()] = table.column("users").to_numpy()
    return counts


def _count_partition(batches: Iterable[pa.RecordBatch], n_items: int) -> Iterator[pa.RecordBatch]:
    """Count a partition's rows, and send only the items that it has."""
    users = np.zeros(n_items, np.int64)
    for batch in batches:
        users += np.bincount(list_column(batch, c.ITEM_INDICES)[1], minlength=n_items)
    held = np.flatnonzero(users)
    yield pa.RecordBatch.from_arrays(
        [pa.array(held), pa.array(users[held])], names=[c.ITEM_INDEX, "users"]
    )
