"""Jobs from Delta tables to Delta tables, ours and MLlib's from the same ones.

Each sample is a process of its own, as a job is, from when its Spark session is up; ours records
itself in table `runs`. On a tiny matrix nothing but the fixed cost is left.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from pyspark.ml.recommendation import ALSModel
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from jobs.recommend import publishable, read_explaining
from jobs.train_factors import write_models
from m6rec import columns as c
from m6rec.config import Config, InteractionsConfig, NeighboursConfig, RecommendConfig, TableSource
from m6rec.fits import item_count, read_blends, read_members
from m6rec.lakehouse import Lakehouse
from m6rec.lineage import Job, run_job
from m6rec.stages.factor_models import project_users
from m6rec.stages.factors import train_als
from m6rec.stages.neighbours import item_weights_to_frame, train_item_neighbours
from tests.benchmarks import als
from tests.benchmarks.dataset import Dataset, generated
from tests.benchmarks.generator import Sizes
from tests.benchmarks.measure import Contender, Measure, Workspace, run_apart, time_of
from tests.benchmarks.spark import STOCK, open_session
from tests.local_properties import SINGLE_JOB

ALS = "als_job_seconds"
TOP_N = "top_n_job_seconds"
START_UP = "start_up_seconds"
ALS_RANKS = (64, 128)
TOP_N_RANK = 64
LISTED = 20
TINY = Sizes(users=500, items=300, interactions=5_000, tastes=4)
RUN_ID = "benchmark"

_WRITTEN = "_WRITTEN"
# Lists need a converged model no more than the time to make them depends on it.
_ITERATIONS_OF_LISTED = 2


def prepare_als_of_m6rec(workspace: Workspace, rank: int) -> Measure:
    """Our ALS: matrix in; item factors, model and user factors out."""

    def job(lakehouse: Lakehouse, config: Config) -> None:
        matrix = lakehouse.read("user_item_matrix", fit=c.FINAL).cache()
        checkpoint = lakehouse.artifact_path("checkpoints", c.FINAL, str(os.getpid()))
        settings, n_items = config.factors.als, item_count(lakehouse)
        model = train_als(matrix, n_items, settings, config.seed, checkpoint)
        write_models(lakehouse, c.FINAL, [model], {model.method: project_users(matrix, model)})

    # In a run of its own: the run that top-N lists are made from keeps its model.
    return _prepare_job(workspace, job_config(workspace, rank), job, f"als_{rank}", SINGLE_JOB)


def prepare_als_of_mllib(workspace: Workspace, rank: int) -> Measure:
    """MLlib's ALS: matrix in; item and user factors out."""
    lakehouse = open_tables(workspace, properties=STOCK)

    def job() -> None:
        ratings = als.long_ratings(lakehouse.read("user_item_matrix", fit=c.FINAL))
        model = als.mllib_estimator(rank, als.ITERATIONS, workspace.seed).fit(ratings)
        _write_delta(model.itemFactors, workspace, "item_factors")
        _write_delta(model.userFactors, workspace, "user_factors")

    return lambda: time_of(job)


def prepare_top_n_of_m6rec(workspace: Workspace, reasons: int | None = None) -> Measure:
    """The published lists of ranker `als`, with the default number of reasons unless given."""
    config = job_config(workspace, TOP_N_RANK)
    wanted = config.recommend.reasons if reasons is None else reasons
    changed = config.recommend.model_copy(update={"reasons": wanted})

    def job(lakehouse: Lakehouse, given: Config) -> None:
        # The run's own configuration must stay as it was.
        list_items(lakehouse, given.model_copy(update={"recommend": changed}))

    return _prepare_job(workspace, config, job, RUN_ID)


def prepare_top_n_of_mllib(workspace: Workspace) -> Measure:
    """`recommendForAllUsers`, an anti-join of seen items, the first 20 of what is left.

    Asked for as many items as are listed and a user has on average, it fills most users' lists.
    """
    lakehouse = open_tables(workspace, properties=STOCK)
    rows = workspace.dataset.rows()
    asked = min(LISTED + -(-rows.entries // len(rows)), workspace.dataset.n_items)

    def job() -> None:
        model = ALSModel.load(str(_folder(workspace.dataset) / "mllib_als"))
        seen = als.long_ratings(lakehouse.read("user_item_matrix", fit=c.FINAL))
        lists = model.recommendForAllUsers(asked)
        pairs = lists.select("user", F.inline("recommendations"))
        unseen = pairs.join(seen.select("user", "item"), ["user", "item"], how="left_anti")
        best = Window.partitionBy("user").orderBy(F.desc("rating"), "item")
        ranked = unseen.withColumn(c.RANK, F.row_number().over(best))
        _write_delta(ranked.where(F.col(c.RANK) <= LISTED), workspace, "recommendations")

    def sample() -> float:
        seconds = time_of(job)
        written = lakehouse.spark.read.format("delta").load(
            str(workspace.scratch / "recommendations")
        )
        workspace.facts["items_asked_for"] = asked
        workspace.facts["listed_items_a_user"] = written.count() / len(rows)
        return seconds

    return sample


def list_items(lakehouse: Lakehouse, config: Config) -> None:
    """The part of job `recommend` that makes the published lists."""
    with ThreadPoolExecutor(1) as beside:
        explaining = beside.submit(read_explaining, lakehouse, config)
        blends = read_blends(lakehouse, config, (config.recommend.ranker,))
        names = tuple(dict.fromkeys(name for blend in blends for name in blend.members))
        members = read_members(lakehouse, config, c.FINAL, names)
        publishable(lakehouse, config, members, blends, explaining.result())


def job_config(workspace: Workspace, rank: int) -> Config:
    """Defaults but for ALS, which has the objective that all share, and the ranker."""
    config = Config(
        interactions=InteractionsConfig(source=TableSource(path="tables are written beforehand")),
        recommend=RecommendConfig(ranker="als", top_n=LISTED),
        lake=str(_folder(workspace.dataset)),
        seed=workspace.seed,
    )
    factors = config.factors.model_copy(update={"als": als.config(rank, als.ITERATIONS)})
    return config.model_copy(update={"factors": factors})


def open_tables(
    workspace: Workspace, run_id: str = RUN_ID, properties: dict[str, str] | None = None
) -> Lakehouse:
    """The tables, written if they are not; then a session that has done nothing yet."""
    folder = _folder(workspace.dataset)
    if not (folder / _WRITTEN).exists():
        run_apart(write_tables, workspace)
    return Lakehouse(open_session(workspace, properties), str(folder), run_id)


def write_tables(workspace: Workspace) -> None:
    """What the jobs read: the matrix, both indices, the catalogue, features of no attributes, item
    weights that give reasons, and a model each of ours and MLlib's."""
    spark, dataset = open_session(workspace), workspace.dataset
    folder, config = _folder(dataset), job_config(workspace, TOP_N_RANK)
    matrix = dataset.frame(spark).cache()
    for rank in ALS_RANKS:
        _write_matrix(Lakehouse(spark, str(folder), f"als_{rank}"), matrix, dataset.n_items)
    lakehouse = Lakehouse(spark, str(folder), RUN_ID)
    _write_matrix(lakehouse, matrix, dataset.n_items)
    items = _numbers(spark, dataset.n_items, c.ITEM_INDEX, c.ITEM_ID)
    lakehouse.write("catalogue", items.withColumn("title", F.lit(None).cast("string")))
    users = matrix.select(c.USER_INDEX)
    for table, index in (("item_features", items.select(c.ITEM_INDEX)), ("user_features", users)):
        lakehouse.write(table, _without_attributes(index), fit=c.FINAL)
    weights = train_item_neighbours(matrix, dataset.n_items, NeighboursConfig())
    lakehouse.write("item_neighbours", item_weights_to_frame(spark, weights, "ridge"), fit=c.FINAL)
    settings = config.factors.als.model_copy(update={"iterations": _ITERATIONS_OF_LISTED})
    model = train_als(matrix, dataset.n_items, settings, config.seed, None)
    write_models(lakehouse, c.FINAL, [model], {})
    estimator = als.mllib_estimator(TOP_N_RANK, _ITERATIONS_OF_LISTED, config.seed)
    fitted = estimator.fit(als.long_ratings(matrix))
    fitted.write().overwrite().save(str(folder / "mllib_als"))
    (folder / _WRITTEN).touch()


def _write_matrix(lakehouse: Lakehouse, matrix: DataFrame, n_items: int) -> None:
    nothing = F.array().cast("array<int>")
    times = F.transform(c.ITEM_INDICES, lambda _: F.lit(None).cast("timestamp"))
    whole = matrix.withColumn(c.TIMES, times).withColumn(c.EXCLUDED_INDICES, nothing)
    lakehouse.write("user_item_matrix", whole, fit=c.FINAL)
    users = matrix.select(c.USER_INDEX, F.col(c.USER_INDEX).cast("string").alias(c.USER_ID))
    lakehouse.append_new("user_index", users, (c.USER_ID,))
    items = _numbers(lakehouse.spark, n_items, c.ITEM_INDEX, c.ITEM_ID)
    lakehouse.append_new("item_index", items, (c.ITEM_ID,))


def _numbers(spark: SparkSession, n: int, index: str, name: str) -> DataFrame:
    frame = spark.range(0, n, 1, 1).withColumnRenamed("id", index)
    return frame.withColumn(name, F.col(index).cast("string"))


def _without_attributes(index: DataFrame) -> DataFrame:
    types = {
        c.FEATURES: "array<float>",
        c.CONTENT: "array<float>",
        c.ATTRIBUTES: "array<string>",
        c.TERM_INDICES: "array<int>",
        c.TERM_WEIGHTS: "array<float>",
    }
    nothing = [F.array().cast(kind).alias(name) for name, kind in types.items()]
    return index.select("*", *nothing)


def _prepare_job(
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


def _write_delta(frame: DataFrame, workspace: Workspace, name: str) -> None:
    frame.write.format("delta").mode("overwrite").save(str(workspace.scratch / name))


def _folder(dataset: Dataset) -> Path:
    return dataset.folder / "lake"


def contenders(folder: Path, seed: int) -> list[Contender]:
    """All."""
    job = partial(Contender, fresh=True)
    start_up = partial(job, START_UP, dataset=partial(generated, TINY, seed, folder / "tiny"))
    found = []
    for rank in ALS_RANKS:
        ours, theirs = _als_programs(rank)
        found += [job(ALS, str(rank), "m6rec", ours), job(ALS, str(rank), "mllib", theirs)]
    ours, theirs = _als_programs(ALS_RANKS[0])
    return found + [
        job(TOP_N, "default", "m6rec", prepare_top_n_of_m6rec),
        job(TOP_N, "default", "mllib", prepare_top_n_of_mllib),
        job(TOP_N, "no_reasons", "m6rec", partial(prepare_top_n_of_m6rec, reasons=0)),
        start_up("als_job", "m6rec", ours),
        start_up("als_job", "mllib", theirs),
        start_up("top_n_job", "m6rec", prepare_top_n_of_m6rec),
        start_up("top_n_job", "mllib", prepare_top_n_of_mllib),
    ]


def _als_programs(
    rank: int,
) -> tuple[Callable[[Workspace], Measure], Callable[[Workspace], Measure]]:
    return partial(prepare_als_of_m6rec, rank=rank), partial(prepare_als_of_mllib, rank=rank)
