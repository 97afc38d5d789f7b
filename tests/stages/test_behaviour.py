from datetime import UTC, datetime

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.config.data import FeaturesConfig
from m6rec.stages.features.behaviour import (
    ITEM_BEHAVIOUR,
    USER_BEHAVIOUR,
    event_mix,
    item_behaviour,
    user_behaviour,
)
from m6rec.stages.features.fitting import fit_features

MATRIX = (
    f"{c.USER_INDEX} long, {c.ITEM_INDICES} array<int>, {c.WEIGHTS} array<float>,"
    f" {c.TIMES} array<timestamp>"
)
# 2024-01-06 was a Saturday, 2024-01-08 a Monday.
SATURDAY_NIGHT = datetime(2024, 1, 6, 3, tzinfo=UTC)
MONDAY_EVENING = datetime(2024, 1, 8, 20, tzinfo=UTC)
SUNDAY_MORNING = datetime(2024, 1, 14, 9, tzinfo=UTC)


def _matrix(spark: SparkSession) -> DataFrame:
    rows = [
        (0, [0, 1], [1.0, 1.0], [SATURDAY_NIGHT, MONDAY_EVENING]),
        (1, [1], [2.0], [SUNDAY_MORNING]),
        (2, [], [], []),
    ]
    return spark.createDataFrame(rows, MATRIX)


def test_a_users_behaviour_is_counted_from_the_history(spark: SparkSession) -> None:
    users = {row[c.USER_INDEX]: row for row in user_behaviour(_matrix(spark), 3).collect()}
    first = users[0]
    assert first["log_count"] == pytest.approx(np.log(3))
    # Item 0 has one interaction, item 1 two.
    assert first["mean_log_popularity"] == pytest.approx((np.log(2) + np.log(3)) / 2)
    assert first["spread_of_log_popularity"] == pytest.approx((np.log(3) - np.log(2)) / 2)
    assert first["breadth_of_taste"] == pytest.approx(1.0)
    assert first["share_night"] == first["share_evening"] == first["share_weekend"] == 0.5
    latest_to_monday = (SUNDAY_MORNING - MONDAY_EVENING).total_seconds() / 86_400
    assert first["log_days_since_last"] == pytest.approx(np.log1p(latest_to_monday))
    assert users[1]["log_days_since_last"] == 0.0
    assert users[1]["share_morning"] == users[1]["share_weekend"] == 1.0


def test_a_user_without_history_has_unknown_behaviour_and_features_of_zero(
    spark: SparkSession,
) -> None:
    matrix = _matrix(spark)
    behaviour = user_behaviour(matrix, 3)
    row = behaviour.where(f"{c.USER_INDEX} = 2").collect()[0]
    assert [row[name] for name in USER_BEHAVIOUR] == [None] * len(USER_BEHAVIOUR)
    users = matrix.select(c.USER_INDEX)
    training = users.where(f"{c.USER_INDEX} < 2")
    pipeline = fit_features(None, behaviour, c.USER_INDEX, {}, FeaturesConfig(), training, 7)
    table = pipeline.transform(None, behaviour, users).orderBy(c.USER_INDEX)
    first, _, unknown = (row[c.FEATURES] for row in table.collect())
    assert len(first) > 5 and all(first)
    np.testing.assert_allclose(unknown, np.zeros(len(first)), atol=1e-6)


def test_breadth_is_what_the_content_of_a_history_does_not_share(spark: SparkSession) -> None:
    content = np.array([[1, 0], [0, 1], [0, 1]], dtype=np.float32)
    rows = user_behaviour(_matrix(spark), 3, content).orderBy(c.USER_INDEX).collect()
    breadth = [row["breadth_of_taste"] for row in rows]
    np.testing.assert_allclose(breadth[:2], [1 - np.sqrt(0.5), 0.0], atol=1e-6)


def test_an_items_behaviour_is_counted_from_its_users(spark: SparkSession) -> None:
    items = {row[c.ITEM_INDEX]: row for row in item_behaviour(_matrix(spark)).collect()}
    assert set(items) == {0, 1}
    popular = items[1]
    assert popular["log_count"] == pytest.approx(np.log(3))
    assert popular["mean_log_activity_of_users"] == pytest.approx((np.log(3) + np.log(2)) / 2)
    assert popular["mean_weight"] == 1.5
    assert popular["log_days_since_last"] == 0.0
    assert popular["share_evening"] == popular["share_morning"] == 0.5
    assert popular["share_weekend"] == 0.5
    assert items[0]["share_night"] == items[0]["share_weekend"] == 1.0


def test_without_times_what_needs_them_is_zero(spark: SparkSession) -> None:
    matrix = spark.createDataFrame([(0, [0, 2], [1.0, 3.0], [None, None])], MATRIX)
    user = user_behaviour(matrix, 3).collect()[0]
    item = item_behaviour(matrix).collect()[0]
    timed = [name for name in USER_BEHAVIOUR if "days" in name or name.startswith("share_")]
    assert len(timed) == 7
    assert all(user[name] == 0.0 and item[name] == 0.0 for name in timed)
    assert user["log_count"] > 0
    entropy = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75)) / np.log(2)
    assert user["breadth_of_taste"] == pytest.approx(entropy)
    decayed = spark.createDataFrame([(0, [0, 2], [2.0**-100, 3 * 2.0**-100], [None] * 2)], MATRIX)
    breadth = user_behaviour(decayed, 3).collect()[0]["breadth_of_taste"]
    assert breadth == pytest.approx(entropy)
    assert set(ITEM_BEHAVIOUR) <= set(item.asDict())


def test_the_event_mix_is_the_share_of_types_and_context_values(spark: SparkSession) -> None:
    events = spark.createDataFrame(
        [
            (0, "view", {"device": "phone"}),
            (0, "view", {"device": "desk"}),
            (0, "buy", None),
            (1, "view", {"device": "phone"}),
            (2, None, {}),
        ],
        f"{c.USER_INDEX} long, {c.EVENT_TYPE} string, {c.CONTEXT} map<string,string>",
    )
    mix = event_mix(events, c.USER_INDEX).orderBy(c.USER_INDEX)
    assert mix.columns == [
        c.USER_INDEX,
        "mix device=phone",
        "mix device=desk",
        "mix type of the event=view",
        "mix type of the event=buy",
    ]
    first, second, third = (tuple(row)[1:] for row in mix.collect())
    np.testing.assert_allclose(first, [1 / 3, 1 / 3, 2 / 3, 1 / 3])
    assert second == (1.0, 0.0, 1.0, 0.0)
    assert third == (0.0, 0.0, 0.0, 0.0)
    again = event_mix(events.where("user_index = 1"), c.USER_INDEX, names=mix.columns[-1:])
    assert again.columns == [c.USER_INDEX, "mix type of the event=buy"]


def test_values_of_another_case_are_one_and_many_values_of_a_key_hide_no_other_key(
    spark: SparkSession,
) -> None:
    cities = spark.range(10_500).select(
        F.lit(0).cast("long").alias(c.USER_INDEX),
        F.element_at(
            F.array(*map(F.lit, ("View", "view", "buy"))), (F.col("id") % 3 + 1).cast("int")
        ).alias(c.EVENT_TYPE),
        F.create_map(F.lit("city"), F.col("id").cast("string")).alias(c.CONTEXT),
    )
    [row] = event_mix(cities, c.USER_INDEX).collect()
    found = row.asDict()
    assert found["mix type of the event=View"] == pytest.approx(2 / 3)
    assert found["mix type of the event=buy"] == pytest.approx(1 / 3)
    assert sum(name.startswith("mix city=") for name in found) == 8
    assert len(found) == 1 + 2 + 8
