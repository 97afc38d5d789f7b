"""Read a table of attributes beside a run's own as the run reads its own.

A CSV holds as text what a Parquet table has as truth values, lists, dates and numbers.
"""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from m6rec.check.writing import AS_IS, Writing
from m6rec.config.data import FeatureKind
from m6rec.spark.runtimes import cast_or_null
from m6rec.spark.values import owner_column
from m6rec.stages.features.inputs import AttributeColumns, number_column
from m6rec.stages.features.kinds import infer_columns
from m6rec.stages.features.vocabularies import NO_SEPARATOR, WHITESPACE, token_column


def typed_as_own(
    given: DataFrame, own: T.StructType, id_column: str, columns: AttributeColumns
) -> DataFrame:
    """The given table, in which text has the type of the run's column, as far as it can be read.

    How numbers, dates and several values are written is told from the given rows.

    Args:
        given: the table.
        own: the schema of the run's table.
        id_column: the column of ids in both.
        columns: those that the pipeline uses.
    """
    types = {field.name: field.dataType for field in own}
    texts = {one.name for one in given.schema if isinstance(one.dataType, T.StringType)}
    others = {name for name in texts & set(types) if not isinstance(types[name], T.StringType)}
    truths = {name for name in others if isinstance(types[name], T.BooleanType)}
    others -= truths
    read = {
        name: _truth(name, "double" if name in columns.numeric else "string")
        for name in truths.intersection(columns.names)
    }
    kinds: dict[str, FeatureKind] = {
        name: "numeric"
        for name, writing in zip(columns.numeric, columns.writings, strict=True)
        if name in others and writing == AS_IS
    }
    for (name, kind), separator in zip(columns.tokens, columns.separators, strict=True):
        if name in others and kind == "multi_valued" and separator == NO_SEPARATOR:
            kinds[name] = kind
    if kinds:
        narrow = given.select(owner_column(id_column), *map(owner_column, kinds))
        writings = infer_columns(narrow, id_column, kinds).writings
        read |= {name: _read(name, writing) for name, writing in writings.items()}
    if not read:
        return given
    return given.select(*(read.get(name, owner_column(name)).alias(name) for name in given.columns))


def _truth(name: str, kind: str) -> Column:
    """Truth values as numbers or as Spark writes them; a number such as 1.0 stays one."""
    text = owner_column(name)
    truth = cast_or_null(F.trim(text), "boolean")
    return F.coalesce(truth.cast(kind), cast_or_null(text, kind))


def _read(name: str, writing: Writing) -> Column:
    if not writing.separator:
        return number_column(name, T.StringType(), writing)
    # White space is what remains where no sign separates values, and lists hold words with spaces.
    separator = NO_SEPARATOR if writing.separator == WHITESPACE else writing.separator
    return token_column(name, "multi_valued", T.StringType(), separator)
