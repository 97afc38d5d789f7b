"""The command on a tiny matrix: what benchmark.json must hold."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from m6rec.lakehouse import Lakehouse
from m6rec.towers.batches import PetastormRowBatches
from tests.benchmarks.dataset import generated
from tests.benchmarks.generator import Sizes
from tests.benchmarks.loader import MemoryRowBatches, RowLoaderBatches
from tests.benchmarks.measure import Workspace
from tests.benchmarks.scaling import fitted_exponent, summary
from tests.benchmarks.sequence_towers import write_rows
from tests.benchmarks.tables import LISTED, RUN_ID
from tests.benchmarks.top_n_job import prepare_top_n_of_m6rec
from tests.benchmarks.written_tables import write_tables
from tests.lanes import needs_petastorm
from tests.process_runs import BENCHMARK_KEYS, BenchmarkRun

SHUFFLE_PARTITIONS = "spark.sql.shuffle.partitions"


def test_the_command_writes_medians_samples_and_peaks_of_each_contender(
    benchmark_run: BenchmarkRun,
) -> None:
    code, printed = benchmark_run.result
    assert code == 0, printed[-2000:]
    result = json.loads((benchmark_run.output / "benchmark.json").read_text())
    for key in BENCHMARK_KEYS:
        assert result[key]["64"]["m6rec"] == result["samples"][key]["64"]["m6rec"][0]
        assert result["peak_bytes"][f"{key}/64"]["m6rec"] > 1e7
    assert result["top_n_kernel_seconds"]["64"]["matrix_product"] > 0
    assert (
        result["checks"]["top_n_kernel_seconds"]["64"]["m6rec"]["users_equal_to_brute_force"] == 1
    )
    assert result["machine"]["blas"] and result["versions"]["m6rec"]
    assert "als_loss" in (benchmark_run.output / "benchmark.html").read_text()


@pytest.fixture
def settings_kept(spark: SparkSession) -> Iterator[None]:
    """A session that is already open takes the benchmark's settings; here they are taken back."""
    before = spark.conf.get(SHUFFLE_PARTITIONS)
    yield
    spark.conf.set(SHUFFLE_PARTITIONS, str(before))


@pytest.mark.usefixtures("settings_kept")
def test_the_job_that_is_measured_lists_items_for_every_user(
    spark: SparkSession, tmp_path: Path
) -> None:
    sizes = Sizes(users=30, items=130, interactions=300, tastes=2)
    workspace = Workspace(generated(sizes, 1, tmp_path / "data"), "default", tmp_path)
    write_tables(workspace)
    assert prepare_top_n_of_m6rec(workspace, reasons=0)() > 0.0
    lake = str(workspace.dataset.folder / "lake")
    lists = Lakehouse(spark, lake, RUN_ID).read("recommendations").toPandas()
    users = workspace.dataset.sizes()["users"]
    # Beside those of users, one for whoever is unknown.
    assert len(lists) == (users + 1) * LISTED


@needs_petastorm
def test_all_loaders_that_are_compared_give_the_same_batches(tmp_path: Path) -> None:
    sizes = Sizes(users=90, items=40, interactions=700, tastes=2)
    manifest = write_rows(Workspace(generated(sizes, 1, tmp_path / "data"), "default", tmp_path))
    expected = list(PetastormRowBatches(manifest).epoch(1, 4))
    assert sum(map(len, expected)) == sum(manifest.rows)
    for loader in (MemoryRowBatches, RowLoaderBatches):
        batches = list(loader(manifest).epoch(1, 4))
        for batch, one in zip(batches, expected, strict=True):
            assert batch.rows.user_index.tolist() == one.rows.user_index.tolist()
            assert batch.rows.item_indices.tolist() == one.rows.item_indices.tolist()
            assert batch.times.tolist() == one.times.tolist()


def test_a_cost_in_proportion_has_the_exponent_one() -> None:
    assert fitted_exponent({10: 2.0, 100: 20.0, 1000: 200.0}) == pytest.approx(1.0)


def test_skew_slows_down_by_seconds_an_interaction_not_by_seconds() -> None:
    medians = {"svd_seconds/even": 1.0, "svd_seconds/skewed": 3.0}
    facts = {
        "svd_seconds/even": {"interactions": 100, "workers": 2},
        "svd_seconds/skewed": {"interactions": 200, "workers": 2},
    }
    assert summary(medians, facts)["slow_down_by_skew"] == {"svd_seconds": pytest.approx(1.5)}


def test_two_workers_are_compared_with_one_on_the_same_matrix() -> None:
    medians = {f"svd_seconds/100/{workers}_workers": 8.0 / workers for workers in (1, 2)}
    medians["svd_seconds/100"] = 7.0
    facts = {case: {"interactions": 100, "workers": int(case[-9])} for case in list(medians)[:2]}
    facts["svd_seconds/100"] = {"interactions": 100, "workers": 2}
    found = summary(medians, facts)
    assert found["speed_up_of_two_workers"] == {"svd_seconds": 2.0}
