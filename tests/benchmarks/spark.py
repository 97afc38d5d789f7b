"""The Spark session of a contender: the project's local settings on the benchmark's cores."""

from pathlib import Path

from pyspark.sql import SparkSession

from m6rec.spark.session import get_session
from tests.benchmarks.measure import Workspace
from tests.local_properties import JAVA_OPTIONS, LOCAL_PROPERTIES

REPOSITORY = Path(__file__).parent.parent.parent
# For what is not ours: the JVM and the queries as Spark has them, not made to start quickly.
STOCK = {
    JAVA_OPTIONS: "-Xss4m",
    "spark.sql.codegen.factoryMode": "FALLBACK",
    "spark.sql.codegen.wholeStage": "true",
}


def open_session(workspace: Workspace, more: dict[str, str] | None = None) -> SparkSession:
    """`local[workers]`, warmed up by one job, with `more` properties."""
    properties = LOCAL_PROPERTIES | (more or {})
    properties["spark.local.dir"] = str(workspace.scratch / "spark")
    properties["spark.sql.warehouse.dir"] = str(workspace.scratch / "warehouse")
    spark = get_session("m6rec benchmark", properties, master=f"local[{workspace.workers}]")
    spark.range(1000).count()
    return spark
