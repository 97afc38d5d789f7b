"""Files of other file systems for Python workers, which cannot call the executor's JVM.

PyArrow reaches S3 by itself, unless the properties ask for what it does not have. For all other
file systems, and for such a bucket, the worker starts a JVM with the jars and
the Hadoop configuration of the executor. This needs only Java on the machine, and takes a second or
two.
"""

import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from xml.sax.saxutils import escape

import pyarrow as pa
import pyarrow.fs as pafs
import pyspark
from pyspark import SparkFiles

from m6rec.errors import ArtifactError
from m6rec.files import FileSystem

_S3 = frozenset({"s3", "s3a", "s3n"})
# The providers of credentials that PyArrow has, too: those of the properties, and AWS's own chain.
_KNOWN_PROVIDERS = (
    "TemporaryAWSCredentialsProvider",
    "SimpleAWSCredentialsProvider",
    "EnvironmentVariableCredentialsProvider",
    "InstanceProfileCredentialsProvider",
    "IAMInstanceCredentialsProvider",
    "DefaultCredentialsProvider",
    "DefaultAWSCredentialsProviderChain",
)
_ANONYMOUS = "AnonymousAWSCredentialsProvider"
# What Hadoop's client does and PyArrow does not: keys in a store, proxies, encryption by a key.
_OF_HADOOP_ALONE = (
    "security.credential.provider.path",
    "proxy.host",
    "encryption.algorithm",
    "server-side-encryption-algorithm",
)
_STORE_OF_KEYS = "hadoop.security.credential.provider.path"
# Such as s3.eu-west-1.amazonaws.com, s3-us-west-2.amazonaws.com and those of private networks.
_REGIONAL_ENDPOINT = re.compile(
    r"(?:^|\.)s3(?:-fips)?(?:\.dualstack)?[.-]([a-z]{2}(?:-[a-z]+)+-\d+)\.(?:\w+\.)?amazonaws\.com"
)
_SECONDS = 600
_MOST_CHARACTERS = 500


@dataclass(frozen=True)
class WorkerFiles(FileSystem):
    """Files by the Hadoop properties that the driver has.

    Attributes:
        settings: the properties that are not Hadoop's defaults.
    """

    settings: Mapping[str, str]

    def has_file(self, address: str) -> bool:
        """Whether there is a file under the address."""
        if self._takes_s3(address):
            with _naming(address):
                found = s3_of(self.settings, address).get_file_info(_key(address))
                return bool(found.type == pafs.FileType.File)
        return self._shell("-test", "-f", as_literal(address)).returncode == 0

    def fetch(self, addresses: Sequence[str], folder: Path) -> None:
        """Copy files to a local folder, each under its own name."""
        if not addresses:
            return
        if self._takes_s3(addresses[0]):
            for address in addresses:
                with _naming(address):
                    source = s3_of(self.settings, address)
                    pafs.copy_files(
                        _key(address),
                        str(folder / Path(_key(address)).name),
                        source_filesystem=source,
                        destination_filesystem=pafs.LocalFileSystem(),
                    )
            return
        self._run(addresses[0], "-get", "-f", *map(as_literal, addresses), folder.as_uri())

    def send(self, files: Sequence[Path], folder: str) -> None:
        """Copy local files into a folder there, in order; readers see each whole or not at all."""
        if not files:
            return
        if self._takes_s3(folder):
            for file in files:
                with _naming(folder):
                    pafs.copy_files(
                        str(file),
                        f"{_key(folder).rstrip('/')}/{file.name}",
                        source_filesystem=pafs.LocalFileSystem(),
                        destination_filesystem=s3_of(self.settings, folder),
                    )
            return
        whole = folder.rstrip("/")
        target = as_literal(f"{whole}/{files[0].name}" if len(files) == 1 else whole)
        put = ("-put", "-f", *(file.as_uri() for file in files), target)
        # The folder nearly always exists, and each command starts a JVM.
        if self._shell(*put).returncode != 0:
            self._run(folder, "-mkdir", "-p", as_literal(whole))
            self._run(folder, *put)

    def _takes_s3(self, address: str) -> bool:
        return urlsplit(address).scheme in _S3 and reaches_s3(self.settings, address)

    def _run(self, address: str, *command: str) -> None:
        done = self._shell(*command)
        if done.returncode != 0:
            said = done.stderr.strip()[-_MOST_CHARACTERS:]
            raise ArtifactError(f"{address} cannot be used by {' '.join(command[:1])}: {said}")

    def _shell(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """Run a command of Hadoop's file system shell."""
        with tempfile.TemporaryDirectory(prefix="m6rec-hadoop-") as scratch:
            # The file may hold keys; only its owner can read the folder.
            Path(scratch, "core-site.xml").write_text(_as_xml(self.settings))
            classes = f"{scratch}{os.pathsep}{class_path(os.environ, _folders_of_jars())}"
            java = [_java(), "-XX:TieredStopAtLevel=1", "-cp", classes]
            return subprocess.run(
                [*java, "org.apache.hadoop.fs.FsShell", *command],
                capture_output=True,
                text=True,
                timeout=_SECONDS,
                check=False,
            )


def reaches_s3(settings: Mapping[str, str], address: str) -> bool:
    """Whether PyArrow gets at S3 by the credentials and the way that the properties name."""
    if settings.get(_STORE_OF_KEYS):
        return False
    if any(_option(settings, address, name) for name in _OF_HADOOP_ALONE):
        return False
    named = _option(settings, address, "aws.credentials.provider")
    classes = [one.strip().rsplit(".", 1)[-1] for one in named.split(",") if one.strip()]
    return all(one in (*_KNOWN_PROVIDERS, _ANONYMOUS) for one in classes)


def s3_of(settings: Mapping[str, str], address: str) -> pafs.S3FileSystem:
    """PyArrow's S3 by the properties `fs.s3a.*`, of which a bucket may have its own."""
    options: dict[str, Any] = {
        "access_key": _option(settings, address, "access.key"),
        "secret_key": _option(settings, address, "secret.key"),
        "session_token": _option(settings, address, "session.token"),
        "region": _region(settings, address),
    }
    endpoint = _option(settings, address, "endpoint")
    if endpoint:
        encrypted = _option(settings, address, "connection.ssl.enabled") != "false"
        scheme, _, host = endpoint.rpartition("://")
        options["endpoint_override"] = host.rstrip("/")
        options["scheme"] = scheme or ("https" if encrypted else "http")
    if _ANONYMOUS in _option(settings, address, "aws.credentials.provider"):
        options["anonymous"] = True
    return pafs.S3FileSystem(**{name: value for name, value in options.items() if value})


def _region(settings: Mapping[str, str], address: str) -> str:
    """The region that the properties name, or that the bucket has; empty where PyArrow chooses.

    Hadoop's client follows a bucket to its region. PyArrow does not, and takes us-east-1 where it
    is told of none.
    """
    named = _option(settings, address, "endpoint.region")
    endpoint = _option(settings, address, "endpoint")
    if named or endpoint:
        return named or region_of_endpoint(endpoint)
    of_machine = any(name in os.environ for name in ("AWS_REGION", "AWS_DEFAULT_REGION"))
    return "" if of_machine else _region_of_bucket(urlsplit(address).netloc)


def region_of_endpoint(endpoint: str) -> str:
    """The region in the name of one of Amazon's endpoints; empty for all others."""
    host = endpoint.rpartition("://")[2].rstrip("/")
    found = _REGIONAL_ENDPOINT.search(host)
    return found[1] if found else ""


@cache
def _region_of_bucket(bucket: str) -> str:
    try:
        return str(pafs.resolve_s3_region(bucket))
    except (OSError, pa.ArrowException):
        return ""


def class_path(environment: Mapping[str, str], folders: Iterable[Path]) -> str:
    """Where a JVM beside an executor finds Hadoop's classes and those of the file systems."""
    # YARN says it in the container's environment.
    given = [environment.get(name, "") for name in ("CLASSPATH", "HADOOP_CONF_DIR")]
    return os.pathsep.join([*filter(None, given), *(str(folder / "*") for folder in folders)])


def _folders_of_jars() -> list[Path]:
    homes = [Path(os.environ["SPARK_HOME"])] if "SPARK_HOME" in os.environ else []
    homes.append(Path(pyspark.__file__).parent)
    places = [*(home / "jars" for home in homes), Path.cwd()]
    if SparkFiles._is_running_on_worker:
        # What spark.jars.packages has brought lies where the executor keeps files.
        places.append(Path(SparkFiles.getRootDirectory()))
    return [place for place in dict.fromkeys(places) if place.is_dir()]


def _java() -> str:
    home = os.environ.get("JAVA_HOME")
    return str(Path(home, "bin", "java")) if home else "java"


def as_literal(address: str) -> str:
    """The address with its characters of a glob escaped, for what takes each path for a glob."""
    return re.sub(r"([*?{}\[\]\\])", r"\\\1", address)


def _as_xml(settings: Mapping[str, str]) -> str:
    properties = "".join(
        f"<property><name>{escape(name)}</name><value>{escape(value)}</value></property>\n"
        for name, value in settings.items()
    )
    return f"<configuration>\n{properties}</configuration>\n"


def _option(settings: Mapping[str, str], address: str, name: str) -> str:
    own = settings.get(f"fs.s3a.bucket.{urlsplit(address).netloc}.{name}", "")
    return own or settings.get(f"fs.s3a.{name}", "")


def _key(address: str) -> str:
    """The bucket and the key, as PyArrow names a file."""
    return address.split("://", 1)[1]


@contextmanager
def _naming(address: str) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise ArtifactError(f"{address} cannot be used: {str(error)[:_MOST_CHARACTERS]}") from error
