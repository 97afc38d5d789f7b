"""Lineage on real Delta tables: skipping, resuming, and what a reader sees."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from m6rec.command_line import open_lakehouse
from m6rec.config.run import Config, parse_config
from m6rec.errors import ConfigError, DataError
from m6rec.job_records import JobRecord
from m6rec.lakehouse import Lakehouse
from m6rec.publication.publishing import publish, published_run, read_published
from m6rec.publication.upkeep import vacuum
from m6rec.runs import (
    Job,
    as_read_by,
    numbered,
    refuse_a_night,
    run_job,
    run_jobs,
    versions_in_use,
)


def config_of(lake: Path, seed: int = 1) -> Config:
    data = {
        "interactions": {"source": {"path": "interactions.csv", "format": "csv"}},
        "lake": str(lake),
        "seed": seed,
    }
    return parse_config(data, "test")


def job(name: str, run: Callable[[Lakehouse, Config], None]) -> Job:
    return Job(JobRecord(name), run)


def write_list(lakehouse: Lakehouse, item: str) -> None:
    generated = "timestamp '2026-01-01 00:00:00'"
    frame = lakehouse.spark.sql(
        f"select 'ann' user_id, cast(null as string) context, cast(null as string) domain,"
        f" 1 rank, '{item}' item_id,"
        " null title, 0.5D score,"
        " map('svd', 1.0D) parts, array(named_struct('kind', 'item', 'value', 'x', 'share', 1.0D))"
        " reasons, cast(null as array<string>) sentences,"
        f" 'hybrid' model, {generated} generated_at,"
        " cast(null as string) segment"
    )
    lakehouse.write("recommendations", frame)


def listed_items(spark: SparkSession, lake: Path) -> list[str]:
    return [row["item_id"] for row in read_published(spark, str(lake), "recommendations").collect()]


def test_a_finished_job_is_skipped_and_its_versions_are_recorded(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_of(tmp_path)
    lakehouse = Lakehouse(spark, str(tmp_path), "run-1")
    calls: list[str] = []

    def recommend(own: Lakehouse, _: Config) -> None:
        calls.append(own.run_id)
        write_list(own, "a")

    assert run_job(lakehouse, config, job("recommend", recommend))
    assert not run_job(lakehouse, config, job("recommend", recommend))

    assert calls == ["run-1"]
    assert "recommend: skipped (finished)" in capsys.readouterr().out
    [row] = lakehouse.read("runs").collect()
    assert row["status"] == "finished"
    assert row["outputs"] == {"recommendations": lakehouse.version("recommendations")}
    assert row["inputs"] == {}
    assert row["config_hash"] == config.fingerprint()
    assert row["config"] == config.model_dump_json()
    assert row["code_version"] == versions_in_use()
    assert row["finished_at"] >= row["started_at"]


def test_a_job_is_recorded_while_it_runs_and_where_it_fails(
    spark: SparkSession, tmp_path: Path
) -> None:
    lakehouse = Lakehouse(spark, str(tmp_path), "run-1")

    def recorded() -> list[str]:
        if not lakehouse.exists("runs"):
            return []
        return [row["status"] for row in lakehouse.read("runs").collect()]

    def fail_once_recorded(own: Lakehouse, _: Config) -> None:
        deadline = time.monotonic() + 60.0
        while not recorded() and time.monotonic() < deadline:
            pass
        assert recorded() == ["started"]
        raise DataError("no rows")

    with pytest.raises(DataError, match="no rows"):
        run_job(lakehouse, config_of(tmp_path), job("recommend", fail_once_recorded))
    assert recorded() == ["failed"]


def test_jobs_in_turn_take_one_commit_each_to_record_and_one_for_the_first(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lakehouse, config = Lakehouse(spark, str(tmp_path), "run-1"), config_of(tmp_path)
    asked: list[str] = []

    def jobs() -> Iterator[Job]:
        for name in ("recommend", "evaluate"):
            asked.append(name)
            yield job(name, lambda own, _: done.append(len(asked)))

    done: list[int] = []
    assert run_jobs(lakehouse, config, numbered(jobs(), 2)) == ["recommend", "evaluate"]
    # The second was asked for when the first had finished.
    assert done == [1, 2]
    assert lakehouse.version("runs") == 2
    rows = lakehouse.read("runs").collect()
    assert {(row["job"], row["status"]) for row in rows} == {
        ("recommend", "finished"),
        ("evaluate", "finished"),
    }
    said = [line.partition(" in ")[0] for line in capsys.readouterr().out.splitlines()]
    first, second = "recommend: finished", "evaluate: finished"
    assert said == ["[1/2] recommend", first, "[2/2] evaluate", second]


def test_a_run_id_begun_with_another_config_is_refused_with_both_hashes_and_the_key(
    spark: SparkSession, tmp_path: Path
) -> None:
    lakehouse = Lakehouse(spark, str(tmp_path), "run-1")
    first = config_of(tmp_path)
    # Of the guards no table follows.
    second = first.replaced({"seed": 2, "guards.last_runs": 3})
    run_job(lakehouse, first, job("recommend", lambda own, _: write_list(own, "a")))

    with pytest.raises(ConfigError) as refusal:
        run_job(lakehouse, second, job("evaluate", lambda own, _: None))

    message = str(refusal.value)
    assert first.fingerprint()[:12] in message
    assert second.fingerprint()[:12] in message
    assert "which differs in seed; give the first config again, or a new --run-id" in message


def test_a_run_goes_on_where_another_release_has_hashed_the_same_config(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lakehouse, config = Lakehouse(spark, str(tmp_path), "run-1"), config_of(tmp_path)
    with monkeypatch.context() as earlier:
        earlier.setattr(Config, "fingerprint", lambda _: "0" * 64)
        run_job(lakehouse, config, job("recommend", lambda own, _: write_list(own, "a")))

    assert not run_job(lakehouse, config, job("recommend", lambda own, _: None))


def test_a_reader_sees_the_previous_run_until_the_next_one_is_published(
    spark: SparkSession, tmp_path: Path
) -> None:
    config = config_of(tmp_path)
    first = Lakehouse(spark, str(tmp_path), "run-1")
    second = Lakehouse(spark, str(tmp_path), "run-2")
    run_job(first, config, job("recommend", lambda own, _: write_list(own, "a")))
    with pytest.raises(DataError, match="no run has been published"):
        read_published(spark, str(tmp_path), "recommendations")
    assert publish(first, config)
    assert listed_items(spark, tmp_path) == ["a"]

    run_job(second, config, job("recommend", lambda own, _: write_list(own, "b")))
    assert published_run(second) == "run-1"
    assert listed_items(spark, tmp_path) == ["a"]

    assert publish(second, config)
    assert published_run(second) == "run-2"
    assert listed_items(spark, tmp_path) == ["b"]
    assert not publish(first, config)
    assert published_run(first) == "run-2"
    assert publish(first, config, again=True)
    assert listed_items(spark, tmp_path) == ["a"]


def test_a_killed_job_blocks_publication_and_ends_the_same_when_started_again(
    spark: SparkSession, tmp_path: Path
) -> None:
    config = config_of(tmp_path)
    lakehouse = Lakehouse(spark, str(tmp_path), "run-1")

    def half(own: Lakehouse, _: Config) -> None:
        write_list(own, "half")
        raise RuntimeError("killed half way")

    with pytest.raises(RuntimeError, match="killed half way"):
        run_job(lakehouse, config, job("recommend", half))
    [row] = lakehouse.read("runs").collect()
    assert row["status"] == "failed"
    with pytest.raises(DataError, match="recommend"):
        publish(lakehouse, config)

    assert run_job(lakehouse, config, job("recommend", lambda own, _: write_list(own, "whole")))
    publish(lakehouse, config)
    assert listed_items(spark, tmp_path) == ["whole"]


def test_a_job_beside_the_lists_that_failed_does_not_keep_them_back(
    spark: SparkSession, tmp_path: Path
) -> None:
    config = config_of(tmp_path)
    lakehouse = Lakehouse(spark, str(tmp_path), "night")
    run_job(lakehouse, config, job("recommend", lambda own, _: write_list(own, "a")))

    def fail(_own: Lakehouse, _config: Config) -> None:
        raise DataError("there is no test")

    with pytest.raises(DataError, match="no test"):
        run_job(lakehouse, config, job("evaluate", fail))
    assert publish(lakehouse, config)
    with pytest.raises(DataError, match="no test"):
        run_job(lakehouse, config, job("train_hybrid", fail))
    with pytest.raises(DataError, match=r"\['train_hybrid'\] did not finish"):
        publish(lakehouse, config, again=True)


def test_a_night_is_no_run_of_the_pipeline(spark: SparkSession, tmp_path: Path) -> None:
    config = config_of(tmp_path)
    night = Lakehouse(spark, str(tmp_path), "night")
    run_job(night, config, job("prepare_interactions", lambda own, _: write_list(own, "a")))
    refuse_a_night(night)
    run_job(night, config, job("keep_choices", lambda own, _: None))
    with pytest.raises(ConfigError, match=r"keeps what another run chose.* nightly --run-id night"):
        refuse_a_night(night)


def test_a_relative_lake_is_the_same_place_for_sql(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lakehouse = open_lakehouse(spark, config_of(Path("m6rec-lake")), "run-1")
    write_list(lakehouse, "a")
    vacuum(lakehouse, ["recommendations"])
    assert lakehouse.location == str(tmp_path / "m6rec-lake")


def test_a_run_that_has_begun_is_checked_on_the_tables_that_it_reads(
    spark: SparkSession, tmp_path: Path
) -> None:
    events = tmp_path / "events"
    for user in ("ann", "bob"):
        row = spark.createDataFrame([(user, "tea")], "user_id string, item_id string")
        row.write.format("delta").mode("append").save(str(events))
    source = {"interactions.source": {"path": str(events), "format": "delta"}}
    config = config_of(tmp_path / "lake").replaced(source)
    lakehouse = Lakehouse(spark, config.lake, "run-1")
    assert as_read_by(lakehouse, config) == config
    run_job(lakehouse, config, job("recommend", lambda own, _: write_list(own, "a")))
    spark.sql(f"DELETE FROM delta.`{events}`")
    assert as_read_by(lakehouse, config).interactions.source.version == 1
    with pytest.raises(ConfigError, match="give the first config again"):
        as_read_by(lakehouse, config.replaced({"seed": 7}))


def test_a_job_out_of_turn_names_the_job_that_is_missing(
    spark: SparkSession, tmp_path: Path
) -> None:
    early = Job(JobRecord("train_factors", reads=("user_item_matrix",)), lambda own, _: None)
    lakehouse = Lakehouse(spark, str(tmp_path), "run-1")
    with pytest.raises(DataError, match="job prepare_interactions has not finished"):
        run_job(lakehouse, config_of(tmp_path), early)


def test_a_run_without_recommendations_is_not_published(
    spark: SparkSession, tmp_path: Path
) -> None:
    lakehouse = Lakehouse(spark, str(tmp_path), "run-1")
    run_job(lakehouse, config_of(tmp_path), job("prepare_interactions", lambda own, _: None))
    with pytest.raises(DataError, match="run job recommend first"):
        publish(lakehouse, config_of(tmp_path))
