"""The first rows of an owner's table, for `m6rec.check` to judge."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import types as T

from m6rec.check.binaries import SHOWN_BYTES
from m6rec.check.samples import LONGEST_LIST, SAMPLED_ROWS, CellValue, ColumnSample, TableSample
from m6rec.check.types import TypeGroup
from m6rec.check.vectors import NOT_USABLE
from m6rec.config.base import TableSource
from m6rec.spark.failures import reading_table
from m6rec.spark.runtimes import SPATIAL
from m6rec.spark.values import holds_type, is_fraction, quoted

# Of very wide tables fewer rows are collected, and of very long texts the beginning.
_MOST_CELLS = 2_000_000
_LONGEST_TEXT = 4_096
_SOUGHT_VALUES = 1_000
_SIMPLE = T.StringType | T.NumericType | T.BooleanType


def first_rows(
    frame: DataFrame,
    key: str,
    source: TableSource,
    names: Sequence[str] | None = None,
    needed: Sequence[str] = (),
) -> TableSample:
    """The first rows of a table, which are read and no others.

    Args:
        frame: the table.
        key, source: for messages.
        names: of the columns to read; all unless given.
        needed: where the first rows have no value in such a column, the first values that are there
            take the place of as many. A table may be sorted by what has none.

    Raises:
        TableError: they cannot be read.
    """
    fields = [field for field in frame.schema.fields if names is None or field.name in names]
    most = min(SAMPLED_ROWS, max(_MOST_CELLS // max(len(fields), 1), 1))
    texts = [field for field in fields if isinstance(field.dataType, T.StringType)]
    others = [field for field in fields if not isinstance(field.dataType, T.StringType)]
    columns = [*map(_shown, others), *([_cut(texts)] if texts else [])]
    with reading_table(key, source):
        # A limit that is collected takes one partition after the other until it has enough.
        rows = frame.selectExpr(*columns).limit(most).collect() if columns else []
    names_in_order = [field.name for field in (*others, *texts)]
    values = dict(zip(names_in_order, _by_column(rows, bool(texts)), strict=True)) if rows else {}
    sampled = {
        field.name: ColumnSample(
            field.name,
            field.dataType.simpleString(),
            type_group(field.dataType),
            values.get(field.name, ()),
        )
        for field in fields
    }
    whole = len(rows) < most
    found = [sampled[name] for name in needed if name in sampled]
    for column in [one for one in found if not whole and one.values and not one.texts]:
        given = frame.where(f"trim(cast({_shown(frame.schema[column.name])} as string)) != ''")
        later = first_rows(given.limit(_SOUGHT_VALUES), key, source, [column.name])
        values_there = later.columns[column.name].values
        without = column.values[len(values_there) :]
        sampled[column.name] = replace(column, values=(*without, *values_there))
    return TableSample(len(rows), whole, sampled)


def _by_column(rows: Sequence[Sequence[Any]], with_texts: bool) -> list[Sequence[CellValue]]:
    """The values of each column; the last value of a row has those of all columns of text."""
    columns: list[Any] = list(zip(*rows, strict=True))
    texts = columns.pop() if with_texts else ()
    return [*columns, *zip(*texts, strict=True)]


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


def _shown(field: T.StructField) -> str:
    """The values of a column other than text as `check` reads them, in SQL.

    Of tables with thousands of columns each call of a function of Spark's counts, and an expression
    in SQL takes none.
    """
    name, kind = quoted(field.name), field.dataType
    if isinstance(kind, T.NumericType | T.BooleanType):
        return name
    if isinstance(kind, T.BinaryType):
        return f"concat(length({name}), ' bytes, 0x', hex(substring({name}, 1, {SHOWN_BYTES})))"
    if type_group(kind) == "vector":
        return _shown_vector(name, not _holds_floats(kind))
    if holds_type(kind, SPATIAL):
        return f"if({name} is null, null, 'a place or a shape')"
    return f"cast({name} as string)"


def _cut(fields: Sequence[T.StructField]) -> str:
    """The beginnings of the texts of all columns, as one array: one expression is planned.

    Of numbers in long lists the first digits of the fraction suffice to tell that they are numbers.
    """
    names = (
        # Texts that Spark compares by different rules stand in no array together.
        quoted(field.name)
        if field.dataType.simpleString() == "string"
        else f"cast({quoted(field.name)} as string)"
        for field in fields
    )
    shorter = r"regexp_replace(x, r'([.][0-9]{3})[0-9]+', '$1')"
    listed = f"left(if(length(x) > {LONGEST_LIST}, {shorter}, x), {LONGEST_LIST})"
    several = r"[\[({]|[-+.\d][-+.eE\d]*[\s,;]+[-+.\d]"
    beginning = rf"if(x rlike r'^\s*({several})', {listed}, left(x, {_LONGEST_TEXT}))"
    return f"transform(array({', '.join(names)}), x -> {beginning})"


def _holds_floats(kind: T.DataType) -> bool:
    return isinstance(kind, T.ArrayType) and isinstance(
        kind.elementType, T.FloatType | T.DoubleType
    )


def first_vector(name: str) -> str:
    """SQL for the first of a row's vectors, which may begin with frames that are none."""
    return f"try_element_at(filter({name}, v -> size(v) > 0), 1)"


def _shown_vector(name: str, several: bool) -> str:
    """A vector, or several of a row, in words that `check.vectors` reads."""
    first = first_vector(name) if several else name
    usable = f"exists({name}, v -> {_is_usable('v')})" if several else _is_usable(name)
    times = f"size({name}), ' x '" if several else "''"
    doubt = f"if(coalesce({usable}, false), '', '{NOT_USABLE}')"
    return f"if(size({first}) > 0, concat({times}, size({first}), ' numbers', {doubt}), null)"


def _is_usable(vector: str) -> str:
    # In Spark's order of numbers NaN is larger than any infinity.
    infinity = "double('infinity')"
    is_finite = f"x is not null and x > -{infinity} and x < {infinity}"
    return f"(forall({vector}, x -> {is_finite}) and exists({vector}, x -> x != 0))"
