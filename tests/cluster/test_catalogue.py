"""Lake and sources by names of a catalogue: notebooks on Hive's metastore, and single tables."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from m6rec.config.base import TableSource
from m6rec.lakehouse import Lakehouse
from m6rec.schemas import RUNS_TABLE
from m6rec.spark.runtimes import delta_table_named
from m6rec.spark.sources import read_source, source_version
from tests.cluster.metastore_program import LAKE, SHOP, make_schemas
from tests.process_runs import MetastoreRun


@pytest.fixture(scope="module")
def catalogue(spark: SparkSession, tmp_path_factory: Any) -> Iterator[Path]:
    """Two schemas whose files lie in folders of this one."""
    folder = tmp_path_factory.mktemp("catalogue")
    make_schemas(spark, folder)
    yield folder
    for schema in (SHOP, LAKE):
        spark.sql(f"DROP SCHEMA {schema} CASCADE")


@pytest.mark.slow
def test_the_notebooks_run_on_names_of_a_metastore(metastore_run: MetastoreRun) -> None:
    code, printed = metastore_run.notebooks
    assert code == 0, printed
    [run_id] = metastore_run.found["run_ids"]
    assert metastore_run.found["users"] > 80
    assert "recommend: skipped (finished)" in printed
    assert f"publish {run_id}" in printed
    volume = metastore_run.folder / "volume"
    assert "Guards of the publication" in (volume / "reports" / f"{run_id}.html").read_text()
    assert (volume / run_id / "towers" / "final" / "als" / "towers.json").is_file()


@pytest.mark.slow
def test_another_process_finds_the_notebooks_run_by_the_metastore(
    metastore_run: MetastoreRun,
) -> None:
    code, printed = metastore_run.again
    assert code == 0, printed
    assert "recommend: skipped (finished)" in printed
    assert (metastore_run.folder / "out" / "report.html").is_file()


def test_artifacts_lie_in_the_location_of_the_schema(spark: SparkSession, catalogue: Path) -> None:
    place = Lakehouse(spark, LAKE, "run").artifact_place("final", "model.json")
    place.write_text("{}")
    written = catalogue / LAKE / "_artifacts" / "run" / "final" / "model.json"
    assert written.read_text() == "{}"


def test_a_thread_replaces_rows_and_leaves_the_others(spark: SparkSession, catalogue: Path) -> None:
    row = dict.fromkeys(RUNS_TABLE.schema.names) | {"status": "finished"}
    with ThreadPoolExecutor(1) as background:
        for job in ("first", "second"):
            write = partial(Lakehouse(spark, LAKE, "run").write_rows, job=job)
            background.submit(write, RUNS_TABLE.name, [row | {"job": job}]).result()
    kept = Lakehouse(spark, LAKE, "run").collected(RUNS_TABLE.name, {"run_id": ("run",)})
    assert {one["job"] for one in kept} == {"first", "second"}


def test_a_table_with_renamed_columns_and_deletion_vectors_is_read_at_its_versions(
    spark: SparkSession, catalogue: Path
) -> None:
    name = f"{SHOP}.mapped"
    features = "'delta.columnMapping.mode' = 'name', 'delta.enableDeletionVectors' = 'true'"
    for statement in (
        f"CREATE TABLE {name} (who STRING, item STRING) USING delta TBLPROPERTIES ({features})",
        f"INSERT INTO {name} VALUES ('a', 'x'), ('b', 'y'), ('c', 'z')",
        f"ALTER TABLE {name} RENAME COLUMN who TO user",
        f"DELETE FROM {name} WHERE user = 'b'",
    ):
        spark.sql(statement)

    def users(**version: int) -> set[str]:
        rows = read_source(spark, TableSource(table=name, **version), ("user", "item"))
        return {row["user"] for row in rows.collect()}

    assert users() == {"a", "c"}
    otherwise = TableSource(table=name.replace("spark_catalog", "`SPARK_CATALOG`"))
    assert source_version(spark, otherwise) == 3
    assert users(version=2) == {"a", "b", "c"}
    features_of_table = delta_table_named(spark, name).detail().first()["tableFeatures"]
    assert {"columnMapping", "deletionVectors"} <= set(features_of_table)
