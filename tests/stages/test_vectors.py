"""Columns of vectors of the owner's: what is usable of them, and what becomes of it."""

import json
from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession

from m6rec import columns as c
from m6rec.config.data import FeaturesConfig
from m6rec.config.run import parse_config
from m6rec.errors import TableError
from m6rec.fits.inspection import Inspection, inspect_sources
from m6rec.stages.features.fitting import fit_features
from m6rec.stages.features.kinds import infer_columns
from m6rec.stages.features.pipeline import FeaturePipeline
from m6rec.stages.features.reading import item_terms
from m6rec.stages.features.vectors import (
    VectorColumn,
    VectorFacts,
    measure_vectors,
    vector_facts,
    with_vectors,
)
from tests.item_frames import batches_of, items_of

SCHEMA = f"{c.ITEM_INDEX} long, colour string, picture array<double>, frames array<array<float>>"
NAN, INFINITY = float("nan"), float("inf")
ROWS = [
    (0, "red", [1.0, 2.0, 3.0], [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [2.0, 1.0]]),
    (1, "red", [2.0, 2.0, 3.5], [[1.0, 0.0], [NAN, 1.0], [0.0, 0.0]]),
    (2, "blue", [-1.0, 0.5, 0.0], [[1.0, 2.0, 3.0]]),
    (3, "blue", [-1.0, 0.0, 0.5], []),
    # A row with another length, one that is not finite, one of zeros, one with null in it.
    (4, "blue", [1.0, 2.0], None),
    (5, "red", [1.0, INFINITY, 0.0], [[0.0, 3.0]]),
    (6, "red", [0.0, 0.0, 0.0], [None, [0.5, 0.5]]),
    (7, "blue", [1.0, None, 0.0], [[None, 1.0]]),
    (8, "blue", None, [[1e300, 1.0]]),
]


@pytest.fixture(scope="module")
def items(spark: SparkSession) -> DataFrame:
    return spark.createDataFrame(ROWS, SCHEMA).repartition(3).cache()


@pytest.fixture(scope="module")
def facts(items: DataFrame) -> tuple[VectorFacts, VectorFacts]:
    return (
        measure_vectors(items, "picture", 2, "table items"),
        measure_vectors(items, "frames", 2, "table items"),
    )


@pytest.fixture(scope="module")
def pipeline(items: DataFrame, facts: tuple[VectorFacts, VectorFacts]) -> FeaturePipeline:
    kinds = infer_columns(
        items, c.ITEM_INDEX, {"picture": "embedding", "frames": "embedding"}
    ).kinds
    columns = tuple(one.column for one in facts)
    config = FeaturesConfig(minimum_count=1, text_rank=8)
    return fit_features(
        items, None, c.ITEM_INDEX, kinds, config, items.select(c.ITEM_INDEX), 7, vectors=columns
    )


def test_rows_without_a_usable_vector_are_counted(
    facts: tuple[VectorFacts, VectorFacts],
) -> None:
    picture, frames = facts
    assert str(picture) == (
        "column picture: vectors of 3 numbers in 4 of 9 rows; 1 without any, 1 of another length,"
        " 3 with NaN, an infinity or null, or all zero, which count as without"
    )
    assert str(frames) == (
        "column frames: up to 2 vectors of 2 numbers in 4 of 9 rows; 2 without any, 1 of another"
        " length, 2 with NaN, an infinity or null, or all zero, which count as without"
    )


def test_usable_vectors_are_read_at_even_distances(
    items: DataFrame, facts: tuple[VectorFacts, VectorFacts]
) -> None:
    read = with_vectors(items, c.ITEM_INDEX, [one.column for one in facts])
    rows = {row[0]: (row[1], row[2]) for row in read.collect()}
    assert rows[0] == ([1.0, 2.0, 3.0], [1.0, 0.0, 1.0, 1.0])
    assert rows[1] == ([2.0, 2.0, 3.5], [1.0, 0.0])
    assert rows[6] == ([], [0.5, 0.5])
    assert rows[4] == rows[7] == rows[8] == ([], [])


def test_a_column_without_a_usable_row_or_of_another_type_stops_the_run(
    spark: SparkSession,
) -> None:
    broken = spark.createDataFrame([([NAN, 1.0],), (None,)], "v array<double>")
    with pytest.raises(TableError, match=r"column v: none of 2 rows has a usable vector \(1 have"):
        measure_vectors(broken, "v", 2, "table items")
    flags = spark.createDataFrame([(True,)], "v boolean")
    with pytest.raises(TableError, match=r"column v: has type boolean, expected array<float>"):
        measure_vectors(flags, "v", 2, "table items")


def test_vectors_in_text_may_be_missing(spark: SparkSession) -> None:
    rows = [(0, "[1, 2.5]"), (1, "[3, 4.5]"), (2, "?"), (3, None)]
    text = spark.createDataFrame(rows, "id long, v string")
    facts = measure_vectors(text, "v", 3, "table items")
    assert (facts.rows, facts.missing, facts.column.length) == (4, 2, 2)
    read = with_vectors(text, "id", [facts.column]).orderBy("id").collect()
    assert [row["vectors_0"] for row in read] == [[1.0, 2.5], [3.0, 4.5], [], []]


def test_the_length_is_that_of_most_rows(spark: SparkSession) -> None:
    rows = [([[1.0, 2.0]],), ([[1.0, 3.0]],), ([[1.0, 1.0, 1.0]] * 5,)]
    frames = spark.createDataFrame(rows, "v array<array<double>>")
    assert measure_vectors(frames, "v", 2, "table items").column.length == 2


def test_a_later_table_is_counted_by_the_length_that_is_known(items: DataFrame) -> None:
    found = vector_facts(items, VectorColumn("picture", 2, 1))
    assert str(found) == (
        "column picture: vectors of 2 numbers in 1 of 9 rows; 1 without any, 4 of another length,"
        " 3 with NaN, an infinity or null, or all zero, which count as without"
    )


def test_arrays_of_floats_of_one_length_are_vectors(spark: SparkSession) -> None:
    rows = [(k, [1.0] * 4, [0.5] * (k % 3 + 1), [[1.0, 2.0]] * k) for k in range(9)]
    schema = "id long, v array<float>, prices array<double>, frames array<array<double>>"
    kinds = infer_columns(spark.createDataFrame(rows, schema), "id", {}).kinds
    assert kinds == {"v": "embedding", "prices": "multi_valued", "frames": "embedding"}


def test_vectors_become_content_terms_and_features_of_their_own(
    items: DataFrame, pipeline: FeaturePipeline
) -> None:
    indices = items.select(c.ITEM_INDEX)
    table = pipeline.transform(items, None, indices).persist()
    assert pipeline.modalities == ((1, 3), (2, 2))
    features = items_of(table, c.FEATURES, len(ROWS))
    assert features.shape[1] == len(pipeline.feature_names) == 2 + 3 + 2 * 2
    picture, frames = features[:, -7:-4], features[:, -4:].reshape(-1, 2, 2)
    assert picture.any(axis=1).tolist() == [True] * 4 + [False] * 5
    assert frames.any(axis=2).sum(axis=1).tolist() == [2, 1, 0, 0, 0, 1, 1, 0, 0]
    content = items_of(table, c.CONTENT, len(ROWS))
    assert content.shape[1] == pipeline.content_width
    # A vector near the mean says little, and says it in a short vector.
    lengths = np.linalg.norm(content, axis=1)
    assert (lengths > 0.2).all() and (lengths <= 1.0 + 1e-6).all()
    assert content[0] @ content[1] > content[0] @ content[2]
    terms = item_terms(batches_of(table, c.ITEM_INDEX, c.TERM_INDICES, c.TERM_WEIGHTS), len(ROWS))
    np.testing.assert_allclose(np.sqrt(terms.multiply(terms).sum(axis=1)), 1.0, rtol=1e-5)


def test_a_saved_pipeline_makes_the_same_of_vectors(
    spark: SparkSession, items: DataFrame, pipeline: FeaturePipeline, tmp_path: Path
) -> None:
    pipeline.save(str(tmp_path))
    again = FeaturePipeline.load(str(tmp_path))
    assert again.feature_names == pipeline.feature_names
    made = [
        sorted(each.transform(items, None, items.select(c.ITEM_INDEX)).collect())
        for each in (pipeline, again)
    ]
    assert made[0] == made[1]


def inspected(items: DataFrame, folder: Path, *vectors: str) -> Inspection:
    """What the check says of a table of items, of which some columns are stated to be vectors."""
    (folder / "events.csv").write_text("user_id,item_id\nann,0\nben,1\n")
    items.write.parquet(str(folder / "items"))
    given = {
        "interactions": {"source": {"path": str(folder / "events.csv")}},
        "features": {
            "items": {
                "source": {"path": str(folder / "items")},
                "id": "id",
                "kinds": dict.fromkeys(vectors, "embedding"),
            }
        },
    }
    return inspect_sources(items.sparkSession, parse_config(given, "test"))


def test_the_check_says_how_vectors_are_understood_and_what_is_wrong(
    spark: SparkSession, tmp_path: Path
) -> None:
    rows = [(k, [1.0, 2.0 + k], [NAN, 1.0], True) for k in range(8)] + [(8, [1.0], None, False)]
    schema = "id long, picture array<double>, broken array<float>, flag boolean"
    items = spark.createDataFrame(rows, schema)
    inspection = inspected(items, tmp_path, "picture", "broken", "flag")
    views = {view.name: view for view in inspection.tables[1].columns}
    assert views["picture"].kind == "embedding" and "2 numbers" in views["picture"].examples[0]
    problems = "\n".join(inspection.lines("problem"))
    assert "column broken: has no usable vector in its 9 rows" in problems
    assert "column flag: has type boolean, expected array<float>" in problems
    warnings = "\n".join(inspection.lines("warning"))
    assert "vectors of 2 numbers in 8 of the first 9 rows; 1 have one of another length" in warnings


def test_long_vectors_in_text_are_no_problem(spark: SparkSession, tmp_path: Path) -> None:
    numbers = np.random.default_rng(7).standard_normal((50, 10_000)).tolist()
    rows = [
        (
            k,
            " {" + ",".join(map(str, row[:400])) + "}",
            json.dumps(row[:3072]),
            json.dumps([int(1e9 * number) for number in row]),
        )
        for k, row in enumerate(numbers)
    ]
    schema = "id long, postgres string, long string, cut string"
    inspection = inspected(spark.createDataFrame(rows, schema), tmp_path, "cut")
    assert inspection.lines("problem") == []
    kinds = {view.name: view.kind for view in inspection.tables[1].columns}
    assert kinds == {"id": "id", **dict.fromkeys(("postgres", "long", "cut"), "embedding")}
    assert not any("column cut" in line for line in inspection.lines("warning"))
