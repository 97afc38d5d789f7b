"""Give outside ids dense indices that never change, so that factors of all runs stay aligned."""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.storagelevel import StorageLevel

from m6rec import columns as c

# So many ids are sorted by one task within a second; several have to sample all ids first.
IDS_OF_ONE_TASK = 100_000
# monotonically_increasing_id is the partition in the upper bits and the position in these.
_POSITION_BITS = 33


def extend_index(
    ids: DataFrame,
    existing: DataFrame | None,
    id_column: str,
    index_column: str,
    ids_of_one_task: int = IDS_OF_ONE_TASK,
) -> DataFrame:
    """Number the ids that `existing` lacks, the most frequent first.

    The order is total (by falling interaction_count, then by id), so the numbers do not depend on
    the partitioning, and popular items are neighbours in memory. Rows are partitioned by range and
    numbered from the offset of their partition, so no task sees all of them. Ids without
    interactions follow by a hash: those that an owner gives are often smaller the more popular an
    item is to become, and what a ranker scores alike stands in the order of the numbers.

    Args:
        ids: id_column string, interaction_count long; a row for each id.
        existing: id_column, index_column; None where there is no index yet.
        id_column: the column of outside ids.
        index_column: the column of dense indices.
        ids_of_one_task: how many ids one task numbers.

    Returns:
        id_column, index_column long, for the new ids only. The rows come from a persisted frame,
        because a second range partitioning may cut elsewhere.
    """
    start = 0
    new = ids
    if existing is not None:
        new = ids.join(existing.select(id_column), on=id_column, how="left_anti")
        start = _next_index(existing, index_column)
    new = new.persist(StorageLevel.MEMORY_AND_DISK)
    one_task = new.count() <= ids_of_one_task
    placed = _place(new, id_column, one_task).persist(StorageLevel.MEMORY_AND_DISK)
    offset = F.lit(start) if one_task else _offset_of_partition(placed, start)
    index = F.col("_position") + offset
    return placed.select(id_column, index.cast("long").alias(index_column))


def _next_index(existing: DataFrame, index_column: str) -> int:
    row = existing.agg(F.max(index_column).alias("largest")).first()
    return 0 if row is None or row["largest"] is None else int(row["largest"]) + 1


def _place(ids: DataFrame, id_column: str, one_task: bool) -> DataFrame:
    """Sort the ids by range, and add each row's partition and its position there."""
    configured = int(ids.sparkSession.conf.get("spark.sql.shuffle.partitions") or 1)
    partitions = 1 if one_task else configured
    unknown = F.when(F.col(c.INTERACTION_COUNT) == 0, F.xxhash64(id_column))
    order = (F.col(c.INTERACTION_COUNT).desc(), unknown.asc(), F.col(id_column).asc())
    ranged = ids.repartitionByRange(partitions, *order).sortWithinPartitions(*order)
    return ranged.select(
        id_column,
        F.spark_partition_id().alias("_partition"),
        F.monotonically_increasing_id()
        .bitwiseAND(F.lit((1 << _POSITION_BITS) - 1))
        .alias("_position"),
    )


def _offset_of_partition(placed: DataFrame, start: int) -> Column:
    """The index of the first row of each row's partition."""
    counts = sorted((row[0], row[1]) for row in placed.groupBy("_partition").count().collect())
    offset = start
    entries: list[Column] = []
    for partition, count in counts:
        entries += [F.lit(partition), F.lit(offset).cast("long")]
        offset += count
    if not entries:
        return F.lit(start).cast("long")
    return F.create_map(*entries)[F.col("_partition")]
