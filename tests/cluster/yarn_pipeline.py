"""The whole pipeline in cluster deploy mode of YARN, with its tables and files in HDFS.

It takes minutes and some 6 GB, and is no part of `make test`: run it by its name,
`pytest tests/cluster/yarn_pipeline.py`.
"""

import json

import pytest

from tests.process_runs import YarnRun


@pytest.fixture(scope="module")
def finished(yarn_run: YarnRun) -> YarnRun:
    code, printed = yarn_run.result
    assert code == 0, f"{printed}\n{yarn_run.printed}"
    return yarn_run


def test_a_path_without_a_scheme_is_one_of_the_clusters_file_system(finished: YarnRun) -> None:
    kept = {path.partition("/out/lake/_artifacts/yarn/")[2] for path in finished.files}
    assert {
        "features/final/items/pipeline.json",
        "tower_rows/selection/rows-00000.parquet",
        "towers/final/als/towers.json",
        "towers/final/als/towers.safetensors",
    } <= kept
    assert "/out/report.html" in finished.files


def test_the_driver_ran_in_a_container(finished: YarnRun) -> None:
    assert "run id yarn" in finished.printed
    assert "run id yarn" not in finished.result[1]


def test_what_was_measured_can_be_read_back(finished: YarnRun) -> None:
    models = {row["model"] for row in json.loads(finished.metrics)}
    assert models == {"hybrid", "als", "fusion", "popularity"}
