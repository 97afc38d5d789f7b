"""Train the factor models: randomized SVD, implicit ALS, and MLlib's ALS as a reference.

Reads user_item_matrix and item_index; writes item_factors, user_factors and models, for both fits.
"""

from m6rec.stages.factors import (
    model_to_frame,
    project_users,
    train_als,
    train_mllib_als,
    train_svd,
)

from m6rec import columns as c
from m6rec.command_line import command_line
from m6rec.config import Config
from m6rec.fits import MLLIB_ALS, item_count, model_row
from m6rec.kernels.projection import FactorModel
from m6rec.lakehouse import Lakehouse


def run(lakehouse: Lakehouse, config: Config) -> None:
    """Train every configured factor model for the selection and the final fit."""
    n_items = item_count(lakehouse)
    for fit in (c.SELECTION, c.FINAL):
        matrix = lakehouse.read("user_item_matrix", fit=fit).cache()
        svd = train_svd(matrix, n_items, config.factors.svd, config.seed)
        _write(lakehouse, fit, svd)
        checkpoint = lakehouse.artifact_path("checkpoints", fit, "als")
        als = train_als(matrix, n_items, config.factors.als, config.seed, checkpoint)
        _write(lakehouse, fit, als)
        if fit == c.FINAL:
            for model in (svd, als):
                users = project_users(matrix, model)
                lakehouse.write("user_factors", users, fit=fit, method=model.method)
        if MLLIB_ALS in config.evaluate.rankers:
            reference, users = train_mllib_als(
                matrix, n_items, config.factors.mllib_als, config.seed
            )
            _write(lakehouse, fit, reference)
            lakehouse.write("user_factors", users, fit=fit, method=MLLIB_ALS)
        matrix.unpersist()


def _write(lakehouse: Lakehouse, fit: str, model: FactorModel) -> None:
    frame = model_to_frame(lakehouse.spark, model).drop(c.METHOD)
    lakehouse.write("item_factors", frame, fit=fit, method=model.method)
    row = model_row(lakehouse, model.method, dict(model.parameters))
    lakehouse.write("models", row.drop("name"), fit=fit, kind="factors", name=model.method)


if __name__ == "__main__":
    command_line("train_factors", run, __doc__)
