"""Sources are read at one version by all jobs of a run, and the run can be made again from it."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs import rerun as job
from m6rec.config.run import Config, parse_config
from m6rec.errors import DataError
from m6rec.job_records import JobRecord
from m6rec.lakehouse import Lakehouse
from m6rec.publication.nights import night_of
from m6rec.publication.publishing import publish, was_published
from m6rec.publication.repeating import ListDifferences, differences, repetition_of
from m6rec.runs import (
    FINISHED,
    REMOVED,
    STARTED,
    Attempt,
    Job,
    as_read_by,
    run_job,
    work_of_run,
)
from m6rec.spark.sources import read_source
from tests.finished_runs import PLACES, USERS, config_of, finished_runs, lists_of


def append_event(spark: SparkSession, path: Path) -> None:
    frame = spark.sql("select 'ann' user_id, 'a' item_id").coalesce(1)
    frame.write.format("delta").mode("append").save(str(path))


def config_of_events(spark: SparkSession, events: Path, lake: Path) -> Config:
    """A configuration of a table that holds an event."""
    append_event(spark, events)
    return parse_config(
        {"interactions": {"source": {"path": str(events)}}, "lake": str(lake)}, "test"
    )


def source_rows(config: Config, spark: SparkSession) -> int:
    return read_source(spark, config.interactions.source, ()).count()


def test_all_jobs_of_a_run_and_its_repetition_read_the_same_version(
    spark: SparkSession, tmp_path: Path
) -> None:
    events = tmp_path / "events"
    config = config_of_events(spark, events, tmp_path / "lake")
    read: list[int] = []

    def prepare(own: Lakehouse, pinned: Config) -> None:
        read.append(source_rows(pinned, spark))
        ids = spark.sql("select 'ann' user_id, 0L user_index")
        own.append_new("user_index", ids, ("user_id",))
        append_event(spark, events)

    def recommend(own: Lakehouse, pinned: Config) -> None:
        read.append(source_rows(pinned, spark))
        own.write("recommendations", lists_of(spark, f"item-{read[-1]}"))

    def make(lakehouse: Lakehouse, config: Config) -> None:
        for name, function in (("prepare_interactions", prepare), ("recommend", recommend)):
            run_job(lakehouse, config, Job(JobRecord(name), function))

    first = Lakehouse(spark, config.lake, "first")
    make(first, config)
    rows = first.read("runs").collect()
    assert [row["sources"] for row in rows] == [{"interactions.source": 0}] * 2
    assert read == [1, 1]
    second = Lakehouse(spark, config.lake, "second")
    run_job(second, config, Job(JobRecord("recommend"), recommend))
    assert read == [1, 1, 2]
    assert differences(first, second) == ListDifferences(USERS, other_items=USERS, other_scores=0)

    repetition = repetition_of(first, "again")
    assert repetition.doubts == ()
    assert repetition.lakehouse.fixed == {"user_index": first.version("user_index")}
    make(repetition.lakehouse, repetition.config)
    assert read == [1, 1, 2, 1, 1]
    assert differences(first, repetition.lakehouse).are_equal


def test_a_run_under_the_id_of_one_that_was_removed_is_another(
    spark: SparkSession, tmp_path: Path
) -> None:
    events = tmp_path / "events"
    config = config_of_events(spark, events, tmp_path / "lake")
    monday = Lakehouse(spark, config.lake, "monday")

    def make(config: Config, *names: str) -> None:
        def write(own: Lakehouse, _: Config) -> None:
            own.write("recommendations", lists_of(spark, "item"))

        for name in names:
            run_job(monday, config, Job(JobRecord(name), write))

    make(config, "recommend", "evaluate")
    assert publish(monday, config)
    is_work = F.col("job") != "publish"
    monday.delta_table("runs").update(is_work, {"status": F.lit(REMOVED)})
    append_event(spark, events)

    changed = config.replaced({"seed": 5})
    assert as_read_by(monday, changed) is changed
    night = night_of(monday, changed, datetime.now(UTC), None)
    assert night.reason == "the published run monday has been removed"
    assert was_published(monday)
    make(changed, "recommend")
    assert not was_published(monday)
    [row] = work_of_run(monday)
    assert (row["job"], row["sources"]) == ("recommend", {"interactions.source": 1})
    assert publish(monday, changed)
    assert was_published(monday) and not publish(monday, changed)


def test_other_scores_are_told_from_other_items(spark: SparkSession, tmp_path: Path) -> None:
    one, two = (Lakehouse(spark, str(tmp_path), name) for name in ("one", "two"))
    one.write("recommendations", lists_of(spark, "a"))
    of_user = F.col("user_id") == "user-1"
    parts = F.when(of_user, F.create_map(F.lit("svd"), F.lit(2.0))).otherwise(F.col("parts"))

    def shorter(lists: DataFrame) -> DataFrame:
        return lists.where("user_id != 'user-2' or rank = 1")

    two.write("recommendations", shorter(lists_of(spark, "a").withColumn("parts", parts)))
    assert differences(one, two) == ListDifferences(USERS, other_items=1, other_scores=1)
    assert two.read("recommendations").count() == PLACES - 1


def test_a_run_that_is_not_there_is_not_repeated(spark: SparkSession, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such run"):
        repetition_of(Lakehouse(spark, str(tmp_path), "gone"), "again")


def test_who_was_forgotten_since_comes_back_with_a_repetition_and_it_is_said(
    spark: SparkSession, tmp_path: Path
) -> None:
    config = config_of(str(tmp_path))
    [one] = finished_runs(spark, config, "one")
    Attempt(one.for_run("receipt"), config, "forget").save(FINISHED)
    *_, doubt = repetition_of(one, "again").doubts
    assert "come back into tables of the lake" in doubt and "forget them again" in doubt


def test_it_is_said_where_a_table_was_made_anew_since_the_run_read_it(
    spark: SparkSession, tmp_path: Path
) -> None:
    events = tmp_path / "events"
    config = config_of_events(spark, events, tmp_path / "lake")
    [one] = finished_runs(spark, config, "one")
    assert repetition_of(one, "again").doubts == ()
    shutil.rmtree(events)
    append_event(spark, events)
    [doubt] = repetition_of(one, "again").doubts
    assert f"interactions.source ({events}) has been made anew since, and version 0" in doubt


def test_a_run_does_not_go_on_with_a_table_that_was_made_anew(
    spark: SparkSession, tmp_path: Path
) -> None:
    events, rule = tmp_path / "events", tmp_path / "rule"
    append_event(spark, rule)
    given = {"recommend.rules.excluded_items": {"path": str(rule), "item": "item_id"}}
    config = config_of_events(spark, events, tmp_path / "lake").replaced(given)
    run = Lakehouse(spark, config.lake, "run")

    def step(name: str) -> Job:
        return Job(JobRecord(name, reads_sources=True), lambda _own, _config: None)

    def make_anew(path: Path) -> None:
        shutil.rmtree(path)
        append_event(spark, path)

    def killed(run_id: str, started_at: datetime) -> Lakehouse:
        own = run.for_run(run_id)
        read = {"interactions.source": 0}
        Attempt(own, config, "prepare_interactions", started_at, read).save(STARTED)
        return own

    assert run_job(run, config, step("prepare_interactions"))
    # No job that is left reads the interactions.
    make_anew(events)
    assert run_job(run, config, step("build_features"))
    make_anew(rule)
    refused = (
        f"excluded_items: table {rule} has been made anew since run run began, so that its"
        " version 0 .*, and job recommend would mix both; start a new run, with another --run-id"
    )
    with pytest.raises(DataError, match=refused):
        run_job(run, config, step("recommend"))
    assert not run_job(run, config, step("build_features"))
    shutil.rmtree(rule)
    assert run_job(run, config, step("recommend"))

    now = datetime.now(UTC)
    early = killed("early", now - timedelta(hours=1))
    with pytest.raises(DataError, match=f"interactions.source: table {events} has been made anew"):
        run_job(early, config, step("prepare_interactions"))
    assert run_job(killed("late", now), config, step("prepare_interactions"))


def test_a_night_is_not_made_again_when_the_run_is_gone_whose_choices_it_kept(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(str(tmp_path))
    finished_runs(spark, config, "night")
    monkeypatch.setattr(job, "kept_choices", lambda _: SimpleNamespace(kept_from="before"))
    refused = "run night cannot be made again any more: .* before chose, and there is no such run"
    with pytest.raises(DataError, match=refused):
        job.rerun(spark, config, "night", "again")
