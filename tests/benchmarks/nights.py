"""A night from the owner's table to published lists: ours, the whole pipeline's, and MLlib's.

Each sample is a process of its own, from when its Spark session is up. Of ours, the first night is
made before the clock starts: by the pipeline for the hybrid, and for ALS with the settings that all
contenders share. `mllib` fits, recommends and writes; it neither cleans the table nor masks what
users have, explains, guards or publishes.
"""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.config.base import TableSource
from m6rec.config.data import InteractionsConfig, SplitConfig
from m6rec.config.outputs import RecommendConfig
from m6rec.config.run import Config
from m6rec.lakehouse import Lakehouse
from m6rec.startup.jvm import compiler_options
from tests.benchmarks.als_objective import ITERATIONS, als_config, mllib_estimator
from tests.benchmarks.measure import Contender, Measure, Workspace, time_of
from tests.benchmarks.spark import STOCK, open_session
from tests.benchmarks.tables import LISTED, write_delta
from tests.local_properties import with_java_options

KEY = "nightly_seconds"
_CASE = "default"
_RANK = 64
_FIRST, _MADE = "first", "_MADE"

FirstNight = Callable[[Lakehouse, Config], None]


def contenders() -> list[Contender]:
    """All; the pipeline comes first, for the hybrid's night goes on from what it has published."""
    job = partial(Contender, KEY, _CASE, fresh=True)
    return [
        job("pipeline", _prepare_pipeline),
        job("m6rec", partial(_prepare_night, ranker="hybrid", first=_by_pipeline)),
        job("m6rec_als", partial(_prepare_night, ranker="als", first=_by_hand)),
        job("mllib", _prepare_mllib),
    ]


def _prepare_pipeline(workspace: Workspace) -> Measure:
    lake = workspace.dataset.folder / "nights" / "hybrid"
    spark, config = _session(workspace, "pipeline", lake, "hybrid")
    run_id = _new_id() if (lake / _MADE).exists() else _FIRST

    def sample() -> float:
        lakehouse = Lakehouse(spark, config.lake, run_id)
        seconds = time_of(lambda: _by_pipeline(lakehouse, config))
        (lake / _MADE).touch()
        return seconds

    return sample


def _prepare_night(workspace: Workspace, ranker: str, first: FirstNight) -> Measure:
    lake = workspace.dataset.folder / "nights" / ranker
    spark, config = _session(workspace, "nightly", lake, ranker)
    if not (lake / _MADE).exists():
        first(Lakehouse(spark, config.lake, _FIRST), config)
        (lake / _MADE).touch()

    def sample() -> float:
        from jobs.nightly import run_nightly  # noqa: PLC0415 - torch, for ours alone

        output = workspace.scratch / "output"
        return time_of(lambda: run_nightly(spark, config, _new_id(), output))

    return sample


def _prepare_mllib(workspace: Workspace) -> Measure:
    spark, config = _session(workspace, None, workspace.scratch / "lake", "als")

    def job() -> None:
        source = spark.read.format("delta").load(str(config.interactions.source.path))
        ratings = source.select(
            F.col(c.USER_ID).cast("int").alias("user"),
            F.col(c.ITEM_ID).cast("int").alias("item"),
            F.lit(1.0).alias("rating"),
        )
        model = mllib_estimator(_RANK, ITERATIONS, workspace.seed).fit(ratings)
        write_delta(model.recommendForAllUsers(LISTED), workspace, "recommendations")

    return lambda: time_of(job)


def _by_pipeline(lakehouse: Lakehouse, config: Config) -> None:
    from jobs.pipeline import run_pipeline  # noqa: PLC0415 - torch, for ours alone

    run_pipeline(lakehouse.spark, config, lakehouse.run_id, Path(config.lake) / "output")


def _by_hand(lakehouse: Lakehouse, config: Config) -> None:
    from tests.first_night import publish_first_night  # noqa: PLC0415 - as above

    publish_first_night(lakehouse, config)


def _session(
    workspace: Workspace, job: str | None, lake: Path, ranker: str
) -> tuple[SparkSession, Config]:
    """A session with a job's options, or as Spark has them, and the configuration of its lake."""
    table = workspace.dataset.folder / "nights" / "interactions"
    config = Config(
        interactions=InteractionsConfig(source=TableSource(path=str(table), format="delta")),
        split=SplitConfig(strategy="none"),
        recommend=RecommendConfig(ranker=ranker, top_n=LISTED),
        lake=str(lake),
        seed=workspace.seed,
    )
    if ranker == "als":
        factors = config.factors.model_copy(update={"als": als_config(_RANK, ITERATIONS)})
        config = config.model_copy(update={"factors": factors})
    lake.mkdir(parents=True, exist_ok=True)
    own = STOCK if job is None else with_java_options(compiler_options(job, config))
    spark = open_session(workspace, own)
    if not table.exists():
        _pairs(workspace.dataset.frame(spark)).write.format("delta").save(str(table))
    return spark, config


def _pairs(matrix: DataFrame) -> DataFrame:
    """The owner's table: a row for each pair of the matrix."""
    return matrix.select(
        F.col(c.USER_INDEX).alias(c.USER_ID), F.explode(c.ITEM_INDICES).alias(c.ITEM_ID)
    )


def _new_id() -> str:
    return f"night-{os.getpid()}"
