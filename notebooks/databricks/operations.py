# Databricks notebook source
# MAGIC %md
# MAGIC # Operations of M6-Rec on Unity Catalog
# MAGIC
# MAGIC Who published what and when, and how the latest run did. Set the widget to the schema of the runs.

# COMMAND ----------

dbutils.widgets.text("lake", "main.recommender")

# COMMAND ----------

from m6rec.lakehouse import Lakehouse
from m6rec.publication.publishing import publications

lakehouse = Lakehouse(spark, dbutils.widgets.get("lake"), "operations")
for one in publications(lakehouse):
    print(f"{one.at:%Y-%m-%d %H:%M} {one.action} {one.run_id} by {one.who}")

# COMMAND ----------

# MAGIC %md
# MAGIC To go back to the run that was published before, run
# MAGIC `rollback(lakehouse, config)` of `m6rec.publication.publishing` with its configuration.

# COMMAND ----------

# A night measures nothing: these are the metrics of the last run that was evaluated.
evaluated = lakehouse.delta_table("runs").toDF().where("job = 'evaluate' AND status = 'finished'")
latest = evaluated.orderBy("finished_at", ascending=False).select("run_id").head()
metrics = lakehouse.delta_table("metrics").toDF().where(f"run_id = '{latest.run_id if latest else None}'")
best = metrics.where("fold = 'test' AND segment = 'all' AND metric = 'ndcg' AND k = 10")
best.select("model", "value", "ci_low", "ci_high").orderBy("value", ascending=False).show()
