"""Rows that Python workers write are to Spark like those that it writes itself."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest
from delta.tables import DeltaTable
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from m6rec.lakehouse import PUBLISHED, Lakehouse
from m6rec.publication.replacing import PublishedLists
from m6rec.schemas import LISTS_TABLE, RECOMMENDATIONS_TABLE
from m6rec.spark.runtimes import arrow_schema
from m6rec.spark.worker_rows import WorkerRows

AT = datetime(2026, 11, 27, 9, 30, tzinfo=UTC)
LISTS = T.StructType([one for one in LISTS_TABLE.schema if one.name not in {"run_id", "fit"}])
RECOMMENDATIONS = T.StructType(
    [one for one in RECOMMENDATIONS_TABLE.schema if one.name != "run_id"]
)


def make_lists(batches: Iterable[pa.RecordBatch], model: str) -> Iterator[pa.RecordBatch]:
    """A list of one item for each number that is not negative."""
    for batch in batches:
        numbers = batch.filter(pa.compute.greater_equal(batch.column(0), 0)).column(0)
        yield pa.RecordBatch.from_arrays(
            [
                pa.repeat(model, len(numbers)),
                numbers,
                pa.array([[number + 7] for number in numbers.to_pylist()], pa.list_(pa.int32())),
                pa.array([[0.5]] * len(numbers), pa.list_(pa.float32())),
            ],
            names=["model", "user_index", "item_indices", "scores"],
        )


def lists_of(spark: SparkSession, *users: int, model: str = "als") -> WorkerRows:
    inputs = spark.createDataFrame([(user,) for user in users], "n long").repartition(2, "n")
    return WorkerRows(inputs, partial(make_lists, model=model), LISTS, {"domain": "books"})


def listed(lakehouse: Lakehouse, fit: str = "final") -> set[tuple[str, int, int, str]]:
    rows = lakehouse.spark.read.format("delta").load(lakehouse.address("lists"))
    own = rows.where((F.col("run_id") == lakehouse.run_id) & (F.col("fit") == fit)).collect()
    return {(row["model"], row["user_index"], row["item_indices"][0], row["domain"]) for row in own}


def history(lakehouse: Lakehouse, name: str) -> list[str]:
    commits = DeltaTable.forPath(lakehouse.spark, lakehouse.address(name)).history()
    return [row["engineInfo"] for row in commits.orderBy("version").collect()]


def test_a_write_replaces_its_own_rows_alone(spark: SparkSession, tmp_path: Path) -> None:
    one, two = (Lakehouse(spark, str(tmp_path), run_id) for run_id in ("one", "two"))
    one.write_made("lists", [lists_of(spark, 1, 2)], fit="final")
    one.write_made("lists", [lists_of(spark, 9)], fit="selection")
    two.write_made("lists", [lists_of(spark, 1), lists_of(spark, 1, -1, model="svd")], fit="final")
    assert one.write_made("lists", [lists_of(spark, 3)], fit="final") == 3

    assert listed(one) == {("als", 3, 10, "books")}
    assert listed(one, "selection") == {("als", 9, 16, "books")}
    assert listed(two) == {("als", 1, 8, "books"), ("svd", 1, 8, "books")}
    assert set(history(one, "lists")) == {"M6-Rec"}
    assert {row["user_index"] for row in one.read("lists", fit="final").collect()} == {3}


def test_rows_without_any_row_leave_an_empty_part(spark: SparkSession, tmp_path: Path) -> None:
    lakehouse = Lakehouse(spark, str(tmp_path), "run")
    lakehouse.write_made("lists", [lists_of(spark, -1)], fit="final")
    lakehouse.write_made("lists", [lists_of(spark, 1)], fit="final")
    lakehouse.write_made("lists", [lists_of(spark, -1)], fit="final")
    assert listed(lakehouse) == set()


def recommendations(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    reason = {"kind": "history", "value": "Zero", "share": 0.75}
    reasons = arrow_schema(RECOMMENDATIONS).field("reasons").type
    for batch in batches:
        n = batch.num_rows
        yield pa.RecordBatch.from_pydict(
            {
                "user_id": batch.column(0),
                "context": pa.nulls(n, pa.string()),
                "rank": pa.array([1] * n, pa.int32()),
                "item_id": pa.array(["i1"] * n),
                "title": pa.array(["Zero"] * n),
                "score": pa.array([0.5] * n),
                "parts": pa.array([[("als", 0.5)]] * n, pa.map_(pa.string(), pa.float64())),
                "reasons": pa.array([[reason]] * n, reasons),
            }
        )


def published(spark: SparkSession) -> WorkerRows:
    inputs = spark.createDataFrame([("ann",), ("bob",)], "user_id string")
    constants = {
        "domain": None,
        "sentences": None,
        "model": "als",
        "generated_at": AT,
        "segment": None,
    }
    return WorkerRows(inputs, recommendations, RECOMMENDATIONS, constants)


def for_unknown(spark: SparkSession) -> DataFrame:
    columns = {
        "user_id": F.lit(None).cast("string"),
        "rank": F.lit(1),
        "score": F.lit(0.5),
        "parts": F.create_map(F.lit("popularity"), F.lit(0.5)),
    }
    return published(spark).frame().limit(1).withColumns(columns)


def test_nested_and_constant_columns_are_those_of_a_query(
    spark: SparkSession, tmp_path: Path
) -> None:
    by_workers, by_spark = (Lakehouse(spark, str(tmp_path / name), "run") for name in "ab")
    by_workers.write_made("recommendations", [published(spark)], [for_unknown(spark)])
    by_spark.write("recommendations", published(spark).frame().unionByName(for_unknown(spark)))
    found, expected = (
        lakehouse.read("recommendations").orderBy("user_id").collect()
        for lakehouse in (by_workers, by_spark)
    )
    assert found == expected
    assert [row["user_id"] for row in found] == [None, "ann", "bob"]
    assert history(by_workers, "recommendations") == ["M6-Rec"]
    assert history(by_spark, "recommendations") != ["M6-Rec"]


def runs_with_lists(spark: SparkSession, folder: Path) -> tuple[Lakehouse, Lakehouse]:
    """Two runs of a lake with the same lists."""
    lakehouse, other = (Lakehouse(spark, str(folder), run_id) for run_id in ("run", "other"))
    for one in (lakehouse, other):
        one.write_made("recommendations", [published(spark)], [for_unknown(spark)])
    return lakehouse, other


def published_lists(lakehouse: Lakehouse) -> list[Row]:
    rows = lakehouse.spark.read.format("delta").load(lakehouse.address(PUBLISHED))
    return rows.orderBy("user_id").collect()


def test_lists_are_published_as_they_are_by_driver_workers_and_spark(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lakehouse, other = runs_with_lists(spark, tmp_path)
    lists = lakehouse.read("recommendations").orderBy("user_id").collect()
    assert other.replace_published("{}") == 0
    assert lakehouse.replace_published("{}") == 1
    assert published_lists(lakehouse) == lists

    monkeypatch.setattr("m6rec.lakehouse._BYTES_OF_ROWS", 0)
    assert other.replace_published("{}") == 2
    assert lakehouse.replace_published("{}") == 3
    assert published_lists(lakehouse) == lists
    assert history(lakehouse, PUBLISHED) == ["M6-Rec"] * 4

    monkeypatch.setattr("m6rec.lakehouse._BYTES_OF_FILE", 0)
    assert other.replace_published("{}") == 4
    assert lakehouse.replace_published("{}") == 5
    assert published_lists(lakehouse) == lists
    assert "M6-Rec" not in history(lakehouse, PUBLISHED)[4:]


def test_lists_are_published_without_a_query_where_rows_are_marked(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lakehouse, other = runs_with_lists(spark, tmp_path)
    lists = lakehouse.read("recommendations").orderBy("user_id").collect()
    other.replace_published("{}")
    PublishedLists(other).enable_deletion_vectors()
    other.delta_table(PUBLISHED).delete("user_id = 'ann'")
    assert lakehouse.replace_published("{}") == 3
    assert published_lists(lakehouse) == lists

    other.delta_table(PUBLISHED).delete("user_id = 'ann'")
    monkeypatch.setattr("m6rec.lakehouse._BYTES_OF_ROWS", 0)
    assert lakehouse.replace_published("{}") == 5
    assert published_lists(lakehouse) == lists
    assert [history(lakehouse, PUBLISHED)[version] for version in (0, 3, 5)] == ["M6-Rec"] * 3


def test_spark_writes_where_a_table_has_what_only_it_knows(
    spark: SparkSession, tmp_path: Path
) -> None:
    lakehouse = Lakehouse(spark, str(tmp_path), "run")
    lakehouse.write_made("lists", [lists_of(spark, 1)], fit="final")
    spark.sql(f"ALTER TABLE delta.`{tmp_path}/lists` ADD CONSTRAINT known CHECK (user_index < 100)")
    lakehouse.write_made("lists", [lists_of(spark, 2)], fit="final")
    assert listed(lakehouse) == {("als", 2, 9, "books")}
    with pytest.raises(Exception, match="known"):
        lakehouse.write_made("lists", [lists_of(spark, 100)], fit="final")


def test_files_of_a_commit_that_fails_are_removed(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lakehouse = Lakehouse(spark, str(tmp_path), "run")
    lakehouse.write_made("lists", [lists_of(spark, 1)], fit="final")

    def no_link(*_: object) -> None:
        raise OSError("the disk has no links")

    monkeypatch.setattr("m6rec.spark.local_delta.os.link", no_link)
    lakehouse.write_made("lists", [lists_of(spark, 2)], fit="final")
    assert listed(lakehouse) == {("als", 2, 9, "books")}
    known = {Path(file).name for file in lakehouse.read("lists").inputFiles()}
    there = {file.name for file in tmp_path.glob("lists/run_id=*/fit=*/*.parquet")}
    # The file of the first commit stays, as history has it; the workers' second one does not.
    assert len(there - known) == 1
