"""The Spark session: found where a cluster gave one, built from a properties file elsewhere."""

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession

from m6rec.errors import ClusterError, ConfigError
from m6rec.spark.class_lookups import keep_class_lookups
from m6rec.spark.runtimes import with_own_delta

# Set in the environment of Python workers whose programs use torch.
WITH_TORCH = "M6REC_WITH_TORCH"
# From this many rows on, compiling a query to Java saves more time than it takes.
_MANY_ROWS = 300_000
_COMPILED = {
    "spark.sql.codegen.wholeStage": "true",
    "spark.sql.codegen.factoryMode": "FALLBACK",
    # Where rows lie sorted by their group, no hash table of all groups is made, let alone two.
    "spark.sql.execution.replaceHashWithSortAgg": "true",
}
# A line of a properties file, as Java reads it.
_PROPERTY = re.compile(r"([^\s=:]+)(?:\s*[=:]\s*|\s*)(.*)")
_PARTITIONS = "spark.sql.shuffle.partitions"
_PACKAGES = "spark.jars.packages"
_EXTENSIONS = "spark.sql.extensions"
_DELTA = "DeltaSparkSessionExtension"
_TIMESTAMP_TYPE, _WITH_ZONE = "spark.sql.timestampType", "TIMESTAMP_LTZ"
# The managers of checkpoint files that write by Hadoop's plain operations; their package depends on
# Spark's version.
_PLAIN_FILE_MANAGERS = tuple(
    f"org.apache.spark.sql.execution.streaming.{package}FileSystemBasedCheckpointFileManager"
    for package in ("", "checkpointing.")
)


def read_properties(path: str | Path) -> dict[str, str]:
    """Read a Spark properties file: `key value` or `key = value` a line, `#` starts a comment."""
    file = Path(path)
    if not file.is_file():
        raise ConfigError(f"Spark properties file {file} does not exist; see conf/spark-*.conf")
    lines = (line.strip() for line in file.read_text().splitlines())
    pairs = (_PROPERTY.fullmatch(line) for line in lines if line and line[0] not in "#!")
    return {pair[1]: pair[2] for pair in pairs if pair is not None}


def get_session(
    application: str, properties: dict[str, str] | None = None, master: str | None = None
) -> SparkSession:
    """Return the running session (spark-submit, notebook), or build one from `properties`.

    Delta is that of the Spark that is installed, whichever these name.
    """
    # Spark's default is the `python3` of the PATH, which need not be the one that has our packages.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.appName(application)
    if master is not None:
        builder = builder.master(master)
    for key, value in (properties or {}).items():
        builder = builder.config(key, with_own_delta(value) if key == _PACKAGES else value)
    session = builder.getOrCreate()
    check_classic(session)
    keep_class_lookups(session)
    if is_local(session):
        _write_files_plainly(session)
    return session


def check_classic(spark: SparkSession) -> None:
    """Refuse a session of Spark Connect before anything is computed.

    Raises:
        ClusterError: it is one; the message says what is missing.
    """
    if type(spark).__module__.startswith("pyspark.sql.connect"):
        raise ClusterError(
            "this session is Spark Connect, whose client has neither SparkContext nor JVM. By these"
            " M6-Rec counts the task slots, reads and writes models by Hadoop's file systems, finds"
            " the files and formats of sources, and merges into Delta tables; docs/clusters.md says"
            " what was tried. Use a cluster with a classic session (Databricks: dedicated access"
            " mode, neither standard nor serverless)"
        )


def check_delta(spark: SparkSession) -> None:
    """Refuse a session that cannot write Delta tables before anything is computed.

    Raises:
        ClusterError: it is one; the message says what is missing.
    """
    extensions = spark.conf.get(_EXTENSIONS, None) or ""
    if _DELTA not in extensions and not on_databricks():
        raise ClusterError(
            f"this session has no Delta: {_EXTENSIONS} is {extensions or 'not set'}, expected"
            f" io.delta.sql.{_DELTA}; docs/clusters.md, section 'A session of your own', has the"
            " properties that a session needs before it starts"
        )


def check_timestamp_type(spark: SparkSession) -> None:
    """Refuse a session in which `timestamp` means a time without a zone.

    Raises:
        ClusterError: it is one; the message has the line that mends it.
    """
    kind = spark.conf.get(_TIMESTAMP_TYPE, None) or _WITH_ZONE
    if kind.upper() != _WITH_ZONE:
        raise ClusterError(
            f"this session's {_TIMESTAMP_TYPE} is {kind}, expected {_WITH_ZONE}, for times of"
            f' events are moments; call spark.conf.set("{_TIMESTAMP_TYPE}", "{_WITH_ZONE}"), or set'
            " it in the properties file (your tables may have columns of either type)"
        )


def is_local(spark: SparkSession) -> bool:
    """Whether the driver's process runs all tasks."""
    return str(spark.conf.get("spark.master", "")).startswith("local")


def _write_files_plainly(spark: SparkSession) -> None:
    """Have Hadoop start one process for each new file on a local disk, and not a dozen.

    Without its native library, Hadoop starts a process to set the permissions of a file. By default
    it does so for a second file with the checksum, too, and Spark renames what it writes whole by a
    way that starts eight processes to look for links. A commit of a small table costs some 25 of
    them, a fifth of a second.
    """
    jvm: Any = spark._jvm
    java_context: Any = spark.sparkContext._jsc
    place = jvm.java.net.URI("file:///")
    files = jvm.org.apache.hadoop.fs.FileSystem.get(place, java_context.hadoopConfiguration())
    files.setWriteChecksum(False)
    for name in _PLAIN_FILE_MANAGERS:
        if _has_class(jvm, name):
            spark.conf.set("spark.sql.streaming.checkpointFileManagerClass", name)


def _has_class(jvm: Any, name: str) -> bool:
    try:
        jvm.java.lang.Class.forName(name)
    except Py4JJavaError:
        return False
    return True


@contextmanager
def keeping_settings(spark: SparkSession, names: Iterable[str]) -> Iterator[None]:
    """Give settings of the session back as they are before the block, whatever it sets."""
    before = {name: spark.conf.get(name, None) for name in names}
    try:
        yield
    finally:
        for name, earlier in before.items():
            if earlier is None:
                spark.conf.unset(name)
            else:
                spark.conf.set(name, earlier)


@contextmanager
def with_settings(spark: SparkSession, settings: Mapping[str, str]) -> Iterator[None]:
    """The session with other settings, for as long as the block goes on."""
    with keeping_settings(spark, settings):
        for name, value in settings.items():
            spark.conf.set(name, value)
        yield


@contextmanager
def queries_over(spark: SparkSession, rows: int) -> Iterator[None]:
    """Let queries over many rows be compiled, and group sorted rows as they come.

    conf/spark-local.conf has queries interpreted, which is faster on tables of some thousand rows.
    """
    with with_settings(spark, {} if rows < _MANY_ROWS else _COMPILED):
        yield


@contextmanager
def queries_over_few(spark: SparkSession, tasks: int | None = None) -> Iterator[None]:
    """Let queries over some thousand rows be planned once, in local mode.

    To plan a query anew with what is known after each shuffle takes longer than such a query.

    Args:
        spark: the session.
        tasks: how many have the rows after a shuffle; at most as many as run at once by default.
    """
    partitions = int(spark.conf.get(_PARTITIONS) or 1)
    few = {
        "spark.sql.adaptive.enabled": "false",
        _PARTITIONS: str(min(partitions, tasks or spark.sparkContext.defaultParallelism)),
    }
    with with_settings(spark, few if is_local(spark) else {}):
        yield


@contextmanager
def starting_workers(spark: SparkSession) -> Iterator[None]:
    """Start the Python workers of local mode while the driver does other work.

    A first table keeps the driver busy for seconds on one core, and the first Python worker takes
    as long to start. All others are forked from the same process.
    """
    if not is_local(spark):
        yield
        return
    if "torch" in sys.modules:
        # Where the driver has imported torch, the programs that it sends need torch in the workers.
        spark.sparkContext.environment.setdefault(WITH_TORCH, "1")
    # One slot stays free: Delta reads the table's log by a task, too.
    workers = max(spark.sparkContext.defaultParallelism - 1, 1)
    first_tasks = spark.range(0, workers, 1, workers).mapInArrow(unchanged, "id long")
    pool = ThreadPoolExecutor(1)
    started = pool.submit(first_tasks.collect)
    try:
        yield
        started.result()
    finally:
        # After an error nobody needs the workers, so the error is not held up by waiting for them.
        pool.shutdown(wait=False)


def unchanged(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """For `mapInArrow`: sends rows through a Python worker as they are."""
    yield from batches


@contextmanager
def session_of_job(application: str) -> Iterator[SparkSession]:
    """The session of a job that was started from the command line, stopped when the job ends.

    On Databricks the platform stops it: there it has other users, such as the next task.
    """
    spark = get_session(application)
    try:
        yield spark
    finally:
        if not on_databricks():
            spark.stop()


def on_databricks() -> bool:
    """Whether this is a machine of Databricks."""
    return "DATABRICKS_RUNTIME_VERSION" in os.environ
