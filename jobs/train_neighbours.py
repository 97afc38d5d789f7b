"""Train item neighbours, the local ridge, transitions and content neighbours, for both fits.

User neighbours are found where lists are made: nothing is trained for them.
"""

from functools import reduce

from pyspark.sql import DataFrame

from m6rec import columns as c
from m6rec.command_line import command_line
from m6rec.config.run import Config
from m6rec.fits.fit import Fit, fits_of
from m6rec.job_records import TRAIN_NEIGHBOURS
from m6rec.lakehouse import Lakehouse
from m6rec.rankers import models_trained_by
from m6rec.runs import Job
from m6rec.stages.features.reading import item_matrix, item_terms
from m6rec.stages.training.gram import matrix_statistics
from m6rec.stages.training.item_weights import item_weights_to_frame
from m6rec.stages.training.neighbours import NEIGHBOUR_TRAINERS, NeighbourInputs


def run(lakehouse: Lakehouse, config: Config, fits: tuple[str, ...] = c.FITS) -> None:
    """Train the item-item weights of each fit that any ranker needs."""
    models = models_trained_by(TRAIN_NEIGHBOURS.name, config.trained_rankers)
    for fit in fits_of(lakehouse, config, fits):
        _train_fit(fit, models)


def _train_fit(fit: Fit, models: tuple[str, ...]) -> None:
    matrix = fit.matrix.cache()
    inputs = _inputs(fit, matrix)
    # All methods are written by one commit, which costs more than the rows themselves.
    frames = [
        item_weights_to_frame(fit.spark, NEIGHBOUR_TRAINERS[model](inputs), model)
        for model in models
    ]
    fit.write("item_neighbours", reduce(DataFrame.union, frames))
    matrix.unpersist()


def _inputs(fit: Fit, matrix: DataFrame) -> NeighbourInputs:
    config = fit.settings
    terms, vectors = None, None
    if config.features.items is not None:
        features = fit.item_features
        terms = item_terms(features, fit.n_items)
        vectors = item_matrix(features, c.CONTENT, fit.n_items)
    statistics = matrix_statistics(matrix, fit.n_items, config.neighbours.maximum_history)
    return NeighbourInputs(
        matrix,
        fit.n_items,
        statistics,
        config.neighbours,
        config.seed,
        terms,
        vectors,
        fit.domains,
    )


JOB = Job(TRAIN_NEIGHBOURS, run)

if __name__ == "__main__":
    command_line(JOB, __doc__)
