"""What Spark, Delta, Parquet, the JVM or a worker throws over an owner's table, in words."""

import os
import re
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from errno import EACCES, EDQUOT, ENOSPC, EPERM, EROFS
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyspark
from py4j.protocol import Py4JError, Py4JJavaError
from pyspark.errors import PySparkException

from m6rec.check.samples import CellValue, shown
from m6rec.config.base import TableSource
from m6rec.errors import ClusterError, DataError, M6RecError, TableError, WorkerError
from m6rec.spark.messages import keep_trace

THROWN = (PySparkException, Py4JError, pa.ArrowException)
_OF_S3, _OF_AZURE = "org.apache.hadoop:hadoop-aws", "org.apache.hadoop:hadoop-azure"
_SCHEMES = {
    "s3a": _OF_S3,
    "s3": _OF_S3,
    "s3n": _OF_S3,
    "abfs": _OF_AZURE,
    "abfss": _OF_AZURE,
    "wasbs": _OF_AZURE,
    "gs": "com.google.cloud.bigdataoss:gcs-connector:hadoop3-2.2.26",
}
_JAR_OF_HADOOP = "hadoop-client-api-"
# The same chain of credentials in the two kits of Amazon's that Hadoop has had.
_CHAIN = "software.amazon.awssdk.auth.credentials.DefaultCredentialsProvider"
_CHAIN_OF_HADOOP_3_3 = "com.amazonaws.auth.DefaultAWSCredentialsProviderChain"
_LONGEST = 300
_FILE_GONE = r"FAILED_READ_FILE\.FILE_NOT_EXIST|FileNotFoundException"
NO_VERSIONS = (
    "it is no Delta table and has no versions; leave out version and timestamp, or, where the"
    " config has neither, give a run id that has not been used: this run began with a Delta table"
)
_CALLED = "An error occurred while calling"


def _hadoop_version() -> str:
    """The version of the Hadoop that Spark comes with, by the name of a jar."""
    homes = [Path(os.environ["SPARK_HOME"])] if "SPARK_HOME" in os.environ else []
    for home in (*homes, Path(pyspark.__file__).parent):
        for jar in home.glob(f"jars/{_JAR_OF_HADOOP}*.jar"):
            return jar.stem.removeprefix(_JAR_OF_HADOOP)
    return "VERSION (that of the Hadoop that Spark comes with)"


def _missing_jar(scheme: str) -> str:
    package = _SCHEMES.get(scheme)
    what = f"the jar of the file system {scheme}: is missing"
    if package is None:
        return f"{what}; add its package to spark.jars.packages in the file that PROPERTIES names"
    version = _hadoop_version()
    credentials = "spark.hadoop.fs.*, its settings of credentials"
    if package == _OF_S3:
        chain = _CHAIN_OF_HADOOP_3_3 if version.startswith("3.3.") else _CHAIN
        credentials = f"spark.hadoop.fs.s3a.aws.credentials.provider {chain}"
    if package in {_OF_S3, _OF_AZURE}:
        package = f"{package}:{version}"
    return (
        f"{what}; add {package} to the line spark.jars.packages of the properties file, and the"
        f" line {credentials}"
    )


def _of_two_types(column: str, one: str, other: str) -> str:
    return (
        f"its files do not agree about the type of the column {column} ({one} and {other});"
        " write it with one schema"
    )


_NO_CREDENTIALS = (
    "no credentials for the file system were found, or they were refused; set AWS_ACCESS_KEY_ID and"
    " AWS_SECRET_ACCESS_KEY in the environment, or the lines spark.hadoop.fs.s3a.access.key and"
    " spark.hadoop.fs.s3a.secret.key in the properties file"
)
# How Parquet is written without an encoding that has a switch of its own, and without any other.
_WITHOUT_ENCODING = {"BYTE_STREAM_SPLIT": "in pandas and pyarrow: use_byte_stream_split=False"}
_OTHER_ENCODING = "in pandas and pyarrow: no column_encoding"
_Rule = tuple[str, Callable[[re.Match[str]], str]]
# What is thrown, by its text, and what to say of it. The first that matches is said.
_OF_PLACES: tuple[_Rule, ...] = (
    (
        r"No FileSystem for scheme \"?[A-Za-z]\"?(?!\w)|absolute URI: [A-Za-z]:%5C",
        lambda _: "it is a path of Windows; give the one that this machine has for it",
    ),
    (
        r"(?:for scheme \"?|absolute URI: )(jdbc|bigquery|snowflake|\w+sql|mongo\w+)\b",
        lambda found: (
            f"{found[1]}: is no file system but a database; write its table as Parquet or CSV, or"
            " name it in source.table where the catalogue has it"
        ),
    ),
    (r"Class org\.apache\.hadoop\.fs\.s3a\.\w+ not found", lambda _: _missing_jar("s3a")),
    (r"Class org\.apache\.hadoop\.fs\.azurebfs\S* not found", lambda _: _missing_jar("abfss")),
    (r"Class \S+\.GoogleHadoopFileSystem not found", lambda _: _missing_jar("gs")),
    (r"No FileSystem for scheme \"?(\w+)\"?", lambda found: _missing_jar(found[1])),
    (
        r"NoAuthWithAWSException|Unable to load credentials|AccessDenied|InvalidAccessKeyId"
        r"|SignatureDoesNotMatch|Status Code: 403|NoAwsCredentials",
        lambda _: _NO_CREDENTIALS,
    ),
    (
        r"UnknownHostException:? ?([^\s;]*)|Connection refused",
        lambda found: (
            f"the host {found[1] or 'of the path'} cannot be reached; correct path or network"
        ),
    ),
    (
        r"(?:Permission denied|AccessControlException)",
        lambda _: "it may not be read; give whoever runs the job the right to read it",
    ),
    (
        r"DELTA_CANNOT_CREATE_LOG_PATH\] Cannot create (\S+)/_delta_log",
        lambda found: (
            f"no table can be made at {found[1]}; give the path of a folder in which whoever runs"
            " the job may write"
        ),
    ),
)
_RULES: tuple[_Rule, ...] = (
    *_OF_PLACES,
    (r"\[PATH_NOT_FOUND\]", lambda _: "it does not exist; correct the path"),
    (
        r"\[UNABLE_TO_INFER_SCHEMA\]",
        lambda _: "there is no file of that format; correct path or format in the config",
    ),
    (
        r"\[(TABLE_OR_VIEW_NOT_FOUND|SCHEMA_NOT_FOUND|REQUIRES_SINGLE_PART_NAMESPACE|CATALOG_NOT_FOUND)[^\]]*\]",
        lambda _: "the catalogue has no such table; correct its name in the config",
    ),
    (
        r"DELTA_(MISSING_DELTA_TABLE|TABLE_NOT_FOUND|PATH_DOES_NOT_EXIST|ONLY_OPERATION)"
        r"|is not a Delta table",
        lambda _: "it is no Delta table; leave out format, or set it to what the files are",
    ),
    (
        r"DELTA_UNSUPPORTED_FEATURES_FOR_READ(?:.*by Delta Lake \S+: (.*?)\.?(?:\s|$))?"
        r"|DELTA_INVALID_PROTOCOL_VERSION",
        lambda found: (
            f"it needs a newer Delta{f', for {found[1]}' if found[1] else ''}; run with"
            " LANE=current, or take that from the table by ALTER TABLE ... DROP FEATURE"
        ),
    ),
    (
        r"\[PARSE_SYNTAX_ERROR\] Syntax error at or near '([^']*)'",
        lambda found: (
            f"it cannot be the name of a table, from {found[1]} on; write such a part in"
            " back-ticks, and a version in source.version"
        ),
    ),
    (
        r"to version (\d+)\. Available versions: \[(\d+), (\d+)\]",
        lambda found: (
            f"it has no version {found[1]}; set source.version to one from {found[2]} to {found[3]}"
        ),
    ),
    (
        r"DELTA_VERSION_NOT_FOUND|VersionNotFoundException|Cannot time travel Delta table"
        r"|DELTA_TIMESTAMP_\w+|DELTA_NO_RECREATABLE_HISTORY_FOUND",
        lambda _: "its history does not have the version or moment that is asked for",
    ),
    (
        r"EXPECT_TABLE_NOT_VIEW|UNSUPPORTED_FEATURE\.TIME_TRAVEL|TIME_TRAVEL_ON_VIEW|time travel",
        lambda _: NO_VERSIONS,
    ),
    (
        r"\[INVALID_IDENTIFIER\] The unquoted identifier (\S+)",
        lambda found: f"write the part {found[1]} of its name in back-ticks: `{found[1]}`",
    ),
    (
        r"(Delimiter cannot be [^\n.;]*|For input string: [^\n;]*|\[INVALID_PARAMETER_VALUE[^\n]*)",
        lambda found: f"a value of options is wrong ({_shortened(found[1])}); correct it",
    ),
    (
        r"Relative path in absolute URI: ([^\n]*)",
        lambda found: f"Hadoop reads no name with a colon ({_shortened(found[1])}); rename it",
    ),
    (
        r"Unsupported encoding: ([A-Z_]+)",
        lambda found: (
            f"a column of it has the encoding {found[1]}, which Spark's fast reader of Parquet does"
            f" not read; write it without ({_WITHOUT_ENCODING.get(found[1], _OTHER_ENCODING)}), or"
            " set spark.sql.parquet.enableVectorizedReader to false in the properties file, by"
            " which all Parquet is read more slowly"
        ),
    ),
    (
        r"java\.lang\.UnsupportedOperationException",
        lambda _: "its file system does not list files, as http does not; copy it to another",
    ),
    (
        r"\[CAST_(?:INVALID_INPUT|OVERFLOW)\] The value (.*?) of the type \"?(\w+)\"? cannot"
        r" be cast to \"?(\w+)",
        lambda found: (
            f"it casts {found[1]} ({found[2]}) to {found[3]}, which it is not; use try_cast in the"
            " view, or correct the row"
        ),
    ),
    (
        r"\[DIVIDE_BY_ZERO\]|\[ARITHMETIC_OVERFLOW\]|\[NUMERIC_VALUE_OUT_OF_RANGE",
        lambda _: (
            "it divides by zero or computes a number out of range; use try_divide, try_add"
            " and the like in the view"
        ),
    ),
    (
        r"Malformed records|MALFORMED_RECORD_IN_PARSING|MALFORMED_CSV_RECORD",
        lambda _: (
            "it holds malformed rows, and options say mode FAILFAST; correct the rows, or set"
            " options.mode to PERMISSIVE, by which they go to quarantine"
        ),
    ),
    (
        r"DATETIME_PATTERN|Illegal pattern char|Unknown pattern letter|Too many pattern letters",
        lambda _: (
            "interactions.time_format is none of Spark's patterns, or one of"
            ' features.*.date_formats is none; write it as in "dd.MM.yyyy HH:mm:ss"'
        ),
    ),
    (
        r"PARQUET_TYPE_ILLEGAL[^\n]*Illegal Parquet type: ([^\n.]*)",
        lambda found: f"it has a column of the type {found[1]}, which Spark does not read; cast it",
    ),
    (
        r"(?s)CANNOT_READ_FILE_FOOTER(?:.*?(\w+:/\S+) is not a Parquet)?|not a [Pp]arquet file",
        lambda found: (
            f"{'its file ' + found[1].rsplit('/', 1)[-1] if found[1] else 'it'} is no Parquet, or"
            " was cut short; set format to what it is, write it again, or leave it out by a path"
            " such as folder/*.parquet"
        ),
    ),
    (
        r"COLUMN_ALREADY_EXISTS[^\n]*The column `?([^`\n]*)`? already exists",
        lambda found: (
            f"it has two columns named {found[1]}; rename one or, where they differ in case, set"
            " spark.sql.caseSensitive to true in the properties file"
        ),
    ),
    (
        r"DELTA_TRUNCATED_TRANSACTION_LOG",
        lambda _: "files of its Delta log have been deleted; restore them, or write it again",
    ),
    (
        _FILE_GONE,
        lambda _: (
            "a file of it vanished while it was read, or since the run began, as where it is"
            " vacuumed or written anew; start a run anew, with another --run-id (rerun cannot make"
            " a run again any more that read this file)"
        ),
    ),
    (
        r"FAILED_READ_FILE\.PARQUET_COLUMN_DATA_TYPE_MISMATCH[^\n]*column `?\[?([^\]`]*)\]?`?\."
        r" Expected Spark type (\w+), actual Parquet type (\w+)",
        lambda found: _of_two_types(*found.groups()),
    ),
    (
        # As Spark 3.5 has it.
        r"Column: \[([^\]]*)\], Expected: (\w+), Found: (\w+)",
        lambda found: _of_two_types(*found.groups()),
    ),
    (
        r"FAILED_READ_FILE\.PARQUET_COLUMN_DATA_TYPE_MISMATCH|SchemaColumnConvertNotSupported",
        lambda _: "its files do not agree about the type of a column; write it with one schema",
    ),
    (
        r"native (\w+) library not available|ClassNotFoundException: \S*compress\.(\w+)Codec",
        lambda found: (
            f"it is compressed by {found[1] or found[2]}, which Hadoop here does not read; compress"
            " it otherwise, as by gzip or snappy"
        ),
    ),
    (
        r"Index (\d+) out of bounds for length \1|exceeds the maximum number of c\w+ defined",
        lambda _: (
            "a row has more columns, or a value more characters, than Spark's reader of CSV takes;"
            " raise maxColumns (20480 unless it is given) or maxCharsPerColumn in options"
        ),
    ),
    (
        r"\[CONFLICTING_PARTITION_COLUMN_NAMES\]|Conflicting partition column names detected",
        lambda _: (
            "its folders name different columns, or name them at different depths; give each level"
            " of folders one column, as in day=2024-03-01/"
        ),
    ),
    (
        r"FAILED_READ_FILE\.NO_HINT",
        lambda _: (
            "it cannot be decoded: it is broken, or of another format than the config says; write"
            " it again, or leave it out"
        ),
    ),
    (
        r"READ_ANCIENT_DATETIME",
        lambda _: (
            "it has times of before 1900 by a program that may have another calendar; set"
            " spark.sql.parquet.datetimeRebaseModeInRead (and int96RebaseModeInRead) to CORRECTED"
            " or LEGACY in the properties file"
        ),
    ),
)
_DISK_IS_FULL = (
    "a disk is full: that of the lake, of --output or of spark.local.dir; free some space, or"
    " name a larger one"
)
# What ends a stage whatever its data are, and what to say of it.
_OF_THE_MACHINE: tuple[tuple[str, str], ...] = (
    (
        r"Python worker exited unexpectedly|Connection reset by peer|ExecutorLostFailure"
        r"|^MemoryError|Unable to allocate [\d.]+ \wiB",
        "a worker took more memory than there is, or was ended from outside; give executors more"
        " (spark.executor.memoryOverhead, or in local mode a machine with more) or fewer cores",
    ),
    (
        r"java\.lang\.OutOfMemoryError|SparkOutOfMemoryError|UNABLE_TO_ACQUIRE_MEMORY",
        "the JVM has too little memory; raise spark.driver.memory or spark.executor.memory in the"
        " properties file, or set spark.sql.shuffle.partitions higher",
    ),
    (
        r"spark\.driver\.maxResultSize",
        "a result is larger than the driver takes; raise spark.driver.maxResultSize in the"
        " properties file",
    ),
    (
        r"No space left on device|Disk quota exceeded",
        _DISK_IS_FULL,
    ),
    (
        r"PYTHON_VERSION_MISMATCH|Cannot run program \S*python",
        "executors do not find the Python that the driver has; set ARCHIVES or PYSPARK_PYTHON, as"
        " ./spark-submit.sh --help says",
    ),
    (
        r"No module named '?(m6rec|numpy|numba|pyarrow|scipy|torch)",
        "the Python of the executors does not have the packages; set ARCHIVES, as ./spark-submit.sh"
        " --help says, and for a session of your own PYSPARK_PYTHON before it starts, as"
        " docs/clusters.md says",
    ),
)
# Two jobs at once, whose commits to a table of the lake do not go together.
_AT_ONCE = re.compile(
    r"\[DELTA_(CONCURRENT_\w+|METADATA_CHANGED|PROTOCOL_CHANGED|PATH_EXISTS|TABLE_ALREADY_EXISTS)"
)
# What ends a stream that follows a table.
_OTHER_COLUMNS = re.compile(
    r"\[DELTA_(SCHEMA_CHANGED\w*|STREAMING_(INCOMPATIBLE|CANNOT_CONTINUE)_\w*)"
)
_OTHER_TABLE = re.compile(r"DIFFERENT_DELTA_TABLE_READ_BY_STREAMING_SOURCE")
# The property of a table that keeps its changes.
CHANGE_FEED = "delta.enableChangeDataFeed"
# What a followed table lacks.
_NOT_THERE = (
    (
        re.compile(
            r"DELTA_(MISSING_FILES_UNEXPECTED_VERSION|VERSIONS_NOT_CONTIGUOUS|TRUNCATED_TRANSACTION_LOG)"
        ),
        "no longer has the log of commits that are still to come",
    ),
    (
        re.compile("DELTA_MISSING_CHANGE_DATA"),
        "lacks the changes of some commits that are still to come, as where its property"
        f" {CHANGE_FEED} was set after them",
    ),
)
_WORKER_TRACE = re.compile(
    r"Traceback \(most recent call last\):\n(?P<frames>(?:[ ].*\n)+)(?P<error>[A-Za-z_][^\n]*)"
)
_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<function>\S+)')
# What Spark says where a file's rows fail to be read, and of nothing else.
_OF_READING = re.compile(
    r"FAILED_READ_FILE|while reading file|MALFORMED_(RECORD|CSV)|DATETIME_PATTERN", re.IGNORECASE
)
_FILE = re.compile(r"(?:reading file|read file|file path|path:?|File) `?((?:\w+:/|/)[^\s`'\"]+)")


@contextmanager
def reading_table(key: str, source: TableSource) -> Iterator[None]:
    """Open or read an owner's table in this block, which turns any error into a TableError.

    Raises:
        TableError: whatever was thrown, in words that name the table and what to do.
    """
    try:
        yield
    except TableError as error:
        if source.name in str(error):
            raise
        raise TableError(f"{key}: table {source.name}: {error}".removeprefix(": ")) from error
    except THROWN as error:
        keep_trace(error)
        place = f"{key}: " if key else ""
        kind = "" if source.format == "auto" or source.table is not None else f"{source.format} "
        raise TableError(
            f"{place}cannot read {kind}table {source.name}: {in_words(error)}"
        ) from error


@contextmanager
def saying_what_failed(
    work: str, sources: Iterable[tuple[str, TableSource, object]] = ()
) -> Iterator[None]:
    """Turn what Spark throws over data or within a worker into an error of ours.

    Spark reads a table when its rows are needed, which may be long after it was opened.

    Args:
        work: what is done, for the message.
        sources: the owner's tables with the keys of the config, to name the one that is read.

    Raises:
        M6RecError: reading or a worker failed; the message names the work, the table or file, or
            the stage, and the reason.
    """
    try:
        yield
    except THROWN as error:
        ours = as_our_error(error, sources)
        if ours is None:
            raise
        keep_trace(error)
        raise type(ours)(f"{work}: {ours}") from error


@contextmanager
def following_table(source: TableSource, anew: str, from_now: str) -> Iterator[None]:
    """Follow a Delta table in this block, and say why a stream of it cannot go on.

    Args:
        source: the table.
        anew: how the stream is begun again where the table is another.
        from_now: how it is begun again where commits that it needs cannot be read any more.

    Raises:
        DataError: the table has other columns, is another table, or lacks commits that the stream
            has not seen, or their changes; or a file of the lake vanished.
    """
    try:
        yield
    except THROWN as error:
        words = _why_not_followed(text_of(error), source, anew, from_now)
        if words is None:
            raise
        keep_trace(error)
        raise DataError(f"fold_in cannot go on: {words}") from error


def _why_not_followed(text: str, source: TableSource, anew: str, from_now: str) -> str | None:
    if _OTHER_TABLE.search(text):
        return (
            f"{source.name} is another table than the one that was followed, as where it is dropped"
            f" and made anew; {anew}"
        )
    if _OTHER_COLUMNS.search(text):
        return (
            f"the columns of {source.name} have changed; start the job again, which reads them as"
            f" they are now. Where it ends like this again, {from_now}"
        )
    for lacking, words in _NOT_THERE:
        if lacking.search(text):
            return f"{source.name} {words}; {from_now}"
    if not re.search(_FILE_GONE, text):
        return None
    file = _FILE.search(text)
    if file is None or not _lies_in(file[1], source):
        return "a file of the lake vanished, as after forget or clean; start the job again"
    return (
        f"{source.name} no longer has the files of commits that are still to come, as where it is"
        f" vacuumed; {from_now}"
    )


def in_words(error: BaseException) -> str:
    """What was thrown, and what to do, without a trace."""
    text = text_of(error)
    for pattern, words in _RULES:
        found = re.search(pattern, text)
        if found is not None:
            return words(found)
    return _shortened(text)


def is_overtaken(error: BaseException) -> bool:
    """Whether a commit failed because another one of the same table came first.

    Delta's Python classes of such failures have no base in common, and not all are made.
    """
    return _AT_ONCE.search(text_of(error)) is not None


def as_our_error(
    error: BaseException, sources: Iterable[tuple[str, TableSource, object]] = ()
) -> M6RecError | None:
    """The error of ours that a failure of reading, of a worker or of a machine is; else None."""
    text = text_of(error)
    for ours in (_raised_by_a_worker(text), _of_reading(error, text, sources)):
        if ours is not None:
            return ours
    if is_overtaken(error):
        return DataError(
            "another job has changed the same table of the lake meanwhile"
            f" ({_shortened(text)}); when it has ended, give this command again, with the same"
            " --run-id where it has one, by which it goes on"
        )
    trace = _last_trace(text)
    # What a worker raised says more than what the JVM then says of the worker's end.
    said = text if trace is None else trace["error"]
    for pattern, words in _OF_THE_MACHINE:
        if re.search(pattern, said):
            stage = _stage(text)
            return ClusterError(f"{words}{f' (in stage {stage})' if stage else ''}")
    if trace is None and any(re.search(pattern, text) for pattern, _ in _OF_PLACES):
        return ClusterError(f"a place of the config cannot be used: {in_words(error)}")
    return _of_a_stage(text)


def of_the_machine(error: Exception) -> ClusterError | None:
    """The error of ours that the driver's machine is to blame for: its memory, disk or rights."""
    if isinstance(error, MemoryError):
        return ClusterError(
            "the driver took more memory than there is; run on a machine with more, or give the JVM"
            f" less of it (spark.driver.memory){_what_was_said(str(error))}"
        )
    if not isinstance(error, OSError):
        return None
    if error.errno in {ENOSPC, EDQUOT}:
        return ClusterError(f"{_DISK_IS_FULL}{_what_was_said(str(error))}")
    if error.errno in {EACCES, EPERM, EROFS}:
        return ClusterError(
            f"{error.filename or 'a file or folder'} cannot be used ({error.strerror}); give"
            " whoever runs the job the right to read and write it, or name another place"
        )
    return None


def _what_was_said(said: str) -> str:
    return f" ({_shortened(said)})" if said.strip() else ""


def _raised_by_a_worker(text: str) -> M6RecError | None:
    """The M6RecError that a Python worker raised: Spark wraps it in a traceback."""
    lines = [line.strip() for line in text.splitlines()]
    ours = [line for line in lines if line.startswith("m6rec.errors.")]
    if not ours:
        return None
    name, _, words = ours[-1].partition(": ")
    if name.endswith(WorkerError.__name__):
        return WorkerError(f"a Python worker failed in stage {_stage(text)}, at {words}")
    return DataError(words)


def failed_at(place: str, value: CellValue, error: Exception) -> WorkerError:
    """The error that a worker raises where an owner's value leads to an unforeseen error."""
    said = _shortened(str(error)) if str(error).strip() else "no message"
    return WorkerError(
        f"{place} {shown(value)}: {type(error).__name__}: {said}; correct it in the source, or set"
        " the column's kind to ignore; the log has the trace"
    )


def _of_reading(
    error: BaseException, text: str, sources: Iterable[tuple[str, TableSource, object]]
) -> TableError | None:
    if not _OF_READING.search(text):
        return None
    words = in_words(error)
    file = _FILE.search(text)
    if file is None:
        return TableError(f"cannot read a table of yours: {words}")
    # Paths as owners write them: Hadoop says file:///folder for /folder.
    path = file[1].rstrip(".,").removeprefix("file://")
    key = next((key for key, source, _ in sources if _lies_in(path, source)), None)
    return TableError(f"cannot read {'' if key is None else f'{key}: '}file {path}: {words}")


def _lies_in(file: str, source: TableSource) -> bool:
    place = (source.path or "").split("*")[0].split("{")[0].rstrip("/")
    return bool(place) and place.removeprefix("file://").removeprefix("file:") in file


def _of_a_stage(text: str) -> WorkerError | None:
    """What a program of ours raised in a Python worker, in a line."""
    trace = _last_trace(text)
    if trace is None:
        return None
    raised = trace["error"].strip()
    raised = raised if len(raised) <= _LONGEST else f"{raised[: _LONGEST - 1]}\u2026"
    return WorkerError(
        f"a Python worker failed in stage {_stage(text)}: {raised}; the log has the trace. Where"
        " this names no value of yours, it is a defect of M6-Rec: report it with the log"
    )


def _stage(text: str) -> str:
    """The module and function of ours that a worker was at; empty where its trace is not there."""
    trace = _last_trace(text)
    if trace is None:
        return ""
    frames = list(_FRAME.finditer(trace["frames"]))
    own = [frame for frame in frames if "/m6rec/" in frame["file"]] or frames[-1:]
    if not own:
        return ""
    return f"{_module(own[-1]['file'])}, {own[-1]['function']}, line {own[-1]['line']}"


def _module(file: str) -> str:
    """The module of a file, without the package."""
    return re.split(r"/(?:m6rec|jobs)/", file)[-1].removesuffix(".py").strip("/").replace("/", ".")


def _last_trace(text: str) -> re.Match[str] | None:
    """The last of the chained traces of a worker, which is that of what was raised in the end."""
    return next(iter([*_WORKER_TRACE.finditer(text)][-1:]), None)


def unforeseen(error: Exception) -> str:
    """An unforeseen error in a line: what it says, and where it was raised."""
    if isinstance(error, THROWN):
        return f"Spark failed: {in_words(error)}; the log has the trace"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "/m6rec/" in frame.filename or "/jobs/" in frame.filename]
    place = [f" ({_module(one.filename)}, {one.name}, line {one.lineno})" for one in own[-1:]]
    said = _shortened(str(error)) if str(error).strip() else "no message"
    return (
        f"{type(error).__name__}: {said}{''.join(place)}; the log has the trace. This is a defect"
        " of M6-Rec: report it with the log"
    )


def text_of(error: BaseException) -> str:
    """The messages of an error and of its causes, a line each, without their traces."""
    lines = [str(error).split("\n\tat ")[0].split("\nJVM stacktrace")[0]]
    cause: Any = error.java_exception if isinstance(error, Py4JJavaError) else None
    cause = getattr(error, "_origin", None) if cause is None else cause
    depth = 0
    while cause is not None and depth < 10:
        try:
            lines.append(str(cause.toString()))
            cause = cause.getCause()
        except Py4JError:
            break
        depth += 1
    return "\n".join(lines)


def _shortened(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    # What Py4J says first is the name of a method within Spark.
    lines = [line for line in lines if not line.startswith(_CALLED)] or lines
    said = next((line for line in lines if "[" in line and "]" in line), lines[0] if lines else "")
    said = re.sub(r"^(: )?(\S*(Exception|Error): )+", "", said)
    said = re.sub(r" SQLSTATE: \w+$", "", said)
    return said if len(said) <= _LONGEST else f"{said[: _LONGEST - 1]}…"
