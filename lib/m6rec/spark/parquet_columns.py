"""The columns of a file of Parquet as its footer has them, and those that Spark reads."""

import json
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.errors import AnalysisException
from pyspark.sql import SparkSession
from pyspark.sql import types as T

from m6rec.spark.files import hadoop_configuration


def parquet_fields(spark: SparkSession, file: str) -> list[Any]:
    """The fields of a file, as Parquet's own library has them."""
    jvm: Any = spark._jvm
    path = jvm.org.apache.hadoop.fs.Path(jvm.java.net.URI(file))
    place = jvm.org.apache.parquet.hadoop.util.HadoopInputFile.fromPath(
        path, hadoop_configuration(spark)
    )
    reader = jvm.org.apache.parquet.hadoop.ParquetFileReader.open(place)
    try:
        return list(reader.getFooter().getFileMetaData().getSchema().getFields())
    finally:
        reader.close()


def readable_columns(spark: SparkSession, file: str) -> tuple[T.StructType, dict[str, str]]:
    """The schema of the columns that Spark reads, and the types in Parquet of all others."""
    columns, others = T.StructType([]), {}
    for field in parquet_fields(spark, file):
        try:
            columns = T.StructType([*columns.fields, *_as_spark_has_it(spark, field).fields])
        except (AnalysisException, Py4JJavaError):
            others[str(field.getName())] = _type_of(field)
    return columns, others


def _type_of(field: Any) -> str:
    """The type of a field as Parquet writes it, such as int64 (TIME(MICROS,true))."""
    if not field.isPrimitive():
        return f"group of {', '.join(_type_of(one) for one in field.getFields())}"
    kind = field.getLogicalTypeAnnotation()
    name = str(field.asPrimitiveType().getPrimitiveTypeName())
    return name if kind is None else f"{name} ({kind})"


def _as_spark_has_it(spark: SparkSession, field: Any) -> T.StructType:
    jvm: Any = spark._jvm
    session: Any = spark._jsparkSession
    listed = jvm.java.util.ArrayList()
    listed.add(field)
    message = jvm.org.apache.parquet.schema.MessageType("columns", listed)
    converter = jvm.org.apache.spark.sql.execution.datasources.parquet.ParquetToSparkSchemaConverter
    read = converter(session.sessionState().conf()).convert(message)
    return T.StructType.fromJson(json.loads(read.json()))
