"""What every job asks of Spark and Delta, done once on a few rows.

`spark-submit.sh` runs this when it is set up, for the archive of classes that the JVM writes at the
end: a job that finds its classes there starts and reads its first tables in half the time.
"""

import tempfile

from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.config.base import TableSource
from m6rec.config.data import InteractionsConfig
from m6rec.config.run import Config
from m6rec.job_records import JobRecord
from m6rec.lakehouse import Lakehouse
from m6rec.runs import Job, run_job
from m6rec.spark.session import session_of_job, unchanged

_USERS = 100


def touch(lakehouse: Lakehouse, config: Config) -> None:
    """Write shared and partitioned tables, read them back, and send rows through Python."""
    users = lakehouse.spark.range(0, _USERS, 1, 1).select(
        F.col("id").alias(c.USER_INDEX), F.col("id").cast("string").alias(c.USER_ID)
    )
    lakehouse.append_new("user_index", users, (c.USER_ID,))
    reason = {"kind": F.lit("history"), "value": F.col(c.USER_ID), "share": F.lit(1.0)}
    lists = users.join(lakehouse.read("user_index").select(c.USER_INDEX), c.USER_INDEX).select(
        c.USER_ID,
        F.lit(None).cast("string").alias(c.DOMAIN),
        F.lit(None).cast("string").alias(c.CONTEXT),
        F.lit(1).alias(c.RANK),
        F.col(c.USER_ID).alias(c.ITEM_ID),
        F.lit("a title").alias("title"),
        F.lit(1.0).alias(c.SCORE),
        F.create_map(F.lit("als"), F.lit(1.0)).alias(c.PARTS),
        F.array(F.struct(*(value.alias(name) for name, value in reason.items()))).alias(c.REASONS),
        F.lit(None).cast("array<string>").alias(c.SENTENCES),
        F.lit("als").alias(c.MODEL),
        F.current_timestamp().alias(c.GENERATED_AT),
        F.lit(None).cast("string").alias(c.SEGMENT),
    )
    through_python = lists.repartition(2, c.USER_ID).mapInArrow(unchanged, lists.schema)
    for _ in range(2):
        lakehouse.write("recommendations", through_python)
    written = lakehouse.read("recommendations")
    written.groupBy(c.USER_ID).agg(F.count("*"), F.max(c.SCORE)).toArrow()
    written.where(F.col(c.SCORE) > config.seed).collect()


def main() -> None:
    """Run `touch` as a job in a lake of its own."""
    with tempfile.TemporaryDirectory() as lake, session_of_job("m6rec class archive") as spark:
        source = TableSource(path="nothing is read from it")
        config = Config(interactions=InteractionsConfig(source=source), lake=lake)
        run_job(Lakehouse(spark, lake, "archive"), config, Job(JobRecord("touch"), touch))


if __name__ == "__main__":
    main()
