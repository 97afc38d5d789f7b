"""The matrix has a row a user and fit, of what that fit may see."""

from datetime import datetime
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from m6rec.schemas import USER_ITEM_MATRIX_TABLE
from m6rec.stages.pairs.matrix import target_rows, user_item_matrix

EARLY, LATE = datetime(2024, 1, 1), datetime(2024, 2, 1)
ROWS = [
    (0, 7, 2.0, LATE, True, "train"),
    (0, 3, 1.0, EARLY, True, "train"),
    (0, 5, 4.0, None, True, "validation"),
    (0, 9, 1.0, LATE, False, "train"),
    (0, 8, 1.0, LATE, True, "test"),
    (1, 2, 1.0, LATE, True, "test"),
    (1, 1, 1.0, LATE, True, "test"),
]


def splits(spark: SparkSession) -> DataFrame:
    schema = (
        "user_index long, item_index long, weight double, event_time timestamp,"
        " positive boolean, fold string"
    )
    return spark.createDataFrame(ROWS, schema)


@pytest.fixture(scope="module")
def rows(spark: SparkSession) -> dict[tuple[str, int], Any]:
    users = spark.createDataFrame([(0,), (2,)], "user_index long")
    found = user_item_matrix(splits(spark), users).collect()
    assert len(found) == 6
    return {(row.fit, row.user_index): row for row in found}


def test_each_fit_sees_its_folds_by_ascending_item_with_weights_and_times_aligned(
    rows: dict[tuple[str, int], Any],
) -> None:
    selection, final = rows["selection", 0], rows["final", 0]
    assert (selection.item_indices, selection.weights) == ([3, 7], [1.0, 2.0])
    assert selection.times == [EARLY, LATE]
    assert (final.item_indices, final.weights) == ([3, 5, 7], [1.0, 4.0, 2.0])
    assert final.times == [EARLY, None, LATE]


def test_a_weight_that_has_decayed_beyond_what_floats_hold_stays_above_zero(
    spark: SparkSession,
) -> None:
    pairs = spark.createDataFrame(
        [(0, item, 2.0**-exponent, LATE, True, "train") for item, exponent in ((1, 200), (2, 3))],
        splits(spark).schema,
    )
    users = spark.createDataFrame([(0,)], "user_index long")
    for row in user_item_matrix(pairs, users).collect():
        assert row.weights == [2.0**-126, 2.0**-3]


def test_items_seen_but_not_positive_are_excluded_and_not_history(
    rows: dict[tuple[str, int], Any],
) -> None:
    assert rows["selection", 0].excluded_indices == [9]
    assert rows["final", 0].excluded_indices == [9]


def test_users_without_history_have_empty_arrays_in_both_fits(
    rows: dict[tuple[str, int], Any],
) -> None:
    for key in (("selection", 1), ("final", 1), ("selection", 2), ("final", 2)):
        row = rows[key]
        assert [row.item_indices, row.weights, row.times, row.excluded_indices] == [[]] * 4


def test_the_columns_are_those_of_the_table(spark: SparkSession) -> None:
    found = user_item_matrix(splits(spark), spark.range(1).toDF("user_index")).schema
    for field in USER_ITEM_MATRIX_TABLE.schema.fields[1:]:
        # Whether an array may hold nulls is the writer's business: a cast is enough.
        assert found[field.name].dataType.simpleString() == field.dataType.simpleString()


def test_targets_are_the_positive_items_of_a_fold(spark: SparkSession) -> None:
    found = target_rows(splits(spark), "test").collect()
    assert {row.user_index: row.item_indices for row in found} == {0: [8], 1: [1, 2]}
