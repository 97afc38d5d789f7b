"""The one objective of implicit ALS that all contenders minimise, and ours and MLlib's set to it.

It is sum (1 + w)(1 - u.v)^2 over observed, (u.v)^2 over other pairs, and the norms times lambda;
only MLlib scales lambda by the counts, which does not change the work, but leaves it out of the
comparison of losses. implicit takes 1 + w for its confidence.
"""

import numpy as np
from pyspark.ml.recommendation import ALS
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.config.models import AlsConfig
from m6rec.kernels.arrays.rows import Float32, Float64, Rows
from m6rec.kernels.factors.projection import (
    FactorModel,
    frequency_regularisation,
    normal_equation_terms,
    project,
)

ITERATIONS = 10
REGULARISATION = 0.01


def als_config(rank: int, iterations: int) -> AlsConfig:
    """Our ALS with the objective that all share."""
    return AlsConfig(
        rank=rank,
        iterations=iterations,
        regularisation=REGULARISATION,
        frequency_exponent=0.0,
        unobserved_weight=1.0,
    )


def long_ratings(matrix: DataFrame) -> DataFrame:
    """The matrix as MLlib takes it: user, item, rating."""
    pair = F.explode(F.arrays_zip(c.ITEM_INDICES, c.WEIGHTS)).alias("pair")
    return matrix.select(F.col(c.USER_INDEX).cast("int").alias("user"), pair).select(
        "user", F.col("pair.item_indices").alias("item"), F.col("pair.weights").alias("rating")
    )


def mllib_estimator(rank: int, iterations: int, seed: int) -> ALS:
    """MLlib's implicit ALS with its default blocks."""
    return ALS(
        rank=rank,
        maxIter=iterations,
        regParam=REGULARISATION,
        implicitPrefs=True,
        alpha=1.0,
        seed=seed,
        userCol="user",
        itemCol="item",
        ratingCol="rating",
    )


def als_objective(model: FactorModel, rows: Rows) -> float:
    """The training loss over the rows, with each user's factor at its exact optimum.

    This is the formula of `m6rec.kernels.factors.als`, in float64. For explicit feedback it is the
    sum of the squared errors of the ratings less their mean, with the same penalties.
    """
    parameters = model.parameters
    users = project(model, rows).astype(np.float64)
    items = model.factors.astype(np.float64)
    confidence, right_hand_side = normal_equation_terms(rows, parameters)
    # (w + a0) (1 - s)^2 - a0 s^2 = c s^2 - 2 t s + t; (t - s)^2 = s^2 - 2 t s + t^2.
    constants = right_hand_side.astype(np.float64) ** (2.0 if parameters["explicit"] else 1.0)
    loss = float(constants.sum()) + _observed_loss(rows, confidence, right_hand_side, users, items)
    user_penalty = frequency_regularisation(rows.counts, parameters).astype(np.float64)
    loss += float(user_penalty @ np.einsum("ij,ij->i", users, users))
    unobserved = parameters["unobserved_weight"]
    item_penalty = frequency_regularisation(
        model.interaction_counts,
        {**parameters, "frequency_offset": unobserved * np.count_nonzero(rows.counts)},
    ).astype(np.float64)
    loss += float(item_penalty @ np.einsum("ij,ij->i", items, items))
    return loss + unobserved * float(np.sum((users.T @ users) * (items.T @ items)))


def _observed_loss(
    rows: Rows, confidence: Float32, right_hand_side: Float32, users: Float64, items: Float64
) -> float:
    # The observed terms of the loss without their constants: c s^2 - 2 t s.
    total = 0.0
    for row in range(len(rows)):
        entries = slice(rows.indptr[row], rows.indptr[row + 1])
        scores = items[rows.item_indices[entries]] @ users[row]
        quadratic = confidence[entries].astype(np.float64)
        linear = right_hand_side[entries].astype(np.float64)
        total += float(quadratic @ scores**2 - 2.0 * linear @ scores)
    return total
