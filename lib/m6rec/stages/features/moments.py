"""Sums over columns of numbers, from which their means and deviations follow."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame

from m6rec.kernels.arrays.rows import Float64, Int64
from m6rec.spark.arrow_rows import list_array_from_matrix
from m6rec.stages.features.blocks import numbers_with_gaps


@dataclass(frozen=True)
class ColumnSums:
    """Sums over the rows of columns of numbers.

    Attributes:
        rows: how many rows there are.
        counts: int64 [columns]; the rows in which a number is there.
        sums: float64 [columns]; of the numbers, or of their squared distances from given means.
    """

    rows: int
    counts: Int64
    sums: Float64

    @property
    def means(self) -> Float64:
        """float64 [columns]; 0 for a column without any number."""
        means: Float64 = self.sums / np.maximum(self.counts, 1)
        return means


def sums_of(frame: DataFrame, *widths: int, about: Float64 | None = None) -> ColumnSums:
    """The sums over all numbers of a frame.

    Args:
        frame: columns of lists of doubles; a number may be null, and a list empty.
        widths: for each column, how many numbers its lists have.
        about: float64 [columns]; where it is given, the sums are of squared distances from it.
    """
    add = partial(_add_up, widths=widths, about=about)
    parts = frame.mapInArrow(add, "rows long, counts array<long>, sums array<double>").collect()
    columns = sum(widths)
    return ColumnSums(
        sum(part["rows"] for part in parts),
        sum((np.array(part["counts"], np.int64) for part in parts), np.zeros(columns, np.int64)),
        sum((np.array(part["sums"], np.float64) for part in parts), np.zeros(columns)),
    )


def _add_up(
    batches: Iterable[pa.RecordBatch], widths: tuple[int, ...], about: Float64 | None
) -> Iterator[pa.RecordBatch]:
    rows, counts, sums = 0, np.zeros(sum(widths), np.int64), np.zeros(sum(widths))
    for batch in batches:
        named = zip(batch.schema.names, widths, strict=True)
        numbers = np.hstack([numbers_with_gaps(batch, name, width) for name, width in named])
        rows += len(numbers)
        counts += np.isfinite(numbers).sum(axis=0)
        sums += np.nansum(numbers if about is None else (numbers - about) ** 2, axis=0)
    yield pa.RecordBatch.from_arrays(
        [
            pa.array([rows]),
            list_array_from_matrix(counts[None]),
            list_array_from_matrix(sums[None]),
        ],
        names=["rows", "counts", "sums"],
    )
