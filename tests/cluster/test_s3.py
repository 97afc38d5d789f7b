"""The whole pipeline by the command line with sources, lake, models and reports in a store."""

import json

import pytest

from tests.process_runs import StoreRun


@pytest.fixture(scope="module")
def finished(store_run: StoreRun) -> StoreRun:
    code, printed = store_run.result
    assert code == 0, printed
    return store_run


def test_tables_models_checkpoints_rows_and_reports_are_in_the_store(finished: StoreRun) -> None:
    kept, removed = (
        {key.partition("out/lake/_artifacts/store/")[2] for key in keys}
        for keys in (finished.keys, finished.removed)
    )
    assert {
        "features/final/items/pipeline.json",
        "tower_rows/selection/rows-00000.parquet",
        "towers/final/als/towers.json",
        "towers/final/als/towers.safetensors",
    } <= kept
    # Checkpoints are removed when what they are of is written.
    of_towers = "checkpoints/selection/towers_als/last.safetensors"
    assert {"checkpoints/final/als", of_towers} <= removed
    assert not any(key.startswith("checkpoints/") for key in kept)
    assert any(key.startswith("tensorboard/selection/towers_als/events") for key in kept)
    for key in ("out/metrics.json", "out/report.html"):
        assert key in finished.keys
    assert any(key.startswith("out/lake/published/recommendations/") for key in finished.keys)


def test_nothing_unfinished_is_left_in_the_store(finished: StoreRun) -> None:
    assert not [key for key in finished.keys if "unfinished" in key or "_temporary" in key]


def test_what_was_measured_can_be_read_back(finished: StoreRun) -> None:
    models = {row["model"] for row in json.loads(finished.metrics)}
    assert models == {"hybrid", "als", "fusion", "popularity"}


def test_without_credentials_the_lines_that_are_missing_are_named(finished: StoreRun) -> None:
    code, printed = finished.without_credentials
    assert code == 2
    assert "no credentials for the file system were found" in printed
    assert "AWS_ACCESS_KEY_ID" in printed
    assert "spark.hadoop.fs.s3a.access.key" in printed
    assert "spark.hadoop.fs.s3a.secret.key" in printed
