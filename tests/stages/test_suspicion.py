"""Users who are hardly people weigh less or go to quarantine, where that is asked."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from m6rec.config.base import TableSource
from m6rec.config.data import InteractionColumns, InteractionsConfig
from m6rec.config.run import parse_config
from m6rec.errors import ConfigError
from m6rec.stages.pairs.cleaning import Cleaned, clean_interactions
from m6rec.stages.pairs.outcome import counts_by_suspicion
from m6rec.stages.pairs.suspicion import NEAR_COPY, REGULAR

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DAY = datetime(2025, 5, 1)
ITEMS = 30
# The second is not a copy of who came first but for an item, and the third has 24 of 36 in common.
USERS = {
    "first": range(ITEMS),
    "copy": [*range(ITEMS - 1), 99],
    "alike": range(6, ITEMS + 6),
    "clock": range(100, 100 + ITEMS),
    "few": range(200, 205),
    "few too": range(200, 205),
}


def events(spark: SparkSession) -> DataFrame:
    rows = [
        (user, f"item {item}", DAY + _moment(user, place), 2.0)
        for user, items in USERS.items()
        for place, item in enumerate(items)
    ]
    return spark.createDataFrame(rows, "u string, i string, t timestamp, w double").repartition(3)


def _moment(user: str, place: int) -> timedelta:
    # Of the clock alone the gaps are equal; the copy starts an hour after the first.
    if user == "clock":
        return timedelta(seconds=5 * place)
    return timedelta(hours=user != "first", seconds=place**2)


def cleaned(spark: SparkSession, **suspicious: Any) -> Cleaned:
    return _judged(events(spark), **suspicious)


def _judged(source: DataFrame, **suspicious: Any) -> Cleaned:
    config = InteractionsConfig(
        source=TableSource(path="unused"),
        columns=InteractionColumns(user="u", item="i", time="t", weight="w"),
        weighting="weight",
        suspicious_users=suspicious,
    )
    return clean_interactions(source, config, NOW, None)


def test_near_copies_of_an_earlier_user_and_clocks_go_to_quarantine(spark: SparkSession) -> None:
    found = cleaned(spark, action="quarantine")
    refused = Counter(row["reason"] for row in found.quarantine.collect())
    assert refused == {NEAR_COPY: ITEMS, REGULAR: ITEMS}
    kept = Counter(row["user_id"] for row in found.interactions.collect())
    assert kept == {"first": ITEMS, "alike": ITEMS, "few": 5, "few too": 5}


def test_they_can_weigh_less_instead_and_are_counted(spark: SparkSession) -> None:
    found = cleaned(spark, action="weight", weight=0.25)
    assert found.quarantine.isEmpty()
    weights = {row["user_id"]: row["weight"] for row in found.interactions.collect()}
    assert weights == {user: 0.5 if user in {"copy", "clock"} else 2.0 for user in USERS}
    assert counts_by_suspicion(found.labelled) == {REGULAR: ITEMS, NEAR_COPY: ITEMS}


def test_likeness_and_the_least_number_of_items_are_as_configured(spark: SparkSession) -> None:
    looser = cleaned(spark, action="quarantine", copy_likeness=0.6, minimum_items=5)
    refused = Counter(row["reason"] for row in looser.quarantine.collect())
    # The copies are now also who shares 24 of 36, and one of the two with few items.
    assert refused == {NEAR_COPY: 2 * ITEMS + 5, REGULAR: ITEMS}


def _seconds(spark: SparkSession, seconds: dict[str, list[int]]) -> DataFrame:
    rows = [
        (user, f"item of {user} {place}", DAY + timedelta(seconds=second), 2.0)
        for user, all_seconds in seconds.items()
        for place, second in enumerate(all_seconds)
    ]
    return spark.createDataFrame(rows, "u string, i string, t timestamp, w double")


def _refused_users(source: DataFrame) -> set[str]:
    refused = _judged(source, action="quarantine").quarantine.collect()
    return {json.loads(row["raw"])["u"] for row in refused}


def test_where_all_times_are_cut_to_hours_an_hour_between_them_is_nothing_inhuman(
    spark: SparkSession,
) -> None:
    hours = {"evenings": [24 * day + hour for day in range(10) for hour in (19, 20, 21)]}
    hours["now and then"] = [place**2 for place in range(ITEMS)]
    hours["each other hour"] = list(range(0, 2 * ITEMS, 2))
    seconds = {user: [3_600 * hour for hour in of_user] for user, of_user in hours.items()}
    assert _refused_users(_seconds(spark, seconds)) == {"each other hour"}


def test_whoever_comes_each_day_is_a_clock_unless_all_times_are_dates(spark: SparkSession) -> None:
    gaps = {"daily": 86_400, "weekly": 7 * 86_400}
    dates = {user: [gap * place for place in range(ITEMS)] for user, gap in gaps.items()}
    assert _refused_users(_seconds(spark, dates)) == set()
    others = {
        "hourly": [3_600 * place for place in range(ITEMS)],
        "a person": [place**3 for place in range(ITEMS)],
    }
    assert _refused_users(_seconds(spark, dates | others)) == {"daily", "weekly", "hourly"}


def test_nothing_is_judged_unless_it_is_asked_for(spark: SparkSession) -> None:
    found = cleaned(spark)
    assert found.quarantine.isEmpty()
    assert {row["weight"] for row in found.interactions.collect()} == {2.0}


def test_less_weight_needs_weights() -> None:
    for against in ({}, {"weighting": "log", "positive_minimum": 1.0}):
        given = {"source": {"path": "x.csv"}, "suspicious_users": {"action": "weight"}, **against}
        with pytest.raises(ConfigError, match=r"suspicious_users\.action: weight does not go with"):
            parse_config({"interactions": given}, "test")
