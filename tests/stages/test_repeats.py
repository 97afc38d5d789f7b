"""Where repeats are ranked, interactions are held out, and a fold knows those before it alone."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from m6rec.config.base import TableSource
from m6rec.config.data import InteractionColumns, InteractionsConfig, SplitConfig
from m6rec.schemas import INTERACTIONS_TABLE
from m6rec.stages.features.behaviour import events_before_holdout
from m6rec.stages.pairs.aggregation import (
    aggregate_folds,
    aggregate_pairs,
    occasions_of_held_out,
    occasions_of_pairs,
)
from m6rec.stages.pairs.matrix import target_rows, user_item_matrix
from m6rec.stages.pairs.splitting import split_users
from m6rec.stages.pairs.user_rows import pairs_of
from m6rec.stages.training.ratings import rating_rows

START = datetime(2024, 1, 1)
TABLE = TableSource(path="unused", format="parquet")
Event = tuple[int, int, int | None, float]
# Days and items of user 1: item 7 again and again, others once.
WEEKLY: list[Event] = [
    (1, item, day, 1.0) for day, item in enumerate([7, 5, 7, 4, 7, 3, 7, 2, 7, 7])
]


def mapping(has_time: bool = True, **settings: Any) -> InteractionsConfig:
    columns = InteractionColumns(time="at" if has_time else None)
    given = {"duplicates": "sum", "weighting": "weight"} | settings
    return InteractionsConfig.model_validate({"source": TABLE, "columns": columns, **given})


def interactions(spark: SparkSession, events: list[Event], partitions: int = 2) -> DataFrame:
    rows = [
        (str(user), str(item), None if day is None else START + timedelta(days=day), None, w, None)
        for user, item, day, w in events
    ]
    schema = INTERACTIONS_TABLE.schema
    frame = spark.createDataFrame([("run", *row) for row in rows], schema)
    return frame.repartition(partitions)


def indexed(frame: DataFrame) -> DataFrame:
    """Ids are their own indices."""
    return frame.select(
        F.col("user_id").cast("long").alias("user_index"),
        F.col("item_id").cast("long").alias("item_index"),
        F.lit(None).cast("long").alias("item_number"),
        *(name for name in frame.columns if name not in ("user_id", "item_id")),
    )


def splits(
    spark: SparkSession,
    events: list[Event],
    split: SplitConfig,
    config: InteractionsConfig,
    partitions: int = 2,
    test: list[Event] | None = None,
    validation: list[Event] | None = None,
) -> DataFrame:
    table = interactions(spark, events, partitions)
    occasions = occasions_of_pairs(table, aggregate_pairs(table, config), config)
    tested, validated = (
        None
        if rows is None
        else indexed(occasions_of_held_out(aggregate_pairs(interactions(spark, rows), config)))
        for rows in (test, validation)
    )
    users = split_users(
        indexed(occasions),
        split,
        seed=1,
        has_time=config.columns.time is not None,
        test_pairs=tested,
        validation_pairs=validated,
        repeats=True,
    )
    return aggregate_folds(pairs_of(users), config)


def by_fold(frame: DataFrame) -> dict[tuple[int, str], tuple[float, int | None]]:
    """The weight of each item and fold, and the day of its latest interaction."""
    return {
        (row.item_index, row.fold): (
            row.weight,
            None if row.event_time is None else (row.event_time - START).days,
        )
        for row in frame.collect()
    }


@pytest.fixture(scope="module")
def weekly(spark: SparkSession) -> DataFrame:
    split = SplitConfig(strategy="last", test_items=2, validation_share=0.25)
    return splits(spark, WEEKLY, split, mapping()).cache()


def test_the_last_interactions_are_held_out_even_where_the_pair_has_earlier_ones(
    weekly: DataFrame,
) -> None:
    assert by_fold(weekly) == {
        (7, "train"): (3.0, 4),
        (5, "train"): (1.0, 1),
        (4, "train"): (1.0, 3),
        (3, "train"): (1.0, 5),
        # What is known of the pair when the fold is over.
        (7, "validation"): (4.0, 6),
        (2, "validation"): (1.0, 7),
        (7, "test"): (6.0, 9),
    }


def test_a_fit_knows_a_pair_as_of_its_latest_fold_and_is_measured_on_the_next(
    spark: SparkSession, weekly: DataFrame
) -> None:
    nobody = spark.createDataFrame([], "user_index long")
    rows = {row.fit: row for row in user_item_matrix(weekly, nobody).collect()}
    selection, final = rows["selection"], rows["final"]
    assert (selection.item_indices, selection.weights) == ([3, 4, 5, 7], [1.0, 1.0, 1.0, 3.0])
    assert (final.item_indices, final.weights) == ([2, 3, 4, 5, 7], [1.0, 1.0, 1.0, 1.0, 4.0])
    assert [(time - START).days for time in final.times] == [7, 5, 3, 1, 6]
    assert [row.item_indices for row in target_rows(weekly, "validation").collect()] == [[2, 7]]
    assert [row.item_indices for row in target_rows(weekly, "test").collect()] == [[7]]
    [ratings] = rating_rows(weekly, "final", repeats=True).collect()
    assert (ratings.item_indices, ratings.weights) == (final.item_indices, final.weights)


def test_temporal_cuts_the_interactions_of_all_users_at_one_time(spark: SparkSession) -> None:
    events = [*WEEKLY, (2, 7, 0, 1.0), (2, 7, 9, 1.0)]
    split = SplitConfig(strategy="temporal", test_share=0.25, validation_share=0.25)
    found = splits(spark, events, split, mapping()).where("user_index = 2")
    assert by_fold(found) == {(7, "train"): (1.0, 0), (7, "test"): (2.0, 9)}


def test_without_times_rows_are_held_out_whatever_the_partitioning(spark: SparkSession) -> None:
    events: list[Event] = [(user, item, None, 1.0) for user in range(20) for item in (0, 0, 0, 1)]
    split = SplitConfig(strategy="random", test_items=1, validation_share=0.1)
    config = mapping(has_time=False)
    first = splits(spark, events, split, config, partitions=1).cache()
    again = splits(spark, events[::-1], split, config, partitions=3)
    assert sorted(first.collect()) == sorted(again.collect())
    repeated = first.where("item_index = 0")
    known = repeated.groupBy("user_index").pivot("fold").agg(F.first("weight")).collect()
    assert len(known) == 20
    # One row is tested and one validates, of either item; a fold knows its own and those before.
    assert {(row.train, row.validation, row.test) for row in known} == {
        (1.0, 2.0, 3.0),
        (2.0, 3.0, None),
        (2.0, None, 3.0),
    }


def test_a_provided_test_pair_stays_in_training_and_validation_is_random_without_times(
    spark: SparkSession,
) -> None:
    events: list[Event] = [(user, item, None, 1.0) for user in range(12) for item in (0, 0, 1, 2)]
    test: list[Event] = [(user, 0, None, 1.0) for user in range(12)]
    split = SplitConfig(strategy="provided", test=TABLE, validation_share=0.25)
    found = splits(spark, events, split, mapping(has_time=False), test=test).cache()
    counts = {row.fold: row["count"] for row in found.groupBy("fold").count().collect()}
    assert counts["test"] == counts["validation"] == 12
    both = found.where("fold != 'validation'").groupBy("user_index", "item_index").count()
    assert both.where("item_index = 0 and count = 2").count() == 12
    # With the two events of the item in the interactions.
    assert found.where("fold = 'test' and weight != 3.0").isEmpty()


def test_pairs_of_provided_tables_add_to_what_was_known_before(spark: SparkSession) -> None:
    split = SplitConfig(strategy="provided", test=TABLE, validation=TABLE)
    events: list[Event] = [(1, 7, 1, 2.0), (1, 7, 2, 4.0), (1, 5, 1, 1.0)]
    held = {"validation": [(1, 7, 5, 4.0), (1, 4, 6, 1.0)], "test": [(1, 7, 8, 3.0)]}
    found = splits(spark, events, split, mapping(), **held).cache()
    assert by_fold(found) == {
        (7, "train"): (6.0, 2),
        (5, "train"): (1.0, 1),
        (7, "validation"): (10.0, 5),
        (4, "validation"): (1.0, 6),
        (7, "test"): (13.0, 8),
    }
    nobody = spark.createDataFrame([], "user_index long")
    [final] = user_item_matrix(found, nobody, ["final"]).collect()
    assert (final.item_indices, final.weights) == ([4, 5, 7], [1.0, 1.0, 10.0])


def test_a_pair_is_positive_once_the_interactions_known_reach_the_minimum(
    spark: SparkSession,
) -> None:
    events: list[Event] = [(1, 7, day, 1.0) for day in range(4)] + [(1, 8, 9, 1.0)]
    split = SplitConfig(strategy="last", test_items=1, validation_share=0.1)
    found = splits(spark, events, split, mapping(positive_minimum=3.0)).collect()
    assert {(row.item_index, row.fold): row.positive for row in found} == {
        (7, "train"): False,
        (7, "validation"): True,
        (7, "test"): True,
        (8, "train"): False,
    }


@pytest.mark.parametrize(
    ("has_time", "folds", "kept"),
    [(True, ["train"], 6), (True, ["train", "validation"], 8), (False, ["train"], 3)],
)
def test_features_see_no_event_that_is_held_out(
    spark: SparkSession, weekly: DataFrame, has_time: bool, folds: list[str], kept: int
) -> None:
    events = indexed(interactions(spark, WEEKLY))
    assert events_before_holdout(events, weekly, folds, has_time).count() == kept


@pytest.mark.parametrize(
    ("orders", "left"),
    [
        ([(1, 3.0), (2, 2.0), (3, -2.0)], {1: (3.0, True), 2: (0.0, False)}),
        # Of the last order a part is left.
        ([(1, 3.0), (2, 2.0), (3, -1.0)], {1: (3.0, True), 2: (1.0, True)}),
        # More is taken back than the last order.
        (
            [(1, 3.0), (2, 2.0), (3, -4.0), (4, 5.0)],
            {1: (1.0, True), 2: (0.0, False), 4: (5.0, True)},
        ),
        # What was ordered before the table begins takes nothing from later orders.
        (
            [(0, -9.0), (1, 3.0), (2, 2.0), (2, -2.0)],
            {1: (3.0, True), 2: (0.0, False)},
        ),
        # Then the item has been seen, and no more.
        ([(0, -9.0)], {0: (0.0, False)}),
    ],
)
@pytest.mark.parametrize("partitions", [1, 3])
def test_a_cancellation_takes_back_the_latest_orders_before_it(
    spark: SparkSession,
    orders: list[tuple[int, float]],
    left: dict[int, tuple[float, bool]],
    partitions: int,
) -> None:
    table = interactions(spark, [(1, 7, day, weight) for day, weight in orders], partitions)
    config = mapping(cancellations="cancel")
    pairs = aggregate_pairs(table, config)
    rows = occasions_of_pairs(table, pairs, config).collect()
    assert {(row.event_time - START).days: (row.weight, row.positive) for row in rows} == left
    [pair] = pairs.collect()
    assert pair.weight == sum(weight for weight, _ in left.values())
    assert pair.positive == any(positive for _, positive in left.values())


def test_a_cancellation_is_not_held_out_nor_is_what_it_takes_back(spark: SparkSession) -> None:
    events: list[Event] = [(1, 7, 1, 3.0), (1, 7, 2, 2.0), (1, 7, 3, 4.0), (1, 7, 4, -5.0)]
    split = SplitConfig(strategy="last", test_items=1, validation_share=0.01)
    config = mapping(cancellations="cancel")
    assert by_fold(splits(spark, [*events, (1, 5, 0, 1.0)], split, config)) == {
        (5, "train"): (1.0, 0),
        (7, "validation"): (3.0, 1),
        (7, "test"): (4.0, 2),
        # Seen, and no interaction.
        (7, "train"): (0.0, 3),
    }


def test_the_age_of_an_order_does_not_keep_it_from_being_cancelled(spark: SparkSession) -> None:
    # A half-life later, a cancellation weighs twice what is left of its order.
    events: list[Event] = [(1, 7, 0, 2.0), (1, 7, 10, -0.5), (1, 5, 10, 1.0), (1, 4, 0, 2.0)]
    decayed = [(u, i, day, w * 0.5 ** ((10 - (day or 0)) / 10)) for u, i, day, w in events]
    config = mapping(cancellations="cancel", half_life_days=10)
    pairs = aggregate_pairs(interactions(spark, decayed), config).collect()
    assert {row.item_id: (row.weight, row.positive) for row in pairs} == {
        "7": (pytest.approx(0.75), True),
        "5": (1.0, True),
        "4": (1.0, True),
    }


def test_an_event_of_weight_0_is_no_occasion_to_be_held_out(spark: SparkSession) -> None:
    events: list[Event] = [(1, 7, 0, 1.0), (1, 7, 9, 0.0), (1, 5, 1, 1.0), (1, 4, 2, 1.0)]
    split = SplitConfig(strategy="last", test_items=1, validation_share=0.01)
    found = splits(spark, events, split, mapping()).where("fold = 'test'").collect()
    assert [(row.item_index, row.weight) for row in found] == [(4, 1.0)]


def test_what_is_only_looked_at_after_the_cut_of_temporal_is_no_target(spark: SparkSession) -> None:
    # Item 7 is bought before the cut and looked at after it.
    events: list[Event] = [
        (1, 7, 0, 1.0),
        (1, 7, 9, 0.0),
        *((2, item, item, 1.0) for item in (1, 2, 8)),
    ]
    split = SplitConfig(strategy="temporal", test_share=0.25, validation_share=0.01)
    found = splits(spark, events, split, mapping())
    targets = [(row.user_index, row.item_indices) for row in target_rows(found, "test").collect()]
    assert targets == [(2, [8])]
