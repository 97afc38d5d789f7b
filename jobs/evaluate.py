"""Measure every ranker's lists on validation and test, and compare them over users.

Where ratings are predicted, their errors are measured too.
"""

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.command_line import command_line
from m6rec.config.run import Config
from m6rec.errors import DataError
from m6rec.fits.fit import Fit, fits_of
from m6rec.fits.reranking import read_criteria
from m6rec.job_records import EVALUATE
from m6rec.kernels.evaluation.modality_groups import groups_of_cold_items
from m6rec.lakehouse import Lakehouse
from m6rec.runs import Job, check_comparable
from m6rec.stages.evaluation.lists import (
    HISTORY_INDICES,
    HISTORY_WEIGHTS,
    Evaluation,
    compare_runs,
    evaluate_lists,
)
from m6rec.stages.evaluation.ratings import evaluate_ratings
from m6rec.towers.modalities import modality_presence


def run(lakehouse: Lakehouse, config: Config) -> None:
    """Write `metrics` and `comparisons` of both fits from `lists` and the held-out pairs.

    Raises:
        DataError: no fold holds out a positive pair, or no ranker has a list.
        ConfigError: the run cannot be compared with the one that the config names.
    """
    check_comparable(lakehouse, config)
    metrics: list[dict[str, Any]] = []
    comparisons: list[dict[str, Any]] = []
    measured = [partial(_measure, fit) for fit in fits_of(lakehouse, config)]
    for evaluation in lakehouse.run_calls(measured):
        metrics += evaluation.metrics
        comparisons += evaluation.comparisons
    if not metrics:
        raise DataError(
            "neither validation nor test holds out a positive pair, so there is nothing to"
            " measure; choose a split strategy other than none, or larger shares"
        )
    lakehouse.write_rows("metrics", metrics)
    lakehouse.write_rows("comparisons", comparisons)


def _measure(fit: Fit) -> Evaluation:
    """The rows of a fit; none where it holds out nothing."""
    targets = fit.measured_targets.cache()
    found = Evaluation([], []) if targets.isEmpty() else _evaluate_fit(fit, targets)
    targets.unpersist()
    return found


def _evaluate_fit(fit: Fit, targets: DataFrame) -> Evaluation:
    lakehouse, config = fit.lakehouse, fit.config
    fold = c.TARGET_FOLD_OF_FIT[fit.name]
    lists = lakehouse.read("lists", fit=fit.name)
    domains = tuple(domain.name for domain in fit.domains)
    content = None
    if lakehouse.exists("item_features"):
        content = fit.item_matrix(c.CONTENT)
    criteria = read_criteria(fit)
    of_users = [F.size(c.ITEM_INDICES).alias(c.INTERACTION_COUNT)]
    if criteria.categories is not None:
        of_users += [F.col(c.ITEM_INDICES).alias(HISTORY_INDICES)]
        of_users += [F.col(c.WEIGHTS).alias(HISTORY_WEIGHTS)]
    evaluation = evaluate_lists(
        lists,
        targets,
        fit.matrix.select(c.USER_INDEX, *of_users),
        fit.item_counts,
        lakehouse.read("catalogue").count(),
        content,
        config.evaluate,
        config.seed,
        fold,
        lakehouse.run_id,
        criteria.likeness,
        criteria.categories,
        _cold_groups(fit),
        domains,
    )
    metrics, comparisons = evaluation.metrics, evaluation.comparisons
    other = config.evaluate.compare_with_run
    if other is not None:
        other_lists = _lists_of_run(lakehouse, other, fit.name)
        comparisons += compare_runs(
            lists, other_lists, other, targets, config.evaluate, config.seed, fold, domains
        )
    if config.ratings.enabled:
        predictions = lakehouse.read("rating_predictions", fit=fit.name)
        metrics += evaluate_ratings(predictions, config.evaluate, config.seed, fold)
    return Evaluation(metrics, comparisons)


def _cold_groups(fit: Fit) -> dict[str, npt.NDArray[np.bool_]]:
    """The items without interactions by which columns of vectors and pictures they have."""
    if not fit.lakehouse.exists("item_features"):
        return {}
    names: list[str] = []
    present = np.zeros((fit.n_items, 0), np.bool_)
    if fit.modalities("items"):
        names = fit.model("features", "items")["modality_names"]
        present = modality_presence(fit.item_matrix(c.FEATURES), fit.modalities("items"))
    pictured = fit.items_with_pictures
    names = [*names, *pictured]
    present = np.hstack([present, *(mask[:, None] for mask in pictured.values())])
    return groups_of_cold_items(present, names, fit.item_counts) if names else {}


def _lists_of_run(lakehouse: Lakehouse, run_id: str, fit: str) -> DataFrame:
    return lakehouse.for_run(run_id).read("lists", fit=fit)


JOB = Job(EVALUATE, run)

if __name__ == "__main__":
    command_line(JOB, __doc__)
