"""The first rows of an owner's table, for `m6rec.check` to judge."""

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from m6rec.check.samples import SAMPLED_ROWS, ColumnSample, TableSample
from m6rec.check.types import TypeGroup
from m6rec.check.vectors import NOT_USABLE
from m6rec.config.base import TableSource
from m6rec.spark.failures import reading_table
from m6rec.spark.values import is_fraction, owner_column, quoted

# Of very wide tables fewer rows are collected, and of very long texts the beginning.
_MOST_CELLS = 2_000_000
_LONGEST_TEXT, _LONGEST_VECTOR = 4_096, 65_536
_SIMPLE = T.StringType | T.NumericType | T.BooleanType


def first_rows(
    frame: DataFrame, key: str, source: TableSource, names: Sequence[str] | None = None
) -> TableSample:
    """The first rows of a table, which are read and no others.

    Raises:
        TableError: they cannot be read.
    """
    fields = [field for field in frame.schema.fields if names is None or field.name in names]
    columns = [_shown(field) for field in fields]
    most = min(SAMPLED_ROWS, max(_MOST_CELLS // max(len(columns), 1), 1))
    with reading_table(key, source):
        # A limit that is collected takes one partition after the other until it has enough.
        rows = frame.select(*columns).limit(most).collect() if columns else []
    sampled = {
        field.name: ColumnSample(
            field.name,
            field.dataType.simpleString(),
            type_group(field.dataType),
            [row[k] for row in rows],
        )
        for k, field in enumerate(fields)
    }
    return TableSample(len(rows), len(rows) < most, sampled)


def type_group(kind: T.DataType) -> TypeGroup:
    """The group of `check.types` that a type of Spark's belongs to."""
    groups: tuple[tuple[bool, TypeGroup], ...] = (
        (isinstance(kind, T.StringType | T.CharType | T.VarcharType), "text"),
        (isinstance(kind, T.IntegralType), "whole number"),
        (is_fraction(kind), "fraction"),
        (isinstance(kind, T.BooleanType), "truth value"),
        (isinstance(kind, T.DateType), "date"),
        (isinstance(kind, T.TimestampType), "timestamp"),
        (isinstance(kind, T.TimestampNTZType), "local timestamp"),
        (isinstance(kind, T.BinaryType), "bytes"),
        (_holds_floats(kind), "vector"),
        (isinstance(kind, T.ArrayType) and _holds_floats(kind.elementType), "vector"),
        (isinstance(kind, T.ArrayType) and isinstance(kind.elementType, _SIMPLE), "list"),
        (isinstance(kind, T.ArrayType | T.MapType | T.StructType), "nested"),
    )
    return next((group for holds, group in groups if holds), "other")


def _shown(field: T.StructField) -> Column:
    kind = field.dataType
    if isinstance(kind, T.StringType):
        # A vector that was cut is of another length. Of tables with thousands of columns each call
        # of a function counts, which an expression is one of.
        name = quoted(field.name)
        most = f"if(startswith({name}, '['), {_LONGEST_VECTOR}, {_LONGEST_TEXT})"
        return F.expr(f"left({name}, {most})")
    column = owner_column(field.name)
    if isinstance(kind, T.NumericType | T.BooleanType):
        return column
    if isinstance(kind, T.BinaryType):
        return F.when(column.isNotNull(), F.concat(F.length(column), F.lit(" bytes")))
    if type_group(kind) == "vector":
        return _shown_vector(column, not _holds_floats(kind))
    return column.cast("string")


def _holds_floats(kind: T.DataType) -> bool:
    return isinstance(kind, T.ArrayType) and isinstance(
        kind.elementType, T.FloatType | T.DoubleType
    )


def _shown_vector(column: Column, several: bool) -> Column:
    """A vector, or several of a row, in words that `check.vectors` reads."""
    first = F.try_element_at(column, F.lit(1)) if several else column
    usable = F.exists(column, _is_usable) if several else _is_usable(column)
    times = F.concat(F.size(column), F.lit(" x ")) if several else F.lit("")
    doubt = F.when(F.coalesce(usable, F.lit(False)), "").otherwise(NOT_USABLE)
    return F.when(
        first.isNotNull() & (F.size(first) > 0),
        F.concat(times, F.size(first), F.lit(" numbers"), doubt),
    )


def _is_usable(vector: Column) -> Column:
    infinity = float("inf")
    finite = F.forall(
        vector, lambda x: x.isNotNull() & ~F.isnan(x) & (x > -infinity) & (x < infinity)
    )
    return finite & F.exists(vector, lambda x: x != 0)
