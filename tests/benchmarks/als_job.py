"""ALS from Delta table to Delta tables, ours and MLlib's."""

import os

from jobs.train_factors import write_models
from m6rec import columns as c
from m6rec.config.run import Config
from m6rec.fits.fit import Fit
from m6rec.lakehouse import Lakehouse
from m6rec.stages.training.factors import train_als
from tests.benchmarks.als_objective import ITERATIONS, long_ratings, mllib_estimator
from tests.benchmarks.measure import Measure, Workspace, time_of
from tests.benchmarks.spark import STOCK
from tests.benchmarks.tables import job_config, open_tables, prepare_job, write_delta
from tests.benchmarks.user_factors import project_users


def prepare_als_of_m6rec(workspace: Workspace, rank: int) -> Measure:
    """Our ALS: matrix in; item factors, model and user factors out."""

    def job(lakehouse: Lakehouse, config: Config) -> None:
        fit = Fit(lakehouse, config, c.FINAL)
        matrix = fit.matrix.cache()
        checkpoint = fit.artifact_path("checkpoints", str(os.getpid()))
        model = train_als(matrix, fit.n_items, config.factors.als, config.seed, checkpoint)
        write_models(fit, [model], {model.method: project_users(matrix, model)})

    # In a run of its own: the run that top-N lists are made from keeps its model.
    return prepare_job(workspace, job_config(workspace, rank), "train_factors", job, f"als_{rank}")


def prepare_als_of_mllib(workspace: Workspace, rank: int) -> Measure:
    """MLlib's ALS: matrix in; item and user factors out."""
    lakehouse = open_tables(workspace, properties=STOCK)

    def job() -> None:
        ratings = long_ratings(lakehouse.read("user_item_matrix", fit=c.FINAL))
        model = mllib_estimator(rank, ITERATIONS, workspace.seed).fit(ratings)
        write_delta(model.itemFactors, workspace, "item_factors")
        write_delta(model.userFactors, workspace, "user_factors")

    return lambda: time_of(job)
