"""Factor models as rows of tables and as arrays of the executors, and the users' side of them."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import types as T

from m6rec import columns as c
from m6rec.errors import DataError
from m6rec.kernels.projection import FactorMethod, FactorModel, build_factor_model, project
from m6rec.kernels.rows import Int64
from m6rec.stages.arrow_rows import (
    ROW_COLUMNS,
    list_array_from_matrix,
    matrix_column,
    rows_from_batch,
)
from m6rec.stages.item_side import ShippedArrays, ship_arrays

USER_FACTOR_SCHEMA = T.StructType(
    [
        T.StructField(c.USER_INDEX, T.LongType(), False),
        T.StructField(c.FACTOR, T.ArrayType(T.FloatType(), False), False),
    ]
)
MODEL_SCHEMA = T.StructType(
    [
        T.StructField(c.METHOD, T.StringType(), False),
        T.StructField(c.ITEM_INDEX, T.LongType(), False),
        T.StructField(c.FACTOR, T.ArrayType(T.FloatType(), False), False),
        T.StructField(c.PROJECTION, T.ArrayType(T.FloatType(), False), True),
        T.StructField(c.SCALE, T.FloatType(), False),
    ]
)


def project_users(matrix: DataFrame, model: FactorModel) -> DataFrame:
    """Each user's factor: user_index, factor array<float>; zeros for users without history."""
    shipped = ship_model(matrix.sparkSession, model)
    task = partial(_project_batches, shipped=shipped)
    return matrix.select(*ROW_COLUMNS).mapInArrow(task, USER_FACTOR_SCHEMA)


class ShippedModel:
    """A factor model whose arrays every executor can map; pickles to some hundred bytes."""

    def __init__(
        self, method: FactorMethod, parameters: dict[str, float], arrays: ShippedArrays
    ) -> None:
        self._method = method
        self._parameters = parameters
        self._arrays = arrays

    def load(self) -> FactorModel:
        """The model over mapped arrays, for use on the driver or an executor."""
        arrays = self._arrays.load()
        return FactorModel(
            self._method,
            arrays["factors"],
            arrays.get("projection"),
            arrays["scales"],
            self._parameters,
            arrays["interaction_counts"],
            arrays.get("scaled_gram"),
        )


def ship_model(spark: SparkSession, model: FactorModel) -> ShippedModel:
    """Send a factor model's arrays to all executors, once each."""
    arrays: dict[str, npt.NDArray[np.generic]] = {
        "factors": model.factors,
        "scales": model.scales,
        "interaction_counts": model.interaction_counts,
    }
    if model.projection is not None:
        arrays["projection"] = model.projection
    if model.scaled_gram is not None:
        arrays["scaled_gram"] = model.scaled_gram
    return ShippedModel(model.method, model.parameters, ship_arrays(spark, arrays))


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


def _project_batches(
    batches: Iterator[pa.RecordBatch], shipped: ShippedModel
) -> Iterator[pa.RecordBatch]:
    model = shipped.load()
    for batch in batches:
        rows = rows_from_batch(batch)
        factors = list_array_from_matrix(project(model, rows))
        yield pa.RecordBatch.from_arrays(
            [pa.array(rows.user_index), factors], names=USER_FACTOR_SCHEMA.names
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
