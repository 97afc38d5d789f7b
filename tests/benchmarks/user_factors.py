"""User factors as a table, which MLlib's ALS writes and ours does not need."""

from collections.abc import Iterator
from functools import partial

import pyarrow as pa
from pyspark.sql import DataFrame

from m6rec import columns as c
from m6rec.kernels.factors.projection import FactorModel, project
from m6rec.spark.arrow_rows import ROW_COLUMNS, list_array_from_matrix, rows_from_batch
from m6rec.spark.shipping import Shipped, ship


def project_users(matrix: DataFrame, model: FactorModel) -> DataFrame:
    """Each user's factor: user_index, factor array<float>; zeros for users without history."""
    task = partial(_project_batches, shipped=ship(matrix.sparkSession, model))
    schema = f"{c.USER_INDEX} long, {c.FACTOR} array<float>"
    return matrix.select(*ROW_COLUMNS).mapInArrow(task, schema)


def _project_batches(
    batches: Iterator[pa.RecordBatch], shipped: Shipped
) -> Iterator[pa.RecordBatch]:
    model: FactorModel = shipped.load()
    for batch in batches:
        rows = rows_from_batch(batch)
        factors = list_array_from_matrix(project(model, rows))
        yield pa.RecordBatch.from_arrays(
            [pa.array(rows.user_index), factors], names=[c.USER_INDEX, c.FACTOR]
        )
