"""Measure lists that are to be published: whole, allowed, varied, and like the published ones."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.kernels.ranking.reranking import Reranking, can_grow
from m6rec.schemas import RECOMMENDATIONS_TABLE
from m6rec.spark.collecting import BYTES_OF_WORDS, collected_table
from m6rec.spark.values import id_within

MOST_LISTED = 10
ALLOWED = "allowed"
HELD_BACK = "held_back"
# What tells one list of a run from another.
_LIST = tuple(name for name in RECOMMENDATIONS_TABLE.key if name != c.RANK)
_ITEMS = "items"
# Of an item, in the lists of users.
_PLACES = "places_of_users"
# Of a user: the lengths of the lists, and those lists that are due, with their lengths.
_LENGTHS, _DUE, _LENGTH, _REACHED = "lengths", "due", "length", "reached"
# Whose items are held back, and in which domain.
_USER, _OF_DOMAIN = "held_back_user", "held_back_domain"


@dataclass(frozen=True)
class ListCounts:
    """What has been counted of the lists of a run.

    Attributes:
        eligible: lists for which there are enough items to be full: one of each user, in each
            domain where there are domains.
        full: those of them that are full, also in each context.
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


def count_lists(
    lists: DataFrame,
    users: DataFrame,
    items: DataFrame,
    lengths: Mapping[str | None, int],
    quota: Reranking | None = None,
    contexts: int = 0,
) -> ListCounts:
    """Count what guards compare with their limits.

    Args:
        lists: rows of `recommendations`. Rows without a user are lists for unknown users. Their
            items are judged, and nothing else is counted of them.
        users: user_id, held_back (array of the item_index that the user's lists may not hold); a
            row for each user who is to have a list.
        items: item_id, item_index, domain, allowed (whether lists may hold it): the catalogue.
        lengths: the length of a full list in each domain; of None where there are none.
        quota: what lists may hold of one value; a list that it lets no item into is full.
        contexts: in how many a user has a list besides the one without a context.
    """
    rows = _places(lists).join(items.drop(c.DOMAIN), c.ITEM_ID, how="left")
    by_domain = items.where(ALLOWED).groupBy(c.DOMAIN).count().collect()
    allowed_items = sum(row["count"] for row in by_domain)
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
    allowed = {row[c.DOMAIN]: row["count"] for row in by_domain}
    expected = _expected(users, items, allowed, lengths)
    grows = None if quota is None else _growing(quota, items)
    longest = max(lengths.values(), default=0)
    of_users = _count_users(rows, users, expected, longest, grows, contexts)
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


def count_lists_outside(
    lists: DataFrame, users: DataFrame, domains: Sequence[str]
) -> dict[str, int]:
    """How many users have lists in other domains than those that are named, by domain.

    As in `count_lists`, those of all contexts are one.

    Args:
        lists: rows of `recommendations`.
        users: user_id.
        domains: their names.
    """
    first = (F.col(c.RANK) == 1) & F.col(c.CONTEXT).isNull()
    others = lists.where(first & ~F.col(c.DOMAIN).isin(list(domains)))
    counted = others.join(users, c.USER_ID, how="left_semi").groupBy(c.DOMAIN).count()
    return {row[c.DOMAIN]: int(row["count"]) for row in counted.collect()}


def _expected(
    users: DataFrame,
    items: DataFrame,
    allowed: Mapping[str | None, int],
    lengths: Mapping[str | None, int],
) -> DataFrame:
    """user_id, domain, length: the lists for which there are enough items, and their length.

    `allowed` is how many items the lists of each domain may hold.
    """
    named = [(name, allowed[name], lengths[name]) for name in allowed]
    domains = users.sparkSession.createDataFrame(
        named, f"{c.DOMAIN} string, allowed_items long, {_LENGTH} long"
    )
    with_row = users.where(F.col(HELD_BACK).isNotNull())
    # Most users have so few items that there are enough others, whichever of them lists may hold.
    least = min((allowed_items - length for _, allowed_items, length in named), default=0)
    many = with_row.where(F.size(HELD_BACK) > least)
    held = many.select(F.col(c.USER_ID).alias(_USER), F.explode(HELD_BACK).alias(c.ITEM_INDEX))
    listable = items.where(ALLOWED).select(c.ITEM_INDEX, F.col(c.DOMAIN).alias(_OF_DOMAIN))
    counted = held.join(listable, c.ITEM_INDEX).groupBy(_USER, _OF_DOMAIN)
    every = with_row.select(c.USER_ID).crossJoin(F.broadcast(domains))
    same = [F.col(c.USER_ID) == F.col(_USER), F.col(c.DOMAIN).eqNullSafe(F.col(_OF_DOMAIN))]
    both = every.join(counted.agg(F.count("*").alias(HELD_BACK)), same, how="left")
    left = F.col("allowed_items") - F.coalesce(HELD_BACK, F.lit(0))
    return both.where(left >= F.col(_LENGTH)).select(c.USER_ID, c.DOMAIN, _LENGTH)


def _growing(quota: Reranking, items: DataFrame) -> Callable[..., Column]:
    """Of a domain, a list and the items held back: whether the quota lets an item into the list."""
    n_items = len(quota.limited.indptr) - 1
    columns = items.where(ALLOWED).select(c.ITEM_INDEX, c.DOMAIN)
    table = collected_table(columns, n_items * BYTES_OF_WORDS)
    indices, domains = table.column(0).to_numpy(), np.array(table.column(1).to_pylist(), object)
    allowed = {
        domain: np.sort(indices[domains == domain]).astype(np.int32)
        for domain in set(domains.tolist())
    }

    def grows(
        domain: str | None, listed: list[int] | None, held_back: list[int] | None
    ) -> bool | None:
        if listed is None or domain not in allowed:
            return None
        masked = np.sort(np.asarray(held_back or [], np.int32))
        one = np.asarray(listed, np.int32).reshape(1, -1)
        bounds = np.array([0, len(masked)])
        return bool(can_grow(quota, one, allowed[domain], bounds, masked)[0])

    # Unless told how rows travel, Spark 4.2 warns that these types do not say it.
    return F.udf(grows, "boolean", useArrow=False)


def _count_users(
    rows: DataFrame,
    users: DataFrame,
    expected: DataFrame,
    longest: int,
    grows: Callable[..., Column] | None,
    contexts: int,
) -> dict[str, int]:
    """Full lists, and places that are wrong for their user or in their list."""
    of_list = rows.groupBy(*_LIST).agg(
        F.count("*").alias("places"),
        F.countDistinct(c.ITEM_ID).alias("distinct"),
        F.collect_set(c.ITEM_INDEX).alias(_ITEMS),
    )
    reached = F.col("distinct")
    if grows is not None:
        of_list = of_list.join(users, c.USER_ID, how="left")
        short = F.when(reached < longest, F.col(_ITEMS))
        reached = F.when(grows(c.DOMAIN, short, HELD_BACK), reached).otherwise(longest)
    in_domain = F.struct(c.DOMAIN, reached.alias(_REACHED))
    of_user = of_list.groupBy(c.USER_ID).agg(
        F.sum(F.col("places") - F.col("distinct")).alias("duplicate"),
        F.collect_list(in_domain).alias(_LENGTHS),
        F.array_distinct(F.flatten(F.collect_list(_ITEMS))).alias(_ITEMS),
    )
    due = expected.groupBy(c.USER_ID).agg(F.collect_list(F.struct(c.DOMAIN, _LENGTH)).alias(_DUE))
    wrong = F.array_intersect(HELD_BACK, _ITEMS)
    full = F.size(_full_ones(1 + contexts))
    joined = (
        of_user.join(users, c.USER_ID, how="full")
        .join(due, c.USER_ID, how="left")
        .select(
            F.when(F.col(_DUE).isNotNull(), F.size(_DUE)).otherwise(0).alias("eligible"),
            F.when(F.col(_DUE).isNotNull(), full).otherwise(0).alias("full"),
            F.when(wrong.isNotNull(), F.size(wrong)).otherwise(0).alias(HELD_BACK),
            "duplicate",
        )
    )
    names = ("eligible", "full", HELD_BACK, "duplicate")
    row = joined.agg(*(F.coalesce(F.sum(name), F.lit(0)).alias(name) for name in names)).collect()
    return {name: int(value) for name, value in row[0].asDict().items()}


def _full_ones(lists: int) -> Column:
    """Of the lists that are due to a user, those that are there and full.

    So many `lists` are due at once: the one without a context, and that of each context.
    """

    def is_full(due: Column) -> Column:
        own = F.filter(_LENGTHS, lambda one: one[c.DOMAIN].eqNullSafe(due[c.DOMAIN]))
        shortest = F.array_min(F.transform(own, lambda one: one[_REACHED]))
        return (F.size(own) >= lists) & (shortest >= due[_LENGTH])

    return F.filter(_DUE, is_full)


def _sets_of_items(lists: DataFrame) -> DataFrame:
    of_users = lists.where(F.col(c.USER_ID).isNotNull())
    return of_users.groupBy(*_LIST).agg(F.collect_set(c.ITEM_ID).alias(_ITEMS))
