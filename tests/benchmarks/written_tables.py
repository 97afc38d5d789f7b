"""Writes the tables that jobs are measured on."""

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.train_factors import write_factors
from m6rec import columns as c
from m6rec.config.models import NeighboursConfig
from m6rec.fits.fit import Fit
from m6rec.lakehouse import Lakehouse
from m6rec.stages.training.factor_trainers import TrainedFactors
from m6rec.stages.training.factors import train_als
from m6rec.stages.training.item_weights import item_weights_to_frame
from m6rec.stages.training.neighbours import train_item_neighbours
from tests.benchmarks.als_objective import long_ratings, mllib_estimator
from tests.benchmarks.measure import Workspace
from tests.benchmarks.spark import open_session
from tests.benchmarks.tables import (
    ALS_RANKS,
    RUN_ID,
    TOP_N_RANK,
    WRITTEN,
    job_config,
    tables_folder,
)

# Lists need a converged model no more than the time to make them depends on it.
_ITERATIONS_OF_LISTED = 2


def write_tables(workspace: Workspace) -> None:
    """What the jobs read: the matrix, both indices, the catalogue, features of no attributes, item
    weights that give reasons, and a model each of ours and MLlib's."""
    spark, dataset = open_session(workspace), workspace.dataset
    folder, config = tables_folder(dataset), job_config(workspace, TOP_N_RANK)
    matrix = dataset.frame(spark).cache()
    for rank in ALS_RANKS:
        _write_matrix(Lakehouse(spark, str(folder), f"als_{rank}"), matrix, dataset.n_items)
    lakehouse = Lakehouse(spark, str(folder), RUN_ID)
    _write_matrix(lakehouse, matrix, dataset.n_items)
    items = _numbers(spark, dataset.n_items, c.ITEM_INDEX, c.ITEM_ID)
    nothing = F.lit(None).cast("string")
    lakehouse.write("catalogue", items.withColumns({"title": nothing, "domain": nothing}))
    users = matrix.select(c.USER_INDEX)
    for table, index in (("item_features", items.select(c.ITEM_INDEX)), ("user_features", users)):
        lakehouse.write(table, _without_attributes(index), fit=c.FINAL)
    weights = train_item_neighbours(matrix, dataset.n_items, NeighboursConfig())
    lakehouse.write("item_neighbours", item_weights_to_frame(spark, weights, "ridge"), fit=c.FINAL)
    settings = config.factors.als.model_copy(update={"iterations": _ITERATIONS_OF_LISTED})
    model = train_als(matrix, dataset.n_items, settings, config.seed, None)
    write_factors(Fit(lakehouse, config, c.FINAL), [TrainedFactors(model)])
    estimator = mllib_estimator(TOP_N_RANK, _ITERATIONS_OF_LISTED, config.seed)
    fitted = estimator.fit(long_ratings(matrix))
    fitted.write().overwrite().save(str(folder / "mllib_als"))
    (folder / WRITTEN).touch()


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
