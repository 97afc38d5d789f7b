"""What Spark 3.5, 4.0 and 4.2 do in different ways: the only place that asks what Spark has."""

import inspect
import json
import re
import zlib
from collections.abc import Collection
from importlib.metadata import PackageNotFoundError, version
from typing import Any, cast

import pyarrow as pa
from delta.tables import DeltaTable
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.sql.pandas.serializers import ArrowStreamSerializer
from pyspark.sql.pandas.types import to_arrow_schema

# From 4.2 on, Spark has to be told in which zone times are; before, they are in UTC.
_OPTIONS: dict[str, Any] = (
    {"timezone": "UTC"} if "timezone" in inspect.signature(to_arrow_schema).parameters else {}
)

_IS_SPARK_3 = not hasattr(DataFrame, "toArrow")
_DELTA_PACKAGE = re.compile(r"\bio\.delta:delta-spark[^,\s]*")
_SESSION_CATALOG = re.compile(r"(`?)spark_catalog\1\.", re.IGNORECASE)
# Spark 3.5 has no type for semi-structured values.
VARIANTS: tuple[type[T.DataType], ...] = (T.VariantType,) if hasattr(T, "VariantType") else ()
# From 4.2 on, Spark has types for places and shapes, and makes neither text nor JSON nor a hash of
# them.
SPATIAL: tuple[type[T.DataType], ...] = tuple(
    getattr(T, name) for name in ("GeometryType", "GeographyType") if hasattr(T, name)
)


def delta_package() -> str:
    """The Maven coordinates of Delta's jars for the Spark and delta-spark that are installed.

    From Delta 4.1 on, the name of the jar says for which Spark it is.
    """
    delta, spark = version("delta-spark"), version("pyspark")
    scala = "2.12" if _IS_SPARK_3 else "2.13"
    named = tuple(map(int, delta.split(".")[:2])) >= (4, 1)
    of_spark = f"_{'.'.join(spark.split('.')[:2])}" if named else ""
    return f"io.delta:delta-spark{of_spark}_{scala}:{delta}"


def with_own_delta(packages: str) -> str:
    """Maven coordinates, where Delta for another Spark is replaced by that for the installed one.

    They stay as they are where delta-spark is not installed, since the platform brings Delta.
    """
    try:
        own = delta_package()
    except PackageNotFoundError:
        return packages
    # Another patch release of the same is the owner's choice.
    release = f"{own.rpartition('.')[0]}."
    return _DELTA_PACKAGE.sub(
        lambda given: given[0] if given[0].startswith(release) else own, packages
    )


def arrow_schema(schema: T.StructType) -> pa.Schema:
    """The same columns for Arrow; times are in UTC."""
    return to_arrow_schema(schema, **_OPTIONS)


def arrow_table(frame: DataFrame) -> pa.Table:
    """All rows of a frame, in the driver."""
    if not _IS_SPARK_3:
        return frame.toArrow()
    schema, of_spark_3 = arrow_schema(frame.schema), cast(Any, frame)
    batches = of_spark_3._collect_as_arrow()
    return pa.Table.from_batches(batches).cast(schema) if batches else schema.empty_table()


def frame_of_arrow(spark: SparkSession, table: pa.Table, schema: T.StructType | str) -> DataFrame:
    """The rows of a table as a frame of that schema, which no Python worker has to read."""
    if not table.num_rows:
        return _empty_frame(spark, schema)
    if not _IS_SPARK_3:
        return spark.createDataFrame(table, schema)
    session: Any = spark
    types = _struct_of(spark, schema)
    jvm = session._jvm
    read = session._sc._serialize_to_jvm(
        table.cast(arrow_schema(types)).to_batches(),
        ArrowStreamSerializer(),
        jvm.PythonSQLUtils.readArrowStreamFromFile,
        jvm.ArrowIteratorServer,
    )
    rows = jvm.PythonSQLUtils.toDataFrame(read, types.json(), session._jsparkSession)
    return DataFrame(rows, session)


def held_frame(frame: DataFrame) -> DataFrame:
    """The rows of a frame, which the driver then holds."""
    return frame_of_arrow(frame.sparkSession, arrow_table(frame), frame.schema)


def delta_table_named(spark: SparkSession, name: str) -> DeltaTable:
    """A Delta table of the catalogue.

    Raises:
        AnalysisException: there is none of that name.
    """
    if _IS_SPARK_3:
        # With Spark 3.5, Delta accepts no name of a catalogue, and always means the session's.
        of_catalogue = _SESSION_CATALOG.match(name)
        name = name[of_catalogue.end() :] if of_catalogue else name
    return DeltaTable.forName(spark, name)


def use_in_this_thread(spark: SparkSession) -> None:
    """Make a session the one by which the calling thread finds catalogues.

    Where a thread has none, Spark 3.5 takes a catalogue that knows nothing of Delta, which replaces
    rows of a table by a new table.
    """
    if _IS_SPARK_3:
        session: Any = spark
        session._jvm.SparkSession.setActiveSession(session._jsparkSession)


def reads_versions_of_delta_alone() -> bool:
    """Whether Spark silently ignores a version that is asked of any table but Delta's."""
    return _IS_SPARK_3


def _empty_frame(spark: SparkSession, schema: T.StructType | str) -> DataFrame:
    """A frame without rows that Spark knows to be empty.

    Spark makes none from an Arrow table without rows. One from an empty list is read by a Python
    worker of another kind than those for columns, and the first of these takes seconds to start.
    """
    fields = _struct_of(spark, schema)
    columns = (F.lit(None).cast(field.dataType).alias(field.name) for field in fields)
    return spark.range(1).select(*columns).limit(0)


def _struct_of(spark: SparkSession, schema: T.StructType | str) -> T.StructType:
    """A schema as a struct; text is Spark's short form of a schema."""
    return spark.createDataFrame([], schema).schema if isinstance(schema, str) else schema


def cast_or_null(column: Column, kind: str) -> Column:
    """A column as another type; null where it cannot be."""
    if hasattr(Column, "try_cast"):
        return column.try_cast(kind)
    jvm: Any = SparkSession.active()._jvm
    sql = jvm.org.apache.spark.sql
    expressions = sql.catalyst.expressions
    of_spark_3 = cast(Any, column)
    tried = expressions.Cast(
        of_spark_3._jc.expr(),
        sql.types.DataType.fromDDL(kind),
        jvm.scala.Option.apply(None),
        expressions.EvalMode.TRY(),
    )
    return Column(sql.Column(tried))


def named_set(spark: SparkSession, name: str, column: str, values: Collection[str]) -> str | None:
    """SQL that is true where a column has one of many strings, for places that keep it.

    The strings are in a variable of the session, so that readers of the SQL learn none of them, and
    its length does not grow with their number. None where that cannot be: Spark 3.5 has no such
    variables, and on Spark 4.2 Delta finds none in a condition.

    Args:
        spark: the session; a variable of that name is replaced.
        name: of the variable.
        column: of strings.
        values: among which they are looked for, in a time that does not grow with their number.
    """
    if not spark.version.startswith("4.0."):
        return None
    buckets: list[list[str]] = [[] for _ in range(max(len(values), 1))]
    for value in values:
        buckets[zlib.crc32(value.encode()) % len(buckets)].append(value)
    kind = "ARRAY<ARRAY<STRING>>"
    spark.sql(f"DECLARE OR REPLACE VARIABLE {name} {kind}")
    given = {"buckets": json.dumps(buckets)}
    spark.sql(f"SET VAR {name} = from_json(:buckets, '{kind}')", args=given)
    bucket = f"CAST(crc32({column}) % {len(buckets)} AS INT) + 1"
    return f"array_contains(element_at({name}, {bucket}), {column})"
