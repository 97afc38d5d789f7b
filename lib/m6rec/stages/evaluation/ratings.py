"""Measure RMSE and MAE of predicted ratings, with bootstrap intervals over users.

Errors are pooled over all held-out ratings: RMSE = sqrt(sum e^2 / n), MAE = sum |e| / n. A
replicate of the bootstrap weighs whole users, because the errors of one user are not independent.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.config.outputs import EvaluateConfig
from m6rec.errors import DataError
from m6rec.kernels.arrays.rows import Float64
from m6rec.kernels.evaluation.bootstrap import (
    MeanSums,
    mean_sums,
    no_means,
    percentile_interval,
    poisson_weights,
)
from m6rec.kernels.evaluation.tally import ALL
from m6rec.kernels.ratings.ratings import RATING_MODELS
from m6rec.spark.arrow_rows import list_column

RMSE = "rmse"
MAE = "mae"
NO_DEPTH = 0

_SUMS = "sums"
_SUMS_SCHEMA = (
    "users long, totals array<double>, replicate_weights array<double>,"
    " replicate_totals array<double>"
)


def evaluate_ratings(
    predictions: DataFrame, config: EvaluateConfig, seed: int, fold: str
) -> list[dict[str, Any]]:
    """The rows of table `metrics`, without `run_id`, for rmse and mae of every model; their k is 0.

    Args:
        predictions: model, user_index, item_index, rating, predicted.
        config: replicates and confidence.
        seed: of the bootstrap.
        fold: written to the rows.

    Raises:
        DataError: there is no prediction.
    """
    task = partial(_sum_partition, seed=seed, replicates=config.bootstrap_replicates)
    partials = _errors_of_users(predictions).mapInArrow(task, _SUMS_SCHEMA).collect()
    sums = no_means(1 + 2 * len(RATING_MODELS), config.bootstrap_replicates)
    for row in partials:
        totals = np.array(row["replicate_totals"]).reshape(sums.replicate_totals.shape)
        weights = np.array(row["replicate_weights"])
        sums = sums.plus(MeanSums(row["users"], np.array(row["totals"]), weights, totals))
    if sums.users == 0:
        raise DataError(f"no rating is predicted in fold {fold}; run train_ratings before evaluate")
    values = _metrics(sums.totals[None])[0]
    low, high = percentile_interval(_metrics(sums.replicate_totals), config.confidence)
    return [
        {
            c.MODEL: model,
            c.FOLD: fold,
            c.SEGMENT: ALL,
            c.METRIC: metric,
            c.K: NO_DEPTH,
            c.VALUE: float(values[place]),
            c.CI_LOW: float(low[place]),
            c.CI_HIGH: float(high[place]),
            c.USERS: sums.users,
        }
        for place, (metric, model) in enumerate(
            (metric, model) for metric in (RMSE, MAE) for model in RATING_MODELS
        )
    ]


def _errors_of_users(predictions: DataFrame) -> DataFrame:
    """user_index and sums: the number of ratings, then every model's squared, then absolute errors.

    Each is summed over the user's held-out ratings.
    """
    error = F.col(c.PREDICTED) - F.col(c.RATING)
    sums = [
        F.sum(F.when(F.col(c.MODEL) == model, value).otherwise(0.0))
        for value in (error * error, F.abs(error))
        for model in RATING_MODELS
    ]
    ratings = F.sum(F.when(F.col(c.MODEL) == RATING_MODELS[0], 1.0).otherwise(0.0))
    return predictions.groupBy(c.USER_INDEX).agg(F.array(ratings, *sums).alias(_SUMS))


def _sum_partition(
    batches: Iterable[pa.RecordBatch], seed: int, replicates: int
) -> Iterator[pa.RecordBatch]:
    total = no_means(1 + 2 * len(RATING_MODELS), replicates)
    for batch in batches:
        _, flat = list_column(batch, _SUMS)
        values = flat.reshape(batch.num_rows, -1)
        users = batch.column(c.USER_INDEX).to_numpy()
        total = total.plus(mean_sums(values, poisson_weights(seed, users, replicates)))
    arrays = (total.totals, total.replicate_weights, total.replicate_totals.ravel())
    yield pa.RecordBatch.from_arrays(
        [pa.array([total.users]), *(pa.array([array]) for array in arrays)],
        names=["users", "totals", "replicate_weights", "replicate_totals"],
    )


def _metrics(totals: Float64) -> Float64:
    """The RMSE of every model, then the MAE of every model: float64 [n, 2 models].

    They are NaN where no rating was drawn. `totals`, float64 [n, 1 + 2 models], holds the sums of
    `_errors_of_users`.
    """
    models = len(RATING_MODELS)
    ratings = np.where(totals[:, :1] > 0, totals[:, :1], np.nan)
    means = totals[:, 1:] / ratings
    return np.concatenate([np.sqrt(means[:, :models]), means[:, models:]], axis=1)
