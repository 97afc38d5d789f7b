"""Which runs are removed, and what is left of them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from jobs.clean import tell
from m6rec import columns as c
from m6rec.config.publication import RetentionConfig
from m6rec.errors import ConfigError, DataError
from m6rec.fits.choices import CHOICES
from m6rec.fits.fit import model_row
from m6rec.lakehouse import Lakehouse
from m6rec.publication import retention
from m6rec.publication.publishing import publish, read_published, rollback
from m6rec.publication.repeating import repetition_of
from m6rec.publication.retention import (
    ARTIFACTS,
    Cleaning,
    Removal,
    clean,
    removable,
    runs_to_remove,
)
from m6rec.publication.upkeep import existing_tables
from m6rec.runs import Attempt, work_of_run, work_so_far
from tests.finished_runs import PLACES, config_of, copy_run, finished_runs


@pytest.mark.parametrize(
    ("followed", "rules", "removed"),
    [
        ("", {"runs": 0, "days": 0}, "a b c d"),
        ("", {"runs": 2, "days": 0}, "a b"),
        ("", {"runs": 0, "days": 3}, "a"),
        ("", {"runs": 3, "days": 2}, "a"),
        ("", {"runs": 9, "days": 0}, ""),
        ("a b", {"runs": 0, "days": 0}, "c d"),
        ("a b c", {"runs": 0, "days": 0}, "a d"),
    ],
)
def test_a_run_that_a_rule_keeps_or_readers_may_return_to_stays(
    followed: str, rules: dict[str, int], removed: str
) -> None:
    ages = {
        name: timedelta(days=age, hours=1) for name, age in zip("abcd", (4, 2, 1, 0), strict=True)
    }
    assert removable(ages, followed.split(), RetentionConfig(**rules)) == removed.split()


def test_cleaning_removes_old_runs_from_tables_and_artifacts(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(str(tmp_path), retention={"runs": 0, "days": 30})
    one, two, three = finished_runs(spark, config, "one", "two", "three")
    for run in (one, two, three):
        publish(run, config)
    model = Path(one.artifact_path("towers", "weights"))
    model.parent.mkdir(parents=True)
    model.write_bytes(b"12345")
    upkeep = one.for_run("cleaning")

    # To look for unused files takes longer than all else.
    seldom = timedelta(days=60)
    assert clean(upkeep, config, datetime.now(UTC), vacuum_every=seldom).runs == ()
    later = datetime.now(UTC) + timedelta(days=31)
    listed = clean(upkeep, config, later, dry_run=True)
    assert listed.runs == ("one",)
    sizes = [file.stat().st_size for file in tmp_path.rglob("recommendations/run_id=one/*.parquet")]
    of_place = {one.place: one.bytes for one in listed.removals}
    assert (of_place["recommendations"], of_place["artifacts"]) == (sum(sizes), 5)
    with monkeypatch.context() as patched:
        # As where tables lie elsewhere.
        patched.setattr(Lakehouse, "local_snapshot", lambda *_: None)
        assert retention._bytes_of(one, "recommendations", ("one",)) == sum(sizes)
    assert model.exists()

    assert clean(upkeep, config, later).runs == ("one",)
    assert not model.parent.parent.exists()
    left = {row["run_id"] for row in one.delta_table("recommendations").toDF().collect()}
    assert left == {"two", "three"}
    assert read_published(spark, str(tmp_path), "recommendations").count() == PLACES
    assert clean(upkeep, config, later, vacuum_every=seldom).runs == ()
    with pytest.raises(DataError, match="clean has removed"):
        publish(one, config, again=True)
    assert rollback(three, config) == "two"
    rows = one.delta_table("runs").toDF().where("job = 'clean'")
    assert rows.where(F.col("who").isNotNull()).count() == 1


def test_a_cleaning_that_was_killed_is_gone_on_with(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(str(tmp_path), retention={"runs": 1, "days": 0})
    one, _ = finished_runs(spark, config, "one", "two")
    model = Path(one.artifact_path("towers", "weights"))
    model.parent.mkdir(parents=True)
    model.write_bytes(b"12345")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    # As where tables lie elsewhere.
    monkeypatch.setattr(Lakehouse, "delete_rows", lambda *_: None)
    with monkeypatch.context() as patched:
        patched.setattr("m6rec.publication.retention.for_each", lambda names, _: [0] * len(names))
        patched.setattr("m6rec.publication.retention.remove_folder", killed)
        with pytest.raises(KeyboardInterrupt):
            clean(one.for_run("cleaning"), config, datetime.now(UTC))
    assert model.exists()
    left = {row["run_id"] for row in one.delta_table("recommendations").toDF().collect()}
    assert left == {"one", "two"}

    with pytest.raises(ConfigError, match="job clean is removing run one, or was killed at it"):
        work_so_far(one)
    again = clean(one.for_run("again"), config, datetime.now(UTC))
    assert again.runs == ("one",)
    assert work_so_far(one) == work_of_run(one.for_run("again")) == []
    assert not model.parent.parent.exists()
    left = {row["run_id"] for row in one.delta_table("recommendations").toDF().collect()}
    assert left == {"two"}
    assert clean(one.for_run("third"), config, datetime.now(UTC)).runs == ()


def test_no_run_is_removed_without_a_row_of_its_cleaning(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(str(tmp_path), retention={"runs": 1, "days": 0})
    one, _ = finished_runs(spark, config, "one", "two")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Attempt, "add", killed)
        clean(one.for_run("cleaning"), config, datetime.now(UTC))
    assert clean(one.for_run("again"), config, datetime.now(UTC)).runs == ("one",)
    rows = one.delta_table("runs").toDF().where("job = 'clean'").collect()
    assert [row["run_id"] for row in rows] == ["again"]


def test_a_cleaning_that_failed_is_gone_on_with_for_a_run_without_lists_and_folder(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(str(tmp_path), retention={"runs": 1, "days": 0})
    [one] = finished_runs(spark, config, "one")
    bare = one.for_run("bare")
    bare.write_rows("quarantine", [{"raw": "{}", "reason": "no user", "source_version": None}])
    day_before = {
        name: F.expr(f"{name} - interval 1 day") for name in ("started_at", "finished_at")
    }
    copy_run(one, "runs", "bare", **day_before)

    def fails(*_: object) -> None:
        raise OSError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(Lakehouse, "delete_rows", fails)
        with pytest.raises(OSError, match="full"):
            clean(one.for_run("cleaning"), config, datetime.now(UTC))
    with pytest.raises(DataError, match="clean has removed"):
        publish(bare, config)
    assert not bare.read("quarantine").isEmpty()

    assert clean(one.for_run("again"), config, datetime.now(UTC)).runs == ("bare",)
    assert bare.read("quarantine").isEmpty()
    assert clean(one.for_run("third"), config, datetime.now(UTC)).runs == ()


def test_a_run_that_is_going_on_stays_until_it_must_have_been_killed(
    spark: SparkSession, tmp_path: Path
) -> None:
    config = config_of(str(tmp_path), retention={"runs": 0, "days": 0})
    [ended] = finished_runs(spark, config, "ended")
    started = {"status": F.lit("started"), "finished_at": F.lit(None).cast("timestamp")}
    copy_run(ended, "runs", "going-on", **started)
    now = datetime.now(UTC)
    assert runs_to_remove(ended, config, now) == ["ended"]
    later = now + timedelta(days=1)
    assert set(runs_to_remove(ended, config, later)) == {"ended", "going-on"}


def test_a_run_from_which_a_night_goes_on_stays_until_it_has_ended(
    spark: SparkSession, tmp_path: Path
) -> None:
    config = config_of(str(tmp_path), retention={"runs": 0, "days": 0})
    _, other = finished_runs(spark, config, "before", "other")
    started = {"status": F.lit("started"), "finished_at": F.lit(None).cast("timestamp")}
    copy_run(other, "runs", "night", **started)
    parameters = {"kept_from": "before", "chosen_by": "a", "chosen_at": "2026-11-01", "epochs": {}}
    choices = {"kind": CHOICES, **model_row(CHOICES, parameters)}
    other.for_run("night").write_rows("models", [choices], fit=c.SELECTION)
    now = datetime.now(UTC)
    assert runs_to_remove(other, config, now) == ["other"]
    later = now + timedelta(days=1)
    assert set(runs_to_remove(other, config, later)) == {"before", "other", "night"}


def test_a_run_with_which_others_are_compared_stays_and_no_repetition_needs_it(
    spark: SparkSession, tmp_path: Path
) -> None:
    sections = {"retention": {"runs": 0, "days": 0}, "evaluate": {"compare_with_run": "reference"}}
    config = config_of(str(tmp_path), **sections)
    _, other = finished_runs(spark, config, "reference", "other")
    assert runs_to_remove(other, config, datetime.now(UTC)) == ["other"]
    assert repetition_of(other, "again").config.evaluate.compare_with_run is None


def test_it_is_said_what_leaves_the_disk_and_when(capsys: pytest.CaptureFixture[str]) -> None:
    cleaning = Cleaning(("one",), (Removal("lists", 30, 0), Removal(ARTIFACTS, 5, 0)))
    tell(cleaning, dry_run=False)
    said = capsys.readouterr().out
    assert "1 runs removed: one\n" in said
    assert "35 bytes in all\n5 of them are deleted; files of tables are deleted" in said
    tell(cleaning, dry_run=True)
    assert "are deleted" not in capsys.readouterr().out


def test_unused_files_are_looked_for_no_more_often_than_asked(
    spark: SparkSession, tmp_path: Path
) -> None:
    config = config_of(str(tmp_path), retention={"runs": 1, "days": 0})
    runs = finished_runs(spark, config, "one", "two", "three", "four")
    now, week = datetime.now(UTC), timedelta(days=7)

    def tables_vacuumed(name: str, at: datetime) -> list[int]:
        clean(runs[0].for_run(name), config, at, vacuum_every=week)
        rows = runs[0].delta_table("runs").toDF().where(F.col("run_id") == name).collect()
        return [len(row["outputs"]) for row in rows]

    # Runs are removed, and there is no file yet that has been without a use for so long.
    assert tables_vacuumed("first", now) == [0]
    assert tables_vacuumed("second", now + 2 * week) == [len(existing_tables(runs[0]))]
    # Nothing is left to be done.
    assert tables_vacuumed("third", now) == []
