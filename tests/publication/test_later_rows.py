"""The rows of a followed table that a run has not read: each file is read once, none is missed."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from m6rec.config.base import TableSource
from m6rec.config.run import Config, parse_config
from m6rec.fits.sources import open_events
from m6rec.publication.later_rows import LaterRows, later_rows

COLUMNS = "who long, what string, note string"
Event = tuple[int, str]


def append(spark: SparkSession, place: Path, *events: Event) -> None:
    rows = [(user, item, None) for user, item in events]
    frame = spark.createDataFrame(rows, COLUMNS).coalesce(1)
    frame.write.format("delta").mode("append").save(str(place))


def opened(
    spark: SparkSession, place: Path, first_version: int | None, **interactions: object
) -> LaterRows | None:
    source = {"path": str(place), "format": "delta"}
    columns = {"user": "who", "item": "what"}
    given = {"interactions": {"source": source, "columns": columns, **interactions}}
    config: Config = parse_config(given, "test")
    table = TableSource(path=str(place), format="delta")
    events = open_events(spark, "fold_in.source", table, config.interactions)
    return later_rows(spark, table, events, first_version)


def found(later: LaterRows | None, *users: str) -> Sequence[Event]:
    assert later is not None
    rows = later.of(users)
    assert rows is not None
    assert rows.columns == ["who", "what"]
    return sorted((row["who"], row["what"]) for row in rows.collect())


def test_only_files_that_came_later_are_read_and_each_once(
    spark: SparkSession, tmp_path: Path
) -> None:
    append(spark, tmp_path, (1, "old"), (2, "old"))
    later = opened(spark, tmp_path, 1)
    assert found(later, "1") == []
    append(spark, tmp_path, (1, "a"), (3, "a"))
    assert found(later, "1") == [(1, "a")]
    # What has been read does not have to be there any more.
    assert later is not None
    for name in later.files:
        (tmp_path / name).unlink()
    append(spark, tmp_path, (1, "b"))
    assert found(later, "1", "3", "4") == [(1, "a"), (1, "b"), (3, "a")]


def test_of_a_table_that_no_run_has_read_all_files_are_later(
    spark: SparkSession, tmp_path: Path
) -> None:
    append(spark, tmp_path, (1, "old"), (2, "old"))
    append(spark, tmp_path, (1, "a"))
    later = opened(spark, tmp_path, None)
    assert found(later, "1", "2") == [(1, "a"), (1, "old"), (2, "old")]


def test_rows_that_are_written_anew_are_read_anew(spark: SparkSession, tmp_path: Path) -> None:
    append(spark, tmp_path, (1, "old"))
    later = opened(spark, tmp_path, 1)
    append(spark, tmp_path, (1, "a"), (1, "b"))
    assert found(later, "1") == [(1, "a"), (1, "b")]
    spark.sql(f"DELETE FROM delta.`{tmp_path}` WHERE what = 'a'")
    assert found(later, "1") == [(1, "b")]
    spark.sql(f"OPTIMIZE delta.`{tmp_path}`")
    assert found(later, "1") == [(1, "b"), (1, "old")]


def test_what_only_spark_can_tell_is_left_to_it(spark: SparkSession, tmp_path: Path) -> None:
    append(spark, tmp_path, (1, "a"))
    judged = {"suspicious_users": {"action": "quarantine"}}
    assert opened(spark, tmp_path, None, **judged) is None
    later = opened(spark, tmp_path, None)
    assert found(later, "1") == [(1, "a")]
    marks = "'delta.enableDeletionVectors' = 'true'"
    spark.sql(f"ALTER TABLE delta.`{tmp_path}` SET TBLPROPERTIES ({marks})")
    assert later is not None
    assert later.of(["1"]) is None


@pytest.mark.parametrize("most", [0, 1 << 20])
def test_of_many_bytes_none_are_held(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    append(spark, tmp_path, (1, "a"))
    monkeypatch.setattr("m6rec.publication.later_rows._MOST_BYTES", most)
    later = opened(spark, tmp_path, None)
    assert later is not None
    assert (later.of(["1"]) is None) == (most == 0)
