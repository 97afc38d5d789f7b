"""Finished runs made by hand, each with a few lists, at the cost of a few writes."""

from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from m6rec.config.run import Config, parse_config
from m6rec.job_records import JobRecord
from m6rec.lakehouse import Lakehouse
from m6rec.runs import Job, run_job
from m6rec.schemas import TABLES
from m6rec.spark.local_delta import NewTable, commit_rows
from m6rec.spark.runtimes import arrow_schema, arrow_table

USERS = 4
PLACES = 2 * USERS


def config_of(lake: str, **sections: Any) -> Config:
    source = {"path": "interactions.csv", "format": "csv"}
    return parse_config({"interactions": {"source": source}, "lake": lake, **sections}, "test")


def lists_of(spark: SparkSession, item_id: str) -> DataFrame:
    """A list for each user, which holds one item at all of its places."""
    return spark.sql(
        f"select concat('user-', id % {USERS}) user_id, cast(null as string) context,"
        " cast(null as string) domain,"
        f" cast(id / {USERS} as int) + 1 rank,"
        f" '{item_id}' item_id, null title, 0.5D score, map('svd', 1.0D) parts,"
        " array(named_struct('kind', 'item', 'value', 'x', 'share', 1.0D)) reasons,"
        " cast(null as array<string>) sentences,"
        " 'hybrid' model, timestamp '2026-01-01 00:00:00' generated_at,"
        " cast(null as string) segment"
        f" from range(0, {PLACES}, 1, 1)"
    )


def finished_runs(spark: SparkSession, config: Config, *run_ids: str) -> list[Lakehouse]:
    """Runs whose lists hold an item that is called like the run."""
    runs = [Lakehouse(spark, config.lake, name, config.artifacts or "") for name in run_ids]

    def recommend(own: Lakehouse, _: Config) -> None:
        own.write("recommendations", lists_of(spark, own.run_id))

    in_memory = runs[0].with_tables_in_memory(through_driver=True)
    run_job(in_memory, config, Job(JobRecord("recommend"), recommend))
    if len(runs) > 1:
        copy_run(runs[0], "runs", *run_ids[1:])
        copy_run(runs[0], "recommendations", *run_ids[1:], item_id=F.col("run_id"))
    return runs


def copy_run(lakehouse: Lakehouse, name: str, *run_ids: str, **columns: Any) -> None:
    """The run's rows of a table once more for each of the run ids, with other columns."""
    rows = lakehouse.with_tables_in_memory().read(name)
    copies = rows.withColumn("run_id", F.explode(F.array(*map(F.lit, run_ids))))
    changed = copies.withColumns(columns) if columns else copies
    folder, schema = lakehouse.local_folder(name), TABLES[name].schema
    if folder is not None:
        held = arrow_table(changed.select(*schema.names)).cast(arrow_schema(schema))
        if commit_rows(folder, schema, lambda _: held, None, NewTable((), {})) is not None:
            return
    writer = changed.coalesce(1).write.format("delta").mode("append")
    if lakehouse.by_path:
        writer.save(lakehouse.address(name))
    else:
        writer.saveAsTable(lakehouse.address(name))
