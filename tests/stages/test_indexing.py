"""Indices are dense, append-only and independent of the partitioning."""

import numpy as np
from pyspark.sql import DataFrame, SparkSession

from m6rec.stages.pairs.indexing import IDS_OF_ONE_TASK, extend_index

COUNTS = {f"item{n:02d}": 1 + n % 4 for n in range(40)}
EXPECTED = sorted(COUNTS, key=lambda item: (-COUNTS[item], item))


def ids(spark: SparkSession, counts: dict[str, int], partitions: int = 3) -> DataFrame:
    frame = spark.createDataFrame(list(counts.items()), "item_id string, interaction_count long")
    return frame.repartition(partitions)


def extend(
    frame: DataFrame, existing: DataFrame | None = None, ids_of_one_task: int = IDS_OF_ONE_TASK
) -> dict[str, int]:
    rows = extend_index(frame, existing, "item_id", "item_index", ids_of_one_task).collect()
    return {row.item_id: row.item_index for row in rows}


def test_the_most_frequent_ids_come_first_and_ties_go_by_id(spark: SparkSession) -> None:
    assert extend(ids(spark, COUNTS)) == {item: n for n, item in enumerate(EXPECTED)}


def test_numbers_of_ids_without_interactions_say_nothing_of_the_ids(spark: SparkSession) -> None:
    known = {f"new{n:03d}": 0 for n in range(300)} | {"item1": 1, "item2": 2}
    numbers = extend(ids(spark, known))
    assert numbers == extend(ids(spark, known, 7), ids_of_one_task=10)
    assert (numbers.pop("item2"), numbers.pop("item1")) == (0, 1)
    order = [numbers[name] for name in sorted(numbers)]
    assert abs(np.corrcoef(order, range(300))[0, 1]) < 0.15


def test_the_numbers_do_not_depend_on_the_partitioning(spark: SparkSession) -> None:
    before = spark.conf.get("spark.sql.shuffle.partitions")
    spark.conf.set("spark.sql.shuffle.partitions", "7")
    try:
        many = extend(ids(spark, COUNTS, 11), ids_of_one_task=10)
    finally:
        spark.conf.set("spark.sql.shuffle.partitions", str(before))
    assert many == extend(ids(spark, COUNTS, 1))


def test_only_new_ids_are_numbered_and_after_the_largest_number(spark: SparkSession) -> None:
    existing = spark.createDataFrame([("item03", 0), ("gone", 9)], "item_id string, item_index int")
    new = extend(ids(spark, {"item03": 5, "b": 1, "a": 1, "c": 2}), existing)
    assert new == {"c": 10, "a": 11, "b": 12}


def test_nothing_new_gives_no_rows(spark: SparkSession) -> None:
    existing = spark.createDataFrame([("a", 0)], "item_id string, item_index long")
    assert extend(ids(spark, {"a": 1}), existing) == {}


def test_an_empty_index_is_begun_at_zero(spark: SparkSession) -> None:
    existing = spark.createDataFrame([], "item_id string, item_index long")
    assert extend(ids(spark, {"a": 1}), existing) == {"a": 0}
