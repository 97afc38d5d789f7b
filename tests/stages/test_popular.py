"""The lists for users who are unknown, for everyone and by segment."""

from collections import Counter
from datetime import UTC, datetime

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession

from m6rec import columns as c
from m6rec.kernels.arrays.strings import pack_strings
from m6rec.kernels.ranking.explanation import item_attributes
from m6rec.stages.ranking.popular import Quota, _reachable, popular_lists
from m6rec.stages.ranking.recommendations import Explaining

COUNTS = np.array([9, 4, 7, 4, 1], np.int64)
MASKED = np.array([True, False, False, False, False])


def explaining(items: int = 5) -> Explaining:
    return Explaining(
        attributes=item_attributes([[] for _ in range(items)], 0, items),
        attribute_names=pack_strings([]),
        item_ids=pack_strings([f"item-{item}" for item in range(items)]),
        whole_ids=pack_strings([f"item-{item}" for item in range(items)]),
        titles=pack_strings(["One" if item == 1 else "" for item in range(items)]),
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
    nothing, quota = np.zeros(26, np.bool_), Quota(values, 1)
    frame = popular_lists(spark, counts, nothing, 2, explaining(26), of_segments, quota=quota)
    rows = frame.orderBy(c.SEGMENT, c.RANK).collect()
    assert [(row[c.SEGMENT], row[c.ITEM_ID]) for row in rows] == [
        (None, "item-0"),
        (None, "item-25"),
        ("old", "item-7"),
        ("old", "item-25"),
    ]


def _greedy(order: list[int], values: dict[int, list[int]], at_most: int, n: int) -> list[str]:
    held: Counter[int] = Counter()
    kept: list[str] = []
    for item in order:
        own = values.get(item, [])
        if len(kept) < n and all(held[value] < at_most for value in own):
            held.update(own)
            kept.append(f"item-{item}")
    return kept


@pytest.mark.parametrize(("most_values", "at_most"), [(1, 1), (1, 3), (3, 1), (3, 2)])
def test_lists_under_a_quota_are_those_of_a_search_of_all_items(
    spark: SparkSession, most_values: int, at_most: int
) -> None:
    rng, items, n = np.random.default_rng(most_values), 80, 6
    counts = np.sort(rng.integers(1, 9, items))[::-1].copy()
    values: dict[int, list[int]] = {
        item: rng.choice(9, rng.integers(0, most_values + 1), replace=False).tolist()
        for item in range(items)
    }
    users = {
        segment: {int(item): int(rng.integers(1, 4)) for item in rng.choice(items, 20, False)}
        for segment in ("one", "two")
    }
    frame = popular_lists(
        spark,
        counts,
        np.zeros(items, np.bool_),
        n,
        explaining(items),
        spark.createDataFrame(
            [(one, *pair) for one, of_one in users.items() for pair in of_one.items()],
            f"{c.SEGMENT} string, {c.ITEM_INDEX} int, {c.USERS} long",
        ),
        quota=Quota(_values_of_items(spark, values), at_most),
    )
    found: dict[str | None, list[str]] = {}
    for row in frame.orderBy(c.SEGMENT, c.RANK).collect():
        found.setdefault(row[c.SEGMENT], []).append(row[c.ITEM_ID])
    expected: dict[str | None, list[str]] = {None: _greedy(list(range(items)), values, at_most, n)}
    for segment, own in users.items():
        order = sorted(range(items), key=lambda item: (-own.get(item, 0), item))
        expected[segment] = _greedy(order, values, at_most, n)
    assert found == expected


def _values_of_items(spark: SparkSession, values: dict[int, list[int]]) -> DataFrame:
    rows = [(item, str(value)) for item, of_item in values.items() for value in of_item]
    return spark.createDataFrame(rows, f"{c.ITEM_INDEX} int, {c.VALUE} string")


def test_few_of_many_items_are_looked_at_under_a_quota(spark: SparkSession) -> None:
    rows = spark.range(1_000).selectExpr(
        f"cast(null as string) {c.SEGMENT}",
        f"id {c.ITEM_INDEX}",
        f"1000 - id {c.USERS}",
        "id + 1 _place",
    )
    # Each of 300 authors has several items.
    authors = {item: [item % 300] for item in range(1_000)}
    reached = _reachable(Quota(_values_of_items(spark, authors), 2), rows, 10)
    assert [row[c.ITEM_INDEX] for row in reached.orderBy("_place").collect()] == list(range(10))
    # An item of two values may stand in the way of twice as many.
    authors[500] = [1, 2]
    reached = _reachable(Quota(_values_of_items(spark, authors), 2), rows, 10)
    assert reached.count() == 20
