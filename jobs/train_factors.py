"""Train the factor models: randomized SVD, implicit ALS, and MLlib's ALS as a reference.

Reads user_item_matrix, item_index and item_features; writes item_factors, user_factors and models,
for both fits.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.command_line import command_line
from m6rec.config.run import Config
from m6rec.fits.fit import item_count
from m6rec.fits.models import model_row, with_chosen_settings
from m6rec.kernels.factors.projection import FactorModel
from m6rec.lakehouse import Lakehouse
from m6rec.rankers import MLLIB_ALS
from m6rec.stages.features.reading import item_terms
from m6rec.stages.training.factor_models import model_to_frame
from m6rec.stages.training.factors import train_als, train_svd
from m6rec.stages.training.mllib import train_mllib_als


def run(lakehouse: Lakehouse, config: Config, fits: tuple[str, ...] = c.FITS) -> None:
    """Train every configured factor model for each fit."""
    config = with_chosen_settings(lakehouse, config)
    n_items = item_count(lakehouse)
    for fit in fits:
        matrix = lakehouse.read("user_item_matrix", fit=fit).cache()
        _train_fit(lakehouse, config, fit, matrix, n_items)
        matrix.unpersist()


def _train_fit(
    lakehouse: Lakehouse, config: Config, fit: str, matrix: DataFrame, n_items: int
) -> None:
    checkpoint = lakehouse.artifact_path("checkpoints", fit, "als")
    settings, terms = config.factors.als, None
    if settings.attribute_weight > 0.0:
        terms = item_terms(lakehouse.read("item_features", fit=fit), n_items)
    models = [
        train_svd(matrix, n_items, config.factors.svd, config.seed),
        train_als(matrix, n_items, settings, config.seed, checkpoint, terms),
    ]
    users = {}
    if MLLIB_ALS in config.evaluate.rankers:
        folder = lakehouse.artifact_path("checkpoints", fit, MLLIB_ALS)
        reference, its_users = train_mllib_als(
            matrix, n_items, config.factors.mllib_als, config.seed, folder
        )
        models.append(reference)
        users[MLLIB_ALS] = its_users
    write_models(lakehouse, fit, models, users)


def write_models(
    lakehouse: Lakehouse, fit: str, models: list[FactorModel], users: dict[str, DataFrame]
) -> None:
    """Write models and, by method, the factors of users.

    One commit a table, side by side: a commit costs more than the rows of a model, and most of it
    is the driver's.
    """
    frames = [model_to_frame(lakehouse.spark, model) for model in models]
    rows = [model_row(model.method, model.parameters) for model in models]
    with ThreadPoolExecutor() as pool:
        commits = [
            pool.submit(lakehouse.write, "item_factors", reduce(DataFrame.union, frames), fit=fit),
            pool.submit(lakehouse.write_rows, "models", rows, fit=fit, kind="factors"),
        ]
        if users:
            named = [frame.withColumn(c.METHOD, F.lit(method)) for method, frame in users.items()]
            whole = reduce(DataFrame.union, named)
            commits.append(pool.submit(lakehouse.write, "user_factors", whole, fit=fit))
    for commit in commits:
        commit.result()


if __name__ == "__main__":
    command_line("train_factors", run, __doc__)
