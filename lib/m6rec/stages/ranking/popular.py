"""Make the lists for whoever is unknown: what is most popular, for everyone and by segment."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.sql.pandas.types import to_arrow_schema

from m6rec import columns as c
from m6rec.kernels.arrays.rows import Int64
from m6rec.kernels.ranking.explanation import POPULAR_REASON, POPULAR_WITH_ALL
from m6rec.rankers import POPULARITY
from m6rec.schemas import RECOMMENDATIONS_TABLE
from m6rec.stages.ranking.recommendations import Explaining, sentence_of

_PLACE = "_place"
_ITEMS = T.StructType(
    [
        T.StructField(c.ITEM_INDEX, T.LongType(), False),
        T.StructField(c.ITEM_ID, T.StringType(), False),
        T.StructField("title", T.StringType()),
        T.StructField(c.USERS, T.LongType(), False),
        T.StructField(_PLACE, T.LongType(), False),
    ]
)


def popular_lists(
    spark: SparkSession,
    item_counts: Int64,
    masked_items: npt.NDArray[np.bool_],
    n: int,
    explaining: Explaining,
    of_segments: DataFrame | None = None,
    domain: str | None = None,
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
    """
    order = np.lexsort((np.arange(len(item_counts)), -item_counts))
    allowed = order[~masked_items[order]]
    listed = allowed[:n] if of_segments is None else allowed
    items = _items_frame(spark, listed, item_counts, explaining)
    everyone = F.lit(None).cast("string").alias(c.SEGMENT)
    rows = items.where(F.col(_PLACE) <= n).select("*", everyone)
    if of_segments is not None:
        rows = rows.unionByName(_of_segments(items, of_segments, n))
    best = Window.partitionBy(c.SEGMENT).orderBy(F.desc(c.USERS), _PLACE)
    ranked = rows.withColumn(c.RANK, F.row_number().over(best)).where(F.col(c.RANK) <= n)
    score = F.log1p(F.col(c.USERS).cast("double"))
    reason = F.struct(
        F.lit(POPULAR_REASON).alias("kind"),
        F.lit(POPULAR_WITH_ALL).alias("value"),
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
        c.SENTENCES: _sentences(explaining),
        c.MODEL: F.lit(POPULARITY),
        c.GENERATED_AT: F.lit(explaining.generated_at),
    }
    names = [name for name in RECOMMENDATIONS_TABLE.schema.names if name != c.RUN_ID]
    return ranked.withColumns(columns).select(*names)


def _sentences(explaining: Explaining) -> Column:
    nothing = F.lit(None).cast("array<string>")
    if explaining.sentences is None:
        return nothing
    reason = {"kind": POPULAR_REASON, "value": POPULAR_WITH_ALL, "share": 1.0}
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
    return spark.createDataFrame(pa.table(columns, to_arrow_schema(_ITEMS)), _ITEMS)


def _of_segments(items: DataFrame, counts: DataFrame, n: int) -> DataFrame:
    """Each segment's own items, and as many of the most popular ones as can fill its list."""
    own = counts.select(c.SEGMENT, c.ITEM_INDEX, c.USERS)
    popular = items.where(F.col(_PLACE) <= n).select(c.ITEM_INDEX, F.lit(0).alias(c.USERS))
    filling = own.select(c.SEGMENT).distinct().crossJoin(popular)
    together = own.unionByName(filling).groupBy(c.SEGMENT, c.ITEM_INDEX)
    counted = together.agg(F.sum(c.USERS).alias(c.USERS))
    return counted.join(items.drop(c.USERS), c.ITEM_INDEX).select(*items.columns, c.SEGMENT)
