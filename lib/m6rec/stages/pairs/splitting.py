"""Divide pairs into train, validation and test.

A strategy is a function that marks a share of the positive training pairs. The configured strategy
first marks the test fold, and then a strategy marks validation among the pairs that are left. All
choices follow from times, ids and seeded hashes, never from the order or partitioning of rows.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import assert_never

import numpy as np
import pyarrow as pa
import scipy.sparse as sp
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.config.data import HoldoutStrategy, ResolvedTestStrategy, SplitConfig
from m6rec.errors import ConfigError
from m6rec.kernels.evaluation.mixed_split import ItemSample, choose_mixed
from m6rec.spark.arrow_rows import list_array, list_column
from m6rec.stages.pairs.aggregation import SECONDS_PER_DAY

_HELD = "_held"
_ENTRIES = "_entries"
_HELD_FLAGS = "_held_flags"
_HASH_BITS = 40
_HASH_BUCKET = 1 << 24
# The sample that counts co-occurrence of items is collected, and takes twice 8 bytes for an entry.
_SAMPLE_ENTRIES = 2_000_000
# Salts keep the draws of test, validation and sample independent under one seed.
_TEST_SALT, _VALIDATION_SALT, _SAMPLE_SALT, _NEW_ITEM_SALT = 1, 2, 3, 4
# The share of the items that are made new, and what is left to them: none, few or some pairs.
SHARE_OF_NEW_ITEMS = 0.03
KEPT_OF_NEW = (0, 0, 1, 2, 3, 6)


def split_pairs(
    pairs: DataFrame,
    config: SplitConfig,
    seed: int,
    has_time: bool,
    test_pairs: DataFrame | None = None,
    validation_pairs: DataFrame | None = None,
    repeats: bool = False,
    validates: bool = True,
) -> DataFrame:
    """Add `fold` to the pairs, or to their occasions where repeats are held out too.

    Only positive pairs are held out. The strategies `last`, `highest_ids`, `random` and `mixed`
    leave at least one pair in train to each user who has two or more positive pairs. The strategies
    `temporal`, `cold_items`, `cold_users` and `random_and_new` do not, because they measure new
    users and items. A
    provided test pair is taken out of train and validation, a provided validation pair out of
    train. With `repeats` all of this holds for occasions, and provided pairs are taken out of
    nothing.

    Args:
        pairs: user_index long, item_index long, item_number long, event_time timestamp, positive
            boolean and any other columns; one row a pair, or with `repeats` one row an occasion
            (see `occasions_of_pairs`). Where they have _owner, they are partitioned by it.
        config: strategy and shares.
        seed: decides every random choice.
        has_time: whether event_time is filled.
        test_pairs: columns of `pairs`; strategy provided needs them.
        validation_pairs: columns of `pairs`; strategy provided may have them.
        repeats: hold out occasions, whether or not the pair has others in training.
        validates: whether validation is held out of training; not where nothing is to be chosen.

    Returns:
        The columns of `pairs` and fold string (train, validation or test).

    Raises:
        ConfigError: strategy provided without `test_pairs`.
    """
    strategy = _test_strategy(config, has_time)
    unit = (c.USER_INDEX, c.ITEM_INDEX, *((c.OCCASION,) if repeats else ()))
    folded = pairs.withColumn(c.FOLD, F.lit(c.TRAIN))
    match strategy:
        case "provided":
            if test_pairs is None:
                raise ConfigError("split strategy provided needs the pairs of the test table")
            folded = _provide(folded, test_pairs, validation_pairs, repeats)
        case "none":
            pass
        case _:
            share, items = config.test_share, config.test_items
            holdout = _Holdout(strategy, share, items, seed, _TEST_SALT, unit)
            folded = _hold_out(folded, c.TEST, holdout)
    if validation_pairs is not None or not validates:
        return folded
    kind = _validation_strategy(config, strategy, has_time)
    holdout = _Holdout(kind, config.validation_share, None, seed, _VALIDATION_SALT, unit)
    return _hold_out(folded, c.VALIDATION, holdout)


@dataclass(frozen=True)
class _Holdout:
    """Which rows to hold out: a share, or a number for each user, by a strategy.

    Attributes:
        strategy: how they are chosen.
        share: of the rows, of the items or of the users.
        items: the number for each user, in place of the share.
        seed, salt: of the draws.
        unit: the columns that tell rows apart.
    """

    strategy: HoldoutStrategy
    share: float
    items: int | None
    seed: int
    salt: int
    unit: tuple[str, ...]


def _test_strategy(config: SplitConfig, has_time: bool) -> ResolvedTestStrategy:
    if config.strategy == "auto":
        return "last" if has_time else "random"
    return config.strategy


def _validation_strategy(
    config: SplitConfig, test_strategy: ResolvedTestStrategy, has_time: bool
) -> HoldoutStrategy:
    """How validation is held out; of a test of the owner's, nothing is looked at."""
    if config.validation_strategy != "auto":
        return config.validation_strategy
    match test_strategy:
        case "provided" | "none":
            return "last" if has_time else "random"
        case _:
            return test_strategy


def _provide(
    pairs: DataFrame,
    test_pairs: DataFrame,
    validation_pairs: DataFrame | None,
    repeats: bool,
) -> DataFrame:
    """Join the tables; a pair of several tables belongs to the last of train, validation, test.

    With `repeats` it belongs to each of them.
    """
    together = pairs.withColumn("_precedence", F.lit(0))
    provided = {c.VALIDATION: validation_pairs, c.TEST: test_pairs}
    for precedence, (fold, frame) in enumerate(provided.items(), start=1):
        if frame is not None:
            positives = frame.where(c.POSITIVE)
            together = together.unionByName(
                positives.withColumn(c.FOLD, F.lit(fold)).withColumn(
                    "_precedence", F.lit(precedence)
                ),
                allowMissingColumns=repeats,
            )
    if repeats:
        return together.drop("_precedence")
    same = Window.partitionBy(c.USER_INDEX, c.ITEM_INDEX).orderBy(F.desc("_precedence"))
    return (
        _by_user(together)
        .withColumn("_order", F.row_number().over(same))
        .where(F.col("_order") == 1)
        .drop("_order", "_precedence")
    )


def _by_user(frame: DataFrame) -> DataFrame:
    """Bring each user's rows together once, for windows by user and by user and item."""
    return frame.repartition(F.col(c.USER_INDEX))


def _hold_out(pairs: DataFrame, fold: str, holdout: _Holdout) -> DataFrame:
    """Move the share of the positive training pairs that `holdout` marks to `fold`."""
    moved = _mark(pairs, holdout).withColumn(
        c.FOLD, F.when(F.col(_HELD), fold).otherwise(F.col(c.FOLD))
    )
    return moved.select(*pairs.columns)


def _mark(pairs: DataFrame, holdout: _Holdout) -> DataFrame:
    """Add a column that says which pairs are held out."""
    match holdout.strategy:
        case "last":
            marked = _mark_per_user(pairs, holdout, _latest_first())
        case "highest_ids":
            marked = _mark_per_user(pairs, holdout, _highest_number_first())
        case "random":
            marked = _mark_per_user(pairs, holdout, _shuffled(holdout))
        case "random_and_new":
            marked = _mark_with_new_items(pairs, holdout)
        case "temporal":
            marked = _mark_latest(pairs, holdout)
        case "cold_items":
            marked = _mark_cold(pairs, holdout, c.ITEM_INDEX)
        case "cold_users":
            marked = _mark_cold(pairs, holdout, c.USER_INDEX)
        case "mixed":
            marked = _mark_mixed(pairs, holdout)
        case _:
            assert_never(holdout.strategy)
    return marked


def _eligible() -> Column:
    return F.col(c.POSITIVE) & (F.col(c.FOLD) == c.TRAIN)


def _latest_first() -> tuple[Column, ...]:
    return F.col(c.EVENT_TIME).desc(), F.col(c.ITEM_INDEX).desc()


def _highest_number_first() -> tuple[Column, ...]:
    return F.col(c.ITEM_NUMBER).desc(), F.col(c.ITEM_INDEX).desc()


def _shuffled(holdout: _Holdout) -> tuple[Column, ...]:
    drawn = F.xxhash64(F.lit(holdout.seed), F.lit(holdout.salt), *holdout.unit)
    return drawn.asc(), F.col(c.ITEM_INDEX).asc()


def _mark_per_user(pairs: DataFrame, holdout: _Holdout, order: tuple[Column, ...]) -> DataFrame:
    """Mark the first of each user's eligible pairs in `order`.

    Of n pairs it marks floor(share n), but at least 1 where n is 2 or more. Where the holdout has a
    number of items, it marks that many, but at most n - 1.
    """
    # One order for both windows, so that they share a sort.
    by_user = (c.OWNER, c.USER_INDEX) if c.OWNER in pairs.columns else (c.USER_INDEX,)
    ordered = Window.partitionBy(*by_user).orderBy(_eligible().desc(), *order)
    whole = ordered.rowsBetween(Window.unboundedPreceding, Window.unboundedFollowing)
    n = F.col("_eligible_count")
    share_of_n = F.greatest(F.floor(n * holdout.share), F.lit(1))
    held_of_n = share_of_n if holdout.items is None else F.lit(holdout.items)
    held = F.when(n >= 2, F.least(held_of_n, n - 1)).otherwise(0)
    if holdout.share == 0.0 and holdout.items is None:
        held = F.lit(0)
    return pairs.withColumns(
        {
            "_eligible_count": F.sum(_eligible().cast("long")).over(whole),
            "_place": F.row_number().over(ordered),
        }
    ).withColumn(_HELD, _eligible() & (F.col("_place") <= held))


def _mark_with_new_items(pairs: DataFrame, holdout: _Holdout) -> DataFrame:
    """Mark a random share of each user's pairs, and all or most pairs of a few items.

    Among random pairs hardly one is of an item that few have, so they tell little of the members
    that speak for new items. Hence a few items are made new.
    """
    drawn = F.xxhash64(F.lit(holdout.seed), F.lit(_NEW_ITEM_SALT), c.ITEM_INDEX)
    is_new = F.pmod(drawn, F.lit(_HASH_BUCKET)) < int(SHARE_OF_NEW_ITEMS * _HASH_BUCKET)
    of_kept = F.pmod(F.shiftrightunsigned(drawn, _HASH_BITS), F.lit(len(KEPT_OF_NEW)))
    kept = F.array(*map(F.lit, KEPT_OF_NEW))[of_kept.cast("int")]
    # All pairs of an item come to one place only where it is made new.
    item = Window.partitionBy(c.ITEM_INDEX, F.when(~is_new, F.col(c.USER_INDEX)))
    place = F.row_number().over(item.orderBy(_eligible().desc(), *_shuffled(holdout)))
    marked = _mark_per_user(pairs, holdout, _shuffled(holdout)).withColumn("_of_item", place)
    taken = is_new & _eligible() & (F.col("_of_item") > kept)
    return marked.withColumn(_HELD, F.col(_HELD) | taken)


def _mark_latest(pairs: DataFrame, holdout: _Holdout) -> DataFrame:
    """Mark all eligible pairs from a certain time on."""
    pairs = pairs.persist()
    seconds = F.unix_timestamp(c.EVENT_TIME)
    eligible = pairs.where(_eligible()).select(seconds.alias("_value"))
    cut = _upper_threshold(eligible, SECONDS_PER_DAY, holdout.share)
    held = F.lit(False) if cut is None else _eligible() & (seconds >= cut)
    return pairs.withColumn(_HELD, F.coalesce(held, F.lit(False)))


def _mark_cold(pairs: DataFrame, holdout: _Holdout, key: str) -> DataFrame:
    """Mark all eligible pairs of a random share of the items or users that have such pairs."""
    pairs = pairs.persist()
    drawn = F.shiftrightunsigned(
        F.xxhash64(F.lit(holdout.seed), F.lit(holdout.salt), key), 64 - _HASH_BITS
    )
    entities = pairs.where(_eligible()).select(key).distinct().select(drawn.alias("_value"))
    cut = _upper_threshold(entities, _HASH_BUCKET, holdout.share)
    held = F.lit(False) if cut is None else _eligible() & (drawn >= cut)
    return pairs.withColumn(_HELD, held)


def _upper_threshold(frame: DataFrame, bucket: int, share: float) -> int | None:
    """The smallest t such that at most a share of the rows have _value >= t.

    If the rows of the highest value alone exceed the share, t is that value. The result is exact,
    without the partition-dependent error of a quantile sketch: rows are counted by bucket, and then
    by value in the one bucket that holds the threshold. Only counts are collected.
    """
    by_bucket = frame.groupBy(F.floor(F.col("_value") / bucket).alias("_value")).count()
    buckets = _descending_counts(by_bucket)
    total = sum(count for _, count in buckets)
    if total == 0 or share == 0.0:
        return None
    allowed = math.floor(share * total + 1e-9)
    above = 0
    for value, count in buckets:
        if above + count > allowed:
            inside = F.floor(F.col("_value") / bucket) == value
            counts = _descending_counts(frame.where(inside).groupBy("_value").count())
            return _threshold(counts, above, allowed, (value + 1) * bucket)
        above += count
    return buckets[-1][0] * bucket


def _threshold(
    counts: list[tuple[int, int]], above: int, allowed: int, everything_above: int
) -> int:
    threshold = everything_above
    for value, count in counts:
        if above + count > allowed:
            break
        above += count
        threshold = value
    # One value alone may exceed the share, because an empty fold would measure nothing.
    return threshold if above > 0 else counts[0][0]


def _descending_counts(grouped: DataFrame) -> list[tuple[int, int]]:
    rows = grouped.where(F.col("_value").isNotNull()).collect()
    return sorted(((int(row[0]), int(row[1])) for row in rows), reverse=True)


def _mark_mixed(pairs: DataFrame, holdout: _Holdout) -> DataFrame:
    """Mark a share of each user's items: half a random one with similar items, half random ones.

    Of the new items that a user takes up, some belong together and some do not. Validation by
    random pairs alone would therefore flatter neighbour models.
    """
    pairs = pairs.persist()
    # The item comes first, so that entries are sorted by it.
    others = [name for name in pairs.columns if name not in (c.USER_INDEX, c.ITEM_INDEX)]
    entry = F.struct(c.ITEM_INDEX, *others)
    rows = (
        pairs.where(_eligible())
        .groupBy(c.USER_INDEX)
        .agg(F.sort_array(F.collect_list(entry)).alias(_ENTRIES))
        .select(c.USER_INDEX, F.col(_ENTRIES)[c.ITEM_INDEX].alias(c.ITEM_INDICES), _ENTRIES)
    )
    choose = partial(
        _flag_batches,
        sample=_sample(pairs.where(_eligible()), holdout.seed),
        share=holdout.share,
        seed=(holdout.seed % (1 << 63), holdout.salt),
    )
    entries_type = rows.schema[_ENTRIES].dataType.simpleString()
    schema = f"{c.USER_INDEX} long, {_HELD_FLAGS} array<boolean>, {_ENTRIES} {entries_type}"
    flagged = rows.mapInArrow(choose, schema)
    entries = F.arrays_zip(F.col(_ENTRIES), F.col(_HELD_FLAGS))
    exploded = flagged.select(c.USER_INDEX, F.explode(entries).alias("_entry"))
    marked = exploded.select(
        c.USER_INDEX,
        f"_entry.{_ENTRIES}.*",
        F.col(f"_entry.{_HELD_FLAGS}").alias(_HELD),
    )
    ineligible = pairs.where(~_eligible()).withColumn(_HELD, F.lit(False))
    return marked.unionByName(ineligible)


def _sample(pairs: DataFrame, seed: int) -> ItemSample:
    """Collect the rows of users, chosen by hash, that have about _SAMPLE_ENTRIES entries."""
    extent = pairs.agg(F.count("*"), F.max(c.ITEM_INDEX)).first()
    total, largest = (0, None) if extent is None else extent
    drawn = F.pmod(F.xxhash64(F.lit(seed), F.lit(_SAMPLE_SALT), c.USER_INDEX), F.lit(1_000_000))
    kept = math.ceil(1_000_000 * min(1.0, _SAMPLE_ENTRIES / max(total, 1)))
    table = pairs.where(drawn < kept).select(c.USER_INDEX, c.ITEM_INDEX).toPandas()
    _, users = np.unique(table[c.USER_INDEX].to_numpy(np.int64), return_inverse=True)
    items = table[c.ITEM_INDEX].to_numpy(np.int64)
    shape = (int(users.max(initial=-1)) + 1, 1 + (-1 if largest is None else int(largest)))
    ones = np.ones(len(items), dtype=np.float32)
    rows = sp.csr_matrix((ones, (users, items)), shape=shape)
    counts = np.asarray(rows.sum(axis=0), dtype=np.float64).ravel()
    return ItemSample(rows, rows.T.tocsr(), counts)


def _flag_batches(
    batches: Iterable[pa.RecordBatch], sample: ItemSample, share: float, seed: tuple[int, int]
) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        indptr, items = list_column(batch, c.ITEM_INDICES)
        users = batch.column(c.USER_INDEX).to_numpy(zero_copy_only=False)
        flags = choose_mixed(users, indptr, items.astype(np.int32), sample, share, seed)
        yield pa.RecordBatch.from_arrays(
            [batch.column(c.USER_INDEX), list_array(indptr, flags), batch.column(_ENTRIES)],
            names=[c.USER_INDEX, _HELD_FLAGS, _ENTRIES],
        )
