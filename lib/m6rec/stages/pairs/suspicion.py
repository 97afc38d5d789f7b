"""Find users who are hardly people: near-copies of other users, and users as regular as clocks.

Of users with nearly the same items, the one with the earliest event is no copy (ties by id), so
that whoever is copied stays. Sets are compared only where a band of their hashes agrees, each with
the earliest of its band, so that a thousand equal robots cost a thousand comparisons.
"""

from collections.abc import Iterator
from functools import partial

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.config.data import SuspiciousUsersConfig
from m6rec.kernels.arrays.minhash import (
    are_dates,
    bands_of_sets,
    most_common_gap,
    rounding_of_times,
)
from m6rec.spark.arrow_rows import list_array_from_matrix, list_column

NEAR_COPY = "user with nearly the items of another"
REGULAR = "user with inhuman regularity"
_ITEMS, _TIMES, _FIRST, _BANDS = "_items", "_times", "_first", "_bands"
# The gap of whose times are regular, in seconds, the unit to which the times may be rounded, and
# whether they may be dates.
_GAP, _ROUNDING, _ARE_DATES = "_gap", "_rounding", "_are_dates"
_USER_SCHEMA = (
    f"user_id string, {_ITEMS} array<long>, {_FIRST} long, {_BANDS} array<long>, {_GAP} long,"
    f" {_ROUNDING} long, {_ARE_DATES} boolean"
)


def suspicious_users(events: DataFrame, config: SuspiciousUsersConfig) -> DataFrame:
    """The suspicious users: user_id, suspicion.

    Args:
        events: user_id, item_id, event_time; null where events have no time.
        config: who is suspicious. Users with fewer than `minimum_items` are not.
    """
    users = events.groupBy(c.USER_ID).agg(
        F.sort_array(F.collect_set(F.xxhash64(c.ITEM_ID))).alias(_ITEMS),
        F.sort_array(F.collect_set(F.unix_seconds(c.EVENT_TIME))).alias(_TIMES),
        F.coalesce(F.min(F.unix_micros(c.EVENT_TIME)), F.lit(0)).alias(_FIRST),
    )
    judged = (
        users.where(F.size(_ITEMS) >= config.minimum_items)
        .mapInArrow(partial(_judge_partition, config=config), _USER_SCHEMA)
        .persist()
    )
    copies = _near_copies(judged, config.copy_likeness).withColumn(c.SUSPICION, F.lit(NEAR_COPY))
    regular = _regular(judged).withColumn(c.SUSPICION, F.lit(REGULAR))
    # A user who is both counts as a copy, whose word is the last one in the alphabet.
    return copies.unionByName(regular).groupBy(c.USER_ID).agg(F.max(c.SUSPICION).alias(c.SUSPICION))


def _regular(users: DataFrame) -> DataFrame:
    """user_id of each user who is as regular as a clock.

    Where all times are rounded, to hours for instance, an hour is the least gap, and that of
    whoever comes often. Where all are dates, so is a day.
    """
    of_table = users.agg(
        F.min(_ROUNDING).alias("_unit"), F.bool_and(_ARE_DATES).alias("_all_are_dates")
    )
    regular = users.where(F.col(_GAP).isNotNull()).crossJoin(F.broadcast(of_table))
    inhuman = "NOT _all_are_dates AND (_unit = 1 OR _unit != _gap)"
    return regular.where(inhuman).select(c.USER_ID)


def _near_copies(users: DataFrame, likeness: float) -> DataFrame:
    """user_id of each user whose set is like that of an earlier user."""
    who = F.struct(_FIRST, c.USER_ID)
    banded = users.select(who.alias("who"), F.posexplode(_BANDS).alias("band", "hash"))
    earliest = banded.groupBy("band", "hash").agg(
        F.min("who").alias("earliest"), F.count("*").alias("users")
    )
    pairs = (
        banded.join(earliest.where("users > 1"), ["band", "hash"], how="inner")
        .where(F.col("who") != F.col("earliest"))
        .select(
            F.col(f"who.{c.USER_ID}").alias(c.USER_ID),
            F.col(f"earliest.{c.USER_ID}").alias("earlier"),
        )
        .distinct()
    )
    others = users.select(F.col(c.USER_ID).alias("earlier"), F.col(_ITEMS).alias("_others"))
    compared = pairs.join(users.select(c.USER_ID, _ITEMS), c.USER_ID).join(others, "earlier")
    shared = F.size(F.array_intersect(_ITEMS, "_others"))
    together = F.size(_ITEMS) + F.size("_others") - shared
    return compared.where(shared >= likeness * together).select(c.USER_ID).distinct()


def _judge_partition(
    batches: Iterator[pa.RecordBatch], config: SuspiciousUsersConfig
) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        if batch.num_rows == 0:
            continue
        times = list_column(batch, _TIMES)
        shares, gaps, length = most_common_gap(*times)
        regular = (shares >= config.regular_share) & (gaps >= config.minimum_items)
        yield pa.RecordBatch.from_arrays(
            [
                batch.column(c.USER_ID),
                batch.column(_ITEMS),
                batch.column(_FIRST),
                list_array_from_matrix(bands_of_sets(*list_column(batch, _ITEMS))),
                pa.array(length, mask=~regular),
                pa.array(rounding_of_times(*times)),
                pa.array(are_dates(*times)),
            ],
            names=[c.USER_ID, _ITEMS, _FIRST, _BANDS, _GAP, _ROUNDING, _ARE_DATES],
        )
