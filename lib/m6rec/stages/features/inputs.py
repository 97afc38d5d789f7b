"""Read attributes and behaviour into the columns that feature pipelines are fitted on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from m6rec import columns as c
from m6rec.check.numbers import LARGEST_NUMBER
from m6rec.check.samples import shown_names
from m6rec.check.times import YEAR_FIRST
from m6rec.check.writing import AS_IS, Writing
from m6rec.config.data import TokenKind
from m6rec.errors import TableError
from m6rec.spark.runtimes import cast_or_null
from m6rec.spark.values import as_text, number_in_text, owner_column, quoted, time_by_pattern
from m6rec.stages.features.blocks import BEHAVIOUR, KNOWN, NUMERIC, tokens_name
from m6rec.stages.features.vectors import VectorColumn, with_vectors
from m6rec.stages.features.vocabularies import TextColumn, split_text, token_column

_DEFAULT_LANGUAGE = "english"
_INDICES = (c.USER_INDEX, c.ITEM_INDEX)
_DOUBLES = "array<double>"


@dataclass(frozen=True)
class AttributeColumns:
    """The attribute columns that a pipeline uses.

    Attributes:
        numeric: columns of numbers, booleans and dates (as seconds).
        tokens: categorical, multi-valued and text columns, each with its kind.
        separators: for each of `tokens`, what separates the values of a multi-valued string.
        documents: how many training rows have attributes.
        writings: for each of `numeric`, how it is written.
        vectors: columns of vectors.
        languages: for each of `tokens`, whose stop words are left out of a text; empty for
            English.
    """

    numeric: tuple[str, ...] = ()
    tokens: tuple[tuple[str, TokenKind], ...] = ()
    separators: tuple[str, ...] = ()
    documents: int = 0
    writings: tuple[Writing, ...] = ()
    vectors: tuple[VectorColumn, ...] = ()
    languages: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """All used columns."""
        vectors = (column.name for column in self.vectors)
        return [*self.numeric, *(name for name, _ in self.tokens), *vectors]


def read_attributes(
    attributes: DataFrame | None, columns: AttributeColumns, index_column: str
) -> DataFrame | None:
    """The attributes as index_column, known, numeric, arrays of tokens, and arrays of vectors.

    `numeric` is an array of the doubles of all numeric columns, null where one is missing.
    """
    if attributes is None:
        return None
    check_columns(attributes, columns.names)
    fields = {name: attributes.schema[name].dataType for name in columns.names}
    texts = []
    selected = []
    for k, (name, kind) in enumerate(columns.tokens):
        column = token_column(name, kind, fields[name], columns.separators[k])
        if kind == "text":
            language = columns.languages[k] if columns.languages else _DEFAULT_LANGUAGE
            texts.append(TextColumn(f"text_{k}", tokens_name(k), language))
        selected.append(column.alias(f"text_{k}" if kind == "text" else tokens_name(k)))
    frame = attributes.select(
        F.col(index_column),
        F.lit(True).alias(KNOWN),
        numbers_column(columns.numeric, fields, columns.writings),
        *selected,
    )
    words = split_text(frame, texts)
    if not columns.vectors:
        return words
    return words.join(with_vectors(attributes, index_column, columns.vectors), index_column, "left")


def numbers_column(
    names: Sequence[str], fields: Mapping[str, T.DataType], writings: Sequence[Writing]
) -> Column:
    """The column `numeric`: columns of numbers as an array of doubles.

    Thousands of columns are one to every later step of Spark's, whose plans grow by columns, and
    plain ones side by side are made in one call of Spark's.
    """
    arrays = [F.array().cast(_DOUBLES)]
    written = zip(names, writings, strict=True)
    for plain, columns in groupby(written, lambda one: _is_plain(fields[one[0]], one[1])):
        if plain:
            arrays.append(F.expr(f"array({', '.join(_plain_number(name) for name, _ in columns)})"))
        else:
            arrays.append(F.array(*(number_column(name, fields[name], w) for name, w in columns)))
    return F.concat(*arrays).alias(NUMERIC)


def _is_plain(data_type: T.DataType, writing: Writing) -> bool:
    """Whether a cast makes doubles of a column."""
    others = T.StringType | T.DateType | T.TimestampType | T.TimestampNTZType
    return writing.date_format is None and not isinstance(data_type, others)


def _plain_number(name: str) -> str:
    """A plain column as a double that can be computed with, in SQL."""
    number = f"cast({quoted(name)} as double)"
    return f"if(abs({number}) <= double('{LARGEST_NUMBER}'), {number}, null)"


def join_inputs(
    indices: DataFrame,
    known: DataFrame | None,
    behaviour: DataFrame | None,
    index_column: str,
    behaviour_columns: Sequence[str],
) -> DataFrame:
    """One row for each index with its attributes and behaviour, and empty arrays where none is."""
    joined = indices
    if known is None:
        no_numbers = F.array().cast(_DOUBLES).alias(NUMERIC)
        joined = joined.select("*", F.lit(False).alias(KNOWN), no_numbers)
    else:
        joined = joined.join(known, index_column, "left")
        joined = joined.withColumn(KNOWN, F.coalesce(KNOWN, F.lit(False)))
    if behaviour_columns:
        if behaviour is None:
            raise TableError(
                f"the pipeline was fitted with the behaviour columns {behaviour_columns}; give"
                " transform a behaviour table"
            )
        check_columns(behaviour, list(behaviour_columns))
        acts = F.array(*(owner_column(name).cast("double") for name in behaviour_columns))
        joined = joined.join(
            behaviour.select(index_column, acts.alias(BEHAVIOUR)), index_column, "left"
        )
    else:
        joined = joined.withColumn(BEHAVIOUR, F.array().cast(_DOUBLES))
    arrays = {
        field.name: F.coalesce(field.name, F.array().cast(field.dataType))
        for field in joined.schema.fields
        if isinstance(field.dataType, T.ArrayType)
    }
    return joined.withColumns(arrays)


def number_column(name: str, data_type: T.DataType, writing: Writing = AS_IS) -> Column:
    """A column as a double; dates become seconds, and what cannot be computed with becomes null."""
    if _is_plain(data_type, writing):
        return F.expr(_plain_number(name))
    column = owner_column(name)
    if writing.date_format is not None:
        text = F.trim(as_text(column, data_type))
        moment = time_by_pattern(text, writing.date_format)
        value = F.unix_seconds(moment).cast("double")
    elif isinstance(data_type, T.StringType):
        value = number_in_text(column, writing.decimal_sign, writing.only_unit)
        if writing == AS_IS:
            seconds = F.unix_seconds(cast_or_null(F.trim(column), "timestamp"))
            is_date = F.trim(column).rlike(YEAR_FIRST)
            value = F.coalesce(value, F.when(is_date, seconds).cast("double"))
    else:
        value = F.unix_seconds(column.cast("timestamp")).cast("double")
    # NaN is larger than any number.
    return F.when(F.abs(value) <= LARGEST_NUMBER, value)


def check_columns(frame: DataFrame, names: list[str]) -> None:
    """Refuse a table that lacks a column.

    Raises:
        TableError: columns are missing; the message names them.
    """
    missing = [name for name in names if name not in frame.columns]
    if missing:
        others = [name for name in frame.columns if name not in _INDICES]
        raise TableError(
            f"the table for features lacks the columns {shown_names(missing)} that the pipeline"
            f" uses; it has {shown_names(others)}; add them, empty where nothing is known, or run"
            " pipeline, which learns from the columns that there are"
        )
