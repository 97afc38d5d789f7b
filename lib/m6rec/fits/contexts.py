"""The contexts of a run's interactions, as the towers that know order learn and read them."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.errors import ConfigError
from m6rec.fits.fit import Fit
from m6rec.kernels.arrays.contexts import NO_CONTEXTS, Context, ContextVocabulary
from m6rec.kernels.arrays.rows import UNKNOWN_TIME, Int32
from m6rec.spark.arrow_rows import list_column
from m6rec.spark.runtimes import arrow_table
from m6rec.stages.pairs.contexts import (
    codes_of_rows,
    first_pairs,
    latest_of_pairs,
    values_told_apart,
    with_codes,
    with_contexts,
)


def context_vocabulary(fit: Fit) -> ContextVocabulary:
    """The contexts that a run's towers know, the same for both fits.

    The values are those of the pairs that the final fit is trained on, so that those of
    `recommend.contexts` can be looked for before any training.

    Raises:
        ConfigError: `recommend.contexts` asks for a value that is not among them.
    """
    config = fit.config
    if not config.context_keys:
        return NO_CONTEXTS
    settings, columns = config.towers.sequence.context, config.interactions.columns.context
    if not columns:
        return ContextVocabulary(settings.clock)
    pairs = _pairs(fit, c.FOLDS_OF_FIT[c.FINAL])
    vocabulary = ContextVocabulary(
        settings.clock, values_told_apart(pairs, columns, settings.values)
    )
    _check_values(config.recommend.contexts, vocabulary)
    return vocabulary


def training_codes(fit: Fit, vocabulary: ContextVocabulary) -> DataFrame:
    """The codes of the columns for each user's row of the fit: user_index, contexts array<int>."""
    return codes_of_rows(with_codes(_pairs(fit, c.FOLDS_OF_FIT[fit.name]), vocabulary))


def first_held_out(
    fit: Fit, vocabulary: ContextVocabulary, users: DataFrame
) -> tuple[Int32, Int32]:
    """What some users took first in the fit's target fold, and in which context.

    Args:
        fit: the fit.
        vocabulary: of its towers.
        users: user_index of users who have items in that fold; few enough to collect.

    Returns:
        By ascending user_index, the items, int32 [n], and the codes, int32 [n, keys].
    """
    held_out = with_codes(_pairs(fit, (c.TARGET_FOLD_OF_FIT[fit.name],)), vocabulary)
    ordered = (
        first_pairs(held_out.join(users.select(c.USER_INDEX), c.USER_INDEX, how="left_semi"))
        .orderBy(c.USER_INDEX)
        .select(
            F.col(c.ITEM_INDEX).cast("int").alias(c.ITEM_INDEX),
            F.unix_micros(c.EVENT_TIME).alias(c.EVENT_TIME),
            c.CONTEXTS,
        )
    )
    [batch] = arrow_table(ordered).combine_chunks().to_batches()
    times = batch.column(c.EVENT_TIME).fill_null(pa.scalar(int(UNKNOWN_TIME))).to_numpy()
    _, flat = list_column(batch, c.CONTEXTS)
    columns = flat.astype(np.int32, copy=False).reshape(len(times), len(vocabulary.columns))
    return batch.column(c.ITEM_INDEX).to_numpy(), vocabulary.codes_of_interactions(times, columns)


def _pairs(fit: Fit, folds: tuple[str, ...]) -> DataFrame:
    """The positive pairs of some folds, with `context_values`."""
    columns = fit.config.interactions.columns.context
    splits = fit.lakehouse.read("splits").where(F.col(c.FOLD).isin(*folds))
    if fit.config.ranks_repeats:
        # A pair may have rows in several folds, of which the matrix holds the latest.
        splits = latest_of_pairs(splits)
    splits = splits.where(c.POSITIVE)
    if not columns:
        return splits.withColumn(c.CONTEXT_VALUES, F.array().cast("array<string>"))
    return with_contexts(splits, fit.events, columns)


def _check_values(contexts: Mapping[str, Context], vocabulary: ContextVocabulary) -> None:
    for name, context in contexts.items():
        for key, value in context.items():
            known = vocabulary.values[key]
            if value not in known:
                raise ConfigError(
                    f"recommend.contexts: {name!r} has {key}: {value}, which is none of the values"
                    f" of column {key} that the towers tell apart: {', '.join(known)}; name one of"
                    " them, or raise towers.sequence.context.values if it is rarer"
                )
