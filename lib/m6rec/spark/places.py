"""Files and folders in whatever file system Hadoop knows, for the driver by way of its JVM."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession

from m6rec.errors import ArtifactError
from m6rec.files import FilePlace, FileSystem, address_for_hadoop, has_scheme, posix_path
from m6rec.spark.failures import in_words
from m6rec.spark.files import hadoop_configuration, local_path
from m6rec.spark.messages import keep_trace
from m6rec.spark.session import is_local, on_databricks
from m6rec.spark.worker_files import WorkerFiles, as_literal

# What is sent there is seen when it is complete; to rename it would copy it.
_OBJECT_STORES = frozenset({"s3", "s3a", "s3n", "gs"})


class HadoopFiles(FileSystem):
    """Files in the file systems of the session's Hadoop configuration."""

    def __init__(self, spark: SparkSession) -> None:
        self._spark = spark

    def __reduce__(self) -> tuple[type[WorkerFiles], tuple[dict[str, str]]]:
        return WorkerFiles, (_settings(self._spark),)

    def has_file(self, address: str) -> bool:
        """Whether there is a file under the address."""
        with _saying_where(address):
            system, place = _opened(self._spark, address)
            return bool(system.exists(place) and system.getFileStatus(place).isFile())

    def fetch(self, addresses: Sequence[str], folder: Path) -> None:
        """Copy files to a local folder, each under its own name."""
        for address in addresses:
            with _saying_where(address):
                system, place = _opened(self._spark, address)
                target = _path(self._spark, address_for_hadoop(folder / place.getName()))
                system.copyToLocalFile(False, place, target, True)

    def send(self, files: Sequence[Path], folder: str) -> None:
        """Copy local files into a folder there, in order; readers see each whole or not at all."""
        for file in files:
            target = f"{folder.rstrip('/')}/{file.name}"
            with _saying_where(target):
                self._send(file, target)

    def _send(self, file: Path, address: str) -> None:
        system, place = _opened(self._spark, address)
        if address.partition(":")[0] in _OBJECT_STORES:
            self._copy(file, system, place)
            return
        unfinished = _path(self._spark, f"{address}.unfinished")
        self._copy(file, system, unfinished)
        hadoop, configuration = self._hadoop, hadoop_configuration(self._spark)
        context = hadoop.FileContext.getFileContext(place.toUri(), configuration)
        rename = hadoop.Options.Rename
        gateway: Any = self._spark.sparkContext._gateway
        overwriting = gateway.new_array(rename, 1)
        overwriting[0] = rename.OVERWRITE
        context.rename(unfinished, place, overwriting)

    def _copy(self, file: Path, system: Any, place: Any) -> None:
        configuration = hadoop_configuration(self._spark)
        source = _path(self._spark, address_for_hadoop(file))
        local = self._hadoop.FileSystem.getLocal(configuration).getRaw()
        # By a stream, as Spark writes its own files: a store's way to upload is another client.
        self._hadoop.FileUtil.copy(local, source, system, place, False, True, configuration)

    @property
    def _hadoop(self) -> Any:
        jvm: Any = self._spark._jvm
        return jvm.org.apache.hadoop.fs


def folder_here(spark: SparkSession, path: str) -> Path | None:
    """A folder on the driver's own disk, which all tasks reach; None where it lies elsewhere."""
    if not is_local(spark) or on_databricks():
        return None
    place = place_of(spark, path)
    return Path(local_path(place.address)) if place.system is None else None


def whole_address(spark: SparkSession, path: str) -> str:
    """A path that no working directory completes: SQL takes no other for that of a Delta table."""
    if has_scheme(path) or Path(path).is_absolute():
        return path
    place = place_of(spark, path)
    return place.address if has_scheme(place.address) else str(Path(place.address).absolute())


def place_of(spark: SparkSession, address: str) -> FilePlace:
    """The place of a path as Spark reads it: without a scheme, in the default file system.

    Raises:
        ArtifactError: the file system cannot be used; the message says what is missing.
    """
    mounted = posix_path(address)
    if mounted is not None:
        return FilePlace(mounted)
    with _saying_where(address):
        system, place = _opened(spark, address)
        qualified = str(system.makeQualified(place).toString())
    if qualified.startswith("file:"):
        # As it was given: a relative path stays one.
        return FilePlace(address)
    mounted = posix_path(qualified)
    return FilePlace(qualified, HadoopFiles(spark)) if mounted is None else FilePlace(mounted)


def bytes_below(spark: SparkSession, folder: str) -> int:
    """The size of all files of a folder; 0 where there is none."""
    here = _local(spark, folder)
    if here is not None:
        return sum(file.stat().st_size for file in here.rglob("*") if file.is_file())
    with _saying_where(folder):
        system, place = _opened(spark, folder)
        return int(system.getContentSummary(place).getLength()) if system.exists(place) else 0


def remove_folder(spark: SparkSession, folder: str) -> None:
    """Remove a folder with all that it holds, or a file, where there is one."""
    here = _local(spark, folder)
    if here is not None and here.is_file():
        here.unlink()
        return
    if here is not None:
        shutil.rmtree(here, ignore_errors=True)
        return
    with _saying_where(folder):
        system, place = _opened(spark, folder)
        system.delete(place, True)


def matching(spark: SparkSession, folder: str, pattern: str) -> list[str]:
    """The addresses of the files and folders within a folder that match a glob."""
    here = _local(spark, folder)
    if here is not None:
        return [str(found) for found in here.glob(pattern)]
    with _saying_where(folder):
        system, place = _opened(spark, f"{as_literal(folder.rstrip('/'))}/{pattern}")
        return [str(one.getPath().toString()) for one in system.globStatus(place) or []]


def _local(spark: SparkSession, folder: str) -> Path | None:
    place = place_of(spark, folder)
    return Path(place.address) if place.system is None else None


def _opened(spark: SparkSession, address: str) -> tuple[Any, Any]:
    place = _path(spark, address)
    return place.getFileSystem(hadoop_configuration(spark)), place


def _path(spark: SparkSession, address: str) -> Any:
    jvm: Any = spark._jvm
    return jvm.org.apache.hadoop.fs.Path(address)


def _settings(spark: SparkSession) -> dict[str, str]:
    """The Hadoop properties that are not defaults of Hadoop's own."""
    jvm: Any = spark._jvm
    written = jvm.java.io.StringWriter()
    hadoop_configuration(spark).writeXml(written)
    settings = {}
    for item in ElementTree.fromstring(str(written.toString())).iter("property"):
        source = item.findtext("source") or ""
        if not source.endswith("-default.xml"):
            settings[item.findtext("name") or ""] = item.findtext("value") or ""
    return settings


@contextmanager
def _saying_where(address: str) -> Iterator[None]:
    try:
        yield
    except Py4JJavaError as error:
        keep_trace(error)
        raise ArtifactError(f"{address} cannot be used: {in_words(error)}") from error
