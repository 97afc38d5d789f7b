# Databricks notebook source
# MAGIC %md
# MAGIC # M6-Rec on Unity Catalog
# MAGIC
# MAGIC Runs the whole pipeline on tables of the catalogue, job by job, and publishes. Attach it to a
# MAGIC cluster of your own (dedicated access mode) with the wheel of m6rec installed, and set the widgets:
# MAGIC the table of interactions with its columns, the schema for the tables of all runs, a folder of a
# MAGIC volume for models and reports, and `run_id` where an earlier run is to go on.

# COMMAND ----------

dbutils.widgets.text("interactions", "main.shop.interactions")
dbutils.widgets.text("user", "user_id")
dbutils.widgets.text("item", "item_id")
dbutils.widgets.text("time", "event_time")
dbutils.widgets.text("lake", "main.recommender")
dbutils.widgets.text("artifacts", "/Volumes/main/recommender/artifacts")
dbutils.widgets.text("settings", "{}")
dbutils.widgets.text("run_id", "")

# COMMAND ----------

import json

from jobs.pipeline import jobs_of
from jobs.publish import run as publish_run
from m6rec.command_line import new_run_id, open_lakehouse
from m6rec.config.effects import warnings_of
from m6rec.config.run import parse_config
from m6rec.fits.inspection import check_tables
from m6rec.publication.publishing import read_published
from m6rec.report.collect import collect_report, with_guards
from m6rec.report.page import write_report
from m6rec.runs import as_read_by, run_job
from m6rec.spark.places import place_of

asked = dbutils.widgets.get
sections = {
    "interactions": {
        "source": {"table": asked("interactions")},
        "columns": {name: asked(name) for name in ("user", "item", "time")},
    },
    "lake": asked("lake"),
    "artifacts": asked("artifacts"),
}
# `settings` holds further sections of the configuration as JSON, such as {"seed": 1}.
config = parse_config(sections | json.loads(asked("settings")), "the widgets")
for line in warnings_of(config):
    print(f"warning: {line}")

# COMMAND ----------

# MAGIC %md
# MAGIC What is wrong with the tables is said before anything is computed.

# COMMAND ----------

lakehouse = open_lakehouse(spark, config, asked("run_id") or new_run_id())
print(f"run id {lakehouse.run_id}")
check_tables(spark, as_read_by(lakehouse, config))

# COMMAND ----------

# MAGIC %md
# MAGIC The jobs, recorded in table `runs`. Where the widget `run_id` has the id of an earlier run of the same
# MAGIC configuration, its finished jobs are skipped; an empty one begins a new run.

# COMMAND ----------

for job in jobs_of(config):
    run_job(lakehouse, config, job)

# COMMAND ----------

# MAGIC %md
# MAGIC Guards look at the run before readers do. The report lies in the volume.

# COMMAND ----------

report = place_of(spark, f"{asked('artifacts')}/reports") / f"{lakehouse.run_id}.html"
publish_run(
    lakehouse,
    config,
    lambda: write_report(report, with_guards(collect_report(lakehouse, config), lakehouse)),
)
print(f"report: {report}")

# COMMAND ----------

lists = read_published(spark, config.lake, "recommendations")
of_users = lists.where("user_id IS NOT NULL AND context IS NULL")
of_users.orderBy("user_id", "rank").show(20, truncate=False)
