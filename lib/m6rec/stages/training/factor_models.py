"""Convert factor models to rows of table `item_factors` and back."""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import types as T

from m6rec import columns as c
from m6rec.errors import DataError
from m6rec.kernels.arrays.rows import Float32, Int64
from m6rec.kernels.factors.projection import FactorModel, build_factor_model, ready_to_ship
from m6rec.spark.arrow_rows import list_array_from_matrix
from m6rec.spark.item_matrices import ItemMatrix, item_rows
from m6rec.spark.made_rows import made_rows

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
    numbers = model.n_items * model.factors.shape[1] * (1 if model.projection is None else 2)
    return made_rows(spark, model, rows_of_model, MODEL_SCHEMA, model.n_items, numbers)


def rows_of_model(model: FactorModel, start: int, stop: int) -> pa.RecordBatch:
    """The rows of the items from start up to stop."""
    items = stop - start
    projection = (
        pa.nulls(items, pa.list_(pa.float32()))
        if model.projection is None
        else list_array_from_matrix(model.projection[start:stop])
    )
    return pa.RecordBatch.from_arrays(
        [
            pa.array([model.method] * items, pa.string()),
            pa.array(np.arange(start, stop, dtype=np.int64)),
            list_array_from_matrix(model.factors[start:stop]),
            projection,
            pa.array(model.scales[start:stop]),
        ],
        names=MODEL_SCHEMA.names,
    )


def model_from_batches(
    batches: Iterable[pa.RecordBatch], parameters: dict[str, float], interaction_counts: Int64
) -> FactorModel:
    """The model whose rows `model_to_frame` has made; all must be of one method and one fit.

    Args:
        batches: method, item_index, factor, projection, scale; the rows in any order.
        parameters: the model's parameters; JSON has kept them exactly.
        interaction_counts: int64 [M].

    Raises:
        DataError: an item's row is missing or stands twice, or there are several methods.
    """
    n_items = len(interaction_counts)
    methods, linear = set[str](), True
    factors, projection = ItemMatrix(n_items), ItemMatrix(n_items)
    scales = np.zeros(n_items, np.float32)
    for batch in batches:
        methods.update(batch.column(c.METHOD).unique().to_pylist())
        factors.place(batch, c.FACTOR)
        items, of_items = (batch.column(name).to_numpy() for name in (c.ITEM_INDEX, c.SCALE))
        scales[items] = of_items
        linear = linear and batch.column(c.PROJECTION).null_count == 0
        if linear:
            projection.place(batch, c.PROJECTION)
    if len(methods) != 1:
        raise DataError(
            f"item factors of the methods {sorted(methods)} are read as one model; filter one"
        )
    model = build_factor_model(
        methods.pop(),
        _whole(factors),
        _whole(projection) if linear else None,
        scales,
        parameters,
        interaction_counts,
    )
    return ready_to_ship(model)


def factors_from_batches(batches: Iterable[pa.RecordBatch], n_items: int) -> Float32:
    """float32 [M, k]: the factors of a model's rows alone; as in `model_from_batches`."""
    return _whole(item_rows(batches, c.FACTOR, n_items))


def _whole(matrix: ItemMatrix) -> Float32:
    """Its values, after a check that each item from 0 has exactly one row."""
    if matrix.rows != matrix.n_items or not matrix.has_row.all():
        raise DataError(
            f"{matrix.rows} rows of item factors, expected one for each item index from 0 to"
            f" {matrix.n_items - 1}; read the rows of one run, fit and method"
        )
    return matrix.values
