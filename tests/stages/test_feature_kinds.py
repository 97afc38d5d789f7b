import pytest
from pyspark.sql import SparkSession

from m6rec.errors import TableError
from m6rec.stages.features.kinds import infer_kinds, kind_of_strings

GENRES = ("Drama", "Comedy", "Action", "Horror")


def test_types_decide_where_they_say_enough(spark: SparkSession) -> None:
    frame = spark.createDataFrame(
        [("a", 1, True, ["x"], bytearray(b"1"), {"k": 1})],
        "id string, age int, member boolean, tags array<string>, cover binary,"
        " more map<string,int>",
    )
    assert infer_kinds(frame, "id", {}) == {
        "age": "numeric",
        "member": "numeric",
        "tags": "multi_valued",
        "cover": "image",
        "more": "ignore",
    }


def test_overrides_win_and_an_unknown_one_is_named(spark: SparkSession) -> None:
    frame = spark.createDataFrame([("a", "/covers/a.png", 1)], "id string, cover string, year int")
    kinds = infer_kinds(frame, "id", {"cover": "image", "year": "categorical"})
    assert kinds == {"cover": "image", "year": "categorical"}
    with pytest.raises(TableError, match="colour"):
        infer_kinds(frame, "id", {"colour": "categorical"})


def test_every_column_of_bytes_is_one_of_images(spark: SparkSession) -> None:
    rows = [("a", bytearray(b"1"), bytearray(b"2"))]
    frame = spark.createDataFrame(rows, "id string, cover binary, trailer binary")
    assert infer_kinds(frame, "id", {}) == {"cover": "image", "trailer": "image"}
    kinds = infer_kinds(frame, "id", {"trailer": "video"})
    assert kinds == {"cover": "image", "trailer": "video"}


def test_column_names_with_dots_and_colons_are_read(spark: SparkSession) -> None:
    frame = spark.createDataFrame(
        [("a", "1.5"), ("b", "2")], "`id:token` string, `a.b:float` string"
    )
    assert infer_kinds(frame, "id:token", {}) == {"a.b:float": "numeric"}


def test_numbers_as_strings_are_numeric_but_codes_with_leading_zeros_are_not() -> None:
    assert kind_of_strings(["1", "2.5", "-3e4", None, "0", ".5"]) == "numeric"
    assert kind_of_strings(["01234", "55105", "01234"] * 10) == "categorical"


def test_a_bar_separates_the_values_of_a_multi_valued_column() -> None:
    assert kind_of_strings(["Drama|War", "Science Fiction", "Comedy"] * 5) == "multi_valued"


def test_lists_of_few_words_are_multi_valued_and_place_names_are_categories() -> None:
    pairs = [f"{first} {second}" for first in GENRES for second in GENRES if first < second]
    assert kind_of_strings((pairs + list(GENRES)) * 10) == "multi_valued"
    assert kind_of_strings(["New York", "Los Angeles", "Boston"] * 20) == "categorical"


def test_sentences_are_text_and_distinct_names_are_ignored() -> None:
    sentences = [f"word{k} and word{k + 1} met word{k * 7} today" for k in range(50)]
    assert kind_of_strings(sentences) == "text"
    assert kind_of_strings([f"item-{k}" for k in range(50)]) == "ignore"


def test_a_column_without_values_is_ignored() -> None:
    assert kind_of_strings([None, "", "  "]) == "ignore"
