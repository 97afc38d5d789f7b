"""Train the factor models of both fits: randomized SVD, implicit ALS, and MLlib's to compare."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial, reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.command_line import command_line
from m6rec.config.run import Config
from m6rec.fits.earlier import EarlierRun
from m6rec.fits.fit import Fit, fits_of, model_row
from m6rec.fits.needs import needs_of_run
from m6rec.job_records import TRAIN_FACTORS
from m6rec.lakehouse import Lakehouse
from m6rec.runs import Job
from m6rec.spark.places import remove_folder
from m6rec.stages.training.factor_models import model_to_frame
from m6rec.stages.training.factor_trainers import FACTOR_TRAINERS, FactorInputs, TrainedFactors


def run(
    lakehouse: Lakehouse,
    config: Config,
    fits: tuple[str, ...] = c.FITS,
    models: Sequence[str] | None = None,
    earlier: EarlierRun | None = None,
) -> None:
    """Train the factor models of each fit: all that any ranker needs, or those of `models`.

    Where there is an earlier run, ALS starts from its factors.
    """
    trained = fits_of(lakehouse, config, fits)
    if models is None:
        models = needs_of_run(trained[0].settings).factors
    if not models:
        return
    list(lakehouse.run_calls([partial(_train_fit, fit, models, earlier) for fit in trained]))
    # Checkpoints are deleted only after all fits, because MLlib has one folder for them in a
    # session, that of the fit which began last.
    for fit in trained:
        for model in models:
            remove_folder(lakehouse.spark, fit.artifact_path("checkpoints", model))


def _train_fit(fit: Fit, models: Sequence[str], earlier: EarlierRun | None) -> None:
    matrix = fit.matrix.cache()
    inputs = _inputs(fit, matrix)
    if earlier is not None:
        inputs = _going_on(inputs, models, earlier)
    trainings = [partial(FACTOR_TRAINERS[model], inputs) for model in models]
    write_factors(fit, list(fit.lakehouse.run_calls(trainings)))
    matrix.unpersist()


def _going_on(inputs: FactorInputs, models: Sequence[str], earlier: EarlierRun) -> FactorInputs:
    """The inputs with earlier factors, from which ALS needs fewer iterations."""
    factors = earlier.factors(models, inputs.n_items)
    return replace(inputs, earlier=factors, iterations_from_earlier=earlier.als_iterations)


def _inputs(fit: Fit, matrix: DataFrame) -> FactorInputs:
    config = fit.settings
    terms = None
    if config.factors.als.attribute_weight > 0.0:
        terms = fit.item_terms()
    checkpoints = fit.artifact_place("checkpoints")
    return FactorInputs(
        matrix,
        fit.n_items,
        config.factors,
        config.seed,
        checkpoints,
        terms,
        domains=fit.domains,
        ranks=fit.ranks,
    )


def write_factors(fit: Fit, trained: Sequence[TrainedFactors]) -> None:
    """Write models and the factors of users that come with them.

    The tables are written side by side, each by one commit: a commit costs more than the rows of a
    model, and the driver does most of it.
    """
    frames = [model_to_frame(fit.spark, one.model) for one in trained]
    rows = [model_row(one.model.method, one.model.parameters) for one in trained]
    users = [
        one.user_factors.withColumn(c.METHOD, F.lit(one.model.method))
        for one in trained
        if one.user_factors is not None
    ]
    with ThreadPoolExecutor() as pool:
        commits = [
            pool.submit(fit.write, "item_factors", reduce(DataFrame.union, frames)),
            pool.submit(fit.write_models, "factors", rows),
        ]
        if users:
            commits.append(pool.submit(fit.write, "user_factors", reduce(DataFrame.union, users)))
    for commit in commits:
        commit.result()


JOB = Job(TRAIN_FACTORS, run)

if __name__ == "__main__":
    command_line(JOB, __doc__)
