"""Train item neighbours, the local ridge and content neighbours for both fits.

Reads user_item_matrix, item_index and item_features (where items have attributes); writes
item_neighbours. User neighbours are found where lists are made: nothing is trained for them.
"""

from functools import reduce

from pyspark.sql import DataFrame

from m6rec import columns as c
from m6rec.command_line import command_line
from m6rec.config.run import Config
from m6rec.fits.fit import item_count
from m6rec.fits.models import with_chosen_settings
from m6rec.lakehouse import Lakehouse
from m6rec.stages.features.reading import item_matrix, item_terms
from m6rec.stages.training.gram import matrix_statistics
from m6rec.stages.training.item_weights import item_weights_to_frame
from m6rec.stages.training.neighbours import (
    train_content_neighbours,
    train_item_neighbours,
    train_ridge,
)

ITEM_METHODS = {"item_neighbours": train_item_neighbours, "ridge": train_ridge}


def run(lakehouse: Lakehouse, config: Config, fits: tuple[str, ...] = c.FITS) -> None:
    """Train all neighbour models of each fit."""
    config = with_chosen_settings(lakehouse, config)
    n_items = item_count(lakehouse)
    for fit in fits:
        _train_fit(lakehouse, config, fit, n_items)


def _train_fit(lakehouse: Lakehouse, config: Config, fit: str, n_items: int) -> None:
    matrix = lakehouse.read("user_item_matrix", fit=fit).cache()
    settings = config.neighbours
    statistics = matrix_statistics(matrix, n_items, settings.maximum_history)
    spark = lakehouse.spark
    # One commit for all methods: a commit costs more than the rows.
    frames = [
        item_weights_to_frame(spark, train(matrix, n_items, settings, statistics), method)
        for method, train in ITEM_METHODS.items()
    ]
    if config.features.items is not None:
        features = lakehouse.read("item_features", fit=fit)
        terms, vectors = item_terms(features, n_items), item_matrix(features, c.CONTENT, n_items)
        weights = train_content_neighbours(
            spark, terms, vectors, statistics.counts, settings.content, config.seed
        )
        frames.append(item_weights_to_frame(spark, weights, "content_neighbours"))
    lakehouse.write("item_neighbours", reduce(DataFrame.union, frames), fit=fit)
    matrix.unpersist()


if __name__ == "__main__":
    command_line("train_neighbours", run, __doc__)
