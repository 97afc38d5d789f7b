"""Attributes that a given table holds as text and the run's table as values."""

from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from m6rec.check.writing import AS_IS, Writing
from m6rec.stages.features.given import typed_as_own
from m6rec.stages.features.inputs import AttributeColumns, read_attributes
from m6rec.stages.features.vocabularies import NO_SEPARATOR

LIST = T.ArrayType(T.StringType())
TYPES = {
    "user_index": T.LongType(),
    "vip": T.BooleanType(),
    "paid": T.DoubleType(),
    "since": T.DateType(),
    "age": T.StringType(),
    **dict.fromkeys(("my.tags", "likes", "towns"), LIST),
    "member": T.BooleanType(),
    "genres": T.StringType(),
}
OWN = T.StructType([T.StructField(name, kind) for name, kind in TYPES.items()])
NUMERIC = ("vip", "paid", "since", "age")
TOKENS = {
    **dict.fromkeys(("my.tags", "likes", "towns", "genres"), "multi_valued"),
    "member": "categorical",
}
COLUMNS = AttributeColumns(
    NUMERIC,
    tuple(TOKENS.items()),
    (NO_SEPARATOR, NO_SEPARATOR, NO_SEPARATOR, ";", NO_SEPARATOR),
    writings=(AS_IS, AS_IS, AS_IS, Writing(",")),
)


def test_text_is_read_as_the_values_of_the_run(spark: SparkSession) -> None:
    rows = [
        (1, "True", "1,5", "24.12.2024", "30", "a|b", "['x', 'y z']", "New York", "True", "p;q|r"),
        (2, "False", "2", "01.02.2025", "4,5", "c", "['x']", "Ulm", "no", "p"),
        (3, "", "", "", "", "", "", "", "", ""),
        (4, "1.0", "3", "02.02.2025", "5", "a", "['z']", "Ulm", "false", "q"),
    ]
    names = ", ".join(f"`{field.name}` string" for field in OWN.fields[1:])
    given = spark.createDataFrame(rows, f"user_index long, {names}")
    read = read_attributes(typed_as_own(given, OWN, "user_index", COLUMNS), COLUMNS, "user_index")
    assert read is not None
    first, second, none, last = read.sort("user_index").drop("user_index", "known").collect()
    assert list(first) == [
        [1.0, 1.5, 1_734_998_400.0, 30.0],
        ["a", "b"],
        ["x", "y z"],
        ["New York"],
        ["p", "q|r"],
        ["true"],
    ]
    assert list(second) == [
        [0.0, 2.0, 1_738_368_000.0, 4.5],
        ["c"],
        ["x"],
        ["Ulm"],
        ["p"],
        ["false"],
    ]
    assert list(none) == [[None] * 4, *[[]] * 5]
    assert last[0][0] == 1.0


def test_a_table_like_the_own_stays_as_it_is(spark: SparkSession) -> None:
    own = spark.createDataFrame([], OWN)
    assert typed_as_own(own, OWN, "user_index", COLUMNS) is own
    texts = own.select("user_index", F.lit("x").alias("genres"))
    assert typed_as_own(texts, OWN, "user_index", COLUMNS) is texts
