"""Describe the behaviour of users and items: counts, popularity, recency, rhythm, event types.

Only the given training rows of a fit are read, so nothing of a later fold can leak in. Where there
are no times, the features that need them are 0.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.kernels.arrays.rows import Float32, Float64, Int64, Rows
from m6rec.spark.arrow_rows import list_column, rows_from_batch
from m6rec.spark.collecting import BYTES_OF_NUMBER, collected_table
from m6rec.spark.shipping import Shipped, ship
from m6rec.spark.values import domain_of, owner_column

LOG_COUNT = "log_count"
_HOUR_BINS = ("night", "morning", "afternoon", "evening")
_TIME_NAMES = (
    "log_days_since_last",
    "log_days_since_first",
    *(f"share_{name}" for name in _HOUR_BINS),
    "share_weekend",
)
USER_BEHAVIOUR = (
    LOG_COUNT,
    "mean_log_popularity",
    "spread_of_log_popularity",
    "breadth_of_taste",
    *_TIME_NAMES,
)
ITEM_BEHAVIOUR = (LOG_COUNT, "mean_log_activity_of_users", "mean_weight", *_TIME_NAMES)

_MICROS_A_DAY = 86_400_000_000
_MICROS_AN_HOUR = 3_600_000_000
_EPOCH_WEEKDAY = 3  # 1970-01-01 was a Thursday; Monday is 0
_SATURDAY = 5
# A user's breadth of taste is computed from the items' content, which every worker then holds: it
# is left out where that content has more numbers than this.
_LARGEST_SHIPPED_CONTENT = 50_000_000
# The keys of the mix for domains and for event types. No column of the owner's has these names.
_DOMAIN_KEY = "domain of the item"
_TYPE_KEY = "type of the event"
# So many values of the event type, and of each context key, get a feature: the most frequent ones.
_VALUES_OF_A_KEY = 8


@dataclass(frozen=True)
class Surroundings:
    """What the behaviour of single users is measured by: all users of a fit.

    Attributes:
        log_popularity: float64 [n_items]; log(1 + users of the item).
        latest: the latest time in microseconds, 0 where there are no times.
    """

    log_popularity: Float64
    latest: int


def surroundings_of(matrix: DataFrame, n_items: int) -> Surroundings:
    """What behaviour is measured by, from item_indices, weights, times of a fit's training rows."""
    popularity = np.zeros(n_items, dtype=np.float64)
    latest_of_item = F.max(F.unix_micros(c.EVENT_TIME)).alias("latest")
    of_items = _events(matrix).groupBy(c.ITEM_INDEX)
    counted = of_items.agg(F.count(F.lit(1)).alias("count"), latest_of_item)
    items = collected_table(counted, 3 * n_items * BYTES_OF_NUMBER).to_pandas()
    popularity[items[c.ITEM_INDEX].to_numpy(np.int64)] = items["count"].to_numpy(np.float64)
    times = items["latest"].dropna()
    return Surroundings(np.log1p(popularity), 0 if times.empty else int(times.max()))


def user_behaviour(
    matrix: DataFrame, n_items: int, item_content: Float32 | None = None
) -> DataFrame:
    """Describe the behaviour of each user of a fit, as `behaviour_of` does.

    Args:
        matrix: user_index, item_indices, weights, times of the fit's training rows.
        n_items: the size of the catalogue.
        item_content: float32 [n_items, c], unit rows.
    """
    return behaviour_of(matrix, surroundings_of(matrix, n_items), item_content)


def behaviour_of(
    matrix: DataFrame, surroundings: Surroundings, item_content: Float32 | None = None
) -> DataFrame:
    """Describe the behaviour of users, whether or not they were in training.

    Args:
        matrix: user_index, item_indices, weights, times of these users.
        surroundings: of the fit that the features are of.
        item_content: float32 [n_items, c], unit rows. With it, breadth of taste is how little the
            items of a history have in common; without it, the entropy of the weights.

    Returns:
        user_index and the doubles USER_BEHAVIOUR, which are all null for a user without history.
    """
    shipped = ship(matrix.sparkSession, (surroundings, item_content))
    schema = ", ".join(f"{name} double" for name in USER_BEHAVIOUR)
    return matrix.select(c.USER_INDEX, c.ITEM_INDICES, c.WEIGHTS, c.TIMES).mapInArrow(
        partial(_describe_users, shipped=shipped), f"{c.USER_INDEX} long, {schema}"
    )


def is_shipped(n_items: int, content_width: int) -> bool:
    """Whether the content of all items is small enough for breadth of taste to be told by it."""
    return 0 < n_items * content_width <= _LARGEST_SHIPPED_CONTENT


def item_behaviour(matrix: DataFrame) -> DataFrame:
    """Describe the behaviour of the users of each item that has an interaction in the fit.

    Args:
        matrix: user_index, item_indices, weights, times of the fit's training rows.

    Returns:
        item_index and the doubles ITEM_BEHAVIOUR.
    """
    latest = _latest(matrix)
    micros = F.unix_micros(c.EVENT_TIME)
    hour = F.pmod(F.floor(micros / _MICROS_AN_HOUR), F.lit(24))
    weekday = F.pmod(F.floor(micros / _MICROS_A_DAY) + _EPOCH_WEEKDAY, F.lit(7))
    shares = [
        F.avg((F.floor(hour / 6) == k).cast("double")).alias(f"share_{name}")
        for k, name in enumerate(_HOUR_BINS)
    ]
    frame = (
        _events(matrix)
        .groupBy(c.ITEM_INDEX)
        .agg(
            F.log1p(F.count(F.lit(1))).alias(LOG_COUNT),
            F.avg(F.log1p(c.INTERACTION_COUNT)).alias("mean_log_activity_of_users"),
            F.avg(c.WEIGHT).alias("mean_weight"),
            _log_days(F.lit(latest) - F.max(micros)).alias("log_days_since_last"),
            _log_days(F.lit(latest) - F.min(micros)).alias("log_days_since_first"),
            *shares,
            F.avg((weekday >= _SATURDAY).cast("double")).alias("share_weekend"),
        )
    )
    filled = [F.coalesce(F.col(name), F.lit(0.0)).alias(name) for name in ITEM_BEHAVIOUR]
    return frame.select(F.col(c.ITEM_INDEX).cast("long").alias(c.ITEM_INDEX), *filled)


def events_before_holdout(
    events: DataFrame, splits: DataFrame, folds: list[str], has_time: bool
) -> DataFrame:
    """The events of a fit's folds where repeats are held out, so that a pair is in several folds.

    These are the events of a pair up to its latest time in the fit's folds, which is exact where
    folds follow each other in time. Without times, a pair that another fold holds out has none.

    Args:
        events: user_index, item_index, event_time and any other columns.
        splits: user_index, item_index, event_time, fold.
        folds: the fit's.
        has_time: whether event_time is filled.
    """
    keys = [c.USER_INDEX, c.ITEM_INDEX]
    is_known = F.col(c.FOLD).isin(folds)
    known = splits.where(is_known)
    if not has_time:
        return events.join(known.join(splits.where(~is_known), keys, "anti"), keys, "semi")
    latest = known.groupBy(*keys).agg(F.max(c.EVENT_TIME).alias("_latest"))
    joined = events.join(latest, keys, "inner")
    return joined.where(F.col(c.EVENT_TIME) <= F.col("_latest")).drop("_latest")


def with_domain_as_context(events: DataFrame) -> DataFrame:
    """Events (item_id, context) to whose context the domain of the item is added."""
    nothing = F.create_map().cast("map<string,string>")
    domain = F.create_map(F.lit(_DOMAIN_KEY), domain_of(F.col(c.ITEM_ID)))
    return events.withColumn(c.CONTEXT, F.map_concat(F.coalesce(c.CONTEXT, nothing), domain))


def event_mix(events: DataFrame, index_column: str, names: tuple[str, ...] = ()) -> DataFrame:
    """The shares of event types and context values in the events of each user or item.

    Args:
        events: index_column, event_type, context (map) of the fit's training rows.
        index_column: user_index or item_index.
        names: the column names of an earlier call, to use again; () chooses names here.

    Returns:
        index_column and a double for each name `mix key=value`: the value's share of the events.
    """
    chosen = names or frequent_values(events)
    # Columns of a table are told apart whatever their case, and so are values here.
    values = [name.lower() for name in chosen]
    pairs = _key_value_pairs(events, index_column).withColumn("value", F.lower("name"))
    totals = events.groupBy(index_column).agg(F.count(F.lit(1)).alias("events"))
    counted = (
        pairs.where(F.col("value").isin(values))
        .groupBy(index_column)
        .pivot("value", list[Any](values))
        .count()
    )
    shares = [
        (F.coalesce(owner_column(value), F.lit(0)) / F.col("events")).cast("double").alias(name)
        for name, value in zip(chosen, values, strict=True)
    ]
    return totals.join(counted, index_column, "left").select(index_column, *shares)


def frequent_values(events: DataFrame) -> tuple[str, ...]:
    """The `_VALUES_OF_A_KEY` most frequent event types, and values of each context key.

    Each is written as `mix key=value`.

    Values that differ in their case alone are one. A key with only one value tells nothing and is
    left out.
    """
    counts = (
        _key_value_pairs(events)
        .groupBy("key", F.lower("name"))
        .agg(F.count("*").alias("count"), F.min("name").alias("name"))
    )
    order = Window.partitionBy("key").orderBy(F.desc("count"), "name")
    ranked = counts.withColumn("rank", F.row_number().over(order))
    rows = ranked.where(F.col("rank") <= _VALUES_OF_A_KEY).orderBy("key", "rank").collect()
    names: dict[str, list[str]] = {}
    for row in rows:
        names.setdefault(row["key"], []).append(row["name"])
    return tuple(name for each in names.values() if len(each) > 1 for name in each)


def _key_value_pairs(events: DataFrame, *kept: str) -> DataFrame:
    typed = F.struct(F.lit(_TYPE_KEY).alias("key"), F.col(c.EVENT_TYPE).alias("value"))
    context = F.transform(
        F.map_entries(F.coalesce(c.CONTEXT, F.create_map().cast("map<string,string>"))),
        lambda entry: F.struct(entry["key"].alias("key"), entry["value"].alias("value")),
    )
    pairs = events.select(*kept, F.explode(F.concat(F.array(typed), context)).alias("pair"))
    name = F.concat(F.lit("mix "), F.col("pair.key"), F.lit("="), F.col("pair.value"))
    return pairs.where(F.col("pair.value").isNotNull()).select(
        *kept, F.col("pair.key").alias("key"), name.alias("name")
    )


def _events(matrix: DataFrame) -> DataFrame:
    zipped = F.arrays_zip(c.ITEM_INDICES, c.WEIGHTS, c.TIMES)
    rows = matrix.select(F.size(c.ITEM_INDICES).alias(c.INTERACTION_COUNT), F.explode(zipped))
    return rows.select(
        c.INTERACTION_COUNT,
        F.col(f"col.{c.ITEM_INDICES}").alias(c.ITEM_INDEX),
        F.col(f"col.{c.WEIGHTS}").alias(c.WEIGHT),
        F.col(f"col.{c.TIMES}").alias(c.EVENT_TIME),
    )


def _latest(matrix: DataFrame) -> int:
    """The latest time of the fit in microseconds, 0 where there are no times."""
    row = matrix.agg(F.max(F.unix_micros(F.array_max(c.TIMES))).alias("latest")).first()
    return 0 if row is None or row["latest"] is None else int(row["latest"])


def _log_days(micros: Column) -> Column:
    return F.log1p(F.greatest(micros, F.lit(0)) / _MICROS_A_DAY)


def _describe_users(
    batches: Iterator[pa.RecordBatch], shipped: Shipped
) -> Iterator[pa.RecordBatch]:
    surroundings, item_content = shipped.load()
    for batch in batches:
        if batch.num_rows == 0:
            continue
        rows = rows_from_batch(batch)
        indptr, times = list_column(_microseconds(batch), c.TIMES)
        described = np.column_stack(
            [
                np.log1p(rows.counts),
                *_popularity(rows, surroundings.log_popularity),
                _breadth(rows, item_content),
                *_rhythm(indptr, times, surroundings.latest),
            ]
        )
        unknown = rows.counts == 0
        yield pa.RecordBatch.from_arrays(
            [pa.array(rows.user_index), *(pa.array(each, mask=unknown) for each in described.T)],
            names=[c.USER_INDEX, *USER_BEHAVIOUR],
        )


def _microseconds(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The times as int64 microseconds; null becomes the smallest int64."""
    column = batch.column(c.TIMES)
    missing = np.iinfo(np.int64).min
    values = column.values.cast(pa.timestamp("us")).cast(pa.int64()).fill_null(missing)
    times = pa.ListArray.from_arrays(column.offsets, values)
    return pa.RecordBatch.from_arrays([times], names=[c.TIMES])


def _popularity(rows: Rows, log_popularity: Float64) -> tuple[Float64, Float64]:
    owner = np.repeat(np.arange(len(rows)), rows.counts)
    values = log_popularity[rows.item_indices]
    mean = _mean(owner, values, len(rows))
    variance = _mean(owner, (values - mean[owner]) ** 2, len(rows))
    return mean, np.sqrt(variance)


def _breadth(rows: Rows, item_content: Float32 | None) -> Float64:
    """1 - |mean content vector|, or the entropy of the weights divided by its maximum log n."""
    owner = np.repeat(np.arange(len(rows)), rows.counts)
    if item_content is not None:
        counts = np.maximum(rows.counts, 1)[:, None]
        binary = replace(rows, weights=np.ones_like(rows.weights)).to_scipy(len(item_content))
        means = np.asarray(binary @ item_content) / counts
        breadth = 1.0 - np.linalg.norm(means, axis=1)
        return np.where(rows.counts > 0, breadth, 0.0).astype(np.float64)
    total = np.bincount(owner, weights=rows.weights, minlength=len(rows))[owner]
    # Weights that have decayed for long are so small that no floor of the total is small enough.
    share = np.divide(rows.weights, total, out=np.zeros_like(total), where=total > 0.0)
    surprise = -share * np.log(np.maximum(share, 1e-12))
    entropy = np.bincount(owner, weights=surprise, minlength=len(rows))
    return np.asarray(entropy / np.log(np.maximum(rows.counts, 2)), dtype=np.float64)


def _rhythm(indptr: Int64, times: Int64, latest: int) -> list[Float64]:
    rows = len(indptr) - 1
    present = times != np.iinfo(np.int64).min
    owner = np.repeat(np.arange(rows), np.diff(indptr))[present]
    moments = times[present]
    last = np.full(rows, np.iinfo(np.int64).min)
    np.maximum.at(last, owner, moments)
    first = np.full(rows, np.iinfo(np.int64).max)
    np.minimum.at(first, owner, moments)
    timed = np.bincount(owner, minlength=rows) > 0
    hours = (moments // _MICROS_AN_HOUR) % 24
    weekdays = (moments // _MICROS_A_DAY + _EPOCH_WEEKDAY) % 7
    columns = [_numpy_log_days(latest, np.where(timed, last, latest))]
    columns.append(_numpy_log_days(latest, np.where(timed, first, latest)))
    columns += [_mean(owner, hours // 6 == k, rows) for k in range(len(_HOUR_BINS))]
    columns.append(_mean(owner, weekdays >= _SATURDAY, rows))
    return columns


def _numpy_log_days(latest: int, micros: Int64) -> Float64:
    days = np.maximum(latest - micros, 0) / _MICROS_A_DAY
    return np.asarray(np.log1p(days), dtype=np.float64)


def _mean(owner: Int64, values: npt.NDArray[np.generic], rows: int) -> Float64:
    sums = np.bincount(owner, weights=values.astype(np.float64), minlength=rows)
    counts = np.bincount(owner, minlength=rows)
    return np.asarray(sums / np.maximum(counts, 1), dtype=np.float64)
