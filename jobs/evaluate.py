"""Measure every ranker's lists on validation and test, and compare them over users.

Where ratings are predicted, measure their errors too.
"""

from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.command_line import command_line
from m6rec.config.run import Config
from m6rec.errors import DataError
from m6rec.fits.fit import item_count, measured_users, read_item_counts
from m6rec.lakehouse import Lakehouse
from m6rec.stages.evaluation.lists import compare_runs, evaluate_lists
from m6rec.stages.evaluation.ratings import evaluate_ratings
from m6rec.stages.features.reading import item_matrix


def run(lakehouse: Lakehouse, config: Config) -> None:
    """Write `metrics` and `comparisons` of both fits from `lists` and the held-out pairs.

    Reads: lists, splits, user_item_matrix, item_index, catalogue, item_features (where made),
    rating_predictions (where ratings are enabled).
    Writes: metrics, comparisons.

    Raises:
        DataError: no fold holds out a positive pair, or no ranker has a list.
    """
    metrics: list[dict[str, Any]] = []
    comparisons: list[dict[str, Any]] = []
    for fit, fold in c.TARGET_FOLD_OF_FIT.items():
        targets = measured_users(lakehouse, config, fit).cache()
        if not targets.isEmpty():
            fold_metrics, fold_comparisons = _evaluate_fold(lakehouse, config, fit, fold, targets)
            metrics += fold_metrics
            comparisons += fold_comparisons
            if config.ratings.enabled:
                predictions = lakehouse.read("rating_predictions", fit=fit)
                metrics += evaluate_ratings(predictions, config.evaluate, config.seed, fold)
        targets.unpersist()
    if not metrics:
        raise DataError(
            "neither validation nor test holds out a positive pair, so there is nothing to"
            " measure; choose a split strategy other than none, or larger shares"
        )
    lakehouse.write_rows("metrics", metrics)
    lakehouse.write_rows("comparisons", comparisons)


def _evaluate_fold(
    lakehouse: Lakehouse, config: Config, fit: str, fold: str, targets: DataFrame
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    matrix = lakehouse.read("user_item_matrix", fit=fit)
    n_items = item_count(lakehouse)
    lists = lakehouse.read("lists", fit=fit)
    content = None
    if lakehouse.exists("item_features"):
        content = item_matrix(lakehouse.read("item_features", fit=fit), c.CONTENT, n_items)
    evaluation = evaluate_lists(
        lists,
        targets,
        matrix.select(c.USER_INDEX, F.size(c.ITEM_INDICES).alias(c.INTERACTION_COUNT)),
        read_item_counts(lakehouse, fit),
        lakehouse.read("catalogue").count(),
        content,
        config.evaluate,
        config.seed,
        fold,
        lakehouse.run_id,
    )
    other = config.evaluate.compare_with_run
    if other is None:
        return evaluation.metrics, evaluation.comparisons
    other_lists = _lists_of_run(lakehouse, other, fit)
    rows = compare_runs(lists, other_lists, other, targets, config.evaluate, config.seed, fold)
    return evaluation.metrics, evaluation.comparisons + rows


def _lists_of_run(lakehouse: Lakehouse, run_id: str, fit: str) -> DataFrame:
    other = Lakehouse(lakehouse.spark, lakehouse.location, run_id, lakehouse.artifacts)
    return other.read("lists", fit=fit)


if __name__ == "__main__":
    command_line("evaluate", run, __doc__)
