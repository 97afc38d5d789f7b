"""Cleaning keeps or quarantines each row with one reason, and folds events into pairs."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from m6rec.config.base import TableSource
from m6rec.config.data import InteractionColumns, InteractionsConfig
from m6rec.config.run import load_config
from m6rec.errors import DataError, TableError
from m6rec.stages.pairs import cleaning
from m6rec.stages.pairs.aggregation import aggregate_pairs
from m6rec.stages.pairs.cleaning import check_counts, clean_interactions

CONF = Path(__file__).parents[2] / "conf"
NOW = datetime(2024, 6, 1, tzinfo=UTC)
DAY = datetime(2024, 5, 1)
SOURCE = TableSource(path="unused", format="parquet")
EVENTS = "u string, i string, t string, w string, e string, c int"


def config(**settings: Any) -> InteractionsConfig:
    columns = settings.pop("columns", {"time": "t", "weight": "w", "event_type": "e"})
    mapped = InteractionColumns(user="u", item="i", **columns)
    return InteractionsConfig(source=SOURCE, columns=mapped, **settings)


def event(**changes: Any) -> tuple[Any, ...]:
    row = {"u": "ann", "i": "tea", "t": "2024-05-01 10:00:00", "w": "2", "e": "view", "c": 1}
    return tuple((row | changes).values())


def events(spark: SparkSession, *rows: tuple[Any, ...]) -> DataFrame:
    return spark.createDataFrame(list(rows), EVENTS)


def interactions(spark: SparkSession, rows: list[tuple[Any, ...]]) -> DataFrame:
    schema = "user_id string, item_id string, event_time timestamp, weight double"
    return spark.createDataFrame(rows, schema)


def pairs_of(frame: DataFrame) -> dict[tuple[str, str], tuple[float, bool]]:
    return {(row.user_id, row.item_id): (row.weight, row.positive) for row in frame.collect()}


BAD_ROWS = [
    ({"u": None}, cleaning.NO_USER_ID),
    ({"u": " \t"}, cleaning.NO_USER_ID),
    ({"i": ""}, cleaning.NO_ITEM_ID),
    ({"u": "", "i": "", "w": "-1"}, cleaning.NO_USER_ID),
    ({"w": "many"}, cleaning.BAD_WEIGHT),
    ({"w": None}, cleaning.BAD_WEIGHT),
    ({"w": "NaN"}, cleaning.INFINITE_WEIGHT),
    ({"w": "Infinity"}, cleaning.INFINITE_WEIGHT),
    ({"w": "-0.5"}, cleaning.NEGATIVE_WEIGHT),
    ({"t": "yesterday"}, cleaning.BAD_TIME),
    ({"t": None}, cleaning.BAD_TIME),
    ({"t": "0001-01-01 00:00:00"}, cleaning.BAD_TIME),
    ({"t": "2024-06-02"}, cleaning.FUTURE_TIME),
    ({"e": "dance"}, cleaning.UNKNOWN_EVENT_TYPE),
    ({"e": None}, cleaning.UNKNOWN_EVENT_TYPE),
]


def test_a_bad_row_is_quarantined_as_it_came_with_its_first_reason(spark: SparkSession) -> None:
    # Column c numbers the rows.
    rows = [event(c=n, **changes) for n, (changes, _) in enumerate(BAD_ROWS)]
    source = events(spark, event(c=-1), *rows)
    cleaned = clean_interactions(source, config(event_weights={"view": 1.0}), NOW, 7)
    cleaned.labelled.persist()
    refused = sorted(cleaned.quarantine.collect(), key=lambda row: json.loads(row.raw)["c"])
    assert [json.loads(row.raw) for row in refused] == [
        dict(zip("uitwec", row, strict=True)) for row in rows
    ]
    assert [row.reason for row in refused] == [reason for _, reason in BAD_ROWS]
    assert {row.source_version for row in refused} == {7}
    assert cleaned.interactions.count() == 1
    cleaned.labelled.unpersist()


def test_long_and_padded_and_integer_ids_are_kept_as_they_are(spark: SparkSession) -> None:
    long = "x" * 10_000
    source = spark.createDataFrame([(2**62, long), (-1, " tea ")], "u long, i string")
    kept = clean_interactions(source, config(columns={}), NOW, None).interactions.collect()
    assert {(row.user_id, row.item_id) for row in kept} == {(str(2**62), long), ("-1", " tea ")}


def test_an_id_column_that_is_neither_text_nor_a_number_is_refused_by_name(
    spark: SparkSession,
) -> None:
    source = spark.createDataFrame([(True, "tea")], "u boolean, i string")
    with pytest.raises(TableError, match="id column u has type boolean"):
        clean_interactions(source, config(columns={}), NOW, None)


def test_weight_is_the_column_times_the_event_weight_and_halves_before_the_latest_event(
    spark: SparkSession,
) -> None:
    source = events(
        spark,
        event(i="old", e="buy", t="2024-05-01 00:00:00"),
        event(i="new", t="2024-05-11 00:00:00"),
    )
    settings = config(event_weights={"view": 1.0, "buy": 3.0}, half_life_days=10)
    kept = clean_interactions(source, settings, NOW, None).interactions.collect()
    assert {row.item_id: row.weight for row in kept} == pytest.approx({"old": 3.0, "new": 2.0})


@pytest.mark.parametrize(("unit", "scale"), [("seconds", 1), ("milliseconds", 1000)])
def test_numeric_times_are_read_in_their_unit_and_absurd_ones_are_quarantined(
    spark: SparkSession, unit: str, scale: int
) -> None:
    rows = [("ann", "tea", 1_700_000_000 * scale), ("bob", "tea", 2**62)]
    source = spark.createDataFrame(rows, "u string, i string, t long")
    cleaned = clean_interactions(source, config(columns={"time": "t"}, time_unit=unit), NOW, None)
    kept = cleaned.interactions.selectExpr("user_id", "unix_timestamp(event_time) AS t").collect()
    assert [tuple(row) for row in kept] == [("ann", 1_700_000_000)]
    assert [row.reason for row in cleaned.quarantine.collect()] == [cleaning.BAD_TIME]


def test_a_numeric_time_without_a_unit_names_the_setting(spark: SparkSession) -> None:
    source = spark.createDataFrame([("ann", "tea", 1)], "u string, i string, t long")
    with pytest.raises(TableError, match="time_unit"):
        clean_interactions(source, config(columns={"time": "t"}), NOW, None)


def test_of_exact_duplicates_one_is_kept(spark: SparkSession) -> None:
    source = events(spark, event(c=1), event(c=2), event(c=3), event(w="2.5"), event(u=None))
    cleaned = clean_interactions(source, config(), NOW, None)
    assert cleaned.interactions.count() == 2
    reasons = sorted(row.reason for row in cleaned.quarantine.collect())
    assert reasons == [cleaning.DUPLICATE, cleaning.DUPLICATE, cleaning.NO_USER_ID]


def test_rows_that_differ_in_a_context_column_are_not_duplicates(spark: SparkSession) -> None:
    columns = {"time": "t", "context": ("c",)}
    source = events(spark, event(c=1), event(c=2), event(c=2))
    kept = clean_interactions(source, config(columns=columns), NOW, None).interactions.collect()
    assert sorted(row.context["c"] for row in kept) == ["1", "2"]


def test_equal_rows_without_a_time_are_repeated_events_where_they_are_summed(
    spark: SparkSession,
) -> None:
    source = events(spark, event(), event(), event())
    settings = config(columns={"weight": "w"}, duplicates="sum", weighting="weight")
    kept = clean_interactions(source, settings, NOW, None).interactions
    assert pairs_of(aggregate_pairs(kept, settings)) == {("ann", "tea"): (6.0, True)}


def test_all_rows_of_a_user_with_an_inhuman_rate_are_quarantined(spark: SparkSession) -> None:
    robot = [event(u="robot", i=str(n)) for n in range(4)]
    calm = [event(i=str(n), t=f"2024-05-0{n + 1}") for n in range(4)]
    other_day = event(u="robot", t="2024-04-01")
    source = events(spark, *robot, *calm, other_day, event(u="robot", i=None))
    cleaned = clean_interactions(source, config(maximum_events_per_user_per_day=3), NOW, None)
    assert {row.user_id for row in cleaned.interactions.collect()} == {"ann"}
    reasons = [row.reason for row in cleaned.quarantine.collect()]
    assert reasons.count(cleaning.INHUMAN_RATE) == 5
    assert reasons.count(cleaning.NO_ITEM_ID) == 1


def test_a_lost_row_stops_the_job() -> None:
    check_counts(5, 3, 2)
    with pytest.raises(DataError, match="read 5 rows but kept 3 and quarantined 1"):
        check_counts(5, 3, 1)


@pytest.mark.parametrize(
    ("duplicates", "weighting", "expected"),
    [
        ("sum", "weight", 4.0),
        ("max", "weight", 3.0),
        ("last", "weight", 1.0),
        ("sum", "binary", 1.0),
        ("max", "log", 1.3862943611198906),
    ],
)
def test_events_of_a_pair_are_combined_by_the_policy_and_then_weighted(
    spark: SparkSession, duplicates: str, weighting: str, expected: float
) -> None:
    rows = [("ann", "tea", DAY, 3.0), ("ann", "tea", DAY + timedelta(days=1), 1.0)]
    settings = config(duplicates=duplicates, weighting=weighting)
    pair = aggregate_pairs(interactions(spark, rows), settings).first()
    assert pair is not None
    assert pair.weight == pytest.approx(expected)
    assert pair.event_time == DAY + timedelta(days=1)


def test_a_weight_of_nothing_is_seen_and_no_interaction_unless_it_is_a_rating(
    spark: SparkSession,
) -> None:
    frame = interactions(spark, [("ann", "tea", DAY, 0.0), ("ann", "rum", DAY, 2.0)])
    settings = config(columns={"weight": "w"})
    assert {
        item: positive
        for (_, item), (_, positive) in pairs_of(aggregate_pairs(frame, settings)).items()
    } == {
        "tea": False,
        "rum": True,
    }
    ratings = pairs_of(aggregate_pairs(frame, settings, are_ratings=True))
    assert all(positive for _, positive in ratings.values())


@pytest.mark.parametrize(
    ("duplicates", "weights"),
    [("sum", {"tea": 1.0}), ("max", {"tea": 3.0}), ("last", {"tea": 3.0})],
)
def test_a_cancellation_takes_away_what_was_ordered(
    spark: SparkSession, duplicates: str, weights: dict[str, float]
) -> None:
    later = DAY + timedelta(days=1)
    rows = [("ann", "tea", DAY, 3.0), ("ann", "tea", later, -2.0)]
    rows += [("ann", "rum", DAY, 1.0), ("ann", "rum", later, -1.0)]
    settings = config(cancellations="cancel", duplicates=duplicates, weighting="weight")
    pairs = pairs_of(aggregate_pairs(interactions(spark, rows), settings))
    assert {item: weight for (_, item), (weight, positive) in pairs.items() if positive} == weights


def test_a_return_takes_back_what_was_bought(spark: SparkSession) -> None:
    rows = [event(i="tea", w="2", e="buy"), event(i="tea", w="2", e="return", t="2024-05-02")]
    rows += [event(i="rum", w="2", e="buy"), event(i="rum", w="1", e="return", t="2024-05-02")]
    weights = {"buy": 1.0, "return": -1.0}
    settings = config(event_weights=weights, cancellations="cancel", duplicates="sum")
    cleaned = clean_interactions(events(spark, *rows), settings, NOW, None)
    pairs = pairs_of(aggregate_pairs(cleaned.interactions, settings))
    assert {item: one for (_, item), one in pairs.items()} == {
        "tea": (0.0, False),
        "rum": (1.0, True),
    }


def test_a_return_with_a_negative_quantity_takes_back_as_well(spark: SparkSession) -> None:
    rows = [event(w="2", e="buy"), event(w="-2", e="return", t="2024-05-02")]
    settings = config(event_weights={"buy": 1.0, "return": -1.0}, cancellations="cancel")
    cleaned = clean_interactions(events(spark, *rows), settings, NOW, None)
    pairs = pairs_of(aggregate_pairs(cleaned.interactions, settings))
    assert pairs == {("ann", "tea"): (0.0, False)}


@pytest.mark.parametrize("duplicates", ["sum", "max", "last"])
def test_an_event_of_a_type_without_weight_neither_annuls_a_pair_nor_moves_its_time(
    spark: SparkSession, duplicates: str
) -> None:
    rows = [event(e="buy"), event(e="view", t="2024-05-02"), event(i="rum", e="view")]
    settings = config(event_weights={"buy": 1.0, "view": 0.0}, duplicates=duplicates)
    kept = clean_interactions(events(spark, *rows), settings, NOW, None).interactions
    pairs = {row.item_id: row for row in aggregate_pairs(kept, settings).collect()}
    assert pairs["tea"].positive and not pairs["rum"].positive
    assert pairs["tea"].event_time == datetime(2024, 5, 1, 10)


@pytest.mark.parametrize("key", ["duplicates", "weighting"])
def test_a_policy_that_is_not_known_is_not_taken_for_another(spark: SparkSession, key: str) -> None:
    rows = [("ann", "tea", DAY, 3.0)]
    settings = config(weighting="weight").model_copy(update={key: "median"})
    with pytest.raises(AssertionError, match="median"):
        aggregate_pairs(interactions(spark, rows), settings)


def test_a_pair_is_positive_by_its_rating_before_decay_and_weighting(spark: SparkSession) -> None:
    source = events(
        spark,
        event(i="loved", w="4", t="2023-01-01"),
        event(i="loathed", w="3.5", t="2024-05-01"),
    )
    settings = config(half_life_days=7, positive_minimum=4.0, weighting="log")
    kept = clean_interactions(source, settings, NOW, None).interactions
    pairs = pairs_of(aggregate_pairs(kept, settings))
    assert {item: positive for (_, item), (_, positive) in pairs.items()} == {
        "loved": True,
        "loathed": False,
    }


def test_an_event_without_a_time_has_not_decayed(spark: SparkSession) -> None:
    rows = [("ann", "tea", None, 3.5), ("ann", "rum", None, 4.0)]
    settings = config(half_life_days=7, positive_minimum=4.0, weighting="log")
    pairs = pairs_of(aggregate_pairs(interactions(spark, rows), settings, latest=NOW))
    assert {item: positive for (_, item), (_, positive) in pairs.items()} == {
        "tea": False,
        "rum": True,
    }


def test_in_the_example_of_a_shop_a_single_view_is_no_positive(spark: SparkSession) -> None:
    given = load_config(CONF / "shop-events.yaml").interactions
    columns = InteractionColumns(user="u", item="i", time="t", event_type="e")
    minima = {"minimum_user_interactions": 1, "minimum_item_interactions": 1}
    settings = given.model_copy(update={"columns": columns, **minima})
    source = events(
        spark,
        event(i="viewed"),
        event(i="viewed twice", t="2023-01-01"),
        event(i="viewed twice", t="2023-01-02"),
        event(i="in the cart", t="2023-01-01", e="cart"),
    )
    kept = clean_interactions(source, settings, NOW, None).interactions
    pairs = pairs_of(aggregate_pairs(kept, settings))
    assert {item: positive for (_, item), (_, positive) in pairs.items()} == {
        "viewed": False,
        "viewed twice": True,
        "in the cart": True,
    }


def test_minimum_interactions_hold_for_all_that_are_left(spark: SparkSession) -> None:
    core = [(user, item) for user in "ab" for item in "xy"]
    # c has two items, but one of them only c has: when it goes, c goes.
    rows = [(u, i, DAY, 1.0) for u, i in [*core, ("c", "x"), ("c", "rare")]]
    settings = config(minimum_user_interactions=2, minimum_item_interactions=2)
    assert set(pairs_of(aggregate_pairs(interactions(spark, rows), settings))) == set(core)
