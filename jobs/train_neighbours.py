"""Train item neighbours, the local ridge, transitions and content neighbours, for both fits.

User neighbours are found where lists are made: nothing is trained for them.
"""

from collections.abc import Sequence
from functools import partial, reduce

from pyspark.sql import DataFrame

from m6rec import columns as c
from m6rec.command_line import command_line
from m6rec.config.run import Config
from m6rec.fits.fit import Fit, fits_of
from m6rec.fits.needs import needs_of_run
from m6rec.job_records import TRAIN_NEIGHBOURS
from m6rec.lakehouse import Lakehouse
from m6rec.runs import Job
from m6rec.stages.training.gram import matrix_statistics
from m6rec.stages.training.item_weights import item_weights_to_frame
from m6rec.stages.training.neighbours import NEIGHBOUR_TRAINERS, NeighbourInputs


def run(
    lakehouse: Lakehouse,
    config: Config,
    fits: tuple[str, ...] = c.FITS,
    models: Sequence[str] | None = None,
) -> None:
    """Train the item-item weights of each fit: all that any ranker needs, or those of `models`."""
    trained = fits_of(lakehouse, config, fits)
    if models is None:
        models = needs_of_run(trained[0].settings).neighbours
    if not models:
        return
    list(lakehouse.run_calls([partial(_train_fit, fit, models) for fit in trained]))


def _train_fit(fit: Fit, models: Sequence[str]) -> None:
    matrix = fit.matrix.cache()
    inputs = _inputs(fit, matrix, models)
    weights = fit.lakehouse.run_calls([partial(NEIGHBOUR_TRAINERS[one], inputs) for one in models])
    # All methods are written by one commit, which costs more than the rows themselves.
    frames = [
        item_weights_to_frame(fit.spark, each, model)
        for model, each in zip(models, weights, strict=True)
    ]
    fit.write("item_neighbours", reduce(DataFrame.union, frames))
    matrix.unpersist()


def _inputs(fit: Fit, matrix: DataFrame, models: Sequence[str]) -> NeighbourInputs:
    config = fit.settings
    terms, vectors = None, None
    if "content_neighbours" in models:
        terms = fit.item_terms()
        vectors = fit.item_matrix(c.CONTENT)
    statistics = matrix_statistics(matrix, fit.n_items, config.neighbours.maximum_history)
    of_vectors = terms is not None and bool(fit.modalities("items"))
    return NeighbourInputs(
        matrix,
        fit.n_items,
        statistics,
        config.neighbours,
        config.seed,
        terms,
        vectors,
        of_vectors,
        fit.domains,
    )


JOB = Job(TRAIN_NEIGHBOURS, run)

if __name__ == "__main__":
    command_line(JOB, __doc__)
