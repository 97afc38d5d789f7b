"""Frames of items as the arrays that kernels take, for tests of what has been made in frames."""

import pyarrow as pa
from pyspark.sql import DataFrame

from m6rec import columns as c
from m6rec.kernels.arrays.rows import Float32
from m6rec.spark.item_matrices import item_rows
from m6rec.spark.runtimes import arrow_table


def batches_of(frame: DataFrame, *columns: str) -> list[pa.RecordBatch]:
    """The rows of a frame, of all its columns unless some are named."""
    return arrow_table(frame.select(*columns) if columns else frame).to_batches()


def items_of(frame: DataFrame, column: str, n_items: int) -> Float32:
    """float32 [n_items, width]: a column of lists of a frame with column item_index."""
    return item_rows(batches_of(frame, c.ITEM_INDEX, column), column, n_items).values
