"""Read attributes and behaviour into the columns that feature pipelines are fitted on."""

from collections.abc import Sequence
from dataclasses import dataclass

from pyspark.ml.feature import (
    CountVectorizerModel,
)
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from m6rec import columns as c
from m6rec.check.times import YEAR_FIRST
from m6rec.check.writing import AS_IS, Writing
from m6rec.config.data import TokenKind
from m6rec.errors import TableError
from m6rec.spark.runtimes import cast_or_null
from m6rec.spark.values import as_text, number_in_text, owner_column
from m6rec.stages.features.blocks import (
    KNOWN,
)
from m6rec.stages.features.vectors import VectorColumn, with_vectors
from m6rec.stages.features.vocabularies import TextColumn, split_text, token_column

_DEFAULT_LANGUAGE = "english"
_INDICES = (c.USER_INDEX, c.ITEM_INDEX)


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
    """The attributes as index_column, known, doubles, arrays of tokens, and arrays of vectors."""
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
        *(
            number_column(name, fields[name], columns.writings[k]).alias(numeric_name(k))
            for k, name in enumerate(columns.numeric)
        ),
        *selected,
    )
    words = split_text(frame, texts)
    if not columns.vectors:
        return words
    return words.join(with_vectors(attributes, index_column, columns.vectors), index_column, "left")


def imputed(name: str, mean: float) -> Column:
    """A column of doubles with the mean in place of what is missing."""
    return F.when(F.col(name).isNull() | F.isnan(name), F.lit(mean)).otherwise(F.col(name))


def join_inputs(
    indices: DataFrame,
    known: DataFrame | None,
    behaviour: DataFrame | None,
    index_column: str,
    behaviour_columns: Sequence[str],
) -> DataFrame:
    """One row for each index with its attributes and behaviour, and null where there is none."""
    joined = indices
    if known is None:
        joined = joined.withColumn(KNOWN, F.lit(False))
    else:
        joined = joined.join(known, index_column, "left")
        joined = joined.withColumn(KNOWN, F.coalesce(KNOWN, F.lit(False)))
        arrays = {
            field.name: F.coalesce(field.name, F.array().cast(field.dataType))
            for field in known.schema.fields
            if isinstance(field.dataType, T.ArrayType)
        }
        joined = joined.withColumns(arrays) if arrays else joined
    if behaviour_columns:
        if behaviour is None:
            raise TableError(
                f"the pipeline was fitted with the behaviour columns {behaviour_columns}; give"
                " transform a behaviour table"
            )
        check_columns(behaviour, list(behaviour_columns))
        renamed = behaviour.select(
            index_column,
            *(
                owner_column(name).cast("double").alias(behaviour_name(k))
                for k, name in enumerate(behaviour_columns)
            ),
        )
        joined = joined.join(renamed, index_column, "left")
    return joined


def count_tokens(
    frame: DataFrame, tokens: str, output: str, vocabulary: Sequence[str]
) -> DataFrame:
    """Add the sparse token counts of an array<string> column, for a given vocabulary."""
    model = CountVectorizerModel.from_vocabulary(list(vocabulary), tokens, output, minTF=1.0)
    return model.transform(frame)


def number_column(name: str, data_type: T.DataType, writing: Writing = AS_IS) -> Column:
    """A column as a finite double; dates become seconds, and what is no number becomes null."""
    column = owner_column(name)
    if writing.date_format is not None:
        text = F.trim(as_text(column, data_type))
        moment = F.try_to_timestamp(text, F.lit(writing.date_format))
        value = F.unix_seconds(moment).cast("double")
    elif isinstance(data_type, T.StringType):
        value = number_in_text(column, writing.decimal_sign)
        if writing == AS_IS:
            seconds = F.unix_seconds(cast_or_null(F.trim(column), "timestamp"))
            is_date = F.trim(column).rlike(YEAR_FIRST)
            value = F.coalesce(value, F.when(is_date, seconds).cast("double"))
    elif isinstance(data_type, T.DateType | T.TimestampType | T.TimestampNTZType):
        value = F.unix_seconds(column.cast("timestamp")).cast("double")
    else:
        value = column.cast("double")
    finite = value.isNotNull() & ~F.isnan(value) & (F.abs(value) < F.lit(float("inf")))
    return F.when(finite, value)


def check_columns(frame: DataFrame, names: list[str]) -> None:
    """Refuse a table that lacks a column.

    Raises:
        TableError: columns are missing; the message names them.
    """
    missing = [name for name in names if name not in frame.columns]
    if missing:
        raise TableError(
            f"the table for features lacks the columns {missing} that the pipeline uses; it has"
            f" {[name for name in frame.columns if name not in _INDICES]}; add them, empty where"
            " nothing is known, or run pipeline, which learns from the columns that there are"
        )


def numeric_name(position: int) -> str:
    """The pipeline's own name of a numeric column; the owner's name may hold any character."""
    return f"number_{position}"


def behaviour_name(position: int) -> str:
    """The pipeline's own name of a behaviour column."""
    return f"behaviour_{position}"


def tokens_name(position: int) -> str:
    """The pipeline's own name of a token column."""
    return f"tokens_{position}"
