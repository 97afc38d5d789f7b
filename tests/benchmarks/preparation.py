"""Job `prepare_interactions` on the interactions of a matrix, and what it shuffles."""

import json
from collections.abc import Callable
from pathlib import Path

from pyspark.sql import functions as F

from jobs.prepare_interactions import run as prepare_interactions
from m6rec import columns as c
from m6rec.command_line import new_run_id, open_lakehouse
from m6rec.config.base import TableSource
from m6rec.config.data import InteractionsConfig
from m6rec.config.run import Config
from tests.benchmarks.measure import Workspace
from tests.benchmarks.spark import open_session

# Users of a run that has only its fixed cost.
FEW = 100
_ALL = "all"


def runner(workspace: Workspace) -> Callable[..., None]:
    """A function that runs the job on all users, or on as many as it is given; warmed up."""
    spark = open_session(
        workspace,
        {
            "spark.eventLog.enabled": "true",
            "spark.eventLog.compress": "false",
            "spark.eventLog.dir": f"file:{_events(workspace)}",
        },
    )
    matrix = workspace.dataset.frame(spark)

    def source(users: int | None) -> Path:
        path = workspace.dataset.folder / "interactions" / str(users or _ALL)
        if not (path / "_SUCCESS").exists():
            rows = matrix if users is None else matrix.where(F.col(c.USER_INDEX) < users)
            pairs = rows.select(
                F.col(c.USER_INDEX).alias(c.USER_ID), F.explode(c.ITEM_INDICES).alias(c.ITEM_ID)
            )
            pairs.write.mode("overwrite").parquet(str(path))
        return path

    def run(users: int | None = None) -> None:
        table = TableSource(path=str(source(users)), format="parquet")
        config = Config(
            interactions=InteractionsConfig(source=table), lake=str(workspace.scratch / "lake")
        )
        prepare_interactions(open_lakehouse(spark, config, new_run_id()), config)

    source(None)
    run(FEW)
    return run


def shuffled_bytes(workspace: Workspace, run: Callable[[], None]) -> int:
    """What Spark's event log says that a run has written to shuffles."""
    before = _written(workspace)
    run()
    return _written(workspace) - before


def _written(workspace: Workspace) -> int:
    total = 0
    for file in sorted(path for path in _events(workspace).rglob("*") if path.is_file()):
        for line in file.read_text().splitlines():
            if '"SparkListenerTaskEnd"' in line:
                metrics = json.loads(line).get("Task Metrics") or {}
                total += metrics["Shuffle Write Metrics"]["Shuffle Bytes Written"]
    return total


def _events(workspace: Workspace) -> Path:
    folder = workspace.scratch / "events"
    folder.mkdir(parents=True, exist_ok=True)
    return folder.absolute()
