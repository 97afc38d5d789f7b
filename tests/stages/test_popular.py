"""The lists for users who are unknown, for everyone and by segment."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession

from m6rec import columns as c
from m6rec.kernels.arrays.strings import pack_strings
from m6rec.kernels.ranking.explanation import item_attributes
from m6rec.stages.ranking.popular import Quota, popular_lists
from m6rec.stages.ranking.recommendations import Explaining

COUNTS = np.array([9, 4, 7, 4, 1], np.int64)
MASKED = np.array([True, False, False, False, False])


def explaining() -> Explaining:
    return Explaining(
        attributes=item_attributes([[] for _ in range(5)], 0, 5),
        attribute_names=pack_strings([]),
        item_ids=pack_strings([f"item-{item}" for item in range(5)]),
        titles=pack_strings(["", "One", "", "", ""]),
        reasons=3,
        generated_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def lists(
    spark: SparkSession, of_segments: DataFrame | None, quota: Quota | None = None
) -> dict[str | None, list[str]]:
    frame = popular_lists(spark, COUNTS, MASKED, 3, explaining(), of_segments, quota=quota)
    found: dict[str | None, list[str]] = {}
    for row in frame.orderBy(c.SEGMENT, c.RANK).collect():
        found.setdefault(row[c.SEGMENT], []).append(row[c.ITEM_ID])
        assert row[c.USER_ID] is None and row[c.CONTEXT] is None
        assert row[c.PARTS] == {"popularity": pytest.approx(row[c.SCORE])}
        in_segment = row[c.SEGMENT] is not None and row[c.SCORE] > 0.0
        value = "popular with users of the segment" if in_segment else "popular with all users"
        assert [(reason["kind"], reason["value"]) for reason in row[c.REASONS]] == [
            ("popular", value)
        ]
    return found


def test_the_list_of_everyone_holds_the_most_popular_items_under_the_rules(
    spark: SparkSession,
) -> None:
    assert lists(spark, None) == {None: ["item-2", "item-1", "item-3"]}


def test_a_segment_has_its_own_order_and_is_filled_with_what_is_popular_with_all(
    spark: SparkSession,
) -> None:
    counts = spark.createDataFrame(
        [("old", 4, 2), ("old", 0, 5), ("young", 3, 1), ("young", 1, 1), ("young", 2, 1)],
        f"{c.SEGMENT} string, {c.ITEM_INDEX} int, {c.USERS} long",
    )
    assert lists(spark, counts) == {
        None: ["item-2", "item-1", "item-3"],
        "old": ["item-4", "item-2", "item-1"],
        "young": ["item-2", "item-1", "item-3"],
    }


def test_a_quota_holds_for_whoever_is_unknown_as_well(spark: SparkSession) -> None:
    brands = [(0, "a"), (1, "b"), (2, "b"), (3, "c"), (4, "a"), (4, "c")]
    values = spark.createDataFrame(brands, f"{c.ITEM_INDEX} int, {c.VALUE} string")
    counts = spark.createDataFrame(
        [("old", 1, 5), ("old", 4, 2)], f"{c.SEGMENT} string, {c.ITEM_INDEX} int, {c.USERS} long"
    )
    assert lists(spark, counts, Quota(values, 1)) == {
        None: ["item-2", "item-3"],
        "old": ["item-1", "item-4"],
    }
    assert lists(spark, None, Quota(values, 2))[None] == ["item-2", "item-1", "item-3"]


def test_an_item_that_a_quota_leaves_out_takes_no_place_of_its_other_values(
    spark: SparkSession,
) -> None:
    # Item 2 comes first, then 1, 3 and 4; item 1 has no room beside item 2, and item 3 has.
    brands = [(2, "a"), (1, "a"), (1, "b"), (3, "b"), (4, "b")]
    values = spark.createDataFrame(brands, f"{c.ITEM_INDEX} int, {c.VALUE} string")
    assert lists(spark, None, Quota(values, 1))[None] == ["item-2", "item-3"]


def test_a_segment_is_filled_as_far_as_everyones_list_under_a_quota(spark: SparkSession) -> None:
    # Of brand a there are 25 items, which are the most popular, and one of brand b.
    counts = np.arange(26, 0, -1)
    brands = [(item, "a" if item < 25 else "b") for item in range(26)]
    values = spark.createDataFrame(brands, f"{c.ITEM_INDEX} int, {c.VALUE} string")
    of_segments = spark.createDataFrame(
        [("old", 7, 3)], f"{c.SEGMENT} string, {c.ITEM_INDEX} int, {c.USERS} long"
    )
    words = replace(
        explaining(),
        attributes=item_attributes([[] for _ in range(26)], 0, 26),
        item_ids=pack_strings([f"item-{item}" for item in range(26)]),
        titles=pack_strings([""] * 26),
    )
    nothing = np.zeros(26, np.bool_)
    frame = popular_lists(spark, counts, nothing, 2, words, of_segments, quota=Quota(values, 1))
    rows = frame.orderBy(c.SEGMENT, c.RANK).collect()
    assert [(row[c.SEGMENT], row[c.ITEM_ID]) for row in rows] == [
        (None, "item-0"),
        (None, "item-25"),
        ("old", "item-7"),
        ("old", "item-25"),
    ]
