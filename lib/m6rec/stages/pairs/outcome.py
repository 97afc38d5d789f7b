"""What cleaning and splitting leave, in words, and what stops a run where that is too little."""

from functools import reduce
from operator import and_

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.check.times import FARTHEST_ZONE_HOURS
from m6rec.config.data import InteractionsConfig, SplitConfig
from m6rec.errors import DataError
from m6rec.stages.pairs.cleaning import FUTURE_TIME

_EXAMPLES = 3
_SECONDS_PER_HOUR = 3600.0


def counts_by_reason(quarantine: DataFrame) -> dict[str, int]:
    """How many rows were refused for each reason, the most frequent first."""
    return _counts_by(quarantine, c.REASON)


def counts_by_suspicion(labelled: DataFrame) -> dict[str, int]:
    """How many rows are of users with each suspicion, the most frequent first."""
    return _counts_by(labelled.where(F.col(c.SUSPICION).isNotNull()), c.SUSPICION)


def _counts_by(rows: DataFrame, column: str) -> dict[str, int]:
    counted = rows.groupBy(column).count().collect()
    counts = {str(row[column]): int(row["count"]) for row in counted}
    return dict(sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])))


def in_a_line(reasons: dict[str, int]) -> str:
    """The counts by reason, as a person would say them."""
    return ", ".join(f"{count} with {reason}" for reason, count in reasons.items())


def hours_ahead(labelled: DataFrame) -> float | None:
    """How far times lie in the future, where some hours can be those of a time zone; else None."""
    ahead = F.max(c.EVENT_TIME).cast("double") - F.current_timestamp().cast("double")
    row = labelled.where(F.col(c.REASON) == FUTURE_TIME).agg(ahead.alias("ahead")).first()
    if row is None or row["ahead"] is None:
        return None
    hours = float(row["ahead"]) / _SECONDS_PER_HOUR
    return hours if hours <= FARTHEST_ZONE_HOURS else None


def refuse_empty(quarantine: DataFrame, reasons: dict[str, int], address: str) -> None:
    """Say why no row was kept.

    Raises:
        DataError: the counts by reason, and rows of the most frequent one.
    """
    if not reasons:
        raise DataError("the table of interactions has no row; give a table with rows")
    most = next(iter(reasons))
    rows = quarantine.where(F.col(c.REASON) == most).select(c.RAW).limit(_EXAMPLES).collect()
    examples = " ".join(str(row[c.RAW]) for row in rows)
    raise DataError(
        f"no row of {sum(reasons.values())} interactions was kept: {in_a_line(reasons)}. Rows with"
        f" {most}: {examples}. All are in table {address}; correct the mapping in the config, as"
        " ./spark-submit.sh check says"
    )


def check_split(splits: DataFrame, interactions: InteractionsConfig, split: SplitConfig) -> None:
    """Check that there is something to learn from.

    Raises:
        DataError: no pair is left to train on, or all pairs are of one user or one item.
    """
    positive = F.col(c.POSITIVE)
    users, items = (F.when(positive, F.col(index)) for index in (c.USER_INDEX, c.ITEM_INDEX))
    row = splits.agg(
        F.count(F.lit(1)).alias("pairs"),
        F.count(F.when(positive, 1)).alias("positive"),
        F.count(F.when(positive & (F.col(c.FOLD) == c.TRAIN), 1)).alias("train"),
        # To count distinct values would take a shuffle of all pairs.
        (F.min(users) == F.max(users)).alias("one user"),
        (F.min(items) == F.max(items)).alias("one item"),
    ).first()
    if row is None or row["pairs"] == 0:
        raise DataError(
            "no pair of a user and an item is left under interactions.minimum_user_interactions:"
            f" {interactions.minimum_user_interactions} and minimum_item_interactions:"
            f" {interactions.minimum_item_interactions}; lower them"
        )
    if row["positive"] == 0:
        minimum = interactions.positive_minimum
        if minimum is None:
            raise DataError(
                f"the weights of all {row['pairs']} pairs are 0, so that none counts as liked;"
                " correct interactions.event_weights or columns.weight"
            )
        raise DataError(
            f"none of {row['pairs']} pairs counts as liked under interactions.positive_minimum:"
            f" {minimum}, or all weights are 0; correct positive_minimum, event_weights or"
            " columns.weight"
        )
    for side in ("user", "item"):
        if row[f"one {side}"]:
            raise DataError(
                f"all {row['positive']} pairs are of one {side}, and it takes several {side}s to"
                f" learn what is liked together; give a table with more {side}s, or correct"
                f" interactions.columns.{side}"
            )
    if row["train"] == 0 and split.strategy == "provided":
        raise DataError(
            f"all {row['positive']} pairs stand in split.test or split.validation, and none is left"
            " to train on; leave pairs out of these tables, or name others"
        )
    if row["train"] == 0:
        raise DataError(
            f"split.strategy: {split.strategy} leaves none of {row['positive']} pairs to train on,"
            " as happens where all events have one time; set split.strategy: random, or lower"
            " test_share"
        )


def check_new_items(splits: DataFrame) -> None:
    """Check that held-out pairs are of new items, where only such items are ranked.

    Raises:
        DataError: validation or test has pairs, and none is of an item without a pair in what is
            trained on before it.
    """
    folds = (c.TRAIN, c.VALIDATION, c.TEST)
    pairs = [F.count(F.when(F.col(c.FOLD) == fold, 1)).alias(fold) for fold in folds]
    of_items = splits.where(c.POSITIVE).groupBy(c.ITEM_INDEX).agg(*pairs)
    sums = []
    for fit, fold in c.TARGET_FOLD_OF_FIT.items():
        is_new = reduce(and_, (F.col(known) == 0 for known in c.FOLDS_OF_FIT[fit]))
        sums += [F.sum(fold).alias(fold), F.sum(F.when(is_new, F.col(fold))).alias(f"new {fold}")]
    row = of_items.agg(*sums).collect()[0]
    for fold in c.TARGET_FOLD_OF_FIT.values():
        if row[fold] and not row[f"new {fold}"]:
            raise DataError(
                "evaluate.candidates: cold_items ranks only items without interactions in training,"
                f" and none of the {row[fold]} pairs of fold {fold} is of such an item; hold out"
                " all pairs of some items, by strategy cold_items or in the tables of section"
                " split, or set evaluate.candidates: all"
            )
