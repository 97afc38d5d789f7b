"""Properties with which Spark is quick to start, and slow on large data."""

# Tests run each query a few times at most: compiling it well costs more than it saves. The simple
# compiler alone has 48 MiB for its code, which a run of the pipeline fills; then all that follows
# is interpreted.
QUICK_TO_START = {
    "spark.driver.memory": "2g",
    "spark.sql.shuffle.partitions": "2",
    "spark.driver.extraJavaOptions": (
        "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=256m -XX:+UseParallelGC"
    ),
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    # Beside each commit, a file with the table's totals that only other readers would look at.
    "spark.databricks.delta.writeChecksumFile.enabled": "false",
}
