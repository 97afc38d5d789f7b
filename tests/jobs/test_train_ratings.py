"""From a folder of ratings to predictions of the test table's, by the jobs themselves."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession

from jobs import prepare_interactions, train_ratings
from jobs.quality import CONFIG
from m6rec import columns as c
from m6rec.config.run import Config, parse_config
from m6rec.datasets.folder import config_of_folder
from m6rec.errors import ConfigError
from m6rec.fits.fit import fits_of
from m6rec.kernels.ratings.ratings import RATING_MEMBERS, RATING_MODELS
from m6rec.lakehouse import Lakehouse
from m6rec.stages.evaluation.ratings import evaluate_ratings


def write_ratings(folder: Path) -> pd.DataFrame:
    """Users of two tastes who mostly rate what they like; the test is a fifth and a stranger."""
    rng = np.random.default_rng(1)
    rated = [
        (f"user {user}", item, float(np.clip(round(3 + 1.2 * likes + rng.normal(0, 0.6)), 1, 5)))
        for user in range(80)
        for item in range(60)
        for likes in [1 if user % 2 == item % 2 else -1]
        if rng.random() < (0.5 if likes > 0 else 0.2)
    ]
    table = pd.DataFrame(rated, columns=["user_id", "item_id", "rating"])
    held_out = rng.permutation(len(table)) % 5 == 0
    stranger = pd.DataFrame([("stranger", 3, 4.0)], columns=table.columns)
    table[~held_out].to_parquet(folder / "train.parquet", index=False)
    test = pd.concat([table[held_out], stranger])
    test.to_parquet(folder / "test.parquet", index=False)
    return test


def test_the_hybrid_of_the_job_beats_the_biases(spark: SparkSession, tmp_path: Path) -> None:
    test = write_ratings(tmp_path)
    config = config_of_folder(CONFIG, tmp_path, tmp_path / "lake", 10, "all")
    lakehouse = Lakehouse(spark, config.lake, "ratings")
    prepare_interactions.run(lakehouse, config)
    train_ratings.run(lakehouse, config)
    predictions = lakehouse.read("rating_predictions", fit=c.FINAL)
    found = predictions.where(f"{c.MODEL} = 'rating_hybrid'").toPandas()
    assert sorted(found[c.RATING]) == sorted(test["rating"])
    assert predictions.count() == len(test) * len(RATING_MODELS)
    assert found[c.PREDICTED].between(1.0, 5.0).all()
    for fit, fold in c.TARGET_FOLD_OF_FIT.items():
        rows = evaluate_ratings(
            lakehouse.read("rating_predictions", fit=fit), config.evaluate, 1, fold
        )
        errors = {(row[c.MODEL], row[c.METRIC]): row[c.VALUE] for row in rows}
        for metric in ("rmse", "mae"):
            assert errors["rating_hybrid", metric] < 0.85 * errors["rating_bias", metric]
    selection, final = fits_of(lakehouse, config)
    chosen = final.model("ratings", "rating_hybrid")
    assert chosen == selection.model("ratings", "rating_hybrid")
    assert chosen["members"] == list(RATING_MEMBERS)


def config_with(**interactions: object) -> Config:
    source = {"path": "unused.parquet", "format": "parquet"}
    columns = {"weight": "rating", "event_type": "kind", "time": "at"}
    sections = {"source": source, "columns": columns} | interactions
    return parse_config({"interactions": sections, "ratings": {"enabled": True}}, "test")


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ({"columns": {}}, "needs interactions.columns.weight"),
        ({"positive_minimum": 4.0}, "positive_minimum"),
        ({"half_life_days": 30.0}, "half_life_days"),
        ({"event_weights": {"buy": 2.0}}, "event_weights"),
        ({"duplicates": "sum"}, "duplicates: sum"),
        ({"cancellations": "cancel"}, "cancellations: cancel"),
    ],
)
def test_what_changes_or_leaves_out_ratings_is_refused_by_name(
    setting: dict[str, object], named: str
) -> None:
    assert config_with().ratings.enabled
    with pytest.raises(ConfigError, match=named):
        config_with(**setting)


def test_the_job_refuses_a_config_without_ratings(spark: SparkSession, tmp_path: Path) -> None:
    config = config_with().model_copy(update={"ratings": Config.model_fields["ratings"].default})
    with pytest.raises(ConfigError, match="set it where"):
        train_ratings.run(Lakehouse(spark, str(tmp_path / "lake"), "none"), config)
