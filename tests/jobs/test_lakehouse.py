"""Tables at their versions: what a reader sees while others write, and what a write replaces."""

from pathlib import Path

from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from m6rec.lakehouse import Lakehouse
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


def test_replacing_a_part_moves_whole_files(spark: SparkSession, tmp_path: Path) -> None:
    lakehouse = Lakehouse(spark, str(tmp_path), "run")
    for name in ("svd", "als"):
        lakehouse.write("models", models(spark, name).coalesce(1), fit="final", kind="factors")
    files = lakehouse.read("models").inputFiles()
    assert [("fit=final/kind=factors" in file) for file in files] == [True]


def test_files_on_this_machine_have_no_second_file_with_a_checksum(
    spark: SparkSession, tmp_path: Path
) -> None:
    Lakehouse(spark, str(tmp_path), "run").write("catalogue", catalogue(spark, "a"))
    assert list(tmp_path.rglob("*.parquet"))
    assert not list(tmp_path.rglob(".*.crc"))
