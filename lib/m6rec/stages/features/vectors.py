"""Read columns of vectors of the owner's: which are usable, of which length, and how many are not.

A row has one vector, or several such as the frames of a video. A vector is usable where it has the
length that most usable ones have, all its numbers are finite and one of them is not zero; a row
without a usable vector counts as without.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from m6rec.check.samples import shown_type
from m6rec.check.vectors import numbers_in_text
from m6rec.errors import TableError
from m6rec.kernels.arrays.rows import Float32, Int64, indptr_of
from m6rec.spark.arrow_rows import list_array
from m6rec.spark.values import owner_column


@dataclass(frozen=True)
class VectorColumn:
    """A column of vectors as a pipeline reads it.

    Attributes:
        name: the owner's column name.
        length: how many numbers a vector has.
        vectors: the most vectors of a row; 1 where the column has one vector a row.
    """

    name: str
    length: int
    vectors: int


@dataclass(frozen=True)
class VectorFacts:
    """What a column of vectors holds.

    Attributes:
        column: how it is read.
        rows: how many rows there are.
        missing: rows with no vector at all.
        of_other_length: rows whose vectors are of another length.
        not_finite: rows whose vectors hold NaN, an infinity or null, or are all zero.
    """

    column: VectorColumn
    rows: int
    missing: int
    of_other_length: int
    not_finite: int

    @property
    def usable(self) -> int:
        """Rows with a usable vector."""
        return self.rows - self.missing - self.of_other_length - self.not_finite

    def __str__(self) -> str:
        several = "" if self.column.vectors == 1 else f"up to {self.column.vectors} "
        counted = {
            "without any": self.missing,
            "of another length": self.of_other_length,
            "with NaN, an infinity or null, or all zero": self.not_finite,
        }
        others = ", ".join(f"{count} {words}" for words, count in counted.items() if count)
        return (
            f"column {self.column.name}: {several}vectors of {self.column.length} numbers in"
            f" {self.usable} of {self.rows} rows"
            + (f"; {others}, which count as without" if others else "")
        )


def measure_vectors(frame: DataFrame, name: str, maximum_vectors: int, table: str) -> VectorFacts:
    """What a column of vectors holds, by all rows of its table.

    Args:
        frame: has the column.
        name: the column.
        maximum_vectors: of a row, where the column has several.
        table: the words for the table in errors.

    Raises:
        TableError: the column holds no arrays of numbers, or no row has a usable vector.
    """
    kind = frame.schema[name].dataType
    several = holds_several(kind)
    if several is None:
        raise TableError(
            f"{table}, column {name}: has type {shown_type(kind.simpleString())}, expected"
            " array<float>, array<double> or arrays of these for the kind embedding; cast it in the"
            " source, or give the column another kind"
        )
    given = _as_vectors(frame, (name,))
    lengths: Counter[int] = Counter()
    for row in given.mapInArrow(_count_lengths, "length int, rows long").collect():
        lengths[row["length"]] += row["rows"]
    # Of equally frequent lengths the largest, whatever the order of rows.
    length = max(lengths, key=lambda one: (lengths[one], one), default=0)
    facts = vector_facts(frame, VectorColumn(name, length, maximum_vectors if several else 1))
    if not facts.usable:
        raise TableError(
            f"{table}, column {name}: none of {facts.rows} rows has a usable vector"
            f" ({facts.missing} have none, {facts.not_finite} hold NaN, an infinity or null, or are"
            " all zero); give vectors of finite numbers, or set the column's kind to ignore"
        )
    return facts


def vector_facts(frame: DataFrame, column: VectorColumn) -> VectorFacts:
    """What a table holds of a column of vectors whose length is known."""
    given = _as_vectors(frame, (column.name,))
    states: Counter[str] = Counter()
    judge = partial(_count_states, length=column.length)
    for row in given.mapInArrow(judge, "state string, rows long").collect():
        states[row["state"]] += row["rows"]
    return VectorFacts(
        column,
        sum(states.values()),
        states["missing"],
        states["of other length"],
        states["not finite"],
    )


def with_vectors(frame: DataFrame, index_column: str, columns: Sequence[VectorColumn]) -> DataFrame:
    """The usable vectors of each row: index_column and, for each column, array<float>.

    It is named by `vectors_name` and holds the vectors one after the other; it is empty where the
    row has none. Of more vectors than the column keeps, those at even distances are kept.
    """
    given = _as_vectors(frame, tuple(column.name for column in columns), index_column)
    index_type = frame.schema[index_column].dataType.simpleString()
    outputs = ", ".join(f"{vectors_name(k)} array<float>" for k in range(len(columns)))
    read = partial(_read_vectors, columns=tuple(columns))
    return given.mapInArrow(read, f"{index_column} {index_type}, {outputs}")


def vectors_name(position: int) -> str:
    """The pipeline's own name of a column of vectors."""
    return f"vectors_{position}"


def holds_several(kind: T.DataType) -> bool | None:
    """Whether a type holds several vectors a row; None where it is no type of vectors.

    Text may hold one vector, as in CSV.
    """
    if isinstance(kind, T.StringType):
        return False
    if not isinstance(kind, T.ArrayType):
        return None
    inner = kind.elementType
    if isinstance(inner, T.NumericType):
        return False
    is_several = isinstance(inner, T.ArrayType) and isinstance(inner.elementType, T.NumericType)
    return True if is_several else None


@dataclass(frozen=True)
class _Vectors:
    """The vectors of some rows.

    Attributes:
        owner: int64 [v]; the row of each vector, ascending.
        indptr: int64 [v + 1]; where the numbers of each vector are.
        values: float32; the numbers.
        usable: bool [v]; whether a vector is finite and not all zero.
    """

    owner: Int64
    indptr: Int64
    values: Float32
    usable: npt.NDArray[np.bool_]

    @property
    def lengths(self) -> Int64:
        """int64 [v]."""
        return np.diff(self.indptr)


def _as_vectors(frame: DataFrame, names: Sequence[str], *kept: str) -> DataFrame:
    """The columns as array<array<float>>, after the kept ones."""
    columns = []
    for k, name in enumerate(names):
        column = owner_column(name)
        kind = frame.schema[name].dataType
        if isinstance(kind, T.StringType):
            # Unless told how rows travel, Spark 4.2 warns that the types do not say it.
            column = F.udf(numbers_in_text, "array<double>", useArrow=False)(column)
        if not holds_several(kind):
            column = F.when(column.isNotNull(), F.array(column))
        columns.append(column.cast("array<array<float>>").alias(f"given_{k}"))
    return frame.select(*kept, *columns)


def _vectors_of(column: pa.ListArray) -> _Vectors:
    counts = np.nan_to_num(_list_lengths(column))
    inner = column.flatten()
    owner = np.repeat(np.arange(len(column)), counts.astype(np.int64))
    present = ~np.isnan(_list_lengths(inner))
    inner, owner = inner.filter(pa.array(present)), owner[present]
    values = inner.flatten().cast(pa.float32()).to_numpy(zero_copy_only=False)
    indptr = indptr_of(_list_lengths(inner))
    finite = np.isfinite(values)
    sums = indptr_of(finite)[indptr], indptr_of(finite & (values != 0))[indptr]
    lengths = np.diff(indptr)
    usable = (np.diff(sums[0]) == lengths) & (np.diff(sums[1]) > 0)
    return _Vectors(owner, indptr, values.astype(np.float32, copy=False), usable)


def _list_lengths(column: pa.ListArray) -> npt.NDArray[np.float64]:
    """The length of each list; NaN where it is null."""
    lengths: npt.NDArray[np.float64] = (
        pc.list_value_length(column).cast(pa.float64()).to_numpy(zero_copy_only=False)
    )
    return lengths


def _count_lengths(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    counted: Counter[int] = Counter()
    for batch in batches:
        vectors = _vectors_of(batch.column(0))
        # A row of several vectors counts once for each length.
        of_rows = np.stack([vectors.owner, vectors.lengths])[:, vectors.usable]
        counted.update(np.unique(of_rows, axis=1)[1].tolist())
    yield pa.RecordBatch.from_arrays(
        [pa.array(list(counted), pa.int32()), pa.array(list(counted.values()), pa.int64())],
        names=["length", "rows"],
    )


def _count_states(batches: Iterable[pa.RecordBatch], length: int) -> Iterator[pa.RecordBatch]:
    counted: Counter[str] = Counter()
    for batch in batches:
        rows, vectors = batch.num_rows, _vectors_of(batch.column(0))
        given = np.bincount(vectors.owner[vectors.lengths > 0], minlength=rows) > 0
        finite = np.bincount(vectors.owner[vectors.usable], minlength=rows) > 0
        fitting = vectors.usable & (vectors.lengths == length)
        usable = np.bincount(vectors.owner[fitting], minlength=rows) > 0
        counted["missing"] += int((~given).sum())
        counted["not finite"] += int((given & ~finite).sum())
        counted["of other length"] += int((finite & ~usable).sum())
        counted["usable"] += int(usable.sum())
    yield pa.RecordBatch.from_arrays(
        [pa.array(list(counted)), pa.array(list(counted.values()), pa.int64())],
        names=["state", "rows"],
    )


def _read_vectors(
    batches: Iterable[pa.RecordBatch], columns: tuple[VectorColumn, ...]
) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        read = [
            _usable_lists(batch.column(k + 1), column, batch.num_rows)
            for k, column in enumerate(columns)
        ]
        names = [batch.schema.names[0], *(vectors_name(k) for k in range(len(columns)))]
        yield pa.RecordBatch.from_arrays([batch.column(0), *read], names=names)


def _usable_lists(given: pa.ListArray, column: VectorColumn, rows: int) -> pa.ListArray:
    vectors = _vectors_of(given)
    chosen = np.flatnonzero(vectors.usable & (vectors.lengths == column.length))
    owner = vectors.owner[chosen]
    counts = np.bincount(owner, minlength=rows)
    place = np.arange(len(chosen)) - (np.cumsum(counts) - counts)[owner]
    # The vector at place p is kept where it is the first of its share of the row.
    number = np.maximum(counts[owner], 1)
    share = place * column.vectors // number
    before = np.where(place > 0, (place - 1) * column.vectors // number, -1)
    kept = np.where(number > column.vectors, share != before, True)
    chosen, owner = chosen[kept], owner[kept]
    starts = vectors.indptr[chosen]
    numbers = vectors.values[starts[:, None] + np.arange(column.length)]
    return list_array(
        indptr_of(np.bincount(owner, minlength=rows) * column.length), numbers.reshape(-1)
    )
