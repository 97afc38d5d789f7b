"""Split the values of attribute columns into tokens, and choose which tokens are kept."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

import numpy as np
from pyspark.ml.feature import RegexTokenizer, StopWordsRemover
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.sql.window import Window

from m6rec.config.data import TokenKind
from m6rec.kernels.arrays.rows import Float64
from m6rec.spark.values import owner_column

NO_SEPARATOR = ""
WHITESPACE = " "

_NO_TOKENS = "array<string>"


@dataclass(frozen=True)
class Vocabulary:
    """The kept tokens of a column, the most frequent first.

    Attributes:
        tokens: the tokens.
        document_counts: float64 [v]; in how many training rows each token occurs.
        documents: how many training rows there were.
    """

    tokens: tuple[str, ...]
    document_counts: Float64
    documents: int

    def first(self, limit: int) -> "Vocabulary":
        """The `limit` most frequent tokens."""
        return Vocabulary(self.tokens[:limit], self.document_counts[:limit], self.documents)


def token_column(name: str, kind: TokenKind, data_type: T.DataType, separator: str) -> Column:
    """The values of a column as array<string> without nulls and empty strings.

    Text stays one string here; `split_text` splits it.
    """
    column = owner_column(name)
    match kind:
        case "text":
            return F.coalesce(_as_string(column, data_type), F.lit(""))
        case "categorical" | "multi_valued":
            return _value_tokens(column, data_type, separator)
        case _:
            assert_never(kind)


def _value_tokens(column: Column, data_type: T.DataType, separator: str) -> Column:
    if isinstance(data_type, T.ArrayType):
        values = column.cast(_NO_TOKENS)
    elif separator == NO_SEPARATOR:
        values = F.array(column.cast("string"))
    elif separator == WHITESPACE:
        values = F.split(column.cast("string"), r"\s+")
    else:
        values = F.split(column.cast("string"), "[" + separator + "]")
    trimmed = F.transform(values, _trim)
    present = F.filter(trimmed, lambda value: value.isNotNull() & (value != F.lit("")))
    return F.coalesce(present, F.array().cast(_NO_TOKENS))


def split_text(frame: DataFrame, columns: Mapping[str, str]) -> DataFrame:
    """Add the words of text columns as arrays, in lower case and without stop words.

    `columns` maps the name of each text column to the name of its array.
    """
    for text, tokens in columns.items():
        raw = f"{tokens}_all"
        tokenizer = RegexTokenizer(
            inputCol=text,
            outputCol=raw,
            pattern=r"[^\p{L}\p{N}]+",
            minTokenLength=2,
            toLowercase=True,
        )
        remover = StopWordsRemover(inputCol=raw, outputCol=tokens)
        remover = remover.setStopWords(StopWordsRemover.loadDefaultStopWords("english"))
        frame = remover.transform(tokenizer.transform(frame)).drop(raw, text)
    return frame


def separator_votes(name: str, data_type: T.DataType) -> Column:
    """An aggregate that gives a multi-valued string column's separator.

    It is `|` where that stands anywhere, else the comma or the semicolon, as more rows have it,
    else white space.
    """
    if isinstance(data_type, T.ArrayType):
        return F.lit(NO_SEPARATOR)
    column = owner_column(name).cast("string")
    commas, semicolons = (F.count(F.when(column.contains(sign), 1)) for sign in ",;")
    return (
        F.when(F.max(F.when(column.contains("|"), 1)) == 1, F.lit("|"))
        .when(semicolons > commas, F.lit(";"))
        .when(commas > 0, F.lit(","))
        .otherwise(F.lit(WHITESPACE))
    )


def fit_vocabularies(
    frame: DataFrame, limits: Mapping[str, int], minimum_count: int, documents: int
) -> dict[str, Vocabulary]:
    """The `limits[column]` most frequent tokens of each token column, in one job.

    A token counts once in a row. Tokens in fewer than `minimum_count` rows count as unknown. Equal
    counts are ordered by token, so the vocabulary does not depend on the order of rows.
    """
    if not limits:
        return {}
    pairs = F.concat(*(_token_pairs(name, limit) for name, limit in limits.items()))
    counts = (
        frame.select(F.explode(pairs).alias("pair"))
        .groupBy("pair.column", "pair.limit", "pair.token")
        .count()
        .where(F.col("count") >= minimum_count)
    )
    order = Window.partitionBy("column").orderBy(F.col("count").desc(), "token")
    rows = (
        counts.withColumn("position", F.row_number().over(order))
        .where(F.col("position") <= F.col("limit"))
        .toPandas()
        .sort_values(["column", "position"])
    )
    groups = {str(name): group for name, group in rows.groupby("column")}
    return {
        name: Vocabulary(
            tuple(str(token) for token in groups[name]["token"]) if name in groups else (),
            groups[name]["count"].to_numpy(np.float64) if name in groups else np.zeros(0),
            documents,
        )
        for name in limits
    }


def _token_pairs(name: str, limit: int) -> Column:
    return F.transform(
        F.array_distinct(F.col(name)),
        lambda token: F.struct(
            F.lit(name).alias("column"), F.lit(limit).alias("limit"), token.alias("token")
        ),
    )


def _as_string(column: Column, data_type: T.DataType) -> Column:
    if isinstance(data_type, T.ArrayType):
        return F.array_join(column.cast(_NO_TOKENS), " ")
    return column.cast("string")


def _trim(value: Column) -> Column:
    return F.trim(value)
