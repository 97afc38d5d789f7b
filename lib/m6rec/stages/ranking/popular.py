"""Make the lists for unknown users: what is most popular, with everyone and in each segment."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F
from pyspark.sql import types as T

from m6rec import columns as c
from m6rec.kernels.arrays.rows import Int64
from m6rec.kernels.ranking.explanation import (
    POPULAR_IN_SEGMENT,
    POPULAR_REASON,
    POPULAR_WITH_ALL,
)
from m6rec.rankers import POPULARITY
from m6rec.schemas import RECOMMENDATIONS_TABLE
from m6rec.spark.runtimes import arrow_schema, frame_of_arrow
from m6rec.stages.ranking.recommendations import Explaining, sentence_of

_PLACE = "_place"
_VALUES = "_values"
_WORDS = (c.ITEM_ID, "title")
_ITEMS = T.StructType(
    [
        T.StructField(c.ITEM_INDEX, T.LongType(), False),
        T.StructField(c.ITEM_ID, T.StringType(), False),
        T.StructField("title", T.StringType()),
        T.StructField(c.USERS, T.LongType(), False),
        T.StructField(_PLACE, T.LongType(), False),
    ]
)


@dataclass(frozen=True)
class Quota:
    """How many items of one value a list may hold.

    Attributes:
        values: item_index and value, distinct.
        at_most: how many.
    """

    values: DataFrame
    at_most: int


def popular_lists(
    spark: SparkSession,
    item_counts: Int64,
    masked_items: npt.NDArray[np.bool_],
    n: int,
    explaining: Explaining,
    of_segments: DataFrame | None = None,
    domain: str | None = None,
    quota: Quota | None = None,
) -> DataFrame:
    """The most popular items, without a user: columns of table `recommendations` without run_id.

    The score is log(1 + users who have the item), of the segment where there is one. Equal items
    of a segment, and those that fill its list, follow in the order of their popularity with all.

    Args:
        spark: the session.
        item_counts: int64 [items]; how many users have each item.
        masked_items: bool [items]; items that no list may hold.
        n: the length of the lists.
        explaining: words, and the time of the lists.
        of_segments: segment, item_index, users; None where there are no segments.
        domain: the name of the domain that all items are of, if any.
        quota: that the lists keep, if any.
    """
    order = np.lexsort((np.arange(len(item_counts)), -item_counts))
    allowed = order[~masked_items[order]]
    listed = allowed[:n] if of_segments is None and quota is None else allowed
    items = _items_frame(spark, listed, item_counts, explaining)
    rows = items.withColumn(c.SEGMENT, F.lit(None).cast("string"))
    if quota is None:
        rows = rows.where(F.col(_PLACE) <= n)
    else:
        rows = _reachable(quota, rows, n).drop(_VALUES)
    if of_segments is not None:
        # What everyone's list is made of also fills those of segments.
        rows = rows.unionByName(_of_segments(items, of_segments, rows))
    if quota is not None:
        rows = _within(quota, rows, n).join(items.select(c.ITEM_INDEX, *_WORDS), c.ITEM_INDEX)
    best = Window.partitionBy(c.SEGMENT).orderBy(*_best_first())
    ranked = rows.withColumn(c.RANK, F.row_number().over(best)).where(F.col(c.RANK) <= n)
    score = F.log1p(F.col(c.USERS).cast("double"))
    # What fills the list of a segment is not known to be popular there.
    of_segment = F.col(c.SEGMENT).isNotNull() & (F.col(c.USERS) > 0)
    popular_with = F.when(of_segment, POPULAR_IN_SEGMENT).otherwise(POPULAR_WITH_ALL)
    reason = F.struct(
        F.lit(POPULAR_REASON).alias("kind"),
        popular_with.alias("value"),
        F.lit(1.0).alias("share"),
    )
    nobody = F.lit(None).cast("string")
    columns = {
        c.USER_ID: nobody,
        c.CONTEXT: nobody,
        c.DOMAIN: F.lit(domain).cast("string"),
        c.SCORE: score,
        c.PARTS: F.create_map(F.lit(POPULARITY), score),
        c.REASONS: F.array(reason) if explaining.reasons else F.array().cast(_reasons_type()),
        c.SENTENCES: F.when(of_segment, _sentences(explaining, POPULAR_IN_SEGMENT)).otherwise(
            _sentences(explaining, POPULAR_WITH_ALL)
        ),
        c.MODEL: F.lit(POPULARITY),
        c.GENERATED_AT: F.lit(explaining.generated_at),
    }
    names = [name for name in RECOMMENDATIONS_TABLE.schema.names if name != c.RUN_ID]
    return ranked.withColumns(columns).select(*names)


def _within(quota: Quota, rows: DataFrame, n: int) -> DataFrame:
    """The rows of each list whose values have room beside the more popular items that are kept.

    Neither ids nor titles go to Python and back.
    """
    narrow = rows.drop(*_WORDS)
    at_most = quota.at_most

    # From 4.2 on, Spark reads the types of the function, which a partial does not have.
    def keep(listed: pd.DataFrame) -> pd.DataFrame:
        return _keep_within(listed, at_most, n)

    return _reachable(quota, narrow, n).groupBy(c.SEGMENT).applyInPandas(keep, narrow.schema)


def _reachable(quota: Quota, rows: DataFrame, n: int) -> DataFrame:
    """The rows of each list that may be among the first n that the quota lets pass, with values.

    Where a list has no room for an item, it has none for later ones of the same values either. So
    of each combination of values only the first few count. Then an item of one value is passed over
    only where other items hold that value as often, and fewer than n items of at most v values each
    cannot do so to n v items. So none counts after n v items of one value or none.
    """
    alike = Window.partitionBy(c.SEGMENT, _VALUES).orderBy(*_best_first())
    before = Window.partitionBy(c.SEGMENT).orderBy(*_best_first())
    before = before.rowsBetween(Window.unboundedPreceding, -1)
    has_none = F.col(_VALUES).isNull()
    most = F.when(has_none, n).otherwise(min(quota.at_most, n))
    of_one = F.count(F.when(has_none | (F.size(_VALUES) == 1), True)).over(before)
    values_of_items = quota.values.groupBy(c.ITEM_INDEX).count()
    most_values = values_of_items.agg(F.coalesce(F.max("count"), F.lit(1)).alias("_most_values"))
    return (
        _with_values(quota, rows)
        .withColumn("_place_of_alike", F.row_number().over(alike))
        .where(F.col("_place_of_alike") <= most)
        .withColumn("_of_one", of_one)
        .crossJoin(F.broadcast(most_values))
        .where(F.col("_of_one") < n * F.col("_most_values"))
        .select(*rows.columns, _VALUES)
    )


def _best_first() -> tuple[Column, Column]:
    """The order of a list."""
    return F.desc(c.USERS), F.asc(_PLACE)


def _with_values(quota: Quota, rows: DataFrame) -> DataFrame:
    """The rows with the values of their items in order, null where an item has none."""
    values = F.sort_array(F.collect_list(c.VALUE)).alias(_VALUES)
    of_item = quota.values.groupBy(c.ITEM_INDEX).agg(values)
    return rows.join(of_item, c.ITEM_INDEX, "left").select(*rows.columns, _VALUES)


def _keep_within(listed: pd.DataFrame, at_most: int, n: int) -> pd.DataFrame:
    ranked = listed.sort_values([c.USERS, _PLACE], ascending=[False, True])
    held: Counter[str] = Counter()
    kept: list[int] = []
    for place, values in enumerate(ranked[_VALUES]):
        if len(kept) == n:
            break
        own = [] if values is None else list(values)
        if all(held[value] < at_most for value in own):
            held.update(own)
            kept.append(place)
    return ranked.iloc[kept].drop(columns=_VALUES)


def _sentences(explaining: Explaining, value: str) -> Column:
    nothing = F.lit(None).cast("array<string>")
    if explaining.sentences is None:
        return nothing
    reason = {"kind": POPULAR_REASON, "value": value, "share": 1.0}
    said = [sentence_of(reason, explaining.sentences)] if explaining.reasons else []
    return F.array(*map(F.lit, said)).cast("array<string>")


def _reasons_type() -> T.DataType:
    return RECOMMENDATIONS_TABLE.schema[c.REASONS].dataType


def _items_frame(
    spark: SparkSession, allowed: Int64, item_counts: Int64, explaining: Explaining
) -> DataFrame:
    """The items in the order of their popularity."""
    ids, titles = explaining.item_ids, explaining.titles
    columns = {
        c.ITEM_INDEX: allowed.astype(np.int64),
        c.ITEM_ID: [ids[item] for item in allowed],
        "title": [titles[item] or None for item in allowed],
        c.USERS: item_counts[allowed],
        _PLACE: np.arange(1, len(allowed) + 1),
    }
    return frame_of_arrow(spark, pa.table(columns, arrow_schema(_ITEMS)), _ITEMS)


def _of_segments(items: DataFrame, counts: DataFrame, fillers: DataFrame) -> DataFrame:
    """Each segment's own items, and those that can fill its list."""
    own = counts.select(c.SEGMENT, c.ITEM_INDEX, c.USERS)
    popular = fillers.select(c.ITEM_INDEX, F.lit(0).alias(c.USERS))
    filling = own.select(c.SEGMENT).distinct().crossJoin(popular)
    together = own.unionByName(filling).groupBy(c.SEGMENT, c.ITEM_INDEX)
    counted = together.agg(F.sum(c.USERS).alias(c.USERS))
    return counted.join(items.drop(c.USERS), c.ITEM_INDEX).select(*items.columns, c.SEGMENT)
