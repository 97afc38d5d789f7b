"""Tables that jobs are measured on, ours and MLlib's on the same ones; written once a matrix.

Imports no torch: a job of ours that uses none starts faster without.
"""

import os
from pathlib import Path

from pyspark.sql import DataFrame

from m6rec.config import Config, InteractionsConfig, RecommendConfig, TableSource
from m6rec.lakehouse import Lakehouse
from m6rec.lineage import Job, run_job
from tests.benchmarks.als_objective import ITERATIONS, als_config
from tests.benchmarks.dataset import Dataset
from tests.benchmarks.measure import Measure, Workspace, run_apart, time_of
from tests.benchmarks.spark import open_session

RUN_ID = "benchmark"
ALS_RANKS = (64, 128)
TOP_N_RANK = 64
LISTED = 20
WRITTEN = "_WRITTEN"


def job_config(workspace: Workspace, rank: int) -> Config:
    """Defaults but for ALS, which has the objective that all share, and the ranker."""
    config = Config(
        interactions=InteractionsConfig(source=TableSource(path="tables are written beforehand")),
        recommend=RecommendConfig(ranker="als", top_n=LISTED),
        lake=str(tables_folder(workspace.dataset)),
        seed=workspace.seed,
    )
    factors = config.factors.model_copy(update={"als": als_config(rank, ITERATIONS)})
    return config.model_copy(update={"factors": factors})


def open_tables(
    workspace: Workspace, run_id: str = RUN_ID, properties: dict[str, str] | None = None
) -> Lakehouse:
    """The tables, written if they are not; then a session that has done nothing yet."""
    folder = tables_folder(workspace.dataset)
    if not (folder / WRITTEN).exists():
        run_apart("tests.benchmarks.written_tables", "write_tables", workspace)
    return Lakehouse(open_session(workspace, properties), str(folder), run_id)


def prepare_job(
    workspace: Workspace,
    config: Config,
    job: Job,
    run_id: str,
    properties: dict[str, str] | None = None,
) -> Measure:
    lakehouse = open_tables(workspace, run_id, properties)
    # A job that has finished is not run again under its name.
    name = f"{workspace.case}_{os.getpid()}"
    return lambda: time_of(lambda: run_job(lakehouse, config, name, job))


def write_delta(frame: DataFrame, workspace: Workspace, name: str) -> None:
    frame.write.format("delta").mode("overwrite").save(str(workspace.scratch / name))


def tables_folder(dataset: Dataset) -> Path:
    return dataset.folder / "lake"
