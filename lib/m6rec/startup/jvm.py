"""Choose the JVM's compiler for a job in local mode, before Spark starts.

The optimising compiler takes as much of the first ten seconds as the job itself. It pays for itself
in loops that go on for longer, such as those of MLlib and of writing millions of rows: jobs keep it
where `has_long_loops` of their record in `job_records.py` is true.

The other options of JVMs stand in `conf/spark-local.conf` (`spark.driver.extraJavaOptions`), in
`spark-submit.sh` (`set_jvm_options`) and, for Hadoop's shell, in `spark/worker_files.py`.
"""

from m6rec.config.run import Config
from m6rec.job_records import job_named

SIMPLE_COMPILER = "-XX:TieredStopAtLevel=1"


def compiler_options(job: str, config: Config) -> str:
    """JVM options, possibly none, for a job that has a JVM of its own."""
    record = job_named(job)
    return "" if record is not None and record.has_long_loops(config) else SIMPLE_COMPILER
