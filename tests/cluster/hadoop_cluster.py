"""HDFS and YARN on loopback: NameNode, DataNodes, ResourceManager and NodeManagers in one JVM.

Hadoop's own test cluster is started by its main class, with the jars that come with Spark and one
from Maven Central, so that nothing has to be compiled.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyspark

from tests.lanes import hadoop_version
from tests.shell_environment import registry_variables, shell_environment

SPARK = Path(pyspark.__file__).parent
MANAGER = "org.apache.hadoop.mapreduce.MiniHadoopClusterManager"
# Settings of a machine that has other work to do and a disk that is nearly full.
SETTINGS = {
    "yarn.nodemanager.resource.memory-mb": "6144",
    "yarn.nodemanager.resource.cpu-vcores": "4",
    "yarn.nodemanager.vmem-check-enabled": "false",
    "yarn.nodemanager.pmem-check-enabled": "false",
    "yarn.nodemanager.disk-health-checker.max-disk-utilization-per-disk-percentage": "99.9",
    "yarn.scheduler.capacity.maximum-am-resource-percent": "1.0",
    "yarn.scheduler.minimum-allocation-mb": "256",
    "dfs.replication": "1",
    "dfs.namenode.fs-limits.min-block-size": "1024",
}


@dataclass(frozen=True)
class HadoopCluster:
    """A running cluster.

    Attributes:
        configuration: the folder that HADOOP_CONF_DIR names.
        folder: with its logs and the containers' work.
    """

    configuration: Path
    folder: Path

    def put(self, file: Path, folder: str) -> str:
        """Store a file in HDFS; return its path there."""
        self._shell("-mkdir", "-p", folder)
        self._shell("-put", str(file), f"{folder}/")
        return f"{folder}/{file.name}"

    def files(self, folder: str) -> list[str]:
        """The paths of all files below a folder of HDFS."""
        lines = self._shell("-ls", "-R", folder).splitlines()
        return [line.split(None, 7)[7] for line in lines if line.startswith("-")]

    def text(self, path: str) -> str:
        """What a file of HDFS holds."""
        return self._shell("-cat", path)

    def printed_by_driver(self) -> str:
        """What all containers have printed."""
        logs = sorted(self.folder.rglob("container_*/stdout"))
        return "".join(log.read_text() for log in logs)

    def _shell(self, *command: str) -> str:
        classes = f"{self.configuration}:{SPARK / 'jars'}/*"
        java = ["java", "-XX:TieredStopAtLevel=1", "-cp", classes]
        done = subprocess.run(
            [*java, "org.apache.hadoop.fs.FsShell", *command],
            capture_output=True,
            text=True,
            env=shell_environment(),
            check=True,
        )
        return done.stdout


def minicluster_jar() -> Path:
    """Hadoop's test cluster, fetched from Maven Central by Spark where it is not there yet."""
    package = f"org.apache.hadoop:hadoop-client-minicluster:{hadoop_version()}"
    name = package.replace(":", "_", 1).replace(":", "-") + ".jar"
    command = [str(SPARK / "bin" / "spark-submit"), "--packages", package, "--class"]
    command += ["org.apache.hadoop.util.VersionInfo", "spark-internal"]
    found = subprocess.run(
        [*command],
        capture_output=True,
        text=True,
        env=shell_environment(**registry_variables(), PYSPARK_PYTHON=sys.executable),
        check=False,
    )
    jars = sorted(Path.home().glob(f".ivy2*/jars/{name}"))
    if not jars:
        raise FileNotFoundError(f"{package} was not fetched: {found.stderr[-2000:]}")
    return jars[0]


@contextmanager
def hadoop_cluster(folder: Path, seconds: float = 120.0) -> Iterator[HadoopCluster]:
    """Start a cluster of two NodeManagers, wait until its configuration is written, stop it.

    Raises:
        TimeoutError: it did not come up within `seconds`; the message has its log's tail.
    """
    configuration = folder / "configuration"
    configuration.mkdir(parents=True)
    written, log = folder / "site.xml", folder / "hadoop.log"
    command = ["java", "-Xmx512m", "-XX:TieredStopAtLevel=1", f"-Dtest.build.data={folder}/data"]
    command += [f"-Dhadoop.log.dir={folder}", "-cp", f"{minicluster_jar()}:{SPARK / 'jars'}/*"]
    command += [MANAGER, "-writeConfig", str(written), "-nodemanagers", "2", "-format"]
    command += [f"-D{name}={value}" for name, value in SETTINGS.items()]
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=shell_environment(),
            cwd=folder,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + seconds
        while not written.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise TimeoutError(f"no cluster within {seconds} s\n{log.read_text()[-3000:]}")
            time.sleep(0.5)
        for name in ("core-site.xml", "hdfs-site.xml", "yarn-site.xml"):
            (configuration / name).write_text(written.read_text())
        yield HadoopCluster(configuration, folder)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
