"""Rows that the driver takes out of a Delta table by marks are gone for Spark, and no others."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from delta.tables import DeltaTable
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from m6rec.lakehouse import Lakehouse
from m6rec.publication.upkeep import vacuum
from m6rec.spark import deletion_vectors
from m6rec.spark.deletion_vectors import (
    Outcome,
    Replacement,
    RowsOfKeys,
    replace_all,
    replace_rows,
)
from m6rec.spark.local_delta import newest_version, state_of, write_files
from m6rec.spark.runtimes import arrow_schema, frame_of_arrow

SCHEMA = T.StructType(
    [T.StructField("user_id", T.StringType()), T.StructField("rank", T.IntegerType())]
)
# A bitmap of rows is cut into parts of 65,536.
MANY = 70_000
Ranks = Mapping[str | None, Sequence[int]]


def rows(lists: Ranks) -> pa.Table:
    pairs = [(user, rank) for user, ranks in lists.items() for rank in ranks]
    columns = [pa.array(column) for column in zip(*pairs, strict=True)]
    return pa.table(columns, ["user_id", "rank"]).cast(arrow_schema(SCHEMA))


def make_table(spark: SparkSession, folder: Path, *files: Ranks) -> None:
    """A table with marks, of which each file is a commit."""
    spark.sql(f"CREATE TABLE delta.`{folder}` (user_id STRING, rank INT) USING delta")
    marks = "'delta.enableDeletionVectors' = 'true', 'delta.checkpointInterval' = '50'"
    spark.sql(f"ALTER TABLE delta.`{folder}` SET TBLPROPERTIES ({marks})")
    for file in files:
        writer = frame_of_arrow(spark, rows(file), SCHEMA).coalesce(1).write
        writer.format("delta").mode("append").save(str(folder))


def ranks_by_user(spark: SparkSession, folder: Path) -> dict[str | None, list[int]]:
    listed = F.sort_array(F.collect_list("rank")).alias("ranks")
    found = spark.read.format("delta").load(str(folder)).groupBy("user_id").agg(listed)
    return {row["user_id"]: row["ranks"] for row in found.collect()}


def replace(folder: Path, new: Ranks, number: int, *gone: str) -> Outcome:
    keys = (*gone, *(user for user in new if user is not None))
    of_keys = RowsOfKeys(folder, "user_id", keys)
    return replace_rows(SCHEMA, Replacement(of_keys, rows(new), "test", number))


def test_what_is_replaced_by_the_driver_and_by_spark_in_turn_is_gone_once(
    spark: SparkSession, tmp_path: Path
) -> None:
    folder = tmp_path / "lists"
    many = list(range(MANY))
    make_table(spark, folder, {"a": [1, 2], "many": many, "b": [1]}, {"c": [1], None: [1, 2]})

    assert replace(folder, {"b": [7], "new": [1]}, 1) == newest_version(folder)
    expected: dict[str | None, list[int]] = {
        "a": [1, 2],
        "many": many,
        "b": [7],
        "c": [1],
        None: [1, 2],
        "new": [1],
    }
    assert ranks_by_user(spark, folder) == expected

    # Spark marks a run of rows of a file that has marks, and some that are far apart.
    table = DeltaTable.forPath(spark, str(folder))
    table.delete("user_id = 'many' AND (rank BETWEEN 100 AND 69000 OR rank % 1000 = 7)")
    kept = [one for one in many if not (100 <= one <= 69_000 or one % 1000 == 7)]
    assert replace(folder, {"a": [3]}, 2) == newest_version(folder)
    assert ranks_by_user(spark, folder) == expected | {"many": kept, "a": [3]}

    assert replace(folder, {"many": [5]}, 3, "c", "unknown") == newest_version(folder)
    del expected["c"]
    assert ranks_by_user(spark, folder) == expected | {"many": [5], "a": [3]}
    vacuum(Lakehouse(spark, str(tmp_path), "any"), ["lists"], retain_hours=0)
    assert ranks_by_user(spark, folder) == expected | {"many": [5], "a": [3]}


def test_a_file_without_other_rows_is_taken_out_and_a_number_counts_once(
    spark: SparkSession, tmp_path: Path
) -> None:
    folder = tmp_path / "lists"
    make_table(spark, folder, {"a": [1]}, {"b": [1]})
    assert replace(folder, {"a": [2]}, 5) == newest_version(folder)
    version = newest_version(folder)
    assert replace(folder, {"a": [3]}, 5) == "done before"
    assert newest_version(folder) == version
    assert ranks_by_user(spark, folder) == {"a": [2], "b": [1]}
    state = state_of(folder)
    assert state is not None
    assert len(state.added) == 2
    assert not list(folder.glob("deletion_vector_*"))
    details = DeltaTable.forPath(spark, str(folder)).detail().select("numFiles").collect()
    assert details[0][0] == 2


def test_what_delta_has_measured_of_a_file_is_not_said_again_by_the_driver(
    spark: SparkSession, tmp_path: Path
) -> None:
    folder = tmp_path / "lists"
    make_table(spark, folder, {"a": [1], "b": [1], "c": [1]})
    # As of all files that it marks.
    DeltaTable.forPath(spark, str(folder)).delete("user_id = 'a'")
    assert replace(folder, {"b": [2]}, 1) == newest_version(folder)
    logs = [file.read_text() for file in sorted((folder / "_delta_log").glob("*.json"))]
    assert "minValues" in logs[-2] and "minValues" not in logs[-1]
    assert ranks_by_user(spark, folder) == {"b": [2], "c": [1]}


def test_who_comes_second_changes_nothing_and_leaves_no_file(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "lists"
    make_table(spark, folder, {"a": [1], "b": [1]})
    before = state_of(folder)
    assert replace(folder, {"b": [2]}, 1) == newest_version(folder)
    files = set(folder.iterdir())
    monkeypatch.setattr(deletion_vectors, "state_of", lambda _: before)
    assert replace(folder, {"a": [2]}, 2) == "overtaken"
    assert set(folder.iterdir()) == files
    assert ranks_by_user(spark, folder) == {"a": [1], "b": [2]}


def test_all_rows_are_replaced_with_their_marks_whoever_comes_first(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "lists"
    make_table(spark, folder, {"a": [1, 2], "b": [1]}, {"c": [1], "d": [1]})
    before = state_of(folder)
    assert replace(folder, {"b": [7]}, 1) == newest_version(folder)
    DeltaTable.forPath(spark, str(folder)).delete("user_id = 'a' AND rank = 2")
    states = [before]
    monkeypatch.setattr(
        deletion_vectors, "state_of", lambda _: states.pop() if states else state_of(folder)
    )
    written = write_files(folder, rows({"new": [1]}), ())
    new = rows({"new": [2]})

    assert replace_all(folder, SCHEMA, new, written, "a note") == newest_version(folder)

    assert ranks_by_user(spark, folder) == {"new": [1, 2]}
    table = DeltaTable.forPath(spark, str(folder))
    assert table.history(1).select("userMetadata").collect()[0][0] == "a note"
    table.delete("rank = 2")
    vacuum(Lakehouse(spark, str(tmp_path), "any"), ["lists"], retain_hours=0)
    assert ranks_by_user(spark, folder) == {"new": [1]}
    table.delete("rank = 1")
    spark.sql(f"ALTER TABLE delta.`{folder}` ADD COLUMNS (title STRING)")
    files = set(folder.iterdir())
    written = write_files(folder, rows({"new": [3]}), ())
    assert replace_all(folder, SCHEMA, new, written, "a note") is None
    assert set(folder.iterdir()) == files


def test_where_the_disk_has_no_links_all_is_left_to_spark(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "lists"
    make_table(spark, folder, {"a": [1]})
    files = set(folder.iterdir())

    def refuse(*_: object) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr("m6rec.spark.local_delta.os.link", refuse)
    assert replace_all(folder, SCHEMA, rows({"new": [3]}), (), "a note") is None
    assert set(folder.iterdir()) == files


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE {} SET TBLPROPERTIES ('delta.enableDeletionVectors' = 'false')",
        "ALTER TABLE {} SET TBLPROPERTIES ('delta.columnMapping.mode' = 'name')",
        "ALTER TABLE {} SET TBLPROPERTIES ('delta.checkpointInterval' = '1')",
        "ALTER TABLE {} SET TBLPROPERTIES ('delta.appendOnly' = 'true')",
        "ALTER TABLE {} ADD COLUMNS (title STRING)",
    ],
)
def test_other_tables_are_left_to_spark(spark: SparkSession, tmp_path: Path, change: str) -> None:
    folder = tmp_path / "lists"
    make_table(spark, folder, {"a": [1]})
    spark.sql(change.format(f"delta.`{folder}`"))
    files = set(folder.iterdir())
    assert replace(folder, {"a": [2]}, 1) == "left to Spark"
    assert set(folder.iterdir()) == files


def test_after_a_checkpoint_marks_and_numbers_are_known(
    spark: SparkSession, tmp_path: Path
) -> None:
    folder = tmp_path / "lists"
    make_table(spark, folder, {"a": [1], "b": [1], "c": [1]})
    assert replace(folder, {"a": [2]}, 4) == newest_version(folder)
    interval = "'delta.checkpointInterval' = '1'"
    spark.sql(f"ALTER TABLE delta.`{folder}` SET TBLPROPERTIES ({interval})")
    spark.sql(f"ALTER TABLE delta.`{folder}` UNSET TBLPROPERTIES ('delta.checkpointInterval')")
    checkpoint = next((folder / "_delta_log").glob("*.checkpoint.parquet"))
    for version in range(int(checkpoint.name[:20])):
        (folder / "_delta_log" / f"{version:020}.json").unlink()
    latest = newest_version(folder)

    assert replace(folder, {"b": [2]}, 4) == "done before"
    assert newest_version(folder) == latest
    assert replace(folder, {"b": [2]}, 5) == newest_version(folder)
    jvm: Any = spark._jvm
    jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()
    assert ranks_by_user(spark, folder) == {"a": [2], "b": [2], "c": [1]}
