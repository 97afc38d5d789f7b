"""Combine a user's events with an item into one pair, whose weight decays by the half-life."""

import logging
from datetime import datetime
from typing import assert_never

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.config.data import InteractionsConfig

SECONDS_PER_DAY = 86_400
# Beyond 1,000 half-lives a double underflows, and the decay could not be reverted.
_MAXIMUM_HALF_LIVES = 1_000.0
_CORE_ROUNDS = 10
_STRENGTH = "_strength"
# The sum of the weights of all events, without what has been cancelled.
_NET = "_net"
# The share of a cancelled order that a rounding error may leave.
_NOTHING_LEFT = 1e-9
_LATEST_TIME = "_latest_time"
_IS_OWN = "_is_own"

_log = logging.getLogger(__name__)


def aggregate_pairs(
    interactions: DataFrame,
    config: InteractionsConfig,
    are_ratings: bool = False,
    latest: datetime | None = None,
) -> DataFrame:
    """One row for each user-item pair of the events of table `interactions`.

    The duplicates policy combines the events of a pair. Then `weighting` makes the weight 1, leaves
    it, or makes it log(1 + weight). A pair is positive where its combined weight, before decay and
    weighting, reaches `positive_minimum`, or where none is set. Of weights that are no ratings it
    has to be above 0 as well, with all cancellations. Where minimum interactions are set, users and
    items with fewer are dropped by turns until none is left, in at most ten rounds. The weights
    have decayed up to `latest`; without it, up to the latest of these events.

    Returns:
        user_id, item_id, weight double, rating double (the combined weight before weighting),
        event_time (the latest), positive boolean; and _owner, the hash of the user by which rows
        are partitioned, for what follows to need no other shuffle.
    """
    keys = (c.OWNER, c.USER_ID, c.ITEM_ID)
    owner = F.xxhash64(c.USER_ID)
    owned = interactions.withColumn(c.OWNER, owner).repartition(F.col(c.OWNER))
    # Of sorted rows, `queries_over` has the groups made as they come, without a hash table of all.
    owned = owned.sortWithinPartitions(*keys)
    events = _netted(_with_strength(owned, config, latest), config)
    return _core(_weighted(_combined(events, keys, config), keys, config, are_ratings), config)


def occasions_of_pairs(
    interactions: DataFrame,
    pairs: DataFrame,
    config: InteractionsConfig,
    are_ratings: bool = False,
) -> DataFrame:
    """One row for each occasion on which a user had an item, where repeats are held out too.

    All events of a pair at one time are one occasion; without times, each event is one.

    Args:
        interactions: the events of table `interactions`.
        pairs: as `aggregate_pairs` gives them; events of other pairs are left out.
        config: the duplicates policy combines the events of an occasion.
        are_ratings: whether weights are ratings, of which 0 is one.

    Returns:
        user_id, item_id, event_time, occasion long (which tells the occasions of a pair apart),
        weight double, _strength double (the weight before decay), positive boolean (that of the
        pair of all its events, where the occasion itself is an interaction: no cancellation, and
        nothing that was cancelled).
    """
    events = _netted(_with_strength(interactions, config), config)
    if config.columns.time is None:
        # Events of equal weight are alike, so their order does not matter.
        of_pair = Window.partitionBy(c.USER_ID, c.ITEM_ID).orderBy(c.WEIGHT)
        rows = events.withColumn(c.OCCASION, F.row_number().over(of_pair).cast("long"))
    else:
        rows = _combined(events, (c.USER_ID, c.ITEM_ID, c.EVENT_TIME), config)
        rows = rows.withColumn(c.OCCASION, F.unix_micros(c.EVENT_TIME))
    rows = rows.select(c.USER_ID, c.ITEM_ID, c.EVENT_TIME, c.OCCASION, c.WEIGHT, _STRENGTH)
    joined = rows.join(pairs.select(c.USER_ID, c.ITEM_ID, c.POSITIVE), [c.USER_ID, c.ITEM_ID])
    counts = F.lit(True) if are_ratings else F.col(c.WEIGHT) > 0
    return joined.withColumn(c.POSITIVE, F.col(c.POSITIVE) & counts)


def occasions_of_held_out(pairs: DataFrame) -> DataFrame:
    """Each pair of a held-out table as one occasion, with the columns of `occasions_of_pairs`.

    Args:
        pairs: the pairs of the table, as `aggregate_pairs` gives them.
    """
    return pairs.select(
        c.USER_ID,
        c.ITEM_ID,
        c.EVENT_TIME,
        F.coalesce(F.unix_micros(c.EVENT_TIME), F.lit(0)).alias(c.OCCASION),
        F.col(c.RATING).alias(c.WEIGHT),
        F.col(c.RATING).alias(_STRENGTH),
        c.POSITIVE,
    )


def aggregate_folds(
    occasions: DataFrame, config: InteractionsConfig, are_ratings: bool = False
) -> DataFrame:
    """One row for each pair and each fold that has an occasion of the pair.

    The row says what is known of the pair when the fold is over: it combines the occasions of the
    fold and of the folds before, as `aggregate_pairs` combines all events. So a fit's row of a pair
    is that of the latest of the fit's folds.

    Args:
        occasions: as `occasions_of_pairs` and `occasions_of_held_out` give them, with dense indices
            in place of ids, and fold.
        config: how events become pairs.
        are_ratings: whether weights are ratings, of which 0 is one.

    Returns:
        user_index, item_index, fold, weight, rating, event_time, positive.
    """
    keys = (c.USER_INDEX, c.ITEM_INDEX, c.FOLD)
    own = F.col(c.FOLD)
    known_in = F.when(own == c.TRAIN, _folds_from(c.TRAIN))
    known_in = known_in.when(own == c.VALIDATION, _folds_from(c.VALIDATION))
    known_in = known_in.otherwise(_folds_from(c.TEST))
    known = (
        occasions.withColumn("_own", own)
        .withColumn(c.FOLD, F.explode(known_in))
        .withColumn(_IS_OWN, F.col("_own") == F.col(c.FOLD))
    )
    combined = _combined(known, keys, config, F.max(_IS_OWN).alias(_IS_OWN)).where(_IS_OWN)
    return _weighted(combined, keys, config, are_ratings)


def _folds_from(first: str) -> Column:
    folds = (c.TRAIN, c.VALIDATION, c.TEST)
    return F.array(*map(F.lit, folds[folds.index(first) :]))


def _combined(
    events: DataFrame, keys: tuple[str, ...], config: InteractionsConfig, *others: Column
) -> DataFrame:
    """The events of each key by the duplicates policy: weight, event_time, _strength, others."""
    return events.groupBy(*keys).agg(
        _combine(c.WEIGHT, config).alias(c.WEIGHT),
        _latest_time(config).alias(_LATEST_TIME),
        _combine(_STRENGTH, config).alias(_STRENGTH),
        F.sum(c.WEIGHT).alias(_NET),
        *others,
    )


def _latest_time(config: InteractionsConfig) -> Column:
    latest = F.max(c.EVENT_TIME)
    if _has_events_that_are_none(config):
        latest = F.coalesce(F.max(F.when(F.col(c.WEIGHT) > 0, F.col(c.EVENT_TIME))), latest)
    return latest


def _has_events_that_are_none(config: InteractionsConfig) -> bool:
    """Whether events without a weight above 0 are no occasions on which a user takes an item.

    Such are cancellations, and events of a type to which the owner gives no weight.
    """
    return config.cancellations == "cancel" or 0.0 in config.event_weights.values()


def _weighted(
    combined: DataFrame, keys: tuple[str, ...], config: InteractionsConfig, are_ratings: bool
) -> DataFrame:
    # A rating may be 0 or less and is one all the same.
    counts = F.lit(True) if are_ratings else (F.col(_NET) > 0) & (F.col(c.WEIGHT) > 0)
    return combined.select(
        *keys,
        _weighting(config).alias(c.WEIGHT),
        F.col(c.WEIGHT).alias(c.RATING),
        F.col(_LATEST_TIME).alias(c.EVENT_TIME),
        (_is_positive(config) & counts).alias(c.POSITIVE),
    )


def decay(
    rows: DataFrame,
    config: InteractionsConfig,
    latest: datetime | None = None,
    events: DataFrame | None = None,
) -> DataFrame:
    """Halve the weight of each event once for every half-life before the latest event.

    Where `latest` is given, it stands for the time of that event, and later ones weigh more.
    `events` are those among which the latest is looked for, `rows` themselves unless given.
    """
    if config.half_life_days is None:
        return rows
    half_lives = _half_lives(config.half_life_days)
    return _with_latest(rows, latest, events).withColumn(
        c.WEIGHT, F.col(c.WEIGHT) * F.pow(2.0, -half_lives)
    )


def _with_strength(
    interactions: DataFrame, config: InteractionsConfig, latest: datetime | None = None
) -> DataFrame:
    """Add `_strength`, the weight as it was before decay."""
    weight = F.col(c.WEIGHT)
    is_needed = config.positive_minimum is not None or config.cancellations == "cancel"
    if config.half_life_days is None or not is_needed:
        return interactions.withColumn(_STRENGTH, weight)
    half_lives = _half_lives(config.half_life_days)
    return _with_latest(interactions, latest).withColumn(_STRENGTH, weight * F.pow(2.0, half_lives))


def _netted(events: DataFrame, config: InteractionsConfig) -> DataFrame:
    """The events without what was cancelled, where negative weights cancel.

    A cancellation takes away the latest orders of its pair before it, whole or in part. What is
    left of an order is the least value that the running sum of the weights has from the order on,
    less the value before the order. An order of which nothing is left weighs 0, and so does a
    cancellation of an order from before the table begins: their items count as seen. Orders are
    compared as they were before decay, because their cancellations are younger.
    """
    if config.cancellations != "cancel":
        return events
    strength, weight = F.col(_STRENGTH), F.col(c.WEIGHT)
    owner = (c.OWNER,) if c.OWNER in events.columns else ()
    pair = Window.partitionBy(*owner, c.USER_ID, c.ITEM_ID)
    # At one time, the order comes before its cancellation.
    order = pair.orderBy(F.col(c.EVENT_TIME).asc_nulls_first(), strength.desc())
    so_far = F.sum(strength).over(order.rowsBetween(Window.unboundedPreceding, 0))
    least = F.min("_so_far").over(order.rowsBetween(0, Window.unboundedFollowing))
    left = F.least(F.col("_least") - (F.col("_so_far") - strength), strength)
    # Where events are not summed, an order counts whole or not at all.
    share = F.when(strength > 0, left / strength) if config.duplicates == "sum" else F.lit(1.0)
    share = F.when((strength > 0) & (left > _NOTHING_LEFT * strength), share).otherwise(0.0)
    return (
        events.withColumn("_so_far", so_far)
        .withColumn("_least", least)
        .withColumn("_largest", F.max(strength).over(pair))
        .where((strength >= 0) | (F.col("_largest") <= 0))
        .withColumn("_share", share)
        .withColumn(c.WEIGHT, weight * F.col("_share"))
        .withColumn(_STRENGTH, strength * F.col("_share"))
        .drop("_so_far", "_least", "_largest", "_share")
    )


def _with_latest(
    rows: DataFrame, known: datetime | None, events: DataFrame | None = None
) -> DataFrame:
    if known is not None:
        return rows.withColumn("_latest", F.lit(known))
    latest = (rows if events is None else events).agg(F.max(c.EVENT_TIME).alias("_latest"))
    return rows.crossJoin(F.broadcast(latest))


def _half_lives(half_life_days: float) -> Column:
    seconds = F.col("_latest").cast("double") - F.col(c.EVENT_TIME).cast("double")
    half_lives = F.least(seconds / (half_life_days * SECONDS_PER_DAY), F.lit(_MAXIMUM_HALF_LIVES))
    # Of null and a number, the number is the least. An event without a time has not decayed.
    return F.when(F.col(c.EVENT_TIME).isNull(), 0.0).otherwise(half_lives)


def _combine(value: str, config: InteractionsConfig) -> Column:
    match config.duplicates:
        case "sum":
            return F.sum(value)
        case "max":
            return F.max(value)
        case "last" if config.columns.time is None:
            return F.max(value)
        case "last":
            last = F.struct(c.EVENT_TIME, value)
            if _has_events_that_are_none(config):
                # A cancellation is not the last order, and neither is a look at what was ordered.
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
    return F.col(_STRENGTH) >= config.positive_minimum - tolerance


def _core(pairs: DataFrame, config: InteractionsConfig) -> DataFrame:
    """Drop users and items below their minimum until all that are left reach it."""
    if not config.has_minimum:
        return pairs
    minima = {
        c.USER_ID: config.minimum_user_interactions,
        c.ITEM_ID: config.minimum_item_interactions,
    }
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
