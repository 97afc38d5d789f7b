"""Delta tables that the driver writes without a query are to Spark like any others."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import types as T

from m6rec.lakehouse import Lakehouse
from m6rec.publication.upkeep import vacuum
from m6rec.schemas import TABLES
from m6rec.spark import local_delta
from m6rec.spark.local_delta import (
    NewTable,
    Snapshot,
    as_rows,
    commit_rows,
    newest_version,
    rows_of,
    snapshot_of,
)
from m6rec.spark.runtimes import arrow_schema

SCHEMA = T.StructType(
    [
        T.StructField("run_id", T.StringType(), False),
        T.StructField("fit", T.StringType(), False),
        T.StructField("number", T.LongType(), False),
        T.StructField("at", T.TimestampType()),
        T.StructField("parts", T.MapType(T.StringType(), T.DoubleType())),
        T.StructField("factor", T.ArrayType(T.FloatType())),
    ]
)
NEW = NewTable(("run_id", "fit"), {"delta.checkpointInterval": "50"})
AT = datetime(2026, 11, 27, 9, 30, tzinfo=UTC)
Rows = Callable[[Snapshot | None], pa.Table]


def rows(*numbers: int, run_id: str = "one", fit: str = "final") -> Rows:
    values = [
        {
            "run_id": run_id,
            "fit": fit,
            "number": number,
            "at": AT,
            "parts": [("als", 0.5)],
            "factor": [0.25, float(number)],
        }
        for number in numbers
    ]
    table = pa.Table.from_pylist(values, arrow_schema(SCHEMA))
    return lambda _: table


def replace(folder: Path, new: Rows, run_id: str = "one", fit: str = "final") -> int | None:
    return commit_rows(folder, SCHEMA, new, {"run_id": (run_id,), "fit": (fit,)}, NEW)


def by_spark(spark: SparkSession, folder: Path, version: int | None = None) -> DataFrame:
    reader = spark.read.format("delta")
    return (reader if version is None else reader.option("versionAsOf", version)).load(str(folder))


def numbers(frame: DataFrame) -> list[int]:
    return sorted(row["number"] for row in frame.collect())


def numbers_here(folder: Path, **values: str) -> list[int] | None:
    snapshot = snapshot_of(folder)
    assert snapshot is not None
    condition = {name: (value,) for name, value in values.items()}
    found = rows_of(snapshot, SCHEMA, [condition], 1 << 20)
    return None if found is None else sorted(found.column("number").to_pylist())


def test_times_of_the_hour_that_is_there_twice_stay_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    given = [
        datetime(2026, 10, 25, hour, minute, 0, 123456, UTC) for hour, minute in ((0, 50), (1, 10))
    ]
    table = pa.table({"at": pa.array(given, pa.timestamp("us", "UTC"))})
    try:
        with monkeypatch.context() as patched:
            patched.setenv("TZ", "Europe/Berlin")
            time.tzset()
            found = [row["at"] for row in as_rows(table)]
            by_spark = [T.TimestampType().fromInternal(int(at.timestamp() * 1e6)) for at in given]
            assert [at.astimezone(UTC) for at in found] == given
            assert [(at, at.fold) for at in found] == [(at, at.fold) for at in by_spark]
    finally:
        time.tzset()


def test_spark_reads_what_the_driver_wrote_and_the_driver_what_spark_wrote(
    spark: SparkSession, tmp_path: Path
) -> None:
    folder = tmp_path / "table"
    assert replace(folder, rows(1, 2)) == 0
    assert replace(folder, rows(7, run_id="two"), run_id="two") == 1
    assert replace(folder, rows(3)) == 2
    assert numbers(by_spark(spark, folder)) == [3, 7]
    assert numbers(by_spark(spark, folder, 0)) == [1, 2]
    assert numbers(by_spark(spark, folder).where("run_id = 'two'")) == [7]

    again = by_spark(spark, folder).where("run_id = 'one'")
    writer = again.write.format("delta").mode("overwrite")
    writer.option("replaceWhere", "run_id IN ('one')").save(str(folder))
    snapshot = snapshot_of(folder)
    assert snapshot is not None
    assert snapshot.version == newest_version(folder) == 3
    here = rows_of(snapshot, SCHEMA, [{"run_id": ("one",)}], 1 << 20)
    assert here is not None
    assert as_rows(here) == again.collect()

    assert replace(folder, rows()) == 4
    assert numbers(by_spark(spark, folder)) == numbers_here(folder) == [7]
    operations = DeltaTable.forPath(spark, str(folder)).history().select("operation").collect()
    assert [row[0] for row in operations] == 5 * ["WRITE"]


def test_a_part_of_a_file_is_replaced_and_its_other_rows_stay(
    spark: SparkSession, tmp_path: Path
) -> None:
    lakehouse = Lakehouse(spark, str(tmp_path), "run")
    row = {"name": "svd", "parameters": "{}", "artifact": None}
    both = [row, row | {"name": "als"}]
    lakehouse.write_rows("models", both, fit="final", kind="factors")
    new = [row | {"parameters": "new"}]
    lakehouse.write_rows("models", new, fit="final", kind="factors", name="svd")
    found = lakehouse.read("models").select("name", "parameters").collect()
    assert sorted(tuple(one) for one in found) == [("als", "{}"), ("svd", "new")]
    assert "M6-Rec" in (tmp_path / "models" / "_delta_log" / f"{1:020}.json").read_text()


@pytest.mark.parametrize("by_spark_alone", [False, True])
def test_spark_changes_what_the_driver_wrote(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_spark_alone: bool
) -> None:
    folder = tmp_path / "table"
    for number in range(3):
        replace(folder, rows(number, number + 10), run_id="one")
    replace(folder, rows(5, run_id="two"), run_id="two")
    table = DeltaTable.forPath(spark, str(folder))
    table.delete("number = 12")
    assert numbers(table.toDF()) == numbers_here(folder) == [2, 5]
    if by_spark_alone:
        # As it has to where tables lie elsewhere.
        monkeypatch.setattr("m6rec.publication.upkeep.remove_unused_files", lambda _: False)
    vacuum(Lakehouse(spark, str(tmp_path), "run"), ["table"], retain_hours=0)
    snapshot = snapshot_of(folder)
    assert snapshot is not None
    assert {folder / file.name for file in snapshot.files} == set(folder.rglob("*.parquet"))
    assert numbers(table.toDF()) == numbers_here(folder) == [2, 5]


def test_delta_writes_the_commits_with_checkpoints(spark: SparkSession, tmp_path: Path) -> None:
    lakehouse = Lakehouse(spark, str(tmp_path), "run")
    row = {"name": "svd", "parameters": "{}", "artifact": None}
    new = NewTable(("run_id", "fit", "kind"), {"delta.checkpointInterval": "3"})
    schema = TABLES["models"].schema
    first = pa.Table.from_pylist(
        [{"run_id": "other", "fit": "final", "kind": "factors", **row}],
        arrow_schema(schema),
    )
    commit_rows(tmp_path / "models", schema, lambda _: first, {}, new)
    for number in range(1, 6):
        lakehouse.write_rows("models", [row | {"name": str(number)}], fit="final", kind="factors")
    log = tmp_path / "models" / "_delta_log"
    assert [file.name[:20] for file in log.glob("*.checkpoint.parquet")] == [f"{3:020}"]
    engines = [
        "M6-Rec" in (log / f"{version:020}.json").read_text().splitlines()[0]
        for version in range(6)
    ]
    assert engines == [True, True, True, False, True, True]
    # Before the checkpoint nothing is needed any more.
    for version in range(3):
        (log / f"{version:020}.json").unlink()
    names = {(one["run_id"], one["name"]) for one in lakehouse.collected("models", {})}
    assert names == {("other", "svd"), ("run", "5")}


def test_of_writers_at_once_each_commits_whole_and_none_is_lost(tmp_path: Path) -> None:
    folder, together = tmp_path / "table", threading.Barrier(4)
    replace(folder, rows(0))

    def write(writer: int) -> list[int | None]:
        together.wait()
        run_id = f"run{writer}"
        return [
            replace(folder, rows(writer, night, run_id=run_id), run_id=run_id) for night in range(8)
        ]

    with ThreadPoolExecutor(4) as pool:
        versions = [one for found in pool.map(write, range(1, 5)) for one in found]
    assert sorted(v for v in versions if v is not None) == list(range(1, 33))
    assert numbers_here(folder) == sorted([0, 1, 2, 3, 4, 7, 7, 7, 7])


def test_text_in_the_log_may_hold_other_ends_of_lines(spark: SparkSession, tmp_path: Path) -> None:
    folder, note = tmp_path / "table", "one\u2028two\u2029three\u0085four"
    assert replace(folder, rows(1)) == 0
    writer = by_spark(spark, folder).write.format("delta").mode("append")
    writer.option("userMetadata", note).save(str(folder))
    assert note in (folder / "_delta_log" / f"{1:020}.json").read_text("utf-8")
    assert numbers_here(folder) == [1, 1]


def test_a_kill_before_the_commit_changes_nothing(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "table"
    replace(folder, rows(1))

    class KilledError(BaseException):
        pass

    def killed(*_: object) -> None:
        raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(local_delta.os, "link", killed)
        with pytest.raises(KilledError):
            replace(folder, rows(2))
    assert numbers(by_spark(spark, folder)) == numbers_here(folder) == [1]
    assert replace(folder, rows(2)) == 1
    assert numbers(by_spark(spark, folder)) == [2]


def test_what_the_driver_does_not_know_is_left_to_spark(
    spark: SparkSession, tmp_path: Path
) -> None:
    folder, other = tmp_path / "table", tmp_path / "other"
    replace(folder, rows(1, 2))
    narrower = T.StructType(SCHEMA.fields[:-1])
    assert commit_rows(folder, narrower, rows(1), {"run_id": ("one",)}, NEW) is None
    assert replace(folder, rows(1, run_id="two/ü 50%"), run_id="two/ü 50%") is None
    constrained = f"ALTER TABLE delta.`{folder}` ADD CONSTRAINT positive CHECK (number > 0)"
    spark.sql(constrained)
    assert replace(folder, rows(-1)) is None
    assert numbers_here(folder) == [1, 2]
    spark.range(4).write.format("delta").save(str(other))
    spark.sql(
        f"ALTER TABLE delta.`{other}` SET TBLPROPERTIES ('delta.enableDeletionVectors' = 'true')"
    )
    assert snapshot_of(other) is None
    assert snapshot_of(tmp_path / "none") is None
