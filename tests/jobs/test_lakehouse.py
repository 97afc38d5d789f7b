"""Tables at their versions: what a reader sees while others write, and what a write replaces."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Barrier, Event, Timer
from typing import Any

import pyarrow as pa
import pytest
from delta.tables import DeltaTable
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from m6rec.errors import DataError
from m6rec.lakehouse import Lakehouse, side_by_side
from m6rec.spark.failures import saying_what_failed
from m6rec.spark.local_delta import as_rows
from m6rec.spark.sources import _version_in_history


def catalogue(spark: SparkSession, *items: str) -> DataFrame:
    rows = [(index, item, None, None) for index, item in enumerate(items)]
    schema = "item_index long, item_id string, title string, domain string"
    return spark.createDataFrame(rows, schema)


def models(spark: SparkSession, *names: str) -> DataFrame:
    rows = [(name, "{}", None) for name in names]
    return spark.createDataFrame(rows, "name string, parameters string, artifact string")


def item_ids(lakehouse: Lakehouse) -> set[str]:
    return {row["item_id"] for row in lakehouse.read("catalogue").collect()}


def model_names(lakehouse: Lakehouse) -> set[tuple[str, str, str]]:
    rows = lakehouse.read("models").collect()
    return {(row["fit"], row["kind"], row["name"]) for row in rows}


def test_pinned_tables_stay_as_first_read_until_they_are_written(
    spark: SparkSession, tmp_path: Path
) -> None:
    other = Lakehouse(spark, str(tmp_path), "run")
    pinned = Lakehouse(spark, str(tmp_path), "run", pinned=True)
    other.write("catalogue", catalogue(spark, "a"))
    assert item_ids(pinned) == {"a"}

    other.write("catalogue", catalogue(spark, "b"))
    assert item_ids(pinned) == {"a"}
    assert item_ids(other) == {"b"}
    assert pinned.inputs == {"catalogue": 0}

    written = pinned.write("catalogue", catalogue(spark, "c"))
    other.write("catalogue", catalogue(spark, "d"))
    assert item_ids(pinned) == {"c"}
    assert pinned.outputs == {"catalogue": written}


def test_a_table_of_an_earlier_version_gets_the_columns_that_it_lacks(
    spark: SparkSession, tmp_path: Path
) -> None:
    earlier = spark.createDataFrame(
        [("old", 0, "a")], "run_id string, item_index long, item_id string"
    )
    writer = earlier.write.format("delta").partitionBy("run_id")
    writer.save(str(tmp_path / "catalogue"))
    new = Lakehouse(spark, str(tmp_path), "new")
    new.write("catalogue", catalogue(spark, "b").withColumn("title", F.lit("B")))
    titles = {row["item_id"]: row["title"] for row in new.read("catalogue").collect()}
    assert titles == {"b": "B"}
    old = Lakehouse(spark, str(tmp_path), "old").read("catalogue").collect()
    assert [(row["item_id"], row["title"]) for row in old] == [("a", None)]


def test_the_latest_version_is_that_of_the_history_whoever_wrote(
    spark: SparkSession, tmp_path: Path
) -> None:
    lakehouse = Lakehouse(spark, str(tmp_path), "run")
    for item in ("a", "b"):
        lakehouse.write("catalogue", catalogue(spark, item))
    # A commit of another writer, which this session's copy of the log has not seen.
    log = tmp_path / "catalogue" / "_delta_log"
    (log / f"{2:020}.json").write_text('{"commitInfo": {"timestamp": 0, "operation": "TEST"}}')

    table = DeltaTable.forPath(spark, str(tmp_path / "catalogue"))
    assert lakehouse.version("catalogue") == _version_in_history(table) == 2


def test_a_part_replaces_its_own_rows_alone(spark: SparkSession, tmp_path: Path) -> None:
    one, two = (Lakehouse(spark, str(tmp_path), run_id) for run_id in ("one", "two"))
    for lakehouse in (one, two):
        lakehouse.write("models", models(spark, "svd"), fit="selection", kind="factors")
        lakehouse.write("models", models(spark, "svd"), fit="final", kind="factors")
    one.write("models", models(spark, "als"), fit="final", kind="factors")
    one.write("models", models(spark, "hybrid").drop("name"), fit="final", kind="hybrid", name="a")

    kept = ("selection", "factors", "svd")
    assert model_names(one) == {kept, ("final", "factors", "als"), ("final", "hybrid", "a")}
    assert model_names(two) == {kept, ("final", "factors", "svd")}


def test_runs_at_once_never_give_two_ids_one_number(spark: SparkSession, tmp_path: Path) -> None:
    small = Lakehouse(spark, str(tmp_path), "a").with_tables_in_memory(through_driver=True)
    large = Lakehouse(spark, str(tmp_path), "b")

    def users(*numbered: tuple[str, int]) -> DataFrame:
        return spark.createDataFrame(list(numbered), "user_id string, user_index long")

    def add(lakehouse: Lakehouse, *numbered: tuple[str, int]) -> None:
        lakehouse.append_new("user_index", users(*numbered), ("user_id",), number="user_index")

    add(small, ("ann", 0), ("bob", 1))
    large.read("user_index")
    # Both have read two users, and number those who are new to them from 2 on.
    add(small, ("cid", 2))
    add(small, ("eve", 3), ("dan", 2))
    numbers = {row["user_id"]: row["user_index"] for row in small.read("user_index").collect()}
    assert numbers == {"ann": 0, "bob": 1, "cid": 2, "dan": 3, "eve": 4}
    with pytest.raises(DataError, match=r"another run has written .* --run-id b again"):
        add(large, ("fay", 2))
    large.read("user_index")
    add(large, ("fay", 5))
    assert large.read("user_index").count() == 6


def test_writers_who_are_in_each_others_way_are_told_what_to_do(
    spark: SparkSession, tmp_path: Path
) -> None:
    lakehouse = Lakehouse(spark, str(tmp_path), "run")
    lakehouse.write("catalogue", catalogue(spark, "a"))
    writer = catalogue(spark, "b").write.format("delta").mode("errorifexists")
    told = pytest.raises(DataError, match=r"another job has changed .* give this command again")
    with told, saying_what_failed("job recommend"):
        writer.save(lakehouse.address("catalogue"))


def test_replacing_a_part_moves_whole_files(spark: SparkSession, tmp_path: Path) -> None:
    lakehouse = Lakehouse(spark, str(tmp_path), "run")
    for name in ("svd", "als"):
        lakehouse.write("models", models(spark, name).coalesce(1), fit="final", kind="factors")
    files = lakehouse.read("models").inputFiles()
    assert [("fit=final/kind=factors" in file) for file in files] == [True]


def test_several_parts_are_replaced_by_one_commit(spark: SparkSession, tmp_path: Path) -> None:
    lakehouse = Lakehouse(spark, str(tmp_path), "run")
    rows = [
        {"fit": "final", "kind": kind, "name": "a", "parameters": "{}", "artifact": None}
        for kind in ("factors", "towers", "hybrid")
    ]
    kinds = ("factors", "towers", "hybrid")
    lakehouse.write_rows("models", rows, fit="final", kind=kinds)
    new = [row | {"name": "b"} for row in rows[:2]]
    lakehouse.write_rows("models", new, fit="final", kind=("factors", "towers"))
    assert lakehouse.version("models") == 1
    assert model_names(lakehouse) == {
        ("final", "factors", "b"),
        ("final", "towers", "b"),
        ("final", "hybrid", "a"),
    }


@pytest.mark.parametrize("by_spark", [False, True])
def test_chosen_rows_get_other_values_and_all_others_stay(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_spark: bool
) -> None:
    lakehouse = Lakehouse(spark, str(tmp_path), "run")
    for run in (lakehouse, lakehouse.for_run("other")):
        for kind in ("factors", "towers"):
            rows = [{"name": name, "parameters": "{}", "artifact": None} for name in ("a", "b")]
            run.write_rows("models", rows, fit="final", kind=kind)
    if by_spark:
        monkeypatch.setattr("m6rec.lakehouse.commit_rows", lambda *_, **__: None)
    chosen = {"run_id": ("run",), "kind": ("factors", "hybrid"), "name": ("b",)}
    lakehouse.update_rows("models", chosen, {"name": "c", "parameters": "[]"})
    changed = lakehouse.delta_table("models").toDF().where("parameters = '[]'").collect()
    assert [(row["run_id"], row["kind"], row["name"]) for row in changed] == [
        ("run", "factors", "c")
    ]
    kept = {("final", kind, name) for kind in ("factors", "towers") for name in ("a", "b")}
    assert model_names(lakehouse.for_run("other")) == kept
    names = model_names(Lakehouse(spark, str(tmp_path), "run"))
    assert names == kept - {("final", "factors", "b")} | {("final", "factors", "c")}


def test_rows_that_are_written_beside_are_there_for_who_reads_next(
    spark: SparkSession, tmp_path: Path
) -> None:
    row = {"name": "svd", "parameters": "{}", "artifact": None}
    with ThreadPoolExecutor(1) as background:
        own = Lakehouse(spark, str(tmp_path), "run").for_one_job(background)
        own.write_rows("models", [row], fit="final", kind="factors")
        assert model_names(own) == {("final", "factors", "svd")}
        own.write_rows("models", [row | {"name": "als"}], fit="final", kind="factors")
        own.settle()
        assert own.outputs == {"models": 1}


def test_what_follows_from_a_version_of_a_table_is_asked_once(
    spark: SparkSession, tmp_path: Path
) -> None:
    lakehouse = Lakehouse(spark, str(tmp_path), "run")
    asked = []

    def count(frame: DataFrame) -> int:
        asked.append(frame)
        return frame.count()

    lakehouse.write("catalogue", catalogue(spark, "a"))
    jobs = [lakehouse.for_one_job() for _ in range(2)]
    assert [job.known("catalogue", "rows", count) for job in jobs] == [1, 1]
    assert [job.inputs for job in jobs] == 2 * [{"catalogue": 0}]
    lakehouse.write("catalogue", catalogue(spark, "a", "b"))
    assert lakehouse.known("catalogue", "rows", count) == 2
    assert len(asked) == 2


def test_a_small_table_is_read_once_and_gives_the_same_rows(
    spark: SparkSession, tmp_path: Path
) -> None:
    own = Lakehouse(spark, str(tmp_path), "run").with_tables_in_memory()
    own.write("catalogue", catalogue(spark, "a", "b"))
    from_files = Lakehouse(spark, str(tmp_path), "run").read("catalogue")
    for _ in range(2):
        read = own.read("catalogue")
        assert read.schema == from_files.schema
        assert read.collect() == from_files.collect()
        assert read.inputFiles() == []
    # As two reads of files are, two reads are two tables.
    one, two = own.read("catalogue"), own.read("catalogue")
    assert one.join(two, one["item_index"] < two["item_index"]).count() == 1
    own.write("catalogue", catalogue(spark, "c"))
    assert item_ids(own) == {"c"}
    own.write("catalogue", catalogue(spark, "c").limit(0))
    none: Any = own.read("catalogue")
    assert item_ids(own) == set()
    # A plan with rows of Python's needs a worker of its own kind, which takes seconds to start.
    assert none._jdf.queryExecution().optimizedPlan().toString().startswith("LocalRelation <empty>")


def test_columns_for_the_driver_are_those_that_spark_reads(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lakehouse = Lakehouse(spark, str(tmp_path), "run")
    rows = spark.range(7).select(
        F.concat(F.lit("m"), F.col("id") % 2).alias("method"),
        F.col("id").alias("item_index"),
        F.array_repeat(F.col("id").cast("int"), F.col("id").cast("int")).alias("neighbour_indices"),
        F.array_repeat(F.col("id").cast("float"), F.col("id").cast("int")).alias("weights"),
    )
    for run in (lakehouse, lakehouse.for_run("other")):
        run.write("item_neighbours", rows.repartition(3), fit="final")
    lakehouse.write("item_neighbours", rows.where("item_index < 2"), fit="selection")
    columns, part = ("item_index", "weights"), {"fit": "final", "method": "m1"}
    by_spark = lakehouse.read("item_neighbours", None, **part).select(*columns).collect()

    def found() -> list[Row]:
        batches = lakehouse.batches("item_neighbours", columns, 1 << 20, **part)
        return sorted(as_rows(pa.Table.from_batches(batches)))

    with monkeypatch.context() as patched:
        # No query is needed.
        patched.delattr("m6rec.lakehouse.collected_batches")
        assert found() == sorted(by_spark) and len(by_spark) == 3
    # Marks of deleted rows are Spark's to read.
    name = lakehouse.sql_name("item_neighbours")
    spark.sql(f"ALTER TABLE {name} SET TBLPROPERTIES (delta.enableDeletionVectors = true)")
    lakehouse.delta_table("item_neighbours").delete("item_index = 3")
    assert [row.item_index for row in found()] == [1, 5]


@pytest.mark.parametrize("in_memory", [False, True])
def test_added_rows_are_read_with_those_of_the_run_and_written_nowhere(
    spark: SparkSession, tmp_path: Path, in_memory: bool
) -> None:
    lakehouse = Lakehouse(spark, str(tmp_path), "run")
    lakehouse = lakehouse.with_tables_in_memory() if in_memory else lakehouse
    lakehouse.write("catalogue", catalogue(spark, "a"))
    lakehouse.write("models", models(spark, "svd"), fit="final", kind="factors")
    before = lakehouse.known("catalogue", "size", DataFrame.count)
    new = catalogue(spark, "b").withColumn("item_index", F.lit(1))
    both = lakehouse.with_rows("catalogue", new)
    both = both.with_rows("models", models(spark, "als"), fit="final", kind="factors")
    assert item_ids(both) == {"a", "b"}
    assert both.known("catalogue", "size", DataFrame.count) == before + 1
    batches = both.batches("catalogue", ("item_index", "item_id"), 1 << 20)
    rows = [row for batch in batches for row in batch.to_pylist()]
    by_index = {row["item_index"]: row["item_id"] for row in rows}
    assert by_index == {0: "a", 1: "b"}
    named = ("final", "factors", "svd"), ("final", "factors", "als")
    assert model_names(both) == set(named)
    assert both.read("models", fit="selection").isEmpty()
    assert item_ids(lakehouse) == item_ids(Lakehouse(spark, str(tmp_path), "run")) == {"a"}


def test_over_few_rows_calls_run_at_once_and_else_when_they_are_asked_for(
    spark: SparkSession, tmp_path: Path
) -> None:
    lakehouse, both = Lakehouse(spark, str(tmp_path), "a"), Barrier(2, timeout=60)
    # Each waits for the other: one after the other, they would wait in vain.
    meeting = [both.wait] * 2
    few = lakehouse.with_tables_in_memory()
    assert sorted(few.run_calls(meeting)) == [0, 1]
    called: list[int] = []
    in_turn = lakehouse.run_calls([partial(called.append, one) for one in range(3)])
    next(in_turn)
    assert called == [0]


def test_calls_that_have_not_begun_when_the_caller_leaves_do_not_begin() -> None:
    begun: list[int] = []
    release = Event()

    def call(number: int) -> int:
        begun.append(number)
        # The caller leaves while the second call is at work.
        return number if number == 0 or release.wait(10) else -1

    results = side_by_side([partial(call, number) for number in range(5)], at_most=1)
    assert next(results) == 0
    Timer(0.5, release.set).start()
    results.close()  # type: ignore[attr-defined]
    assert set(begun) <= {0, 1}


def test_fits_that_are_written_at_once_are_all_in_the_new_table(
    spark: SparkSession, tmp_path: Path
) -> None:
    few = Lakehouse(spark, str(tmp_path), "a").with_tables_in_memory()
    rows = models(spark, "svd")
    fits = ("selection", "final")
    list(
        few.run_calls([partial(few.write, "models", rows, fit=fit, kind="factors") for fit in fits])
    )
    assert model_names(few) == {(fit, "factors", "svd") for fit in fits}


def test_files_on_this_machine_have_no_second_file_with_a_checksum(
    spark: SparkSession, tmp_path: Path
) -> None:
    Lakehouse(spark, str(tmp_path), "run").write("catalogue", catalogue(spark, "a"))
    assert list(tmp_path.rglob("*.parquet"))
    assert not list(tmp_path.rglob(".*.crc"))
