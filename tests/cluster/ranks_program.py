"""What the tests of ranks run on a cluster, as a driver with little memory and small results.

    python -m tests.cluster.ranks_program MASTER FOLDER

Leaves found.json in the folder.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.config.models import AlsConfig, SvdConfig
from m6rec.kernels.arrays.communicator import Communicator
from m6rec.kernels.arrays.rows import Rows
from m6rec.kernels.factors.projection import FactorModel
from m6rec.kernels.ranking.blending import Blend
from m6rec.kernels.ranking.members import DotMember, FactorEncoder
from m6rec.spark.arrow_rows import list_array
from m6rec.spark.barrier import RankTask, check_barrier, run_program, run_ranks
from m6rec.spark.collecting import BYTES_OF_ITEM, bytes_at_once, collected_batches
from m6rec.spark.runtimes import arrow_table
from m6rec.spark.session import get_session
from m6rec.stages.ranking.lists import make_scoring, rank, user_inputs
from m6rec.stages.training.factor_models import MODEL_SCHEMA, model_from_batches, model_to_frame
from m6rec.stages.training.factors import train_als, train_svd
from m6rec.stages.training.tower_ranks import ranks_of, train_on_ranks
from m6rec.stages.training.tower_rows import write_tower_rows
from m6rec.towers.loop import TrainingResult
from tests.benchmarks.user_factors import project_users
from tests.cluster.kills import KillingValidation, Victim
from tests.process_runs import CLUSTER_PROPERTIES, REPOSITORY
from tests.towers.coloured import coloured_task

RESULTS = 8 << 20
USERS, ITEMS, HISTORY, RANK = 500_000, 64_000, 10, 32
BLOCKS = 16
LISTED_SHARE = 50
# Validation is called before the first epoch as well; the call after a kill repeats its epoch.
VICTIMS: dict[int, Victim] = {2: "worker", 4: "executor"}
PROPERTIES = CLUSTER_PROPERTIES | {
    "spark.driver.memory": "1g",
    "spark.driver.maxResultSize": str(RESULTS),
    "spark.dynamicAllocation.enabled": "false",
    "spark.executor.cores": "1",
    "spark.cores.max": "2",
    "spark.executor.resource.gpu.amount": "1",
    "spark.task.resource.gpu.amount": "1",
    "spark.executorEnv.PYTHONPATH": f"{REPOSITORY / 'lib'}:{REPOSITORY}",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.sql.execution.arrow.maxRecordsPerBatch": "4096",
    "spark.sql.session.timeZone": "UTC",
    "spark.ui.enabled": "false",
    "spark.log.level": "ERROR",
}


def towers(spark: SparkSession, folder: Path) -> dict[str, Any]:
    """Train on two ranks, undisturbed and with two kills; what both came to."""
    ranks = ranks_of(spark, "auto")
    assert ranks is not None
    task = coloured_task(_new(folder / "rows"), world_size=ranks)
    # No machine of the cluster has the GPU that Spark believes in.
    task = replace(task, config=task.config.model_copy(update={"device": "cpu"}))
    calls = _new(folder / "calls")
    killing = KillingValidation(task.validate, str(calls), VICTIMS)
    disturbed = train_on_ranks(
        spark, replace(task, validate=killing, checkpoint_folder=str(folder / "checkpoint"))
    )
    undisturbed = train_on_ranks(spark, task)
    return {
        "ranks": ranks,
        "gpus": [row["gpus"] for row in run_ranks(spark, _gpus, "gpus array<string>").collect()],
        "calls": len(list(calls.iterdir())),
        "epochs": task.config.epochs,
        "disturbed": _course(disturbed),
        "undisturbed": _course(undisturbed),
        "equal_weights": all(
            np.array_equal(weights, disturbed.encoder.weights[name])
            for name, weights in undisturbed.encoder.weights.items()
        ),
    }


def _gpus(task: RankTask) -> Iterator[pa.RecordBatch]:
    yield pa.RecordBatch.from_pydict({"gpus": [list(task.gpus)]})


def _course(result: TrainingResult) -> list[list[float | None]]:
    return [[record.loss, record.validation_ndcg] for record in result.history]


def restarts(spark: SparkSession, folder: Path) -> dict[str, Any]:
    """A matrix program whose rank 1 dies once; how many users the ranks count together."""
    matrix = spark.range(0, 500, 1, 4).select(
        F.col("id").alias(c.USER_INDEX),
        F.array(F.lit(1)).alias(c.ITEM_INDICES),
        F.array(F.lit(1.0).cast("float")).alias(c.WEIGHTS),
    )
    program = partial(_count_users, killed=str(folder / "killed"))
    found = run_program(matrix, program, "rank int, users long").orderBy("rank").collect()
    return {"died": (folder / "killed").exists(), "counted": [list(row) for row in found]}


def _count_users(rows: Rows, communicator: Communicator, killed: str) -> Iterator[pa.RecordBatch]:
    if communicator.rank == 1 and not Path(killed).exists():
        Path(killed).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    users = np.array([len(rows)])
    communicator.all_reduce(users)
    yield pa.RecordBatch.from_pydict(
        {"rank": pa.array([communicator.rank], pa.int32()), "users": users}
    )


def large_matrix(spark: SparkSession) -> DataFrame:
    """A user-item matrix that the executors make."""
    numbers = spark.range(0, BLOCKS, 1, BLOCKS)
    schema = f"{c.USER_INDEX} long, {c.ITEM_INDICES} array<int>, {c.WEIGHTS} array<float>"
    rows = numbers.mapInArrow(_matrix_partition, schema)
    return rows.withColumns(
        {
            c.TIMES: F.transform(c.ITEM_INDICES, lambda _: F.lit(None).cast("timestamp")),
            c.EXCLUDED_INDICES: F.array().cast("array<int>"),
        }
    )


def _matrix_partition(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Histories of one item in each of HISTORY ranges of items, more often near a range's start."""
    width = ITEMS // HISTORY
    for batch in batches:
        for block in batch.column("id").to_pylist():
            users = np.arange(USERS * block // BLOCKS, USERS * (block + 1) // BLOCKS)
            drawn = np.random.default_rng(block).random((len(users), HISTORY)) ** 2 * width
            items = drawn.astype(np.int32) + np.arange(HISTORY, dtype=np.int32) * width
            indptr = np.arange(len(users) + 1, dtype=np.int64) * HISTORY
            for low in range(0, len(users), 4096):
                high = min(low + 4096, len(users))
                part = indptr[low : high + 1] - indptr[low]
                yield pa.RecordBatch.from_arrays(
                    [
                        pa.array(users[low:high]),
                        list_array(part, items[low:high].reshape(-1)),
                        list_array(part, np.ones((high - low) * HISTORY, np.float32)),
                    ],
                    names=[c.USER_INDEX, c.ITEM_INDICES, c.WEIGHTS],
                )


def walls(spark: SparkSession, folder: Path) -> dict[str, Any]:
    """The matrix programs and what follows from them, on a matrix that the driver cannot hold."""
    matrix_folder = str(folder / "matrix")
    large_matrix(spark).write.parquet(matrix_folder)
    matrix = spark.read.parquet(matrix_folder)
    als = timed(lambda: train_als(matrix, ITEMS, AlsConfig(rank=RANK, iterations=1), 1, None))
    svd = timed(lambda: train_svd(matrix, ITEMS, SvdConfig(rank=RANK, oversampling=8), 1))
    model = als["value"]
    again = through_the_table(spark, model, folder)
    project_users(matrix, model).write.parquet(str(folder / "user_factors"))
    listed = list_some(matrix, again, folder)
    rows = write_tower_rows(matrix, None, str(folder / "tower_rows"), 2, 8, 50, 1)
    return {
        "collected_matrix": refusal(matrix),
        "bytes_at_once": bytes_at_once(spark),
        "item_bytes": model.factors.nbytes,
        "als_seconds": als["seconds"],
        "svd_seconds": svd["seconds"],
        "svd_shape": list(svd["value"].factors.shape),
        "factors_came_whole": bool(np.isfinite(model.factors).all() and model.factors.any()),
        "table_equals_model": bool(np.array_equal(again.factors, model.factors)),
        "interactions": int(model.interaction_counts.sum()),
        "user_factors": size_of(spark.read.parquet(str(folder / "user_factors")), c.FACTOR),
        "lists": size_of(listed, c.ITEM_INDICES),
        "tower_rows": sum(rows.rows),
    }


def through_the_table(spark: SparkSession, model: FactorModel, folder: Path) -> FactorModel:
    """The model as its table gives it back."""
    table = str(folder / "item_factors")
    model_to_frame(spark, model).write.parquet(table)
    parameters = dict(model.parameters)
    rows = spark.read.parquet(table).select(*MODEL_SCHEMA.names)
    batches = collected_batches(rows, model.n_items * BYTES_OF_ITEM)
    return model_from_batches(batches, parameters, model.interaction_counts)


def list_some(matrix: DataFrame, model: FactorModel, folder: Path) -> DataFrame:
    """Lists of one user in LISTED_SHARE, written by the executors."""
    member = DotMember("als", FactorEncoder(model), model.scored_factors)
    blend = Blend("als", ("als",), (1.0,), (1.0,))
    nothing = np.zeros(model.n_items, np.bool_)
    scoring = make_scoring(
        {"als": member}, (blend,), model.interaction_counts, nothing, mask_seen=True, n=20
    )
    chosen = matrix.where(F.col(c.USER_INDEX) % LISTED_SHARE == 0)
    rank(user_inputs(chosen, None, {}, None), scoring).frame().write.parquet(str(folder / "lists"))
    return matrix.sparkSession.read.parquet(str(folder / "lists"))


def size_of(frame: DataFrame, column: str) -> dict[str, int]:
    """How many rows a table has, and how many values their lists."""
    [found] = frame.agg(F.count("*"), F.sum(F.size(column))).collect()
    return {"rows": int(found[0]), "values": int(found[1])}


def refusal(frame: DataFrame) -> str:
    """What Spark says where the driver asks for all rows at once."""
    try:
        arrow_table(frame)
    except (PySparkException, Py4JJavaError) as error:
        return str(error)
    return ""


def timed(work: Callable[[], Any]) -> dict[str, Any]:
    """What it gives, and the seconds that it took."""
    start = time.perf_counter()
    value = work()
    return {"value": value, "seconds": time.perf_counter() - start}


def _new(folder: Path) -> Path:
    folder.mkdir()
    return folder


PARTS = {"restarts": restarts, "towers": towers, "walls": walls}


def main(master: str, folder: Path, parts: tuple[str, ...] = tuple(PARTS)) -> None:
    """Run the parts, one after the other."""
    spark = get_session("ranks", PROPERTIES, master=master)
    assert check_barrier(spark) == 2, "both executors are waited for"
    found: dict[str, Any] = {}
    for name in parts:
        outcome = timed(partial(PARTS[name], spark, _new(folder / name)))
        found[name] = outcome["value"] | {"seconds": outcome["seconds"]}
        print(name, found[name], flush=True)
    (folder / "found.json").write_text(json.dumps(found, indent=1))
    spark.stop()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), tuple(sys.argv[3:]) or tuple(PARTS))
