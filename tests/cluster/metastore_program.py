"""The notebooks for Databricks, on a catalogue whose metastore is Hive's in Derby.

    python -m tests.cluster.metastore_program FOLDER

Reads asked.json and spark.conf of the folder; leaves found.json there.
"""

import json
import runpy
import sys
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from m6rec.lakehouse import Lakehouse
from m6rec.publication.publishing import publications, read_published
from m6rec.spark.session import get_session, read_properties

NOTEBOOKS = Path(__file__).parents[2] / "notebooks" / "databricks"
LAKE, SHOP = "spark_catalog.recommender", "spark_catalog.shop"
INTERACTIONS = f"{SHOP}.interactions"


class Widgets:
    """The parameters of a notebook: those that are given, else its own defaults."""

    def __init__(self, **given: str) -> None:
        self._values = dict(given)
        self.widgets = self

    def text(self, name: str, default: str) -> None:
        self._values.setdefault(name, default)

    def get(self, name: str) -> str:
        return self._values[name]


def make_schemas(spark: SparkSession, folder: Path) -> None:
    """Schemas whose files lie in folders of this one."""
    for schema in (SHOP, LAKE):
        spark.sql(f"CREATE SCHEMA {schema} LOCATION '{folder / schema}'")


def make_tables(spark: SparkSession, folder: Path, interactions: str) -> None:
    """The schemas, and the shop's interactions as a view."""
    make_schemas(spark, folder)
    raw = spark.read.parquet(interactions)
    raw.write.format("delta").saveAsTable(f"{SHOP}.raw_interactions")
    spark.sql(f"CREATE VIEW {INTERACTIONS} AS SELECT * FROM {SHOP}.raw_interactions")


def run_notebook(spark: SparkSession, name: str, asked: dict[str, str]) -> None:
    """All cells of a notebook, as Databricks gives them a session and widgets."""
    given = {"spark": spark, "dbutils": Widgets(**asked), "__name__": "__main__"}
    runpy.run_path(str(NOTEBOOKS / name), given)


def main(folder: Path) -> None:
    """Make the tables, run the notebooks, one of them twice, and note what came of it."""
    given: dict[str, Any] = json.loads((folder / "asked.json").read_text())
    spark = get_session("m6rec metastore", read_properties(folder / "spark.conf"), "local[2]")
    make_tables(spark, folder, given["interactions"])
    run_notebook(spark, "pipeline.py", given["widgets"])
    [published] = publications(Lakehouse(spark, LAKE, ""))
    run_notebook(spark, "pipeline.py", given["widgets"] | {"run_id": published.run_id})
    run_notebook(spark, "operations.py", given["widgets"])
    lists = read_published(spark, LAKE, "recommendations")
    found = {
        "run_ids": [one.run_id for one in publications(Lakehouse(spark, LAKE, ""))],
        "users": lists.select("user_id").distinct().count(),
    }
    (folder / "found.json").write_text(json.dumps(found))
    spark.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
