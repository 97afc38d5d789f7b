"""Forgetting users of the finished run, down to the files."""

import json
import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from pyspark.sql import Column, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructField

from jobs.forget import run as forget_users
from m6rec import columns as c
from m6rec.config.run import Config
from m6rec.errors import DataError, TableError
from m6rec.job_records import JobRecord
from m6rec.lakehouse import PUBLISHED, Lakehouse
from m6rec.publication.forgetting import forget
from m6rec.publication.publishing import publications, publish, read_published
from m6rec.publication.replacing import PublishedLists
from m6rec.runs import FAILED, FINISHED, STARTED, Attempt, Job, jobs_of_run, run_job
from m6rec.schemas import TABLES
from m6rec.spark.sources import read_ids, table_of_ids
from tests.finished_runs import config_of, finished_runs
from tests.publication.test_folding import BySpark, Merging
from tests.synthetic_shop import CONTEXTS

# user-1 has refused rows, too, and user-90 has no history.
FORGOTTEN = ("user-1", "user-90")
# A list of ten without a context, and one in each.
PLACES_OF_A_USER = 10 * (1 + len(CONTEXTS))


def places_of_users(lake: Path, ids: set[str], indices: set[int]) -> set[str]:
    """The tables whose files on disk, of any version, hold one of the users."""
    found = set()
    for file in lake.rglob("*.parquet"):
        if "_delta_log" in file.parts:
            continue
        table = pq.ParquetFile(file).read()
        values = {
            name: set(np.ravel(table.column(name).to_pylist()))
            for name in (c.USER_ID, c.USER_INDEX, c.RAW)
            if name in table.column_names
        }
        raw = " ".join(values.get(c.RAW, ()))
        if (
            values.get(c.USER_ID, set()) & ids
            or values.get(c.USER_INDEX, set()) & indices
            or any(f'"{user}"' in raw for user in ids)
        ):
            found.add(file.relative_to(lake).parts[0])
    return found


def test_a_forgotten_user_is_in_no_table_no_file_and_no_receipt(
    spark: SparkSession, copied: Lakehouse, config: Config
) -> None:
    lake = Path(copied.location)
    is_forgotten = F.col(c.USER_ID).isin(*FORGOTTEN)
    found = copied.read("user_index").where(is_forgotten).collect()
    ids, indices = set(FORGOTTEN), {row[c.USER_INDEX] for row in found}
    before = places_of_users(lake, ids, indices)
    assert {"published", "recommendations", "user_index", "quarantine", "lists"} <= before
    is_kept = ~F.coalesce(is_forgotten, F.lit(False))
    others = copied.read("recommendations").where(is_kept).count()
    ids_table = spark.createDataFrame(
        [(user,) for user in (*FORGOTTEN, "newcomer", "nobody")], "user_id string"
    )
    # As fold_in leaves the list of a user who came after training.
    published = copied.delta_table(PUBLISHED).toDF()
    one = published.where("user_id = 'user-2' AND rank = 1 AND context IS NULL")
    newcomer = one.withColumn(c.USER_ID, F.lit("newcomer"))
    newcomer.write.format("delta").mode("append").save(copied.address(PUBLISHED))

    known, receipt = forget(copied.for_run("receipt"), config, ids_table)

    assert known == 3
    assert places_of_users(lake, ids, indices) == set()
    assert not list(lake.rglob("tower_rows"))
    logs = "".join(file.read_text() for file in lake.rglob("_delta_log/*.json"))
    assert not any(re.search(rf"\b{user}\b", logs) for user in FORGOTTEN)
    assert read_published(spark, str(lake), "recommendations").count() == others
    rows = {one.table: one.rows for one in receipt}
    assert rows["user_index"] == 2
    assert rows["recommendations"] == 2 * PLACES_OF_A_USER
    assert rows[PUBLISHED] == 2 * PLACES_OF_A_USER + 1
    assert rows["quarantine"] == 3
    written = copied.read("receipts").collect()
    assert {row["table"]: row["rows"] for row in written} == rows
    assert not any(user in str(row) for row in written for user in FORGOTTEN)
    for row in written:
        if row["version"] is not None:
            assert copied.version(row["table"]) == row["version"]
    assert {row["table"] for row in written} <= {*TABLES, PUBLISHED, "artifacts/tower_rows"}

    again, nothing = forget(copied.for_run("again"), config, ids_table)
    assert (again, sum(one.rows for one in nothing)) == (0, 0)


def files_that_name(lake: Path, part_of_id: str) -> set[str]:
    """The files of a lake, logs and their checkpoints included, that hold a part of an id."""
    found = set()
    for file in lake.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            if file.suffix == ".parquet":
                content += str(pq.ParquetFile(file).read().to_pylist()).encode()
            if part_of_id.encode() in content:
                found.add(str(file.relative_to(lake)))
    return found


@pytest.mark.parametrize("kind", [BySpark, Merging, None])
def test_no_file_and_no_log_names_who_is_forgotten_after_lists_were_marked_by_spark(
    spark: SparkSession, tmp_path: Path, kind: type[PublishedLists] | None
) -> None:
    config = config_of(str(tmp_path))
    [run] = finished_runs(spark, config, "one")
    publish(run, config)
    index = spark.createDataFrame([(0, "user-0")], "user_index long, user_id string")
    run.append_new("user_index", index, (c.USER_ID,))
    odd = """a 'leaver' "née" Ünal\\"""
    forgotten = ["user-0", "user-3", odd]
    ids = spark.createDataFrame([(user,) for user in forgotten], "user_id string")
    name = run.sql_name(PUBLISHED)
    spark.sql(f"ALTER TABLE {name} SET TBLPROPERTIES ('delta.checkpointInterval' = '2')")
    if kind is None:
        # As an earlier release has left a lake.
        marks = "'delta.enableDeletionVectors' = 'true'"
        spark.sql(f"ALTER TABLE {name} SET TBLPROPERTIES ({marks})")
    else:
        lists = kind(run)
        lists.enable_deletion_vectors()
        of_user = run.delta_table(PUBLISHED).toDF().where("user_id = 'user-3'")
        for number, user in enumerate(forgotten[1:]):
            new = of_user.withColumn(c.USER_ID, F.lit(user))
            assert lists.replace(new, [user], "test", number) == "done by Spark"
        assert files_that_name(tmp_path, "leaver")

    forget(run.for_run("receipt"), config, ids)

    for part in ("user-0", "user-3", "leaver"):
        assert files_that_name(tmp_path, part) == set()
    kept = run.delta_table(PUBLISHED).toDF().select(c.USER_ID).distinct().collect()
    assert {row[c.USER_ID] for row in kept} == {"user-1", "user-2"}


def test_lists_that_are_only_marked_as_gone_leave_the_disk(
    spark: SparkSession, copied: Lakehouse, config: Config
) -> None:
    # As fold_in leaves the list of a user who came after training, and whose events were deleted.
    PublishedLists(copied).enable_deletion_vectors()
    table = copied.delta_table(PUBLISHED)
    newcomer = table.toDF().where("rank <= 2").withColumn(c.USER_ID, F.lit("newcomer"))
    kept = table.toDF().where("rank = 1")
    both = newcomer.unionByName(kept).coalesce(1)
    both.write.format("delta").mode("append").save(copied.address(PUBLISHED))
    table.delete("user_id = 'newcomer'")
    lake = Path(copied.location)
    assert places_of_users(lake, {"newcomer"}, set()) == {"published"}

    ids = spark.createDataFrame([("newcomer",)], "user_id string")
    known, receipt = forget(copied.for_run("receipt"), config, ids)

    assert known == 0 and PUBLISHED not in {one.table for one in receipt}
    assert places_of_users(lake, {"newcomer"}, set()) == set()


def test_refused_rows_are_found_however_their_id_is_written(
    spark: SparkSession, tmp_path: Path, config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = {"unify_ids": ["case", "form"], "normalise_ids": "integer", "trim_ids": True}
    unified = config.replaced({f"interactions.{key}": value for key, value in rules.items()})
    lakehouse = Lakehouse(spark, str(tmp_path), "first")
    index = spark.createDataFrame(
        [(0, "17850"), (1, "\u00e9va"), (2, "12345678")], "user_index long, user_id string"
    )
    lakehouse.append_new("user_index", index, (c.USER_ID,))
    ids = [
        "1.2345678E7",
        "17850.0",
        '"17850.0"',
        '" 017850"',
        '"E\u0301va"',
        '"17851"',
        '"refused"',
        "null",
    ]
    column = config.interactions.columns.user
    raws = [(f'{{"{column}":{id_}}}', "weight negative", None) for id_ in ids]
    rows = spark.createDataFrame(raws, "raw string, reason string, source_version long")
    lakehouse.write("quarantine", rows)
    # The last has refused rows alone.
    named = [(" 17850.0 ",), ("E\u0301VA",), ("  ",), ("12345678",), ("Refused",)]
    forgotten = spark.createDataFrame(named, "user_id string")

    forget_users(lakehouse.for_run("receipt"), unified, forgotten)

    said = capsys.readouterr().out
    assert "receipt receipt: 4 users forgotten" in said and "the lake knows" not in said
    left = lakehouse.for_run("first").read("quarantine").select("raw").collect()
    assert {json.loads(row["raw"])[column] for row in left} == {"17851", None}
    forget_users(lakehouse.for_run("again"), unified, forgotten)
    assert "the lake knows none of the 4 users of the table" in capsys.readouterr().out


def test_refused_rows_of_runs_with_another_column_of_users_are_found(
    spark: SparkSession, tmp_path: Path, config: Config
) -> None:
    renamed = config.replaced({"interactions.columns.user": "visitor"})
    lakehouse = Lakehouse(spark, str(tmp_path), "first")
    index = spark.createDataFrame([(0, "ann")], "user_index long, user_id string")
    lakehouse.append_new("user_index", index, (c.USER_ID,))
    column = config.interactions.columns.user
    raws = [f'{{"{name}":"{user}"}}' for name in (column, "visitor") for user in ("ann", "bob")]
    refused = [(raw, "weight negative", None) for raw in (*raws, '{"friend":"ann"}')]
    rows = spark.createDataFrame(refused, "raw string, reason string, source_version long")
    lakehouse.write("quarantine", rows)
    Attempt(lakehouse, config, "prepare_interactions").save(FINISHED)
    forgotten = spark.createDataFrame([("ann",)], "user_id string")

    forget(lakehouse.for_run("receipt"), renamed, forgotten)

    left = lakehouse.read("quarantine").select("raw").collect()
    assert {row["raw"] for row in left} == {raws[1], raws[3], '{"friend":"ann"}'}


@pytest.mark.parametrize("by_spark", [False, True])
def test_users_whose_id_was_stored_before_ids_were_unified_are_forgotten(
    spark: SparkSession,
    tmp_path: Path,
    config: Config,
    monkeypatch: pytest.MonkeyPatch,
    by_spark: bool,
) -> None:
    if by_spark:
        # As it has to where tables lie elsewhere.
        monkeypatch.setattr(Lakehouse, "delete_rows", lambda *_: None)
    unified = config.replaced({"interactions.unify_ids": ["case"]})
    lakehouse = Lakehouse(spark, str(tmp_path), "first")
    index = spark.createDataFrame(
        [(0, "Anna"), (1, "anna"), (2, "bob")], "user_index long, user_id string"
    )
    lakehouse.append_new("user_index", index, (c.USER_ID,))
    events = [(user, user_index) for user_index, user in ((0, "Anna"), (1, "anna"), (2, "bob"))]
    for name in ("interactions", "splits"):
        frame = spark.createDataFrame(events, "user_id string, user_index long")
        others = [one for one in TABLES[name].schema if one.name not in {*frame.columns, c.RUN_ID}]
        lakehouse.write(name, frame.withColumns({one.name: some_value(one) for one in others}))

    known, _ = forget(
        lakehouse.for_run("receipt"), unified, spark.createDataFrame([("ANNA",)], "user_id string")
    )

    assert known == 1
    assert places_of_users(tmp_path, {"Anna", "anna"}, {0, 1}) == set()
    assert [row[c.USER_ID] for row in lakehouse.read("interactions").collect()] == ["bob"]
    assert [row[c.USER_INDEX] for row in lakehouse.read("splits").collect()] == [2]


def some_value(column: StructField) -> Column:
    value = None if column.nullable else 0
    return F.lit(value).cast(column.dataType)


def test_what_a_run_writes_beside_a_forgetting_can_be_found_again(
    spark: SparkSession, tmp_path: Path, config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    lakehouse = Lakehouse(spark, str(tmp_path), "tonight")
    index = spark.createDataFrame([(0, "ann")], "user_index long, user_id string")
    lakehouse.append_new("user_index", index, (c.USER_ID,))
    attempt = Attempt(lakehouse, config, "train_towers")
    attempt.save(STARTED)
    ids = spark.createDataFrame([("ann",)], "user_id string")
    forget_users(lakehouse.for_run("receipt"), config, ids, retain_hours=168)
    said = capsys.readouterr().out
    assert "receipt: 1 users forgotten" in said
    assert re.search(r"run tonight went on meanwhile .* forget them again when it has ended", said)
    assert lakehouse.read("user_index").count() == 1

    attempt.save(FINISHED)
    forget_users(lakehouse.for_run("again"), config, ids, retain_hours=168)
    assert "meanwhile" not in capsys.readouterr().out
    assert lakehouse.read("user_index").isEmpty()


def test_nobody_is_forgotten_beside_a_publication(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(str(tmp_path))
    one, two = finished_runs(spark, config, "one", "two")
    index = spark.createDataFrame([(0, "user-1")], "user_index long, user_id string")
    one.append_new("user_index", index, (c.USER_ID,))
    publish(one, config)
    ids = spark.createDataFrame([("user-1",)], "user_id string")
    copy = Lakehouse._copy_to_published
    refused = []

    def forget_after_the_copy(lakehouse: Lakehouse, note: str) -> int | None:
        version = copy(lakehouse, note)
        if not refused:
            with pytest.raises(DataError, match=r"publish of run two.*nobody has been forgotten"):
                forget(lakehouse.for_run("receipt"), config, ids)
            refused.append(version)
            # As one that has looked for jobs before.
            lakehouse.delta_table("recommendations").delete("user_id = 'user-1'")
        return version

    monkeypatch.setattr(Lakehouse, "_copy_to_published", forget_after_the_copy)
    publish(two, config)

    assert refused
    lists = two.delta_table(PUBLISHED).toDF()
    assert lists.where("user_id = 'user-1'").isEmpty() and not lists.isEmpty()
    statuses = two.delta_table("runs").toDF().where("job = 'publish'").select("run_id", "status")
    assert {tuple(row) for row in statuses.collect()} == {("one", FINISHED), ("two", FINISHED)}
    monkeypatch.undo()
    assert forget(one.for_run("receipt"), config, ids)[0] == 1
    publish(one, config, again=True)
    assert [one.run_id for one in publications(one)] == ["one", "two", "one"]


def test_nobody_is_forgotten_beside_a_stream_however_long_it_has_gone_on(
    spark: SparkSession, tmp_path: Path, config: Config
) -> None:
    lakehouse = Lakehouse(spark, str(tmp_path), "fold_in")
    week_ago = datetime.now(UTC) - timedelta(days=7)
    stream = Attempt(lakehouse, config, "fold_in", started_at=week_ago)
    ids = spark.createDataFrame([("user-1",)], "user_id string")
    refused = r"job fold_in .* went on at .* wait 15 minutes or give --killed fold_in"
    with stream.going_on(), pytest.raises(DataError, match=refused):
        forget(lakehouse.for_run("receipt"), config, ids)
    assert forget(lakehouse.for_run("receipt"), config, ids) == (0, [])


def test_a_stream_that_has_said_nothing_for_minutes_is_gone(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(str(tmp_path))
    lakehouse = Lakehouse(spark, str(tmp_path), "fold_in")
    minutes_ago = datetime.now(UTC) - timedelta(minutes=16)
    ids = spark.createDataFrame([("user-1",)], "user_id string")
    # As where its process is stopped from outside.
    Attempt(lakehouse, config, "fold_in", started_at=minutes_ago).save(STARTED)
    assert forget(lakehouse.for_run("receipt"), config, ids) == (0, [])

    monkeypatch.setattr("m6rec.runs._SECONDS_BETWEEN_SIGNS", 0.01)
    with Attempt(lakehouse, config, "fold_in").going_on():
        first = jobs_of_run(lakehouse)[0]["started_at"]
        while (row := jobs_of_run(lakehouse)[0])["started_at"] == first:
            time.sleep(0.01)
        assert row["status"] == STARTED
    [row] = jobs_of_run(lakehouse)
    assert row["status"] == FINISHED


@pytest.mark.parametrize(("thrown", "status"), [(KeyboardInterrupt, FINISHED), (DataError, FAILED)])
def test_a_stream_that_is_interrupted_has_ended_as_streams_do(
    spark: SparkSession, tmp_path: Path, thrown: type[BaseException], status: str
) -> None:
    lakehouse = Lakehouse(spark, str(tmp_path), "fold_in")
    attempt = Attempt(lakehouse, config_of(str(tmp_path)), "fold_in")
    with pytest.raises(thrown), attempt.going_on():
        raise thrown
    [row] = jobs_of_run(lakehouse)
    assert row["status"] == status


def test_nobody_is_forgotten_beside_a_run_that_is_going_on(
    spark: SparkSession, tmp_path: Path, config: Config
) -> None:
    lakehouse = Lakehouse(spark, str(tmp_path), "tonight")
    Attempt(lakehouse, config, "train_towers").save(STARTED)
    ids = spark.createDataFrame([("user-1",)], "user_id string")
    with pytest.raises(DataError, match=r"train_towers of run tonight.*--killed tonight"):
        forget(lakehouse.for_run("receipt"), config, ids)
    # It is not waited for, and has written nothing of anybody.
    assert forget(lakehouse.for_run("receipt"), config, ids, killed=("tonight",)) == (0, [])
    elsewhere = Lakehouse(spark, str(tmp_path / "elsewhere"), "receipt")
    with pytest.raises(DataError, match="no table of a run"):
        forget(elsewhere, config, ids)


def test_users_of_a_first_run_that_was_killed_before_it_numbered_them_are_forgotten(
    spark: SparkSession, tmp_path: Path
) -> None:
    lakehouse = Lakehouse(spark, str(tmp_path / "lake"), "first")
    config = config_of(lakehouse.location)
    Attempt(lakehouse, config, "prepare_interactions").save(STARTED)
    event = {"item_id": "tea", "event_time": None, "event_type": None, "weight": 1.0}
    rows = [{"user_id": name, **event, "context": None} for name in ("ann", "bob")]
    lakehouse.write_rows("interactions", rows)
    uncommitted = tmp_path / "lake" / "splits" / "run_id=first"
    uncommitted.mkdir(parents=True)
    (uncommitted / "part-0.parquet").write_bytes(b"ann")
    own = tmp_path / "lake" / "quarantine" / "notes.txt"
    own.parent.mkdir()
    own.write_text("of the owner")

    ids = spark.createDataFrame([("ann",)], "user_id string")
    known, receipt = forget(lakehouse.for_run("receipt"), config, ids, killed=("first",))

    assert known == 1
    assert [(one.table, one.rows) for one in receipt] == [("interactions", 1)]
    assert [row["user_id"] for row in lakehouse.rows("interactions")] == ["bob"]
    assert not places_of_users(tmp_path / "lake", {"ann"}, set())
    assert not uncommitted.exists()
    assert own.exists()


def test_a_run_that_was_killed_before_it_had_prepared_brings_nobody_back(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    events, ids = tmp_path / "events", spark.createDataFrame([("ann",)], "user_id string")
    there = spark.createDataFrame([("ann", "tea")], "user_id string, item_id string").coalesce(1)
    there.write.format("delta").save(str(events))
    source = {"source": {"path": str(events)}}
    config = config_of(str(tmp_path / "lake")).replaced({"interactions": source})
    prepare = Job(JobRecord("prepare_interactions"), lambda own, _: None)
    begun, prepared = (Lakehouse(spark, config.lake, name) for name in ("begun", "prepared"))
    run_job(prepared, config, prepare)
    Attempt(begun, config, "prepare_interactions", sources={"interactions.source": 0}).save(STARTED)
    index = spark.createDataFrame([(0, "ann")], "user_index long, user_id string")
    begun.append_new("user_index", index, (c.USER_ID,))

    forget_users(begun.for_run("receipt"), config, ids, killed=("begun", "prepared"))

    said = capsys.readouterr().out
    assert "run begun cannot go on" in said and "run prepared" not in said
    with pytest.raises(DataError, match=r"begun has not finished job prepare.* another --run-id"):
        run_job(begun, config, prepare)
    assert run_job(prepared, config, Job(JobRecord("build_features"), lambda own, _: None))
    assert run_job(begun.for_run("anew"), config, prepare)


def test_a_table_of_ids_is_read_by_its_name_and_its_column_found(
    spark: SparkSession, config: Config, tmp_path: Path
) -> None:
    names = ("customer", "user_id")
    for text, column in (
        ("customer,at\nann,1\n", "customer"),
        ("Customer ,at\nann,1\n", "customer"),
    ):
        file = tmp_path / f"{column}.csv"
        file.write_text(text)
        source, found = table_of_ids(spark, str(file), names)
        assert (
            found,
            read_ids(spark, source, {c.USER_ID: found}, config.interactions).first(),
        ) == (column, ("ann",))
    # It may be a table without a header.
    file.write_text("ann\nbob\n")
    with pytest.raises(TableError, match="its first line is 'ann'"):
        table_of_ids(spark, str(file), names)
    pd.DataFrame({"who": ["ann"]}).to_parquet(tmp_path / "who.parquet")
    assert table_of_ids(spark, str(tmp_path / "who.parquet"), names)[1] == "who"
    spark.createDataFrame([("ann",)], "customer string").createOrReplaceTempView("m6_leaving")
    source, column = table_of_ids(spark, "m6_leaving", names)
    assert (source.table, column) == ("m6_leaving", "customer")
    spark.catalog.dropTempView("m6_leaving")
    file.write_text("who,at\nann,1\n")
    with pytest.raises(TableError, match="none of them is customer or user_id"):
        table_of_ids(spark, str(file), names)
