"""The one objective of implicit ALS that all contenders minimise, and ours and MLlib's set to it.

It is sum (1 + w)(1 - u.v)^2 over observed, (u.v)^2 over other pairs, and the norms times lambda;
only MLlib scales lambda by the counts, which does not change the work, but leaves it out of the
comparison of losses. implicit takes 1 + w for its confidence.
"""

from pyspark.ml.recommendation import ALS
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.config.models import AlsConfig

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
