"""Factor models as rows of table `item_factors`, and back."""

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import types as T

from m6rec import columns as c
from m6rec.errors import DataError
from m6rec.kernels.arrays.rows import Int64
from m6rec.kernels.factors.projection import FactorModel, build_factor_model
from m6rec.spark.arrow_rows import list_array_from_matrix, matrix_column

MODEL_SCHEMA = T.StructType(
    [
        T.StructField(c.METHOD, T.StringType(), False),
        T.StructField(c.ITEM_INDEX, T.LongType(), False),
        T.StructField(c.FACTOR, T.ArrayType(T.FloatType(), False), False),
        T.StructField(c.PROJECTION, T.ArrayType(T.FloatType(), False), True),
        T.StructField(c.SCALE, T.FloatType(), False),
    ]
)


def model_to_frame(spark: SparkSession, model: FactorModel) -> DataFrame:
    """The item side of a model: method, item_index, factor, projection, scale."""
    table = pa.table(
        {
            c.METHOD: pa.array([model.method] * model.n_items),
            c.ITEM_INDEX: np.arange(model.n_items, dtype=np.int64),
            c.FACTOR: list_array_from_matrix(model.factors),
            c.PROJECTION: (
                pa.nulls(model.n_items, pa.list_(pa.float32()))
                if model.projection is None
                else list_array_from_matrix(model.projection)
            ),
            c.SCALE: model.scales,
        }
    )
    return spark.createDataFrame(table, MODEL_SCHEMA).coalesce(1)


def model_from_frame(
    frame: DataFrame, parameters: dict[str, float], interaction_counts: Int64
) -> FactorModel:
    """The model of the rows that `model_to_frame` gave, of one method and fit.

    Args:
        frame: method, item_index, factor, projection, scale, in any order.
        parameters: the model's, as they were (JSON keeps them exactly).
        interaction_counts: int64 [M].

    Raises:
        DataError: rows are missing or double, or of more than one method.
    """
    table = _collect_table(frame.select(*MODEL_SCHEMA.names), len(interaction_counts))
    methods = table.column(c.METHOD).unique().to_pylist()
    if len(methods) != 1:
        raise DataError(f"item factors of the methods {methods} in one frame; filter one method")
    batch = _single_batch(table)
    scales = batch.column(c.SCALE).to_numpy(zero_copy_only=False)
    linear = batch.column(c.PROJECTION).null_count == 0
    return build_factor_model(
        methods[0],
        matrix_column(batch, c.FACTOR),
        matrix_column(batch, c.PROJECTION) if linear else None,
        scales,
        parameters,
        interaction_counts,
    )


def _collect_table(frame: DataFrame, n_items: int) -> pa.Table:
    """Rows by ascending item_index, checked to be the items 0, 1, ... each once."""
    table = frame.toArrow().sort_by(c.ITEM_INDEX)
    found = table.column(c.ITEM_INDEX).to_numpy()
    if not np.array_equal(found, np.arange(n_items)):
        raise DataError(
            f"{len(found)} rows of item factors, expected one for each item index from 0 to"
            f" {n_items - 1}; read the rows of one run, fit and method"
        )
    return table


def _single_batch(table: pa.Table) -> pa.RecordBatch:
    arrays = [column.combine_chunks() for column in table.columns]
    whole = [pa.concat_arrays(a.chunks) if isinstance(a, pa.ChunkedArray) else a for a in arrays]
    return pa.RecordBatch.from_arrays(whole, names=table.column_names)
