"""The contexts of user-item pairs, as words and as codes."""

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.kernels.arrays.contexts import NOT_KNOWN, ContextVocabulary, KeyCodes


def with_contexts(pairs: DataFrame, events: DataFrame, columns: tuple[str, ...]) -> DataFrame:
    """Add `context_values` array<string>: a value for each column, null where it is not known.

    A pair's context is that of the event that gave it its time, which is the last one.

    Args:
        pairs: with user_index, item_index and event_time.
        events: user_index, item_index, event_time, context (map).
        columns: the keys of the map.
    """
    values = F.array(*(F.try_element_at(c.CONTEXT, F.lit(name)) for name in columns))
    key = [c.USER_INDEX, c.ITEM_INDEX, c.EVENT_TIME]
    # Of events at the same time the larger counts, so that row order does not matter.
    of_events = events.groupBy(*key).agg(F.max(values).alias(c.CONTEXT_VALUES))
    return pairs.join(of_events, key, how="left")


def values_told_apart(
    pairs: DataFrame, columns: tuple[str, ...], maximum: int
) -> dict[str, tuple[str, ...]]:
    """The values of each column that most pairs have, the most frequent first.

    Args:
        pairs: with context_values, as `with_contexts` gives them.
        columns: as there.
        maximum: how many values a column has at most.
    """
    counts = (
        pairs.select(F.posexplode(c.CONTEXT_VALUES).alias("place", "value"))
        .where(F.col("value").isNotNull())
        .groupBy("place", "value")
        .count()
    )
    order = Window.partitionBy("place").orderBy(F.desc("count"), "value")
    ranked = counts.withColumn("rank", F.row_number().over(order))
    found: dict[str, list[str]] = {name: [] for name in columns}
    for row in ranked.where(F.col("rank") <= maximum).orderBy("place", "rank").collect():
        found[columns[row["place"]]].append(row["value"])
    return {name: tuple(values) for name, values in found.items()}


def with_codes(pairs: DataFrame, vocabulary: ContextVocabulary) -> DataFrame:
    """Put `contexts` array<int>, the codes of the columns, in the place of `context_values`."""
    codes = [
        _code(F.get(c.CONTEXT_VALUES, F.lit(place)), vocabulary.codes[name])
        for place, name in enumerate(vocabulary.columns)
    ]
    return pairs.withColumn(c.CONTEXTS, F.array(*codes).cast("array<int>")).drop(c.CONTEXT_VALUES)


def codes_of_rows(pairs: DataFrame) -> DataFrame:
    """The codes of each user's pairs: user_index, contexts array<int>.

    Args:
        pairs: user_index, item_index and contexts of the pairs that `user_item_matrix` holds.

    Returns:
        A row for each user, item by item in the order of the matrix.
    """
    pair = F.struct(c.ITEM_INDEX, c.CONTEXTS)
    by_item = F.sort_array(F.collect_list(pair))[c.CONTEXTS]
    return pairs.groupBy(c.USER_INDEX).agg(F.flatten(by_item).alias(c.CONTEXTS))


def latest_of_pairs(splits: DataFrame) -> DataFrame:
    """The row of each pair that is of the latest of the folds, in the columns of `splits`."""
    key = [c.USER_INDEX, c.ITEM_INDEX]
    others = [name for name in splits.columns if name not in key]
    # The name of fold train comes before that of validation.
    latest = F.max_by(F.struct(*others), c.FOLD).alias("latest")
    return splits.groupBy(*key).agg(latest).select(*key, "latest.*").select(*splits.columns)


def first_pairs(pairs: DataFrame) -> DataFrame:
    """Each user's first pair by time: user_index, event_time, item_index, contexts."""
    first = F.min(F.struct(c.EVENT_TIME, c.ITEM_INDEX, c.CONTEXTS))
    return pairs.groupBy(c.USER_INDEX).agg(first.alias("first")).select(c.USER_INDEX, "first.*")


def _code(value: Column, codes: KeyCodes) -> Column:
    if not codes.of_values:
        return F.lit(NOT_KNOWN)
    entries = [F.lit(part) for entry in codes.of_values.items() for part in entry]
    known = F.try_element_at(F.create_map(*entries), value)
    return F.when(value.isNull(), NOT_KNOWN).otherwise(F.coalesce(known, F.lit(codes.other)))
