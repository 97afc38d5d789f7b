"""Read columns of the items' tables into matrices of the driver, copying each number once."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from m6rec import columns as c
from m6rec.kernels.arrays.rows import Float32
from m6rec.spark.arrow_rows import matrix_column


@dataclass
class ItemMatrix:
    """A matrix that is filled by batches of rows, each with its item_index.

    Attributes:
        n_items: M.
        values: float32 [M, width]; zero where no row has come.
        has_row: bool [M].
        rows: how many rows have come.
    """

    n_items: int
    values: Float32 = field(init=False)
    has_row: npt.NDArray[np.bool_] = field(init=False)
    rows: int = 0

    def __post_init__(self) -> None:
        self.values = np.zeros((self.n_items, 0), np.float32)
        self.has_row = np.zeros(self.n_items, np.bool_)

    def place(self, batch: pa.RecordBatch, column: str) -> None:
        """Put the rows of a batch in their places; all lists have one length."""
        if not batch.num_rows:
            return
        given = matrix_column(batch, column)
        if not self.rows:
            self.values = np.zeros((self.n_items, given.shape[1]), np.float32)
        items = _items_of(batch)
        self.values[items] = given
        self.has_row[items] = True
        self.rows += batch.num_rows


def item_rows(batches: Iterable[pa.RecordBatch], column: str, n_items: int) -> ItemMatrix:
    """A column of lists of rows with column item_index."""
    matrix = ItemMatrix(n_items)
    for batch in batches:
        matrix.place(batch, column)
    return matrix


def _items_of(batch: pa.RecordBatch) -> npt.NDArray[Any]:
    items: npt.NDArray[Any] = batch.column(c.ITEM_INDEX).to_numpy(zero_copy_only=False)
    return items
