"""The files behind an owner's path, in any file system that Spark reads."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from m6rec.check.readings import foreign_format
from m6rec.errors import TableError

_GLOB_SIGNS = frozenset("*?[{")
_MOST_FILES = 200
_MOST_BYTES_SEARCHED = 8 << 20
_FORMATS = {
    "parquet": ("parquet", "parq", "pq"),
    "csv": ("csv", "tsv", "txt", "dat", "psv"),
    "json": ("json", "jsonl", "ndjson"),
}
# What the folder of another kind of table has in it.
_OF_OTHER_TABLES = {".hoodie": "Hudi", "metadata/version-hint.text": "Iceberg"}
_LOG_OF_DELTA = "_delta_log"
_PACKED = ("gz", "bz2", "zst", "snappy", "lz4")


def format_of_files(spark: SparkSession, path: str) -> str:
    """The format of the files under a path, by the log of Delta, their names or their first bytes.

    Raises:
        TableError: there is no file, or none whose format is known.
    """
    if without_glob(path) or not (set(path) & _GLOB_SIGNS):
        if _has(spark, path, _LOG_OF_DELTA):
            return "delta"
        for folder, name in _OF_OTHER_TABLES.items():
            if _has(spark, path, folder):
                raise TableError(
                    f"it is a table of {name}, whose files also hold rows that were changed or"
                    " deleted since; write it as Delta or Parquet, or name it in source.table where"
                    f" the catalogue reads {name}"
                )
    files = files_under(spark, path)
    if not files:
        raise TableError(f"there is no file under this path; {_other_path(path)}")
    if all(_is_passed_over(file) for file in files):
        raise TableError(
            f"Spark passes over files such as {files[0]}, whose names begin with _ or a point;"
            " rename it"
        )
    kinds = {kind: file for file in reversed(files) if (kind := _format_of_name(file)) is not None}
    if len(kinds) > 1:
        named = " and ".join(f"{kind} ({file.rsplit('/', 1)[-1]})" for kind, file in kinds.items())
        raise TableError(
            f"there are files of several formats under this path: {named}; give a path such as"
            " folder/*.csv, or set format and options.pathGlobFilter"
        )
    if kinds:
        return next(iter(kinds))
    start = first_bytes(spark, files[0], 64)
    if start.startswith(b"PAR1"):
        return "parquet"
    foreign = foreign_format(start)
    if foreign is not None:
        raise TableError(f"the file {files[0]} is {foreign}")
    if start.lstrip()[:1] in {b"{", b"["}:
        return "json"
    if b"\0" not in start:
        return "csv"
    raise TableError(
        f"the file {files[0]} does not show its format; set format to delta, parquet, csv or json"
    )


def delta_table_around(spark: SparkSession, path: str) -> str | None:
    """The folder of the Delta table whose files a path names; None where it names no such files."""
    folder = path.rstrip("/")
    while folder.strip("/"):
        parent, _, name = folder.rpartition("/")
        is_folder = not (set(name) & _GLOB_SIGNS) or without_glob(folder)
        if is_folder and _has(spark, folder, _LOG_OF_DELTA):
            return folder
        # Within a table there are files, and folders that are named by values.
        if is_folder and "=" not in name and _format_of_name(name) is None:
            return None
        folder = parent
    return None


def _other_path(path: str) -> str:
    if path != path.strip():
        return "it has white space around it: correct the path"
    if path.startswith("~") or "$" in path:
        return "neither ~ nor $ stands for anything in it: write the path out"
    return "correct the path"


def is_packed(file: str) -> bool:
    """Whether a file is compressed, by its name."""
    return file.lower().rsplit(".", 1)[-1] in _PACKED


def _format_of_name(file: str) -> str | None:
    parts = [part for part in file.lower().rsplit("/", 1)[-1].split(".") if part not in _PACKED]
    if len(parts) < 2:
        return None
    return next((kind for kind, endings in _FORMATS.items() if parts[-1] in endings), None)


def files_under(spark: SparkSession, path: str) -> list[str]:
    """Some of the files under a path or glob, by name, without hidden ones."""
    return [file for file, _ in sized_files_under(spark, path, _MOST_FILES)]


def files_and_largest(spark: SparkSession, path: str) -> tuple[list[str], str]:
    """The same, and the largest of them, by which the others are judged; empty where none is."""
    sized = sized_files_under(spark, path, _MOST_FILES)
    return [file for file, _ in sized], max(sized, key=lambda one: one[1], default=("", 0))[0]


def bytes_beyond_ascii(spark: SparkSession, files: Sequence[str]) -> bytes:
    """Some bytes from the first line that is not plain ASCII, in the first file that has one."""
    for file in files:
        start = bytes_from(spark, file, 0, _MOST_BYTES_SEARCHED)
        if not start.isascii():
            first = next(place for place, byte in enumerate(start) if byte > 127)
            line = start.rfind(b"\n", 0, first) + 1
            return start[line : line + 65_536]
    return b""


def sized_files_under(spark: SparkSession, path: str, most: int) -> list[tuple[str, int]]:
    """At most so many files under a path or glob, each with its bytes, without hidden ones."""
    jvm: Any = spark._jvm
    configuration = hadoop_configuration(spark)
    place = jvm.org.apache.hadoop.fs.Path(path)
    system = place.getFileSystem(configuration)
    if without_glob(path):
        roots = [system.getFileStatus(place)]
    else:
        named = list(system.globStatus(place) or [])
        roots = [root for root in named if not _is_hidden(root)] or named
    found: list[tuple[str, int]] = []
    pending = roots
    while pending and len(found) < most:
        status = pending.pop(0)
        if status.isFile():
            found.append((str(status.getPath().toString()), int(status.getLen())))
        else:
            children = list(system.listStatus(status.getPath()))
            pending += [child for child in children if not _is_hidden(child)]
    return sorted(found)


def first_bytes(spark: SparkSession, file: str, most: int = 65_536) -> bytes:
    """The first bytes of a file; of a compressed one, as they were before."""
    return bytes_from(spark, file, 0, most)


def bytes_from(spark: SparkSession, file: str, start: int, most: int) -> bytes:
    """At most so many bytes of a file from a place on, which for a compressed one is its start."""
    jvm: Any = spark._jvm
    place, configuration = jvm.org.apache.hadoop.fs.Path(file), hadoop_configuration(spark)
    opened = place.getFileSystem(configuration).open(place)
    try:
        opened.seek(start)
        codecs = jvm.org.apache.hadoop.io.compress.CompressionCodecFactory(configuration)
        codec = codecs.getCodec(place)
        stream = opened if codec is None else codec.createInputStream(opened)
        bounded = jvm.org.apache.commons.io.input.BoundedInputStream(stream, most)
        return bytes(jvm.org.apache.commons.io.IOUtils.toByteArray(bounded))
    finally:
        opened.close()


def whole_name(spark: SparkSession, folder: str) -> str | None:
    """A folder's name as listings begin with it, scheme and host included; None without one."""
    jvm: Any = spark._jvm
    place = jvm.org.apache.hadoop.fs.Path(folder)
    system = place.getFileSystem(hadoop_configuration(spark))
    return str(system.makeQualified(place).toString()) if system.exists(place) else None


def without_glob(path: str) -> bool:
    """Whether a path holds characters of a glob and is the name of what is there."""
    return bool(set(path) & _GLOB_SIGNS) and Path(local_path(path)).exists()


def local_path(path: str) -> str:
    """A path on this machine without its scheme: Spark takes file:/folder for the folder itself."""
    return path.removeprefix("file://").removeprefix("file:")


def _has(spark: SparkSession, path: str, name: str) -> bool:
    """Whether a file or folder of that name is in a folder."""
    jvm: Any = spark._jvm
    place = jvm.org.apache.hadoop.fs.Path(path, name)
    return bool(place.getFileSystem(hadoop_configuration(spark)).exists(place))


def _is_hidden(status: Any) -> bool:
    return _is_passed_over(str(status.getPath().getName()))


def _is_passed_over(file: str) -> bool:
    name = file.rsplit("/", 1)[-1]
    # A folder of a partition, such as `_day=1`, may begin with an underscore, but is not hidden.
    return name.startswith(".") or (name.startswith("_") and "=" not in name)


def hadoop_configuration(spark: SparkSession) -> Any:
    """Hadoop's configuration as the session has it."""
    session: Any = spark._jsparkSession
    return session.sessionState().newHadoopConf()
