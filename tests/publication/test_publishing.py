"""Publishing on real Delta tables: what readers see, the way back, and the history."""

import json
import threading
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from m6rec.config.run import Config, parse_config
from m6rec.errors import DataError
from m6rec.job_records import JobRecord
from m6rec.lakehouse import PUBLISHED, Lakehouse
from m6rec.publication.publishing import (
    publications,
    publish,
    published_run,
    read_published,
    rollback,
)
from m6rec.runs import Job, run_job

USERS = 4


def config_of(lake: str, **sections: object) -> Config:
    source = {"path": "interactions.csv", "format": "csv"}
    return parse_config({"interactions": {"source": source}, "lake": lake, **sections}, "test")


def write_lists(lakehouse: Lakehouse) -> None:
    """A list of two items for each user; each place says of which run it is."""
    frame = lakehouse.spark.sql(
        f"select concat('user-', id % {USERS}) user_id, cast(id / {USERS} as int) + 1 rank,"
        f" '{lakehouse.run_id}' item_id, null title, 0.5D score, map('svd', 1.0D) parts,"
        " array(named_struct('kind', 'item', 'value', 'x', 'share', 1.0D)) reasons,"
        " 'hybrid' model, timestamp '2026-01-01 00:00:00' generated_at"
        f" from range(0, {2 * USERS}, 1, 2)"
    )
    lakehouse.write("recommendations", frame)


def finished_run(spark: SparkSession, config: Config, run_id: str) -> Lakehouse:
    lakehouse = Lakehouse(spark, config.lake, run_id, config.artifacts or "")
    run_job(lakehouse, config, Job(JobRecord("recommend"), lambda own, _: write_lists(own)))
    return lakehouse


class Reader(threading.Thread):
    """Reads the published lists all the time, without anything of ours."""

    def __init__(self, spark: SparkSession, path: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, int]] = []
        self._spark, self._path = spark, path
        self._stopped = threading.Event()

    def run(self) -> None:
        while not self._stopped.is_set():
            rows = self._spark.read.format("delta").load(self._path).collect()
            [run_id] = {row["item_id"] for row in rows}
            assert {row["run_id"] for row in rows} == {run_id}
            self.seen.append((run_id, len(rows)))

    def stop(self) -> None:
        self._stopped.set()
        self.join()


def test_a_reader_sees_whole_lists_of_one_run_while_ten_are_published_and_two_taken_back(
    spark: SparkSession, tmp_path: Path
) -> None:
    config = config_of(str(tmp_path))
    runs = [finished_run(spark, config, f"run-{number}") for number in range(10)]
    publish(runs[0], config)
    reader = Reader(spark, f"{tmp_path}/{PUBLISHED}")
    reader.start()
    for run in runs[1:]:
        assert publish(run, config)
    assert [rollback(runs[0], config) for _ in range(2)] == ["run-8", "run-7"]
    reader.stop()

    assert {places for _, places in reader.seen} == {2 * USERS}
    order = [f"run-{number}" for number in (*range(10), 8, 7)]
    changes = [run for run, before in zip(reader.seen, [("", 0), *reader.seen]) if run != before]
    assert len(changes) > 3
    positions = iter(order)
    # What the reader saw came in the order of the publications.
    assert all(run_id in positions for run_id, _ in changes)
    lists = spark.read.format("delta").option("versionAsOf", 4).load(f"{tmp_path}/{PUBLISHED}")
    assert {row["run_id"] for row in lists.collect()} == {"run-4"}


def test_rollbacks_lead_further_back_and_the_history_tells_who_did_what(
    spark: SparkSession, tmp_path: Path
) -> None:
    config = config_of(str(tmp_path))
    one, two, three = (finished_run(spark, config, name) for name in ("one", "two", "three"))
    with pytest.raises(DataError, match="no run has been published"):
        rollback(one, config)
    publish(one, config)
    with pytest.raises(DataError, match="only run one has been"):
        rollback(one, config)
    publish(two, config)
    publish(three, config)

    assert rollback(one, config, dry_run=True) == "two"
    assert published_run(one) == "three"
    assert rollback(one, config) == "two"
    publish(three, config, again=True)
    assert rollback(one, config) == "two"
    assert rollback(one, config) == "one"

    found = [(row.action, row.run_id, row.version) for row in publications(one)]
    names = ["one", "two", "three", "two", "three", "two", "one"]
    assert [run_id for _, run_id, _ in found] == names
    assert [version for _, _, version in found] == list(range(7))
    assert [action for action, _, _ in found][3:] == ["rollback", "publish", "rollback", "rollback"]
    assert {row.who for row in publications(one)} == {spark.sparkContext.sparkUser()}
    history = spark.sql(f"describe history delta.`{tmp_path}/{PUBLISHED}`").collect()
    assert json.loads(history[0]["userMetadata"]) == {"run_id": "one", "action": "rollback"}


def test_views_of_a_catalogue_follow_the_published_run(spark: SparkSession, tmp_path: Path) -> None:
    schema = "spark_catalog.publications"
    spark.sql(f"create schema {schema} location '{tmp_path}/schema'")
    try:
        config = config_of(schema, artifacts=str(tmp_path / "artifacts"))
        one, two = (finished_run(spark, config, name) for name in ("one", "two"))
        publish(one, config)
        view = spark.table(f"{schema}.recommendations_published")
        assert {row["item_id"] for row in view.collect()} == {"one"}
        publish(two, config)
        view = spark.table(f"{schema}.recommendations_published")
        assert {row["item_id"] for row in view.collect()} == {"two"}
        rollback(two, config)
        view = spark.table(f"{schema}.recommendations_published")
        assert {row["item_id"] for row in view.collect()} == {"one"}
        assert read_published(spark, schema, "recommendations").count() == 2 * USERS
    finally:
        spark.sql(f"drop schema {schema} cascade")
