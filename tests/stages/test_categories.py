"""Values of the items' attributes as categories, by which lists are chosen and measured."""

import pytest
from pyspark.sql import SparkSession

from m6rec.config.base import TableSource
from m6rec.config.data import AttributesSource, FeatureKind, InteractionsConfig
from m6rec.stages.features.categories import categories_of_items


@pytest.mark.parametrize(
    ("values", "kinds", "expected"),
    [
        # Values are numbered by their text, and an id that stands twice has the values of both.
        (["Drama|Comedy", "Comedy", "Drama", None, "War"], {}, [{0, 1}, {0, 2}, {1}, set()]),
        (["b, Inc", "a, Inc", "b, Inc", " ", "b, Inc"], {"item_id": "categorical"}, None),
        ([["x", "y"], ["y"], None, [" x "], []], {}, [{0, 1}, {1}, set(), {0}]),
        ([2, 1, 2, None, 2], {}, [{1}, {0, 1}, {1}, set()]),
    ],
)
def test_values_are_told_apart_as_features_tell_them(
    spark: SparkSession,
    values: list[object],
    kinds: dict[str, FeatureKind],
    expected: list[set[int]] | None,
) -> None:
    # The column has the name that ours has.
    skus = ["p", "q", "r", "s", "q"]
    frame = spark.createDataFrame(list(zip(skus, values, strict=True)), ["sku", "item_id"])
    index = spark.createDataFrame(
        [(item, place) for place, item in enumerate("pqrs")], "item_id string, item_index long"
    )
    source = TableSource(path="unused")
    attributes = AttributesSource(source=source, id="sku", kinds=kinds)
    interactions = InteractionsConfig(source=source)
    found = categories_of_items(frame, attributes, "item_id", interactions, index, 4)
    sets = [
        set(found.indices[start:stop].tolist())
        for start, stop in zip(found.indptr[:-1], found.indptr[1:], strict=True)
    ]
    assert sets == (expected or [{1}, {0, 1}, {1}, set()])
