"""HDFS and YARN on loopback: NameNode, DataNode, ResourceManager and NodeManagers in one JVM.

Hadoop's own test clusters are called through py4j, with the jars that come with Spark and a few
from Maven Central, so that nothing has to be compiled.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyspark
from py4j.java_gateway import JavaGateway

from tests.lanes import hadoop_version
from tests.shell_environment import registry_variables, shell_environment

SPARK = Path(pyspark.__file__).parent
NODE_MANAGERS = 2
# YARN's pages are made by a library that from Java 17 on has to be let in.
JAVA_OPTIONS = ["-Xmx768m", "-XX:TieredStopAtLevel=1"]
JAVA_OPTIONS += ["--add-opens=java.base/java.lang=ALL-UNNAMED"]
# Settings of a machine that has other work to do and a disk that is nearly full.
SETTINGS = {
    "yarn.nodemanager.resource.memory-mb": "4096",
    "yarn.nodemanager.resource.cpu-vcores": "4",
    "yarn.nodemanager.vmem-check-enabled": "false",
    "yarn.nodemanager.pmem-check-enabled": "false",
    "yarn.nodemanager.disk-health-checker.max-disk-utilization-per-disk-percentage": "99.9",
    "yarn.scheduler.capacity.root.queues": "default",
    "yarn.scheduler.capacity.root.default.capacity": "100",
    "yarn.scheduler.capacity.maximum-am-resource-percent": "1.0",
    "yarn.scheduler.minimum-allocation-mb": "256",
    "yarn.nodemanager.localizer.address": "127.0.0.1:0",
    "dfs.replication": "1",
}


@dataclass(frozen=True)
class HadoopCluster:
    """A running cluster.

    Attributes:
        configuration: the folder that HADOOP_CONF_DIR names.
        folder: with its logs and the containers' work.
        jvm: in which it runs.
        files: HDFS, as Hadoop's client has it.
    """

    configuration: Path
    folder: Path
    jvm: Any
    files: Any

    def put(self, file: Path, folder: str) -> str:
        """Store a file in HDFS; return its path there."""
        target = f"{folder}/{file.name}"
        self.files.copyFromLocalFile(self._path(file.as_uri()), self._path(target))
        return target

    def paths(self, folder: str) -> list[str]:
        """The paths of all files below a folder of HDFS."""
        found, listed = [], self.files.listFiles(self._path(folder), True)
        while listed.hasNext():
            found.append(str(listed.next().getPath().toUri().getPath()))
        return found

    def text(self, path: str) -> str:
        """What a file of HDFS holds."""
        with_path = self.files.open(self._path(path))
        content = self.jvm.org.apache.commons.io.IOUtils.toByteArray(with_path)
        return bytes(content).decode()

    def printed(self) -> str:
        """What all containers have printed."""
        logs = sorted(self.folder.rglob("container_*/std*"))
        return "".join(log.read_text(errors="replace") for log in logs)

    def _path(self, path: str) -> Any:
        return self.jvm.org.apache.hadoop.fs.Path(path)


def cluster_jars() -> list[Path]:
    """Hadoop's test clusters, fetched from Maven Central by Spark where they are not there yet."""
    packages = (
        f"org.apache.hadoop:hadoop-client-minicluster:{hadoop_version()}",
        "junit:junit:4.13.2",
        "org.mockito:mockito-core:4.11.0",
        "org.bouncycastle:bcpkix-jdk18on:1.78.1",
        "org.bouncycastle:bcprov-jdk18on:1.78.1",
        "org.bouncycastle:bcutil-jdk18on:1.78.1",
        "javax.xml.bind:jaxb-api:2.3.1",
    )
    command = [str(SPARK / "bin" / "spark-submit"), "--packages", ",".join(packages), "--class"]
    found = subprocess.run(
        [*command, "org.apache.hadoop.util.VersionInfo", "spark-internal"],
        capture_output=True,
        text=True,
        env=shell_environment(**registry_variables(), PYSPARK_PYTHON=sys.executable),
        check=False,
    )
    names = [f"{package.replace(':', '_', 1).replace(':', '-')}.jar" for package in packages]
    jars = [jar for name in names for jar in Path.home().glob(f".ivy2*/jars/{name}")]
    if len(jars) < len(names):
        raise FileNotFoundError(f"{packages} were not fetched: {found.stderr[-2000:]}")
    return jars


@contextmanager
def hadoop_cluster(folder: Path) -> Iterator[HadoopCluster]:
    """Start HDFS and YARN with two NodeManagers, write their configuration, and stop them."""
    configuration = folder / "configuration"
    configuration.mkdir(parents=True)
    classes = ":".join([*map(str, cluster_jars()), f"{SPARK / 'jars'}/*"])
    with (folder / "hadoop.log").open("wb") as log:
        gateway = JavaGateway.launch_gateway(
            classpath=classes,
            javaopts=JAVA_OPTIONS,
            die_on_exit=True,
            redirect_stdout=log,
            redirect_stderr=log,
            cwd=str(folder),
        )
    try:
        yield _started(gateway.jvm, folder, configuration)
    finally:
        gateway.shutdown()


def _started(jvm: Any, folder: Path, configuration: Path) -> HadoopCluster:
    hadoop = jvm.org.apache.hadoop
    settings = hadoop.yarn.conf.YarnConfiguration()
    for name, value in SETTINGS.items():
        settings.set(name, value)
    data = jvm.java.io.File(str(folder / "data"))
    files = hadoop.hdfs.MiniDFSCluster.Builder(settings, data).numDataNodes(1).build()
    files.waitActive()
    yarn = hadoop.yarn.server.MiniYARNCluster("yarn", NODE_MANAGERS, 1, 1)
    yarn.init(settings)
    yarn.start()
    if not yarn.waitForNodeManagersToConnect(60_000):
        raise TimeoutError(f"NodeManagers did not register; see {folder / 'hadoop.log'}")
    written = hadoop.conf.Configuration(yarn.getConfig())
    # A class of Hadoop's tests, which clients do not have.
    written.unset("net.topology.node.switch.mapping.impl")
    for name in ("core-site.xml", "yarn-site.xml"):
        stream = jvm.java.io.FileOutputStream(str(configuration / name))
        written.writeXml(stream)
        stream.close()
    return HadoopCluster(configuration, folder, jvm, files.getFileSystem())
