"""docs/tables.md says of the types of columns what the code says."""

import pytest
from pyspark.sql import types as T

from m6rec.check.types import COLUMN_TYPES
from m6rec.spark.runtimes import SPATIAL, VARIANTS
from m6rec.spark.samples import type_group
from tests.docs.tables_document import TABLES_DOCUMENT, with_types


def test_the_document_is_what_the_code_says() -> None:
    text = TABLES_DOCUMENT.read_text()
    assert text == with_types(text), "run python -m tests.docs.tables_document"


def test_a_document_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="generated: types"):
        with_types("# Your tables\n")


def test_every_type_of_spark_is_in_one_group() -> None:
    element = T.StructType([T.StructField("a", T.IntegerType())])
    expected = {
        "text": [T.StringType(), T.VarcharType(3)],
        "whole number": [T.ByteType(), T.LongType()],
        "fraction": [T.FloatType(), T.DecimalType(38, 0)],
        "truth value": [T.BooleanType()],
        "date": [T.DateType()],
        "timestamp": [T.TimestampType()],
        "local timestamp": [T.TimestampNTZType()],
        "bytes": [T.BinaryType()],
        "list": [T.ArrayType(T.StringType()), T.ArrayType(T.LongType())],
        "vector": [T.ArrayType(T.FloatType()), T.ArrayType(T.ArrayType(T.DoubleType()))],
        "nested": [element, T.ArrayType(element), T.MapType(T.StringType(), T.LongType())],
        "other": [
            T.DayTimeIntervalType(),
            T.NullType(),
            *(kind() for kind in VARIANTS),
            *(kind(4326) for kind in SPATIAL),
        ],
    }
    assert expected.keys() == COLUMN_TYPES.keys()
    for group, types in expected.items():
        assert {type_group(kind) for kind in types} == {group}
