"""Fit rating models and predict ratings on the cluster, without moving users' ratings.

One barrier program over user rows fits the members (see kernels.ratings.ratings). A prediction is a
function of the user's row and the shipped item side, so a user who came after the training gets
predictions as well.
"""

from collections.abc import Iterator
from functools import partial
from itertools import product

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from m6rec import columns as c
from m6rec.config.models import RatingsConfig
from m6rec.kernels.arrays.communicator import Communicator
from m6rec.kernels.arrays.rows import Float64, Rows
from m6rec.kernels.ratings import ratings as kernel
from m6rec.kernels.ratings.ratings import (
    RATING_BIAS,
    RATING_HYBRID,
    RATING_MEMBERS,
    RatingModel,
)
from m6rec.spark.arrow_rows import list_column, rows_from_batch
from m6rec.spark.barrier import run_program
from m6rec.spark.collecting import BYTES_OF_ITEM
from m6rec.spark.shipping import HANDED_OVER, Shipped, collect_value, hand_over, ship

_TARGET_INDICES = "target_indices"
_RATINGS = "ratings"

_PARTS_SCHEMA = T.StructType(
    [
        T.StructField(c.USER_INDEX, T.LongType(), False),
        T.StructField(c.ITEM_INDEX, T.LongType(), False),
        T.StructField(c.RATING, T.DoubleType(), False),
        *(T.StructField(name, T.DoubleType(), False) for name in RATING_MEMBERS),
    ]
)


def rating_rows(splits: DataFrame, fit: str, repeats: bool = False) -> DataFrame:
    """Each user's ratings in the fit's folds: user_index, item_indices (ascending), weights.

    Args:
        splits: user_index, item_index, rating, fold.
        fit: selection or final.
        repeats: whether a pair may have rows in several folds; a fit takes the latest of its own.
    """
    kept = splits.where(F.col(c.FOLD).isin(*c.FOLDS_OF_FIT[fit]))
    if repeats:
        # The name of fold train comes before that of validation, so the latest row has the last.
        latest = F.max_by(c.RATING, c.FOLD).alias(c.RATING)
        kept = kept.groupBy(c.USER_INDEX, c.ITEM_INDEX).agg(latest)
    return _gathered(kept, c.ITEM_INDICES, "int", c.WEIGHTS, "float")


def rating_targets(splits: DataFrame, fold: str) -> DataFrame:
    """Each user's held-out ratings: user_index, target_indices (long), ratings (double)."""
    held_out = splits.where(F.col(c.FOLD) == fold)
    return _gathered(held_out, _TARGET_INDICES, "long", _RATINGS, "double")


def train_ratings(
    rows: DataFrame, n_items: int, config: RatingsConfig, seed: int, ranks: int | None = None
) -> RatingModel:
    """Fit all members on all task slots, or on `ranks`; see m6rec.kernels.ratings.ratings.

    Args:
        rows: as `rating_rows` gives them.
        n_items: M.
        config: regularisations, ranks and iterations of the members.
        seed: of ALS and SVD.

    Raises:
        ClusterError: the cluster cannot run a barrier stage.
    """
    program = partial(_program, n_items=n_items, config=config, seed=seed)
    trained = run_program(rows, program, HANDED_OVER, ranks)
    return collect_value(trained, RatingModel, n_items * BYTES_OF_ITEM)


def predict_parts(rows: DataFrame, targets: DataFrame, model: RatingModel) -> DataFrame:
    """What each member predicts for each held-out pair.

    Args:
        rows: as `rating_rows` gives them; a user without a row has no ratings.
        targets: as `rating_targets` gives them.
        model: fitted on the same rows.

    Returns:
        user_index, item_index, rating, and a column for each member (see `rating_parts`).
    """
    joined = targets.join(rows, c.USER_INDEX, how="left").select(
        c.USER_INDEX,
        F.coalesce(c.ITEM_INDICES, F.array().cast("array<int>")).alias(c.ITEM_INDICES),
        F.coalesce(c.WEIGHTS, F.array().cast("array<float>")).alias(c.WEIGHTS),
        _TARGET_INDICES,
        _RATINGS,
    )
    shipped = ship(rows.sparkSession, model)
    return joined.mapInArrow(partial(_parts_partition, shipped=shipped), _PARTS_SCHEMA)


def choose_rating_weights(parts: DataFrame) -> Float64:
    """Choose the blend's weights by least squares on validation: float64 [members].

    Args:
        parts: as `predict_parts` gives them; only sums over the rows are collected.
    """
    names = (*RATING_MEMBERS, c.RATING)
    sums = [F.coalesce(F.sum(F.col(a) * F.col(b)), F.lit(0.0)) for a, b in product(names, names)]
    moments = np.array(parts.agg(*sums).collect()[0], np.float64).reshape(len(names), len(names))
    return kernel.blend_weights(moments[:-1, :-1], moments[:-1, -1])


def predictions(parts: DataFrame, rows: DataFrame, weights: Float64) -> DataFrame:
    """What every model predicts, clipped to the range of the ratings in `rows`.

    Args:
        parts: as `predict_parts` gives them.
        rows: the ratings that the members were fitted on.
        weights: float64 [members]; the blend's weights.

    Returns:
        model, user_index, item_index, rating, predicted.
    """
    found = rows.agg(F.min(F.array_min(c.WEIGHTS)), F.max(F.array_max(c.WEIGHTS))).collect()[0]
    lowest, highest = (F.lit(float(end)) for end in found)
    bias = F.col(RATING_BIAS)
    says = {
        name: bias if name == RATING_BIAS else bias + F.col(name) for name in RATING_MEMBERS
    } | {RATING_HYBRID: _weighted(weights)}
    models = F.array(
        *(
            F.struct(
                F.lit(name).alias(c.MODEL),
                F.least(F.greatest(value, lowest), highest).alias(c.PREDICTED),
            )
            for name, value in says.items()
        )
    )
    return parts.select(c.USER_INDEX, c.ITEM_INDEX, c.RATING, F.inline(models))


def _weighted(weights: Float64) -> Column:
    total = F.lit(0.0)
    for name, weight in zip(RATING_MEMBERS, weights.tolist(), strict=True):
        total = total + F.col(name) * weight
    return total


def _gathered(
    pairs: DataFrame, items: str, item_type: str, values: str, value_type: str
) -> DataFrame:
    pair = F.struct(
        F.col(c.ITEM_INDEX).cast(item_type).alias(items),
        F.col(c.RATING).cast(value_type).alias(values),
    )
    grouped = pairs.groupBy(c.USER_INDEX).agg(F.sort_array(F.collect_list(pair)).alias("_pairs"))
    return grouped.select(
        c.USER_INDEX, F.col("_pairs")[items].alias(items), F.col("_pairs")[values].alias(values)
    )


def _program(
    rows: Rows, communicator: Communicator, n_items: int, config: RatingsConfig, seed: int
) -> Iterator[pa.RecordBatch]:
    model = kernel.fit_ratings(rows, n_items, config, seed, communicator)
    if communicator.rank == 0:
        yield from hand_over(model)


def _parts_partition(
    batches: Iterator[pa.RecordBatch], shipped: Shipped
) -> Iterator[pa.RecordBatch]:
    model: RatingModel = shipped.load()
    for batch in batches:
        rows = rows_from_batch(batch)
        indptr, items = list_column(batch, _TARGET_INDICES)
        _, ratings = list_column(batch, _RATINGS)
        parts = kernel.rating_parts(model, rows, indptr, items)
        yield pa.RecordBatch.from_arrays(
            [
                pa.array(np.repeat(rows.user_index, np.diff(indptr))),
                pa.array(items),
                pa.array(ratings),
                *(pa.array(np.ascontiguousarray(column)) for column in parts.T),
            ],
            names=_PARTS_SCHEMA.names,
        )
