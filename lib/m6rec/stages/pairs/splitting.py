"""Divide pairs into train, validation and test.

A strategy is a function that marks a share of the positive training pairs. The configured strategy
first marks the test fold, and then a strategy marks validation among the pairs that are left. All
choices follow from times, ids and seeded hashes, never from the order or partitioning of rows. A
strategy that chooses among each user's own pairs does so where these are brought together
(`m6rec.stages.pairs.user_rows`). Other strategies first compare the pairs of all users.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

import numpy as np
import scipy.sparse as sp
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.config.data import HoldoutStrategy, ResolvedTestStrategy, SplitConfig
from m6rec.errors import ConfigError
from m6rec.kernels.evaluation.holdout import HeldOutQuota
from m6rec.kernels.evaluation.mixed_split import ItemSample
from m6rec.stages.pairs.aggregation import SECONDS_PER_DAY
from m6rec.stages.pairs.user_rows import FirstOfUsers, Holdout, MixedOfUsers, pairs_of, user_rows

_HELD = "_held"
# Strategies that choose by a time, an item or a user alone.
_WITHOUT_USERS = ("temporal", "cold_items", "cold_users")
_HASH_BITS = 40
_HASH_BUCKET = 1 << 24
# The sample that counts co-occurrence of items is collected, and takes twice 8 bytes for an entry.
_SAMPLE_ENTRIES = 2_000_000
# Salts keep the draws of test, validation and sample independent under one seed.
_TEST_SALT, _VALIDATION_SALT, _SAMPLE_SALT, _NEW_ITEM_SALT = 1, 2, 3, 4
# The share of the items that are made new. Such an item keeps a number of pairs that is drawn from
# the second line.
SHARE_OF_NEW_ITEMS = 0.03
KEPT_OF_NEW = (0, 0, 1, 2, 3, 6)


def split_users(
    pairs: DataFrame,
    config: SplitConfig,
    seed: int,
    has_time: bool,
    test_pairs: DataFrame | None = None,
    validation_pairs: DataFrame | None = None,
    repeats: bool = False,
    validates: bool = True,
    fits: Sequence[str] = (),
    users: DataFrame | None = None,
) -> DataFrame:
    """Add `fold` to the pairs, or to their occasions where repeats are held out too.

    Only positive pairs are held out; where times decide, and not with `repeats`, pairs that came
    later and are not positive go with them. Of pairs of one time, chance decides. The strategies
    `last`, `highest_ids`, `random` and `mixed` leave at least one pair in train to each user who
    has two or more positive pairs. The strategies `temporal`, `cold_items`, `cold_users` and
    `random_and_new` do not, because they measure new users and items. A provided test pair is taken
    out of train and validation, a provided validation pair out of train. With `repeats` all of this
    holds for occasions, and provided pairs are taken out of nothing.

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
        fits, users: of `user_rows`.

    Returns:
        `user_rows` that keep the columns of `pairs` but item_number, and fold string (train,
        validation or test).

    Raises:
        ConfigError: strategy provided without `test_pairs`.
    """
    strategy = _test_strategy(config, has_time)
    unit = (c.USER_INDEX, c.ITEM_INDEX, *((c.OCCASION,) if repeats else ()))
    folded = pairs.withColumn(c.FOLD, F.lit(c.TRAIN))
    asked = []
    match strategy:
        case "provided":
            if test_pairs is None:
                raise ConfigError("split strategy provided needs the pairs of the test table")
            folded = _provide(folded, test_pairs, validation_pairs, repeats)
        case "none":
            pass
        case _:
            quota = HeldOutQuota(config.test_share, config.test_items)
            asked.append((c.TEST, _Draw(strategy, quota, seed, _TEST_SALT, unit)))
    if validation_pairs is None and validates:
        kind = _validation_strategy(config, strategy, has_time)
        quota = HeldOutQuota(config.validation_share)
        asked.append((c.VALIDATION, _Draw(kind, quota, seed, _VALIDATION_SALT, unit)))
    by_user: list[tuple[str, Holdout]] = []
    for fold, draw in asked:
        if by_user and _compares_users(draw):
            folded, by_user = pairs_of(user_rows(folded, by_user)), []
        if draw.strategy == "mixed":
            # The sample is drawn from the same pairs.
            folded = folded.persist()
        if draw.strategy in _WITHOUT_USERS:
            folded = _hold_out(folded, fold, draw)
        else:
            by_user.append((fold, _of_users(folded, draw)))
    left_out = (c.OWNER, c.USER_INDEX, c.ITEM_NUMBER)
    kept = [name for name in folded.columns if name not in left_out]
    return user_rows(folded, by_user, fits, users, kept)


@dataclass(frozen=True)
class _Draw:
    """Which rows to hold out, and how.

    Attributes:
        strategy: how they are chosen.
        quota: the share of the rows, of the items or of the users, or the number for each user.
        seed, salt: of the draws.
        unit: the columns that tell rows apart.
    """

    strategy: HoldoutStrategy
    quota: HeldOutQuota
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
    """How validation is held out; it never looks at a test that the owner provides."""
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
                )
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


def _compares_users(draw: _Draw) -> bool:
    """Whether a strategy looks at the pairs of several users before it chooses."""
    return draw.strategy in {*_WITHOUT_USERS, "random_and_new", "mixed"}


def _hold_out(pairs: DataFrame, fold: str, draw: _Draw) -> DataFrame:
    """Move the positive training pairs to `fold` that a strategy marks whoever their users are."""
    match draw.strategy:
        case "temporal":
            marked = _mark_latest(pairs, draw)
        case "cold_items":
            marked = _mark_cold(pairs, draw, c.ITEM_INDEX)
        case "cold_users":
            marked = _mark_cold(pairs, draw, c.USER_INDEX)
        case "last" | "highest_ids" | "random" | "random_and_new" | "mixed":
            raise AssertionError(f"{draw.strategy} chooses among a user's own pairs")
        case _:
            assert_never(draw.strategy)
    moved = F.when(F.col(_HELD), fold).otherwise(F.col(c.FOLD))
    return marked.withColumn(c.FOLD, moved).select(*pairs.columns)


def _of_users(pairs: DataFrame, draw: _Draw) -> Holdout:
    """How a strategy chooses among each user's pairs."""
    seed = (draw.seed % (1 << 63), draw.salt)
    match draw.strategy:
        case "last":
            # The order is reversed by each bit, because the smallest number has no opposite.
            latest = F.bitwise_not(F.unix_micros(c.EVENT_TIME))
            # A later occasion of a pair tells what the pair is worth from then on, whatever it is.
            of_pairs = c.OCCASION not in draw.unit
            return FirstOfUsers("_latest", latest, draw.quota, seed, takes_later=of_pairs)
        case "highest_ids":
            highest = F.bitwise_not(F.col(c.ITEM_NUMBER))
            return FirstOfUsers("_highest", highest, draw.quota, seed)
        case "random":
            return FirstOfUsers(f"_drawn_{draw.salt}", _drawn(draw), draw.quota, seed)
        case "random_and_new":
            name, new = f"_drawn_{draw.salt}", _is_made_new(draw)
            return FirstOfUsers(name, _drawn(draw), draw.quota, seed, others=new)
        case "mixed":
            eligible = pairs.where(_eligible())
            return MixedOfUsers(_sample(eligible, draw.seed), draw.quota.share, seed)
        case "temporal" | "cold_items" | "cold_users":
            raise AssertionError(f"{draw.strategy} is no choice among a user's pairs")
        case _:
            assert_never(draw.strategy)


def _eligible() -> Column:
    return F.col(c.POSITIVE) & (F.col(c.FOLD) == c.TRAIN)


def _drawn(draw: _Draw) -> Column:
    return F.xxhash64(F.lit(draw.seed), F.lit(draw.salt), *draw.unit)


def _is_made_new(draw: _Draw) -> Column:
    """Whether a pair is held out because its item is made new, but for a few of its pairs.

    Among random pairs hardly one is of an item that few have, so they tell little of the members
    that speak for new items. Hence a few items are made new.
    """
    drawn = F.xxhash64(F.lit(draw.seed), F.lit(_NEW_ITEM_SALT), c.ITEM_INDEX)
    is_new = F.pmod(drawn, F.lit(_HASH_BUCKET)) < int(SHARE_OF_NEW_ITEMS * _HASH_BUCKET)
    of_kept = F.pmod(F.shiftrightunsigned(drawn, _HASH_BITS), F.lit(len(KEPT_OF_NEW)))
    kept = F.array(*map(F.lit, KEPT_OF_NEW))[of_kept.cast("int")]
    # All pairs of an item come to one place only where it is made new.
    item = Window.partitionBy(c.ITEM_INDEX, F.when(~is_new, F.col(c.USER_INDEX)))
    order = (_eligible().desc(), _drawn(draw).asc(), F.col(c.ITEM_INDEX).asc())
    return is_new & (F.row_number().over(item.orderBy(*order)) > kept)


def _mark_latest(pairs: DataFrame, draw: _Draw) -> DataFrame:
    """Mark all training pairs from a certain time on, which is chosen among the positive ones.

    What a user has seen later without liking it is as little known at that time as what was liked.
    Of occasions the positive ones alone are marked: another one in a fold would make a target there
    of what the user had taken before.
    """
    pairs = pairs.persist()
    seconds = F.unix_timestamp(c.EVENT_TIME)
    eligible = pairs.where(_eligible()).select(seconds.alias("_value"))
    cut = _upper_threshold(eligible, SECONDS_PER_DAY, draw.quota.share)
    movable = _eligible() if c.OCCASION in draw.unit else F.col(c.FOLD) == c.TRAIN
    held = F.lit(False) if cut is None else movable & (seconds >= cut)
    return pairs.withColumn(_HELD, F.coalesce(held, F.lit(False)))


def _mark_cold(pairs: DataFrame, draw: _Draw, key: str) -> DataFrame:
    """Mark all eligible pairs of a random share of the items or users that have such pairs."""
    pairs = pairs.persist()
    drawn = F.shiftrightunsigned(
        F.xxhash64(F.lit(draw.seed), F.lit(draw.salt), key), 64 - _HASH_BITS
    )
    entities = pairs.where(_eligible()).select(key).distinct().select(drawn.alias("_value"))
    cut = _upper_threshold(entities, _HASH_BUCKET, draw.quota.share)
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
