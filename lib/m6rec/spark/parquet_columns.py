"""The columns of a file of Parquet as its footer has them, and those that Spark reads."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql import types as T

from m6rec.check.samples import shown_names
from m6rec.errors import TableError
from m6rec.spark.files import hadoop_configuration, sized_files_under

# The most files whose columns are put together.
_FILES_PUT_TOGETHER = 10_000


def parquet_schema(spark: SparkSession, file: str) -> Any:
    """The schema of a file, as Parquet's own library has it: a `MessageType`."""
    jvm: Any = spark._jvm
    settings, parquet = hadoop_configuration(spark), jvm.org.apache.parquet
    place = parquet.hadoop.util.HadoopInputFile.fromPath(
        jvm.org.apache.hadoop.fs.Path(file), settings
    )
    # The statistics of rows cannot be read where columns of two types have one name.
    no_rows = parquet.format.converter.ParquetMetadataConverter.SKIP_ROW_GROUPS
    options = parquet.HadoopReadOptions.builder(settings).withMetadataFilter(no_rows).build()
    reader = parquet.hadoop.ParquetFileReader.open(place, options)
    try:
        return reader.getFooter().getFileMetaData().getSchema()
    finally:
        reader.close()


@dataclass(frozen=True)
class ReadableColumns:
    """What Spark reads of a file.

    Attributes:
        columns: those that it reads.
        others: the types in Parquet of all others, by name.
    """

    columns: T.StructType
    others: dict[str, str]


def readable_columns(spark: SparkSession, path: str) -> ReadableColumns:
    """What Spark reads of the first file under a path; nothing where there is no such file.

    Raises:
        TableError: several columns of the file have one name.
    """
    readable = _readable_of(spark, _schema_under(spark, path))
    _check_repeated([*readable.columns.names, *readable.others])
    return readable


def readable_columns_of_all(spark: SparkSession, path: str) -> ReadableColumns:
    """The columns of all files under a path, of each as the first file that has it."""
    columns: dict[str, T.StructField] = {}
    others: dict[str, str] = {}
    try:
        files = sized_files_under(spark, path, _FILES_PUT_TOGETHER)
    except Py4JJavaError:
        # Spark reports what is wrong with a place when it reads the files.
        files = []
    for file, _ in files:
        found = _readable_of(spark, parquet_schema(spark, file))
        others |= found.others
        columns = {field.name: field for field in found.columns} | columns
    read = [field for name, field in columns.items() if name not in others]
    return ReadableColumns(T.StructType(read), others)


def _check_repeated(names: Sequence[str]) -> None:
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise TableError(
            f"it has several columns named {shown_names(repeated)}, and Spark cannot tell them"
            " apart; write them with different names in the source"
        )


def _readable_of(spark: SparkSession, schema: Any | None) -> ReadableColumns:
    """What Spark reads of a file with such a schema."""
    if schema is None:
        return ReadableColumns(T.StructType(), {})
    # Nearly always Spark reads all columns, and one call shows that it does.
    whole = _as_spark_has_them(spark, schema)
    if whole is not None:
        return ReadableColumns(whole, {})
    columns: list[T.StructField] = []
    others: dict[str, str] = {}
    for field in schema.getFields():
        read = _as_spark_has_them(spark, _schema_of(spark, field))
        if read is None:
            others[str(field.getName())] = _type_of(field)
        else:
            columns += read.fields
    return ReadableColumns(T.StructType(columns), others)


def _schema_under(spark: SparkSession, path: str) -> Any | None:
    try:
        files = sized_files_under(spark, path, 1)
        return parquet_schema(spark, files[0][0]) if files else None
    except Py4JJavaError:
        # Spark reports what is wrong with a file or place when it reads the files.
        return None


def _schema_of(spark: SparkSession, field: Any) -> Any:
    """The schema of a file that has one field."""
    jvm: Any = spark._jvm
    fields = jvm.java.util.ArrayList()
    fields.add(field)
    return jvm.org.apache.parquet.schema.MessageType("columns", fields)


def _type_of(field: Any) -> str:
    """The type of a field as Parquet writes it, such as int64 (TIME(MICROS,true))."""
    if not field.isPrimitive():
        return f"group of {', '.join(_type_of(one) for one in field.getFields())}"
    kind = field.getLogicalTypeAnnotation()
    name = str(field.asPrimitiveType().getPrimitiveTypeName())
    return name if kind is None else f"{name} ({kind})"


def _as_spark_has_them(spark: SparkSession, schema: Any) -> T.StructType | None:
    """The columns that Spark makes of a schema; None where it does not read one of them."""
    jvm: Any = spark._jvm
    session: Any = spark._jsparkSession
    converter = jvm.org.apache.spark.sql.execution.datasources.parquet.ParquetToSparkSchemaConverter
    try:
        read = converter(session.sessionState().conf()).convert(schema)
    except (PySparkException, Py4JJavaError):
        return None
    found = json.loads(read.json())
    return None if _has_time_of_day(found) else T.StructType.fromJson(found)


def _has_time_of_day(kind: Any) -> bool:
    """Whether a type as JSON has a time of day in it, which Spark 4.2 knows and does not read."""
    if isinstance(kind, str):
        return kind.startswith("time(")
    if isinstance(kind, list):
        return any(map(_has_time_of_day, kind))
    parts = ("type", "fields", "elementType", "keyType", "valueType")
    return isinstance(kind, dict) and any(_has_time_of_day(kind.get(part)) for part in parts)
