"""What stops a run before its models are trained: nothing kept, or nothing to learn from."""

from typing import Any

import pytest
from pyspark.sql import SparkSession

from m6rec.config.base import TableSource
from m6rec.config.data import InteractionsConfig, SplitConfig
from m6rec.errors import DataError
from m6rec.stages.pairs.outcome import (
    check_new_items,
    check_split,
    counts_by_reason,
    hours_ahead,
    in_a_line,
    refuse_empty,
)

INTERACTIONS = InteractionsConfig(source=TableSource(path="unused"), positive_minimum=4.0)
GOOD = [(0, 0, True, "train"), (1, 1, True, "test")]


def check(spark: SparkSession, rows: list[tuple[Any, ...]]) -> None:
    schema = "user_index long, item_index long, positive boolean, fold string"
    check_split(spark.createDataFrame(rows, schema), INTERACTIONS, SplitConfig(strategy="random"))


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "no pair of a user and an item is left under interactions.minimum_user"),
        ([(0, 0, False, "train")], "none of 1 pairs counts as liked.*positive_minimum: 4.0"),
        ([(0, 0, True, "train"), (0, 1, True, "train")], "all 2 pairs are of one user"),
        ([(0, 1, True, "train"), (1, 1, True, "test")], "all 2 pairs are of one item"),
        ([(0, 0, True, "test"), (1, 1, True, "test")], "random leaves none of 2 pairs to train on"),
    ],
)
def test_a_split_without_anything_to_learn_from_is_refused_with_the_reason(
    spark: SparkSession, rows: list[tuple[Any, ...]], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        check(spark, rows)


def test_weights_of_nothing_are_refused_without_a_word_of_keys_that_are_not_set(
    spark: SparkSession,
) -> None:
    rows = "SELECT 0L user_index, id item_index, false positive, 'train' fold FROM range(2)"
    settings = InteractionsConfig(source=TableSource(path="unused"))
    with pytest.raises(DataError, match="the weights of all 2 pairs are 0") as refused:
        check_split(spark.sql(rows), settings, SplitConfig(strategy="random"))
    assert "positive_minimum" not in str(refused.value)


def test_a_provided_test_of_all_pairs_is_refused(spark: SparkSession) -> None:
    test = TableSource(path="unused")
    frame = spark.sql(
        "SELECT id AS user_index, id AS item_index, true AS positive, 'test' AS fold FROM range(2)"
    )
    with pytest.raises(DataError, match=r"all 2 pairs stand in split\.test or split\.validation"):
        check_split(frame, INTERACTIONS, SplitConfig(strategy="provided", test=test))


def test_a_split_with_something_to_learn_from_passes(spark: SparkSession) -> None:
    check(spark, GOOD)


@pytest.mark.parametrize(
    ("rows", "fold"),
    [
        ([(0, 0, "train"), (1, 0, "validation"), (1, 1, "test")], "validation"),
        ([(0, 0, "train"), (1, 1, "validation"), (0, 1, "test")], "test"),
    ],
)
def test_held_out_pairs_without_new_items_are_refused_where_only_these_are_ranked(
    spark: SparkSession, rows: list[tuple[Any, ...]], fold: str
) -> None:
    schema = "user_index long, item_index long, fold string"
    splits = spark.createDataFrame(rows, schema).selectExpr("*", "true positive")
    with pytest.raises(DataError, match=f"none of the 1 pairs of fold {fold} is of such an item"):
        check_new_items(splits)
    new_item = splits.limit(1).selectExpr("0L", "7L", f"'{fold}'", "true")
    check_new_items(splits.union(new_item))


def test_where_no_row_is_kept_the_reasons_are_counted_and_rows_are_shown(
    spark: SparkSession,
) -> None:
    rows = [(f"row {k}", "time in the future" if k < 4 else "weight negative") for k in range(5)]
    quarantine = spark.createDataFrame(rows, "raw string, reason string")
    reasons = counts_by_reason(quarantine)
    assert in_a_line(reasons) == "4 with time in the future, 1 with weight negative"
    with pytest.raises(
        DataError, match=r"no row of 5 .*Rows with time in the future: (row \d ?){3}"
    ):
        refuse_empty(quarantine, reasons, "lake/quarantine")
    with pytest.raises(DataError, match="has no row"):
        refuse_empty(quarantine, {}, "lake/quarantine")


@pytest.mark.parametrize(("hours", "is_zone"), [(9, True), (500, False)])
def test_some_hours_in_the_future_may_be_a_time_zone(
    spark: SparkSession, hours: int, is_zone: bool
) -> None:
    labelled = spark.sql(
        f"SELECT current_timestamp() + INTERVAL '{hours}' HOUR AS event_time,"
        " 'time in the future' AS reason"
    )
    ahead = hours_ahead(labelled)
    assert (ahead is not None) == is_zone
    assert ahead is None or round(ahead) == hours
