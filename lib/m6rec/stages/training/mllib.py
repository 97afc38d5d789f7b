"""Train Spark MLlib's own implicit ALS, with which the other models are compared."""

import numpy as np
from pyspark.ml.recommendation import ALS
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.config.models import MllibAlsConfig
from m6rec.kernels.factors.projection import FactorModel, build_factor_model
from m6rec.spark.collecting import BYTES_OF_ITEM, collected_batches
from m6rec.spark.item_matrices import item_rows
from m6rec.stages.pairs.matrix import interaction_counts

_INTERACTIONS_PER_BLOCK = 1_000_000
_MOST_BLOCKS = 200


def train_mllib_als(
    matrix: DataFrame,
    n_items: int,
    config: MllibAlsConfig,
    seed: int,
    checkpoint_folder: str | None = None,
) -> tuple[FactorModel, DataFrame]:
    """Train Spark MLlib's implicit ALS.

    Args:
        matrix: columns user_index, item_indices, weights.
        n_items: M.
        config: rank, iterations, regularisation and alpha.
        seed: of the initial factors, which MLlib draws for each block of users or items.
        checkpoint_folder: where the session keeps checkpoints from now on; the executors share
            it. More than about 20 iterations need one. Without it the plan of the last iteration
            holds those of all others, and overflows the JVM's stack.

    Returns:
        The model, whose items without interactions have zero factors, and MLlib's own user
        factors: user_index, factor, of the users that have interactions.
    """
    counts = interaction_counts(matrix, n_items)
    if checkpoint_folder is not None:
        matrix.sparkSession.sparkContext.setCheckpointDir(checkpoint_folder)
    fitted = _estimator(config, _mllib_blocks(int(counts.sum())), seed).fit(_ratings(matrix))
    learned = fitted.itemFactors.select(F.col("id").alias(c.ITEM_INDEX), F.col("features"))
    trained = item_rows(collected_batches(learned, n_items * BYTES_OF_ITEM), "features", n_items)
    factors = trained.values if trained.rows else np.zeros((n_items, config.rank), np.float32)
    # MLlib gives the unobserved the weight 1, and multiplies weights by alpha and lambda by the
    # count.
    parameters = {
        "unobserved_weight": 1.0,
        "weight_scale": config.alpha,
        "regularisation": config.regularisation,
        "frequency_exponent": 1.0,
        "frequency_offset": 0.0,
        "explicit": 0.0,
        "mean_rating": 0.0,
    }
    model = build_factor_model(
        "mllib_als", factors, None, np.ones(n_items, np.float32), parameters, counts
    )
    users = fitted.userFactors.select(
        F.col("id").cast("long").alias(c.USER_INDEX), F.col("features").alias(c.FACTOR)
    )
    return model, users


def _ratings(matrix: DataFrame) -> DataFrame:
    """The entries of the matrix as rows: user, item, rating."""
    return matrix.select(
        F.col(c.USER_INDEX).cast("int").alias("user"),
        F.explode(F.arrays_zip(c.ITEM_INDICES, c.WEIGHTS)).alias("entry"),
    ).select(
        "user",
        F.col(f"entry.{c.ITEM_INDICES}").alias("item"),
        F.col(f"entry.{c.WEIGHTS}").alias("rating"),
    )


def _estimator(config: MllibAlsConfig, blocks: int, seed: int) -> ALS:
    return ALS(
        rank=config.rank,
        maxIter=config.iterations,
        regParam=config.regularisation,
        numUserBlocks=blocks,
        numItemBlocks=blocks,
        implicitPrefs=True,
        alpha=config.alpha,
        seed=seed,
        userCol="user",
        itemCol="item",
        ratingCol="rating",
    )


def _mllib_blocks(interactions: int) -> int:
    """The number of blocks of users, and of items; in an iteration each block is one task.

    It depends only on the data and not on the number of cores, because the initial factors depend
    on the blocks.
    """
    return min(max(2, -(-interactions // _INTERACTIONS_PER_BLOCK)), _MOST_BLOCKS)
