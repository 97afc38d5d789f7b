"""Train towers as the ranks of a barrier stage, each on its own files of rows.

Rank 0 validates and saves. A rank that dies fails the stage. Spark starts it again, and training
goes on from the last epoch's checkpoint.
"""

import os
import warnings
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pyarrow as pa
from pyspark.sql import SparkSession

from m6rec.config.towers import Ranks
from m6rec.kernels.factors.projection import FactorModel
from m6rec.spark.barrier import RankTask, check_barrier, run_ranks
from m6rec.spark.collecting import BYTES_OF_ITEM
from m6rec.spark.messages import say
from m6rec.spark.session import is_local
from m6rec.spark.shipping import HANDED_OVER, Shipped, collect_value, hand_over, ship
from m6rec.towers.checkpoint import ranks_of_state
from m6rec.towers.encoder import Towers
from m6rec.towers.launch import TrainingTask, train_as_rank
from m6rec.towers.loop import TrainingResult


def ranks_of(spark: SparkSession, choice: Ranks) -> int | None:
    """How many tasks train together; None where the driver's process trains.

    Raises:
        ClusterError: the cluster cannot run so many at once.
    """
    if choice == "driver" or (choice == "auto" and is_local(spark)):
        return None
    return check_barrier(spark, None if choice == "auto" else choice)


def train_on_ranks(spark: SparkSession, task: TrainingTask) -> TrainingResult:
    """Train on as many ranks as the task's rows were divided for.

    Raises:
        ClusterError: the cluster cannot run so many at once.
    """
    _tell_of_other_ranks(task)
    return _trained(spark, task, task.threads)


def _tell_of_other_ranks(task: TrainingTask) -> None:
    """Say on the driver why the ranks will pass over a state that a killed training has left."""
    ranks = task.manifest.world_size
    begun_by = None if task.checkpoint_folder is None else ranks_of_state(task.checkpoint_folder)
    if begun_by not in {None, ranks}:
        say(
            "note",
            f"the towers of {task.checkpoint_folder} were begun by another number of ranks"
            f" ({begun_by}, now {ranks}), whose steps are others; they are trained anew",
        )


def train_in_own_task(spark: SparkSession, task: TrainingTask) -> TrainingResult:
    """Train in a single task of Spark's, in local mode, as the driver itself would."""
    return _trained(spark, task, len(os.sched_getaffinity(0)))


def _trained(spark: SparkSession, task: TrainingTask, threads: int) -> TrainingResult:
    program = partial(_train_program, shipped=ship(spark, task))
    trained = run_ranks(spark, program, HANDED_OVER, task.manifest.world_size, threads)
    n_items = len(task.items.counts)
    result = collect_value(trained, TrainingResult, n_items * BYTES_OF_ITEM)
    return _with_factors(result, task.items.factor_model)


def _train_program(task: RankTask, shipped: Shipped) -> Iterator[pa.RecordBatch]:
    with warnings.catch_warnings():
        # The shipped arrays are mapped and shared, so torch may only read them.
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        result = train_as_rank(shipped.load(), task.group, task.gpus)
    if task.group.rank == 0:
        yield from hand_over(_with_factors(result, _without_items(result.encoder)))


def _without_items(encoder: Towers) -> FactorModel:
    """The towers' factor model without what the driver has already."""
    model = encoder.factor_model
    return replace(
        model,
        factors=model.factors[:0],
        projection=None,
        scales=model.scales[:0],
        interaction_counts=model.interaction_counts[:0],
    )


def _with_factors(result: TrainingResult, model: FactorModel) -> TrainingResult:
    encoder: Any = result.encoder
    return replace(result, encoder=replace(encoder, factor_model=model))
