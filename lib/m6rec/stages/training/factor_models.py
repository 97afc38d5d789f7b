"""Convert factor models to rows of table `item_factors` and back."""

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import types as T

from m6rec import columns as c
from m6rec.errors import DataError
from m6rec.kernels.arrays.rows import Float32, Int64
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
    """The model whose rows `model_to_frame` has made; all must be of one method and one fit.

    Args:
        frame: method, item_index, factor, projection, scale; the rows in any order.
        parameters: the model's parameters; JSON has kept them exactly.
        interaction_counts: int64 [M].

    Raises:
        DataError: an item's row is missing or stands twice, or there are several methods.
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


def factors_from_frame(frame: DataFrame, n_items: int) -> Float32:
    """float32 [M, k]: the factors of a model's rows alone; as in `model_from_frame`."""
    table = _collect_table(frame.select(c.ITEM_INDEX, c.FACTOR), n_items)
    return matrix_column(_single_batch(table), c.FACTOR)


def _collect_table(frame: DataFrame, n_items: int) -> pa.Table:
    """The rows by ascending item_index, after a check that each item from 0 has exactly one."""
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
