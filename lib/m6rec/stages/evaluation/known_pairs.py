"""Measure lists after what their users already have has been taken out of them.

A ranker that was trained without some of a user's items rightly ranks these first. Unless they are
test items, its lists compare with those of other rankers only once these items are left out.
"""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from m6rec import columns as c

_KNOWN, _TARGETS, _FIRST = "known", "targets", "first"


def without_known(lists: DataFrame, known: DataFrame, targets: DataFrame) -> DataFrame:
    """The lists without what their users have; columns as `lists`.

    Args:
        lists: model, user_index, item_indices: items by their dense index, best first.
        known: user_index, item_index; what is taken out.
        targets: user_index, item_index; the test, which stays.
    """
    known = known.join(targets, [c.USER_INDEX, c.ITEM_INDEX], how="left_anti")
    left = F.array_except(c.ITEM_INDICES, F.coalesce(_KNOWN, F.array().cast("array<int>")))
    return (
        lists.withColumn(c.ITEM_INDICES, F.col(c.ITEM_INDICES).cast("array<int>"))
        .join(_items_of_users(known, _KNOWN), c.USER_INDEX, how="left")
        .withColumn(c.ITEM_INDICES, left)
        .select(lists.columns)
    )


def ndcg_of_each_user(lists: DataFrame, targets: DataFrame, k: int) -> DataFrame:
    """NDCG@k of each ranker for each user with test items: model, user_index, value.

    A user without a list has 0.

    NDCG is that of `kernels.evaluation.metrics.ndcg`: the ideal has min(k, test items) hits.

    Args:
        lists: of `without_known`.
        targets: user_index, item_index; the test.
        k: depth of the lists.
    """
    rankers = lists.select(c.MODEL).distinct()
    measured = _items_of_users(targets, _TARGETS).crossJoin(rankers)
    listed = F.coalesce(c.ITEM_INDICES, F.array().cast("array<int>"))
    rows = measured.join(lists, [c.MODEL, c.USER_INDEX], how="left").withColumn(
        _FIRST, F.slice(listed, 1, k)
    )
    discounted = F.transform(
        _FIRST,
        lambda item, rank: F.when(
            F.array_contains(_TARGETS, item), 1.0 / F.log2(rank + 2.0)
        ).otherwise(0.0),
    )
    best = F.transform(
        F.sequence(F.lit(1), F.least(F.lit(k), F.size(_TARGETS))),
        lambda rank: 1.0 / F.log2(rank + 1.0),
    )
    gain, ideal = (
        F.aggregate(terms, F.lit(0.0), lambda total, one: total + one)
        for terms in (discounted, best)
    )
    return rows.select(c.MODEL, c.USER_INDEX, (gain / ideal).alias(c.VALUE))


def _items_of_users(pairs: DataFrame, name: str) -> DataFrame:
    return pairs.groupBy(c.USER_INDEX).agg(
        F.collect_set(F.col(c.ITEM_INDEX).cast("int")).alias(name)
    )
