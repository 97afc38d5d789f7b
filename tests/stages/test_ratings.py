"""Ratings predicted on two ranks equal those of one process; their errors are those of numpy."""

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession

from m6rec.config.models import RatingsConfig
from m6rec.config.outputs import EvaluateConfig
from m6rec.errors import DataError
from m6rec.kernels.arrays.communicator import LocalCommunicator
from m6rec.kernels.arrays.rows import Rows
from m6rec.kernels.ratings import ratings as kernel
from m6rec.stages.evaluation.ratings import evaluate_ratings
from m6rec.stages.training import ratings as stage

USERS, ITEMS = 50, 30
CONFIG = RatingsConfig(rank=3, iterations=4, choice_rank=3)
FOLDS = ("train", "train", "train", "validation", "test")


def triples() -> list[tuple[int, int, float, str]]:
    """Users with two tastes rate most items; a user and an item are in the test fold alone."""
    rng = np.random.default_rng(3)
    rated = [
        (user, item, float(np.clip(3 + (1 if (user + item) % 2 else -1) + rng.normal(), 1, 5)))
        for user in range(USERS)
        for item in range(ITEMS)
        if rng.random() < 0.6
    ]
    folds = rng.choice(FOLDS, len(rated))
    new = {USERS - 1, ITEMS - 1}
    return [
        (user, item, rating, "test" if {user, item} & new else str(fold))
        for (user, item, rating), fold in zip(rated, folds, strict=True)
    ]


@pytest.fixture(scope="module")
def splits(spark: SparkSession) -> DataFrame:
    schema = "user_index long, item_index long, rating double, fold string"
    return spark.createDataFrame(triples(), schema).repartition(3).cache()


@pytest.fixture(scope="module")
def parts(splits: DataFrame) -> DataFrame:
    rows = stage.rating_rows(splits, "final")
    model = stage.train_ratings(rows, ITEMS, CONFIG, 1)
    return stage.predict_parts(rows, stage.rating_targets(splits, "test"), model).cache()


def test_parts_on_two_ranks_equal_one_process(parts: DataFrame) -> None:
    known = sorted(t for t in triples() if t[3] != "test")
    users = np.array([t[0] for t in known])
    rows = Rows(
        np.arange(USERS),
        np.searchsorted(users, np.arange(USERS + 1)),
        np.array([t[1] for t in known], np.int32),
        np.array([t[2] for t in known], np.float32),
    )
    model = kernel.fit_ratings(rows, ITEMS, CONFIG, 1, LocalCommunicator())
    targets = sorted(t for t in triples() if t[3] == "test")
    indptr = np.searchsorted([t[0] for t in targets], np.arange(USERS + 1))
    expected = kernel.rating_parts(model, rows, indptr, np.array([t[1] for t in targets]))
    found = parts.toPandas().sort_values(["user_index", "item_index"])
    assert list(zip(found["user_index"], found["item_index"], strict=True)) == [
        t[:2] for t in targets
    ]
    np.testing.assert_allclose(found["rating"], [t[2] for t in targets])
    np.testing.assert_allclose(found[list(kernel.RATING_MEMBERS)], expected, atol=1e-3)


def test_weights_are_those_of_the_collected_parts(parts: DataFrame) -> None:
    table = parts.toPandas()
    members = table[list(kernel.RATING_MEMBERS)].to_numpy()
    expected = kernel.blend_weights(members.T @ members, members.T @ table["rating"].to_numpy())
    np.testing.assert_allclose(stage.choose_rating_weights(parts), expected, rtol=1e-6)


def test_predictions_stay_within_the_ratings_that_were_given(
    splits: DataFrame, parts: DataFrame
) -> None:
    rows = stage.rating_rows(splits, "final")
    weights = np.array([10.0, 0.0, 0.0, 0.0])
    table = stage.predictions(parts, rows, weights).toPandas()
    assert set(table["model"]) == set(kernel.RATING_MODELS)
    given = [t[2] for t in triples() if t[3] != "test"]
    assert set(table[table["model"] == "rating_hybrid"]["predicted"]) == {np.float32(max(given))}
    by_model = table.pivot(index=["user_index", "item_index"], columns="model", values="predicted")
    said = parts.toPandas().set_index(["user_index", "item_index"]).loc[by_model.index]
    taste = (said["rating_bias"] + said["rating_taste"]).clip(min(given), max(given))
    np.testing.assert_allclose(by_model["rating_taste"], taste, rtol=1e-6)


def test_errors_are_pooled_over_ratings_with_an_interval_around_them(
    splits: DataFrame, parts: DataFrame
) -> None:
    weights = stage.choose_rating_weights(parts)
    frame = stage.predictions(parts, stage.rating_rows(splits, "final"), weights)
    config = EvaluateConfig(bootstrap_replicates=200)
    found = evaluate_ratings(frame, config, 1, "test")
    table = frame.toPandas()
    assert len(found) == 2 * len(kernel.RATING_MODELS)
    for row in found:
        errors = table[table["model"] == row["model"]].eval("predicted - rating")
        expected = {"rmse": np.sqrt(np.mean(errors**2)), "mae": np.mean(np.abs(errors))}
        assert row["value"] == pytest.approx(expected[row["metric"]])
        assert row["ci_low"] < row["value"] < row["ci_high"]
        assert (row["fold"], row["segment"], row["k"]) == ("test", "all", 0)
        assert row["users"] == table["user_index"].nunique()
    value = {(row["model"], row["metric"]): row["value"] for row in found}
    assert value["rating_hybrid", "rmse"] < value["rating_bias", "rmse"]
    again = evaluate_ratings(frame.repartition(5), config, 1, "test")
    for first, second in zip(found, again, strict=True):
        assert second["ci_low"] == pytest.approx(first["ci_low"])


def test_no_prediction_is_an_error_and_not_a_number(splits: DataFrame, parts: DataFrame) -> None:
    frame = stage.predictions(parts, stage.rating_rows(splits, "final"), np.ones(4)).limit(0)
    with pytest.raises(DataError, match="run train_ratings"):
        evaluate_ratings(frame, EvaluateConfig(bootstrap_replicates=20), 1, "test")
