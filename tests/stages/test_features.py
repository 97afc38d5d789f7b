import logging
from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.check.writing import Writing
from m6rec.config.data import (
    AttributesSource,
    FeatureKind,
    FeaturesConfig,
    InteractionsConfig,
)
from m6rec.errors import ArtifactError, TableError
from m6rec.stages.features.attributes import attributes_by_index
from m6rec.stages.features.fitting import fit_features
from m6rec.stages.features.pipeline import FeaturePipeline
from m6rec.stages.features.reading import read_content_encoder
from m6rec.stages.features.vocabularies import (
    TextColumn,
    inferred_languages,
    split_text,
    token_column,
)
from tests.item_frames import items_of

KINDS: dict[str, FeatureKind] = {
    "year:float": "numeric",
    "label": "categorical",
    "genres": "multi_valued",
    "plot": "text",
}
CONFIG = FeaturesConfig(minimum_count=1, text_rank=8)
NAN = float("nan")


def _attributes(spark: SparkSession) -> DataFrame:
    rows = [
        (0, 1990.0, "A", "Drama|War", "the old ship sails"),
        (1, 1992.0, "A", "Drama", "an old house burns"),
        (2, None, "B", "Comedy", "the funny ship sinks slowly"),
        (3, 1996.0, "B", "Comedy|War", "funny house"),
        (4, 2050.0, "C", "Horror", "zombies everywhere"),
    ]
    schema = f"{c.ITEM_INDEX} long, `year:float` double, label string, genres string, plot string"
    return spark.createDataFrame(rows, schema)


def _indices(spark: SparkSession, n: int) -> DataFrame:
    return spark.range(n).withColumnRenamed("id", c.ITEM_INDEX)


def _fit(spark: SparkSession, config: FeaturesConfig = CONFIG) -> FeaturePipeline:
    training = _indices(spark, 4)
    writings = {"genres": Writing(separator="|")}
    frame = _attributes(spark)
    return fit_features(frame, None, c.ITEM_INDEX, KINDS, config, training, 7, writings)


def test_every_index_has_a_row_and_an_unknown_one_is_zero(
    spark: SparkSession, tmp_path: Path
) -> None:
    pipeline = _fit(spark)
    table = pipeline.transform(_attributes(spark), None, _indices(spark, 6)).persist()
    rows = table.orderBy(c.ITEM_INDEX).collect()
    assert [row[c.ITEM_INDEX] for row in rows] == list(range(6))
    features = np.array([row[c.FEATURES] for row in rows])
    assert features.shape == (6, len(pipeline.feature_names))
    assert not features[5].any() and not any(rows[5][c.CONTENT]) and rows[5][c.ATTRIBUTES] == []
    content = items_of(table, c.CONTENT, 6)
    np.testing.assert_allclose(np.linalg.norm(content[:5], axis=1), 1.0, rtol=1e-5)
    assert content.shape[1] == pipeline.content_width
    # Standardised on the training rows alone; the outlier of a row outside them is clipped.
    np.testing.assert_allclose(features[:4].mean(axis=0), 0.0, atol=1e-5)
    year = pipeline.feature_names.index("year")
    assert features[4, year] == CONFIG.clip
    assert features[2, year] == pytest.approx(0.0, abs=1e-6)
    # Words: the rarest first, none from text; nothing unseen in training.
    assert set(rows[0][c.ATTRIBUTES]) == {"genres: Drama", "genres: War", "label: A"}
    assert rows[4][c.ATTRIBUTES] == []
    assert not any("Horror" in name for name in pipeline.feature_names)

    pipeline.save(str(tmp_path / "items"))
    again = FeaturePipeline.load(str(tmp_path / "items"))
    assert again.feature_names == pipeline.feature_names
    rebuilt = again.transform(_attributes(spark), None, _indices(spark, 6))
    assert rebuilt.orderBy(c.ITEM_INDEX).collect() == rows


def test_attributes_are_told_by_their_places_in_content(spark: SparkSession) -> None:
    pipeline = _fit(spark)
    rows = pipeline.transform(_attributes(spark), None, _indices(spark, 4)).collect()
    places = pipeline.content_places
    for row in rows:
        own = {places[name] for name in row[c.ATTRIBUTES]}
        of_others = {places[one] for one in places if one.startswith(("label", "genres"))} - own
        assert all(row[c.CONTENT][place] > 0.0 for place in own)
        assert not any(row[c.CONTENT][place] for place in of_others)
    assert len(set(places.values())) == len(places)
    narrow = _fit(spark, FeaturesConfig(minimum_count=1, text_rank=2)).content_places
    assert not any(name.startswith("genres") for name in narrow)


def test_a_folder_without_a_pipeline_of_this_release_is_refused(
    spark: SparkSession, tmp_path: Path
) -> None:
    with pytest.raises(ArtifactError, match="no feature pipeline"):
        FeaturePipeline.load(str(tmp_path))
    (tmp_path / "pipeline.json").write_text('{"prepared": false}')
    with pytest.raises(ArtifactError, match="of another release"):
        FeaturePipeline.load(str(tmp_path))


def test_too_many_features_are_reduced_and_stay_standardised(
    spark: SparkSession, tmp_path: Path
) -> None:
    pipeline = _fit(spark, CONFIG.model_copy(update={"maximum_features": 3}))
    table = pipeline.transform(_attributes(spark), None, _indices(spark, 5))
    assert pipeline.feature_names == ("component 1", "component 2", "component 3")
    features = items_of(table, c.FEATURES, 5)
    np.testing.assert_allclose(features[:4].std(axis=0, ddof=1), 1.0, rtol=1e-4)
    np.testing.assert_allclose(np.corrcoef(features[:4].T), np.eye(3), atol=1e-4)
    pipeline.save(str(tmp_path / "items"))
    again = FeaturePipeline.load(str(tmp_path / "items"))
    rebuilt = again.transform(_attributes(spark), None, _indices(spark, 5))
    np.testing.assert_array_equal(items_of(rebuilt, c.FEATURES, 5), features)


def test_without_attributes_and_behaviour_features_are_empty(spark: SparkSession) -> None:
    pipeline = fit_features(None, None, c.ITEM_INDEX, {}, CONFIG, _indices(spark, 2), 7)
    row = pipeline.transform(None, None, _indices(spark, 1)).collect()[0]
    assert (row[c.FEATURES], row[c.CONTENT], row[c.ATTRIBUTES]) == ([], [], [])


def test_behaviour_alone_makes_features_but_no_content(spark: SparkSession) -> None:
    behaviour = spark.createDataFrame([(0, 1.0), (1, 3.0)], f"{c.ITEM_INDEX} long, acts double")
    pipeline = fit_features(None, behaviour, c.ITEM_INDEX, {}, CONFIG, _indices(spark, 2), 7)
    table = pipeline.transform(None, behaviour, _indices(spark, 3))
    rows = table.orderBy(c.ITEM_INDEX).collect()
    half = np.sqrt(0.5)
    np.testing.assert_allclose([row[c.FEATURES][0] for row in rows], [-half, half, 0], atol=1e-6)
    assert rows[0][c.CONTENT] == []
    with pytest.raises(TableError, match="behaviour"):
        pipeline.transform(None, None, _indices(spark, 3))


@pytest.mark.parametrize(
    ("text_rank", "vocabulary_size", "values", "is_said"),
    [(2, 100, 2, True), (3, 100, 3, False), (4, 2, 2, False)],
)
def test_categories_beyond_the_text_rank_are_unknown_and_that_is_said(
    spark: SparkSession,
    caplog: pytest.LogCaptureFixture,
    text_rank: int,
    vocabulary_size: int,
    values: int,
    is_said: bool,
) -> None:
    rows = [(k, label) for k, label in enumerate("aaabbc")]
    frame = spark.createDataFrame(rows, f"{c.ITEM_INDEX} long, label string")
    update = {"text_rank": text_rank, "vocabulary_size": vocabulary_size}
    settings = CONFIG.model_copy(update=update)
    kinds: dict[str, FeatureKind] = {"label": "categorical"}
    with caplog.at_level(logging.WARNING):
        pipeline = fit_features(frame, None, c.ITEM_INDEX, kinds, settings, _indices(spark, 6), 7)
    assert pipeline.blocks[0].vocabulary == ("a", "b", "c")[:values]
    assert ("column label has more than features.text_rank = 2 values" in caplog.text) == is_said


def test_attributes_that_match_no_training_row_are_refused(spark: SparkSession) -> None:
    training = spark.range(90, 95).withColumnRenamed("id", c.ITEM_INDEX)
    with pytest.raises(TableError, match="training fold"):
        fit_features(_attributes(spark), None, c.ITEM_INDEX, KINDS, CONFIG, training, 7)


def test_a_large_vocabulary_is_projected_and_keeps_likeness(spark: SparkSession) -> None:
    rows = [(k, [f"{k % 3}-{word}" for word in range(k % 5 + 2)]) for k in range(40)]
    frame = spark.createDataFrame(rows, f"{c.ITEM_INDEX} long, tags array<string>")
    pipeline = fit_features(
        frame, None, c.ITEM_INDEX, {"tags": "multi_valued"}, CONFIG, _indices(spark, 40), 7
    )
    assert pipeline.content_width == CONFIG.text_rank
    content = items_of(pipeline.transform(frame, None, _indices(spark, 40)), c.CONTENT, 40)
    likeness = content @ content.T
    same = np.equal.outer(np.arange(40) % 3, np.arange(40) % 3)
    assert likeness[same].min() > 0.2 and np.abs(likeness[~same]).max() < 0.05


def test_the_content_encoder_predicts_the_taste_of_new_users(spark: SparkSession) -> None:
    matrix = spark.createDataFrame(
        [(0, [0], [1.0]), (1, [1], [1.0]), (2, [], [])],
        f"{c.USER_INDEX} long, {c.ITEM_INDICES} array<int>, {c.WEIGHTS} array<float>",
    )
    users = spark.createDataFrame(
        [(0, [1.0, 0.0]), (1, [0.0, 1.0]), (2, [0.0, 0.0])],
        f"{c.USER_INDEX} long, {c.CONTENT} array<float>",
    )
    encoder = read_content_encoder(matrix, users, np.eye(2, dtype=np.float32))
    assert encoder.regression is not None
    # One user each: (1 + λ)^-1 with λ = 10 on the diagonal.
    np.testing.assert_allclose(encoder.regression, np.eye(2) / 11.0, rtol=1e-5)


def test_text_of_every_script_is_split_into_words(spark: SparkSession) -> None:
    texts = [
        ("The ship sails at 5 a.m.", ["ship", "sails"]),
        ("红楼梦 Vol2", ["红", "楼", "梦", "红楼", "楼梦", "vol2"]),
        ("iPhone手机壳", ["iphone", "手", "机", "壳", "手机", "机壳"]),
        ("ラーメン", ["ラ", "ー", "メ", "ン", "ラー", "ーメ", "メン"]),
        ("हिन्दी पुस्तक", ["हिन्दी", "पुस्तक"]),
        ("Мастер и Маргарита", ["мастер", "маргарита"]),
        ("", []),
    ]
    frame = spark.createDataFrame(
        [(k, text) for k, (text, _) in enumerate(texts)], "k int, t string"
    )
    split = split_text(frame, [TextColumn("t", "words", "english")]).orderBy("k").collect()
    assert [row["words"] for row in split] == [words for _, words in texts]


def test_the_parts_of_a_stop_word_with_an_apostrophe_are_stop_words(spark: SparkSession) -> None:
    frame = spark.createDataFrame([("they'll say it isn't",)], "t string")
    [row] = split_text(frame, [TextColumn("t", "words", "english")]).collect()
    assert row["words"] == ["say"]


def test_fractions_as_categories_are_their_digits_and_none_is_nan(spark: SparkSession) -> None:
    rows = [(0, 2010.0, [2010.0, 0.5, NAN]), (1, NAN, []), (2, None, None)]
    frame = spark.createDataFrame(rows, "k int, year double, years array<double>").orderBy("k")
    types = {field.name: field.dataType for field in frame.schema}
    years = token_column("year", "categorical", types["year"], "")
    lists = token_column("years", "multi_valued", types["years"], "")
    found = [tuple(row) for row in frame.select(years, lists).collect()]
    assert found == [(["2010"], ["2010", "0.5"]), ([], []), ([], [])]


def test_auto_tells_the_language_by_its_stop_words(spark: SparkSession) -> None:
    rows = [
        ("Der alte Mann und das Meer", "The old man and the sea", "Alpha Beta"),
        ("Die Frau in dem roten Kleid", "A woman in the red dress", "Gamma Delta"),
    ]
    frame = spark.createDataFrame(rows, "de string, en string, names string")
    texts = {name: F.col(name) for name in frame.columns}
    assert inferred_languages(frame, texts) == {"de": "german", "en": "english", "names": "none"}
    assert inferred_languages(frame, {}) == {}


def test_a_table_of_ids_alone_has_a_row_for_each(spark: SparkSession) -> None:
    source = AttributesSource.model_validate({"source": {"path": "unused"}, "id": "sku"})
    interactions = InteractionsConfig.model_validate({"source": {"path": "unused"}})
    frame = spark.createDataFrame([("a",), ("b",), ("a",), ("x",)], "sku string")
    indices = spark.createDataFrame([("a", 0), ("b", 1)], "item_id string, item_index long")
    found = attributes_by_index(frame, source, interactions, indices)
    assert sorted(row[c.ITEM_INDEX] for row in found.collect()) == [0, 1]
    assert found.columns == [c.ITEM_INDEX]
