"""Measure lists that are to be published: whole, allowed, varied, and like the published ones."""

from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.schemas import RECOMMENDATIONS_TABLE
from m6rec.spark.values import id_within

MOST_LISTED = 10
ALLOWED = "allowed"
HELD_BACK = "held_back"
# What tells one list of a run from another.
_LIST = tuple(name for name in RECOMMENDATIONS_TABLE.key if name != c.RANK)
_ITEMS = "items"
# Of an item, in the lists of users.
_PLACES = "places_of_users"


@dataclass(frozen=True)
class ListCounts:
    """What has been counted of the lists of a run.

    Attributes:
        eligible: users for whom there are enough items for a full list, in every domain.
        full: those of them all of whose lists are full.
        unknown: places whose item the catalogue does not hold.
        forbidden: places whose item is not allowed, at all or for the user.
        duplicate: places whose item stands in the same list already.
        allowed_items: items that lists may hold.
        listed_items: those of them that some list holds.
        places: of all lists.
        most_listed_places: places of the ten most listed items.
    """

    eligible: int
    full: int
    unknown: int
    forbidden: int
    duplicate: int
    allowed_items: int
    listed_items: int
    places: int
    most_listed_places: int


def count_lists(lists: DataFrame, users: DataFrame, items: DataFrame, top_n: int) -> ListCounts:
    """Count what guards compare with their limits.

    Args:
        lists: rows of `recommendations`. Rows without a user are lists for unknown users. Their
            items are judged, and nothing else is counted of them.
        users: user_id, held_back (array of the item_index that the user's lists may not hold); a
            row for each user who is to have a list.
        items: item_id, item_index, domain, allowed (whether lists may hold it): the catalogue.
        top_n: the length of a full list.
    """
    rows = _places(lists).join(items.drop(c.DOMAIN), c.ITEM_ID, how="left")
    by_domain = items.where(ALLOWED).groupBy(c.DOMAIN).count().collect()
    allowed_items = sum(row["count"] for row in by_domain)
    fewest = min((row["count"] for row in by_domain), default=0)
    of_item = rows.groupBy(c.ITEM_ID, ALLOWED)
    counted = of_item.agg(F.count("*").alias("count"), F.count(c.USER_ID).alias(_PLACES)).persist()
    total = counted.agg(
        F.sum(_PLACES).alias("places"),
        F.sum(F.when(F.col(ALLOWED).isNull(), F.col("count"))).alias("unknown"),
        F.sum(F.when(~F.col(ALLOWED), F.col("count"))).alias("forbidden"),
        F.count_if(F.col(ALLOWED) & (F.col(_PLACES) > 0)).alias("listed"),
    ).collect()[0]
    most = counted.orderBy(F.desc(_PLACES)).limit(MOST_LISTED).agg(F.sum(_PLACES)).collect()[0][0]
    counted.unpersist()
    of_users = _count_users(rows, users, fewest, top_n)
    return ListCounts(
        eligible=of_users["eligible"],
        full=of_users["full"],
        unknown=total["unknown"] or 0,
        forbidden=(total["forbidden"] or 0) + of_users["held_back"],
        duplicate=of_users["duplicate"],
        allowed_items=allowed_items,
        listed_items=total["listed"] or 0,
        places=total["places"] or 0,
        most_listed_places=most or 0,
    )


def longest_lists(items: DataFrame, values: DataFrame, at_most: int) -> int:
    """How many items a list can have under a quota, in the domain where these are fewest.

    Of an item with several values, each counts, so that lists of such items may be shorter.

    Args:
        items: item_id, domain, allowed: the catalogue.
        values: distinct pairs of item_id and value.
        at_most: how many items of a value a list may hold.
    """
    allowed = items.where(ALLOWED).join(values, c.ITEM_ID, how="left")
    of_value = allowed.groupBy(c.DOMAIN, c.VALUE).count()
    # The rule does not concern items without a value.
    places = F.when(F.col(c.VALUE).isNull(), F.col("count")).otherwise(
        F.least("count", F.lit(at_most))
    )
    of_domain = of_value.groupBy(c.DOMAIN).agg(F.sum(places).alias("places"))
    fewest = of_domain.agg(F.min("places")).collect()[0][0]
    return int(fewest or 0)


def count_beyond_quota(lists: DataFrame, values: DataFrame, at_most: int) -> int:
    """How many places of lists hold an item beyond the quota of one of its values.

    Args:
        lists: rows of `recommendations`.
        values: distinct pairs of item_id and value.
        at_most: how many items of a value a list may hold.
    """
    of_value = _places(lists).join(values, c.ITEM_ID, how="inner")
    counted = of_value.groupBy(*_LIST, c.VALUE).count()
    beyond = counted.agg(F.sum(F.greatest(F.col("count") - at_most, F.lit(0)))).collect()[0][0]
    return int(beyond or 0)


def _places(lists: DataFrame) -> DataFrame:
    """The list of each row, and item_id as the catalogue has it: with its domain, if any."""
    own_id = F.coalesce(id_within(F.col(c.DOMAIN), F.col(c.ITEM_ID)), c.ITEM_ID)
    return lists.select(*_LIST, own_id.alias(c.ITEM_ID))


def shared_places(lists: DataFrame, published: DataFrame) -> tuple[int, float]:
    """How many lists have a published counterpart, and the sum of the shares that it holds.

    Args:
        lists, published: rows of `recommendations` of two runs.
    """
    theirs = _sets_of_items(published).withColumnsRenamed(
        {name: f"their_{name}" for name in (*_LIST, _ITEMS)}
    )
    ours = _sets_of_items(lists)
    same = [F.col(name).eqNullSafe(F.col(f"their_{name}")) for name in _LIST]
    share = F.size(F.array_intersect(_ITEMS, f"their_{_ITEMS}")) / F.size(_ITEMS)
    row = (
        ours.join(theirs, same, how="inner")
        .agg(F.count("*").alias("lists"), F.coalesce(F.sum(share), F.lit(0.0)).alias("shares"))
        .collect()[0]
    )
    return int(row["lists"]), float(row["shares"])


def _count_users(
    rows: DataFrame, users: DataFrame, allowed_items: int, top_n: int
) -> dict[str, int]:
    """Full lists, and places that are wrong for their user or in their list."""
    of_list = rows.groupBy(*_LIST).agg(
        F.count("*").alias("places"),
        F.countDistinct(c.ITEM_ID).alias("distinct"),
        F.collect_set(c.ITEM_INDEX).alias(_ITEMS),
    )
    of_user = of_list.groupBy(c.USER_ID).agg(
        F.sum(F.col("places") - F.col("distinct")).alias("duplicate"),
        F.min("distinct").alias("shortest"),
        F.array_distinct(F.flatten(F.collect_list(_ITEMS))).alias(_ITEMS),
    )
    # Without ANSI mode, as before Spark 4, the size of nothing is -1 and not null.
    eligible = F.col(HELD_BACK).isNotNull() & (F.lit(allowed_items) - F.size(HELD_BACK) >= top_n)
    wrong = F.array_intersect(HELD_BACK, _ITEMS)
    joined = of_user.join(users, c.USER_ID, how="full").select(
        F.coalesce(eligible, F.lit(False)).alias("eligible"),
        (F.coalesce("shortest", F.lit(0)) >= top_n).alias("is_full"),
        F.when(wrong.isNotNull(), F.size(wrong)).otherwise(0).alias(HELD_BACK),
        "duplicate",
    )
    row = joined.agg(
        F.count_if("eligible").alias("eligible"),
        F.count_if(F.col("eligible") & F.col("is_full")).alias("full"),
        F.coalesce(F.sum(HELD_BACK), F.lit(0)).alias(HELD_BACK),
        F.coalesce(F.sum("duplicate"), F.lit(0)).alias("duplicate"),
    ).collect()[0]
    return {name: int(value) for name, value in row.asDict().items()}


def _sets_of_items(lists: DataFrame) -> DataFrame:
    of_users = lists.where(F.col(c.USER_ID).isNotNull())
    return of_users.groupBy(*_LIST).agg(F.collect_set(c.ITEM_ID).alias(_ITEMS))
