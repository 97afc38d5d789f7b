"""Tables that jobs are measured on, ours and MLlib's on the same ones; written once a matrix.

Imports no torch: a job of ours that uses none starts faster without.
"""

import os
from collections.abc import Callable
from pathlib import Path

from pyspark.sql import DataFrame

from m6rec.config.base import TableSource
from m6rec.config.data import InteractionsConfig
from m6rec.config.outputs import EvaluateConfig, RecommendConfig
from m6rec.config.run import Config
from m6rec.job_records import JobRecord
from m6rec.lakehouse import Lakehouse
from m6rec.runs import Job, run_job
from m6rec.startup.jvm import compiler_options
from tests.benchmarks.als_objective import ITERATIONS, als_config
from tests.benchmarks.dataset import Dataset
from tests.benchmarks.measure import Measure, Workspace, run_apart, time_of
from tests.benchmarks.spark import open_session
from tests.local_properties import with_java_options

RUN_ID = "benchmark"
ALS_RANKS = (64, 128)
TOP_N_RANK = 64
LISTED = 20
WRITTEN = "_WRITTEN"


def job_config(workspace: Workspace, rank: int) -> Config:
    """Defaults but for ALS, which has the objective that all share, and the one ranker."""
    config = Config(
        interactions=InteractionsConfig(source=TableSource(path="tables are written beforehand")),
        evaluate=EvaluateConfig(rankers=("als",)),
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
    ensure_written(workspace)
    folder = str(tables_folder(workspace.dataset))
    return Lakehouse(open_session(workspace, properties), folder, run_id)


def ensure_written(workspace: Workspace) -> None:
    """Write the tables of the workspace's matrix, if that has not been done."""
    if not (tables_folder(workspace.dataset) / WRITTEN).exists():
        run_apart("tests.benchmarks.written_tables", "write_tables", workspace)


def prepare_job(
    workspace: Workspace,
    config: Config,
    name: str,
    run: Callable[[Lakehouse, Config], None],
    run_id: str = RUN_ID,
) -> Measure:
    """Measures `run`, which is what the named job does, in a JVM with that job's options."""
    ensure_written(workspace)
    properties = with_java_options(compiler_options(name, config))
    lakehouse = open_tables(workspace, run_id, properties)
    # A job that has finished is not run again under its name.
    job = Job(JobRecord(f"{workspace.case}_{os.getpid()}"), run)
    return lambda: time_of(lambda: run_job(lakehouse, config, job))


def write_delta(frame: DataFrame, workspace: Workspace, name: str) -> None:
    """Write a Delta table that only the workspace has."""
    frame.write.format("delta").mode("overwrite").save(str(workspace.scratch / name))


def tables_folder(dataset: Dataset) -> Path:
    """Where the tables of a matrix lie."""
    return dataset.folder / "lake"
