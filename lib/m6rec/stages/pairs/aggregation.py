"""Combine the events of a user with an item into one weighted pair."""

import logging
from typing import assert_never

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.config.data import InteractionsConfig

SECONDS_PER_DAY = 86_400
# Beyond 1,000 half-lives a double underflows, and the decay could not be reverted.
_MAXIMUM_HALF_LIVES = 1_000.0
_CORE_ROUNDS = 10

_log = logging.getLogger(__name__)


def aggregate_pairs(
    interactions: DataFrame, config: InteractionsConfig, are_ratings: bool = False
) -> DataFrame:
    """One row for each user-item pair of the events of table `interactions`.

    The duplicates policy combines the events of a pair. Then `weighting` makes the weight 1, leaves
    it, or makes it log(1 + weight). A pair is positive where its combined weight, before decay and
    weighting, reaches `positive_minimum`, or where none is set. Of weights that are no ratings it
    has to be above 0 as well, with all cancellations. Where minimum interactions are set, users and
    items with fewer are dropped by turns until none is left, in at most ten rounds.

    Returns:
        user_id, item_id, weight double, rating double (the combined weight before weighting),
        event_time (the latest), positive boolean.
    """
    events = _with_strength(interactions, config)
    pairs = events.groupBy(c.USER_ID, c.ITEM_ID).agg(
        _combine(c.WEIGHT, config).alias(c.WEIGHT),
        F.max(c.EVENT_TIME).alias(c.EVENT_TIME),
        _combine("_strength", config).alias("_strength"),
        F.sum(c.WEIGHT).alias("_net"),
    )
    # A rating may be 0 or less and is one all the same.
    counts = F.lit(True) if are_ratings else (F.col("_net") > 0) & (F.col(c.WEIGHT) > 0)
    weighted = pairs.select(
        c.USER_ID,
        c.ITEM_ID,
        _weighting(config).alias(c.WEIGHT),
        F.col(c.WEIGHT).alias(c.RATING),
        c.EVENT_TIME,
        (_is_positive(config) & counts).alias(c.POSITIVE),
    )
    return _core(weighted, config)


def decay(rows: DataFrame, config: InteractionsConfig) -> DataFrame:
    """Halve the weight of each event once for every half-life before the latest event."""
    if config.half_life_days is None:
        return rows
    half_lives = _half_lives(config.half_life_days)
    return _with_latest(rows).withColumn(c.WEIGHT, F.col(c.WEIGHT) * F.pow(2.0, -half_lives))


def _with_strength(interactions: DataFrame, config: InteractionsConfig) -> DataFrame:
    """Add `_strength`, the weight as it was before decay."""
    weight = F.col(c.WEIGHT)
    if config.half_life_days is None or config.positive_minimum is None:
        return interactions.withColumn("_strength", weight)
    half_lives = _half_lives(config.half_life_days)
    return _with_latest(interactions).withColumn("_strength", weight * F.pow(2.0, half_lives))


def _with_latest(rows: DataFrame) -> DataFrame:
    latest = rows.agg(F.max(c.EVENT_TIME).alias("_latest"))
    return rows.crossJoin(F.broadcast(latest))


def _half_lives(half_life_days: float) -> Column:
    seconds = F.col("_latest").cast("double") - F.col(c.EVENT_TIME).cast("double")
    return F.least(seconds / (half_life_days * SECONDS_PER_DAY), F.lit(_MAXIMUM_HALF_LIVES))


def _combine(value: str, config: InteractionsConfig) -> Column:
    match config.duplicates:
        case "sum":
            return F.sum(value)
        case "max":
            return F.max(value)
        case "last":
            last = F.struct(c.EVENT_TIME, value)
            if config.cancellations == "cancel":
                # A cancellation is not the last order.
                last = F.when(F.col(value) > 0, last)
            # Of events at the same time the larger counts, so that row order does not matter.
            return F.coalesce(F.max(last)[value], F.max(value))
        case _:
            assert_never(config.duplicates)


def _weighting(config: InteractionsConfig) -> Column:
    match config.weighting:
        case "binary":
            return F.lit(1.0)
        case "weight":
            return F.greatest(F.col(c.WEIGHT), F.lit(0.0))
        case "log":
            return F.log1p(F.greatest(F.col(c.WEIGHT), F.lit(0.0)))
        case _:
            assert_never(config.weighting)


def _is_positive(config: InteractionsConfig) -> Column:
    if config.positive_minimum is None:
        return F.lit(True)
    # Decay and its reversal may leave the strength a rounding error below the owner's number.
    tolerance = 1e-9 * max(1.0, abs(config.positive_minimum))
    return F.col("_strength") >= config.positive_minimum - tolerance


def _core(pairs: DataFrame, config: InteractionsConfig) -> DataFrame:
    """Drop users and items below their minimum until all that are left reach it."""
    minima = {
        c.USER_ID: config.minimum_user_interactions,
        c.ITEM_ID: config.minimum_item_interactions,
    }
    if max(minima.values()) == 1:
        return pairs
    current = pairs.persist()
    before = total = current.count()
    for _ in range(_CORE_ROUNDS):
        smaller = current
        for key, minimum in minima.items():
            smaller = _with_minimum(smaller, key, minimum)
        smaller = smaller.persist()
        left = smaller.count()
        current.unpersist()
        current = smaller
        if left == before:
            break
        before = left
    _log.info("minimum interactions %s: dropped %d of %d pairs", minima, total - before, total)
    return current


def _with_minimum(pairs: DataFrame, key: str, minimum: int) -> DataFrame:
    if minimum == 1:
        return pairs
    frequent = pairs.groupBy(key).count().where(F.col("count") >= minimum).select(key)
    return pairs.join(frequent, on=key, how="left_semi").select(*pairs.columns)
