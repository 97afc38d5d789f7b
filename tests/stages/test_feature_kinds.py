import random
import re

import numpy as np
import pytest
from pyspark.sql import SparkSession

from m6rec import columns as c
from m6rec.check.samples import ColumnSample, TableSample
from m6rec.check.vectors import LEAST_WITHOUT_BRACKETS, numbers_in_text
from m6rec.config.base import TableSource
from m6rec.config.data import AttributesSource, FeaturesConfig, InteractionsConfig
from m6rec.errors import TableError
from m6rec.stages.features.categories import values_of_items
from m6rec.stages.features.fitting import fit_features
from m6rec.stages.features.kinds import (
    infer_columns,
    kind_of_strings,
    kinds_of_sample,
    separator_of,
)

GENRES = ("Drama", "Comedy", "Action", "Horror")


def test_types_decide_where_they_say_enough(spark: SparkSession) -> None:
    frame = spark.createDataFrame(
        [("a", 1, True, ["x"], bytearray(b"1"), {"k": 1})],
        "id string, age int, member boolean, tags array<string>, cover binary,"
        " more map<string,int>",
    )
    assert infer_columns(frame, "id", {}).kinds == {
        "age": "numeric",
        "member": "numeric",
        "tags": "multi_valued",
        "cover": "image",
        "more": "ignore",
    }


def test_overrides_win_and_an_unknown_one_is_named(spark: SparkSession) -> None:
    frame = spark.createDataFrame([("a", "/covers/a.png", 1)], "id string, cover string, year int")
    kinds = infer_columns(frame, "id", {"cover": "image", "year": "categorical"}).kinds
    assert kinds == {"cover": "image", "year": "categorical"}
    with pytest.raises(TableError, match="colour"):
        infer_columns(frame, "id", {"colour": "categorical"})


def test_every_column_of_bytes_is_one_of_images(spark: SparkSession) -> None:
    rows = [("a", bytearray(b"1"), bytearray(b"2"))]
    frame = spark.createDataFrame(rows, "id string, cover binary, trailer binary")
    assert infer_columns(frame, "id", {}).kinds == {"cover": "image", "trailer": "image"}
    kinds = infer_columns(frame, "id", {"trailer": "video"}).kinds
    assert kinds == {"cover": "image", "trailer": "video"}


def test_column_names_with_dots_and_colons_are_read(spark: SparkSession) -> None:
    frame = spark.createDataFrame(
        [("a", "1.5"), ("b", "2")], "`id:token` string, `a.b:float` string"
    )
    assert infer_columns(frame, "id:token", {}).kinds == {"a.b:float": "numeric"}


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


def test_a_sign_in_few_texts_does_not_separate_all() -> None:
    lists = ["Action, Comedy"] * 20 + ["Drama", "a | b"]
    assert separator_of(lists) == ","
    assert separator_of([*lists, *["Action, x|Drama"] * 3]) == "|"
    assert separator_of(["rock indie 90s"] * 1_000 + ["rock, indie"]) == " "
    assert separator_of(["[one, two]", "[three, four]"]) == "[]"
    assert separator_of([]) == " "


def test_a_column_of_several_values_is_read_where_it_has_any(spark: SparkSession) -> None:
    # Hardly a row has a value, and the first ones by the hash of the id have none.
    frame = spark.range(50_000).selectExpr("id", "if(id = 3, 'a; b', '') tags")
    writings = infer_columns(frame, "id", {"tags": "multi_valued"}).writings
    assert writings["tags"].separator == ";"


def test_values_are_split_where_the_check_says(spark: SparkSession) -> None:
    generator = random.Random(0)
    people = [f"Last{k}, First{k % 20}" for k in range(100)]
    tags = [f"tag{k}" for k in range(40)]
    texts = {
        "authors": ["; ".join(generator.sample(people, k % 4 + 1)) for k in range(800)],
        # In one of a hundred texts a comma stands for the space.
        "tags": [
            " ".join(generator.sample(tags, k % 3 + 1)).replace(" ", "," if k % 100 == 1 else " ")
            for k in range(800)
        ],
        "genres": [
            "" if k % 7 == 0 else str(generator.sample(GENRES, k % 3 + 1)) for k in range(800)
        ],
    }
    rows = list(zip(range(800), *texts.values(), strict=True))
    schema = ", ".join([f"{c.ITEM_INDEX} long", *(f"{name} string" for name in texts)])
    frame = spark.createDataFrame(rows, schema).cache()
    columns = infer_columns(frame, c.ITEM_INDEX, {})
    config = FeaturesConfig(minimum_count=1)
    indices = frame.select(c.ITEM_INDEX)
    pipeline = fit_features(
        frame, None, c.ITEM_INDEX, columns.kinds, config, indices, 7, columns.writings
    )
    vocabularies = {block.name: set(block.vocabulary) for block in pipeline.blocks}
    samples = {name: ColumnSample(name, "string", "text", texts[name]) for name in texts}
    source = TableSource(path="unused")
    attributes = AttributesSource(source=source, id=c.ITEM_INDEX)
    told = kinds_of_sample(TableSample(800, True, samples), attributes)
    signs = {"authors": ";", "tags": r"\s", "genres": r"[\[\],']"}
    words = {"authors": "';'", "tags": "white space", "genres": "commas within brackets"}
    for name, sign in signs.items():
        assert told[name] == ("multi_valued", f"several values, split at {words[name]}")
        parts = {part.strip() for text in texts[name] for part in re.split(sign, text)} - {""}
        assert vocabularies[name] == parts
    values = values_of_items(frame, attributes, "authors", InteractionsConfig(source=source))
    assert {row[c.VALUE] for row in values.collect()} == vocabularies["authors"]


def test_a_column_without_a_value_is_told_as_such() -> None:
    attributes = AttributesSource(source=TableSource(path="unused"), id="id")
    samples = {
        "price": ColumnSample("price", "double", "fraction", [None, None]),
        "stock": ColumnSample("stock", "double", "fraction", [None, 1.0]),
        "story": ColumnSample("story", "string", "text", ["", None]),
    }
    told = kinds_of_sample(TableSample(2, True, samples), attributes)
    assert told == {
        "price": ("numeric", "no value in the first rows"),
        "stock": ("numeric", "a number"),
        "story": ("ignore", "left out: no value"),
    }


@pytest.mark.parametrize("separator", [",", ", ", " ", ";"])
def test_a_text_of_eight_fractions_or_more_is_a_vector(separator: str) -> None:
    def texts(numbers: int) -> list[str]:
        rows = np.random.default_rng(4).normal(size=(30, numbers))
        return [separator.join(f"{number:.3f}" for number in row) for row in rows]

    assert kind_of_strings(texts(LEAST_WITHOUT_BRACKETS)) == "embedding"
    assert kind_of_strings(texts(LEAST_WITHOUT_BRACKETS - 1)) != "embedding"
    assert kind_of_strings([f"[{text}]" for text in texts(3)]) == "embedding"
    codes = [text.replace(".", "") for text in texts(LEAST_WITHOUT_BRACKETS)]
    assert kind_of_strings(codes) != "embedding"
    vector = numbers_in_text(texts(9)[0])
    assert vector is not None
    assert len(vector) == 9
    assert numbers_in_text(f"a {texts(9)[0]}") is None
    assert numbers_in_text(f"1 {texts(9)[0]} b") is None
