"""Train the factor models of both fits: randomized SVD, implicit ALS, and MLlib's to compare."""

from concurrent.futures import ThreadPoolExecutor
from functools import reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.command_line import command_line
from m6rec.config.run import Config
from m6rec.fits.fit import Fit, fits_of, model_row
from m6rec.job_records import TRAIN_FACTORS
from m6rec.kernels.factors.projection import FactorModel
from m6rec.lakehouse import Lakehouse
from m6rec.rankers import MLLIB_ALS
from m6rec.runs import Job
from m6rec.stages.features.reading import item_terms
from m6rec.stages.training.factor_models import model_to_frame
from m6rec.stages.training.factors import train_als, train_svd
from m6rec.stages.training.mllib import train_mllib_als


def run(lakehouse: Lakehouse, config: Config, fits: tuple[str, ...] = c.FITS) -> None:
    """Train every configured factor model for each fit."""
    for fit in fits_of(lakehouse, config, fits):
        matrix = fit.matrix.cache()
        _train_fit(fit, matrix)
        matrix.unpersist()


def _train_fit(fit: Fit, matrix: DataFrame) -> None:
    config, n_items = fit.settings, fit.n_items
    terms = None
    if config.factors.als.attribute_weight > 0.0:
        terms = item_terms(fit.item_features, n_items)
    checkpoint = fit.artifact_path("checkpoints", "als")
    models = [
        train_svd(matrix, n_items, config.factors.svd, config.seed),
        train_als(matrix, n_items, config.factors.als, config.seed, checkpoint, terms),
    ]
    users = {}
    if MLLIB_ALS in config.evaluate.rankers:
        folder = fit.artifact_path("checkpoints", MLLIB_ALS)
        reference, users[MLLIB_ALS] = train_mllib_als(
            matrix, n_items, config.factors.mllib_als, config.seed, folder
        )
        models.append(reference)
    write_models(fit, models, users)


def write_models(fit: Fit, models: list[FactorModel], users: dict[str, DataFrame]) -> None:
    """Write models and, by method, the factors of users.

    The tables are written side by side, each by one commit: a commit costs more than the rows of a
    model, and the driver does most of it.
    """
    frames = [model_to_frame(fit.spark, model) for model in models]
    rows = [model_row(model.method, model.parameters) for model in models]
    with ThreadPoolExecutor() as pool:
        commits = [
            pool.submit(fit.write, "item_factors", reduce(DataFrame.union, frames)),
            pool.submit(fit.write_models, "factors", rows),
        ]
        if users:
            named = [frame.withColumn(c.METHOD, F.lit(method)) for method, frame in users.items()]
            commits.append(pool.submit(fit.write, "user_factors", reduce(DataFrame.union, named)))
    for commit in commits:
        commit.result()


JOB = Job(TRAIN_FACTORS, run)

if __name__ == "__main__":
    command_line(JOB, __doc__)
