"""The bundle is one that Databricks' own package accepts; the notebooks run on a catalogue."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from databricks.bundles.jobs import Job, PythonWheelTask
from pyspark.sql import SparkSession

from m6rec.config.base import TableSource
from m6rec.config.run import parse_config
from m6rec.lakehouse import Lakehouse
from m6rec.schemas import RUNS_TABLE
from m6rec.spark.runtimes import delta_table_named
from m6rec.spark.sources import read_source
from tests.cluster.metastore_program import LAKE, SHOP
from tests.process_runs import MetastoreRun

REPOSITORY = Path(__file__).parents[2]
BUNDLE = yaml.safe_load((REPOSITORY / "databricks.yml").read_text())
FILES = sorted(file for pattern in BUNDLE["include"] for file in REPOSITORY.glob(pattern))
OF_THE_PLATFORM = ("bundle.", "workspace.")


def jobs_of_bundle() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for file in FILES:
        found |= yaml.safe_load(file.read_text())["resources"]["jobs"]
    return found


@pytest.mark.parametrize("name", jobs_of_bundle())
def test_a_job_is_one_by_the_schema_of_databricks(name: str) -> None:
    described = jobs_of_bundle()[name]
    job = Job.from_dict(described)
    [task] = job.tasks
    assert isinstance(task.python_wheel_task, PythonWheelTask)
    [cluster] = job.job_clusters
    assert (task.job_cluster_key, cluster.job_cluster_key) == ("main", "main")
    # Matrix programs and files need a SparkContext, and a barrier stage all its slots at once.
    new = described["job_clusters"][0]["new_cluster"]
    assert new["data_security_mode"] == "SINGLE_USER"
    assert new["spark_conf"]["spark.dynamicAllocation.enabled"] == "false"
    assert "autoscale" not in new


def test_a_key_that_databricks_does_not_know_is_refused() -> None:
    wrong = next(iter(jobs_of_bundle().values())) | {"max_concurent_runs": 1}
    with pytest.raises(ValueError, match="max_concurent_runs"):
        Job.from_dict(wrong)


def test_each_task_starts_a_job_by_the_wheels_own_command() -> None:
    project = (REPOSITORY / "pyproject.toml").read_text()
    for described in jobs_of_bundle().values():
        [task] = described["tasks"]
        wheel = task["python_wheel_task"]
        assert f'{wheel["entry_point"]} = "m6rec.startup.entry:main"' in project
        assert (REPOSITORY / "jobs" / f"{wheel['parameters'][0]}.py").is_file()


def test_variables_are_declared_and_used() -> None:
    texts = [(REPOSITORY / "databricks.yml").read_text(), *(file.read_text() for file in FILES)]
    used = {name for text in texts for name in re.findall(r"\$\{([\w.]+)\}", text)}
    own = {name for name in used if not name.startswith(OF_THE_PLATFORM)}
    assert own == {f"var.{name}" for name in BUNDLE["variables"]}
    assert BUNDLE["targets"].keys() == {"dev", "prod"}
    assert BUNDLE["targets"]["prod"]["run_as"] == {"service_principal_name": "${var.run_as}"}


def test_the_bundles_configuration_is_valid() -> None:
    parsed = parse_config(yaml.safe_load((REPOSITORY / "conf/databricks.yaml").read_text()), "file")
    assert (parsed.lake, parsed.artifacts) == (
        BUNDLE["variables"]["lake"]["default"],
        BUNDLE["variables"]["artifacts"]["default"],
    )


@pytest.fixture(scope="module")
def catalogue(spark: SparkSession, tmp_path_factory: Any) -> Iterator[Path]:
    """Two schemas whose files lie in folders of this one."""
    folder = tmp_path_factory.mktemp("catalogue")
    for schema in (SHOP, LAKE):
        spark.sql(f"CREATE SCHEMA {schema} LOCATION '{folder / schema}'")
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
    with ThreadPoolExecutor(1) as beside:
        for job in ("first", "second"):
            write = partial(Lakehouse(spark, LAKE, "run").write_rows, job=job)
            beside.submit(write, RUNS_TABLE.name, [row | {"job": job}]).result()
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
    assert users(version=2) == {"a", "b", "c"}
    features_of_table = delta_table_named(spark, name).detail().first()["tableFeatures"]
    assert {"columnMapping", "deletionVectors"} <= set(features_of_table)
