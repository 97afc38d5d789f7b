"""The bundle is one that Databricks' own package accepts; the notebooks run on a catalogue."""

import json
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from databricks.bundles.jobs import Job, PythonWheelTask
from delta.tables import DeltaTable
from pyspark.sql import SparkSession

from m6rec.config.base import TableSource
from m6rec.config.run import parse_config
from m6rec.lakehouse import Lakehouse
from m6rec.publication.publishing import publications, read_published
from m6rec.spark.sources import read_source
from tests.process_runs import ONE_OF_EACH
from tests.synthetic_shop import Shop

REPOSITORY = Path(__file__).parents[2]
BUNDLE = yaml.safe_load((REPOSITORY / "databricks.yml").read_text())
FILES = sorted(file for pattern in BUNDLE["include"] for file in REPOSITORY.glob(pattern))
NOTEBOOKS = REPOSITORY / "notebooks" / "databricks"
OF_THE_PLATFORM = ("bundle.", "workspace.")
LAKE, SHOP = "spark_catalog.recommender", "spark_catalog.shop"


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


class Widgets:
    """The parameters of a notebook: those that are given, else its own defaults."""

    def __init__(self, **given: str) -> None:
        self._values = dict(given)
        self.widgets = self

    def text(self, name: str, default: str) -> None:
        self._values.setdefault(name, default)

    def get(self, name: str) -> str:
        return self._values[name]


@pytest.fixture(scope="module")
def shop_in_catalogue(spark: SparkSession, shop: Shop, tmp_path_factory: Any) -> Iterator[Path]:
    """The shop's interactions as a view, and schemas whose files lie in a folder of their own."""
    folder = tmp_path_factory.mktemp("catalogue")
    for schema in (SHOP, LAKE):
        spark.sql(f"CREATE SCHEMA {schema} LOCATION '{folder / schema}'")
    raw = spark.read.parquet(str(shop.interactions))
    raw.write.format("delta").saveAsTable(f"{SHOP}.raw_interactions")
    spark.sql(f"CREATE VIEW {SHOP}.interactions AS SELECT * FROM {SHOP}.raw_interactions")
    yield folder
    for schema in (SHOP, LAKE):
        spark.sql(f"DROP SCHEMA {schema} CASCADE")


@pytest.mark.slow
def test_the_notebooks_run_on_names_of_a_catalogue(
    spark: SparkSession, shop: Shop, shop_in_catalogue: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = shop.config(shop_in_catalogue, **ONE_OF_EACH)
    kept = ("split", *ONE_OF_EACH)
    volume = shop_in_catalogue / "volume"
    asked = {
        "interactions": f"{SHOP}.interactions",
        "user": "customer",
        "item": "product",
        "time": "at",
        "lake": LAKE,
        "artifacts": str(volume),
        "settings": json.dumps({name: small[name] for name in kept}),
    }
    given = {"spark": spark, "dbutils": Widgets(**asked), "__name__": "__main__"}
    runpy.run_path(str(NOTEBOOKS / "pipeline.py"), given)
    [published] = publications(Lakehouse(spark, LAKE, ""))
    lists = read_published(spark, LAKE, "recommendations")
    assert lists.select("user_id").distinct().count() > 80
    report = volume / "reports" / f"{published.run_id}.html"
    assert "Guards of the publication" in report.read_text()
    assert (volume / published.run_id / "towers" / "final" / "als" / "towers.json").is_file()

    report.unlink()
    capsys.readouterr()
    again = {**given, "dbutils": Widgets(run_id=published.run_id, **asked)}
    runpy.run_path(str(NOTEBOOKS / "pipeline.py"), again)
    assert "recommend: skipped (finished)" in capsys.readouterr().out
    assert report.is_file()
    assert [one.run_id for one in publications(Lakehouse(spark, LAKE, ""))] == [published.run_id]

    runpy.run_path(str(NOTEBOOKS / "operations.py"), given)
    assert f"publish {published.run_id}" in capsys.readouterr().out


def test_artifacts_lie_in_the_location_of_the_schema(
    spark: SparkSession, shop_in_catalogue: Path
) -> None:
    place = Lakehouse(spark, LAKE, "run").artifact_place("final", "model.json")
    place.write_text("{}")
    written = shop_in_catalogue / LAKE / "_artifacts" / "run" / "final" / "model.json"
    assert written.read_text() == "{}"


def test_a_table_with_renamed_columns_and_deletion_vectors_is_read_at_its_versions(
    spark: SparkSession, shop_in_catalogue: Path
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
    features_of_table = DeltaTable.forName(spark, name).detail().first()["tableFeatures"]
    assert {"columnMapping", "deletionVectors"} <= set(features_of_table)
