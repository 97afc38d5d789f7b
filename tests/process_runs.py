"""Runs in processes of their own: the pipeline killed and again, on a cluster, and the benchmark.

They take minutes and leave a core idle half of the time, so `conftest.py` starts them beside the
other tests. The pipelines skip what does not touch the lists: ratings and ablation.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from m6rec.schemas import RUNS_TABLE
from m6rec.spark.session import read_properties
from m6rec.startup.jvm import SIMPLE_COMPILER
from tests.cluster.hadoop_cluster import SPARK, hadoop_cluster
from tests.cluster.metastore_program import INTERACTIONS, LAKE
from tests.cluster.object_store import BUCKET, object_store
from tests.cluster.standalone_cluster import standalone_cluster
from tests.local_properties import JAVA_OPTIONS, LOCAL_PROPERTIES, with_java_options
from tests.shell_environment import (
    CORES_ARE_SHARED,
    KERNELS_OF_BLAS,
    java_home,
    shell_environment,
)
from tests.synthetic_shop import Shop

REPOSITORY = Path(__file__).parent.parent
KILL_AFTER = "train_factors: finished"
BENCHMARK_KEYS = ("als_loss", "top_n_kernel_seconds")
# What a discovery script prints of a machine's GPUs.
DISCOVERED_GPU = {"name": "gpu", "addresses": ["3"]}
WITHOUT_EXTRAS: dict[str, Any] = {"ratings": {"enabled": False}, "ablation": {"seconds": 0}}
# Of each kind of model and of each kind of file one, for runs that are about places and not models.
ONE_OF_EACH: dict[str, Any] = WITHOUT_EXTRAS | {
    "settings": {"seconds": 0},
    "hybrid": {"members": ["als", "fusion"]},
    "towers": {
        "inputs": ["als"],
        "hidden": 16,
        "epochs": 2,
        "minimum_steps_per_epoch": 2,
        "negatives": 32,
        "sequence": {"enabled": False},
    },
    "factors": {"svd": {"rank": 8, "oversampling": 4}, "als": {"rank": 8, "iterations": 6}},
    "evaluate": {"bootstrap_replicates": 20, "rankers": ["hybrid", "als", "fusion", "popularity"]},
    "recommend": {"top_n": 10},
}
# Of conf/spark-local.conf: what makes a JVM and its queries start quickly, wherever they run.
CLUSTER_PROPERTIES = {
    JAVA_OPTIONS: with_java_options(SIMPLE_COMPILER)[JAVA_OPTIONS],
    "spark.executor.extraJavaOptions": with_java_options(SIMPLE_COMPILER)[JAVA_OPTIONS],
    **{
        name: LOCAL_PROPERTIES[name]
        for name in (
            "spark.sql.codegen.factoryMode",
            "spark.python.sql.dataFrameDebugging.enabled",
            "spark.sql.dataFrameQueryContext.enabled",
        )
    },
    "spark.sql.shuffle.partitions": "4",
    "spark.databricks.delta.snapshotPartitions": "1",
    "spark.executor.memory": "1g",
    "spark.driver.memory": "1g",
}
# Containers of a small machine. Spark's own jars, some 400 MB, are not sent to each of them.
YARN_PROPERTIES = {
    "spark.executor.instances": "2",
    "spark.executor.memory": "768m",
    "spark.yarn.jars": f"local:{SPARK / 'jars'}/*",
    "spark.yarn.maxAppAttempts": "1",
    "spark.yarn.appMasterEnv.JAVA_HOME": java_home(),
    "spark.executorEnv.JAVA_HOME": java_home(),
    "spark.yarn.am.waitTime": "200s",
    "spark.dynamicAllocation.enabled": "false",
}


@dataclass(frozen=True)
class KilledRun:
    """A run that was killed after its factors, and what it printed when it was started again.

    Attributes:
        killed: return code and output of the first process.
        again: of the second.
        lake_when_killed: a copy of its lineage before it was started again.
        lake: the root of its tables.
    """

    killed: tuple[int, str]
    again: tuple[int, str]
    lake_when_killed: Path
    lake: Path


@dataclass(frozen=True)
class ClusterRun:
    """A run on a standalone cluster of two workers.

    Attributes:
        result: return code and output.
        output: the folder with metrics.json and the lake.
        workers: the workers' folders.
    """

    result: tuple[int, str]
    output: Path
    workers: tuple[Path, ...]


@dataclass(frozen=True)
class StoreRun:
    """A run whose lake, sources and reports are in an object store that speaks S3's protocol.

    Attributes:
        result: return code and output.
        without_credentials: the same of a job that was told of no credentials.
        keys: of all that the store then held.
        removed: of what the run had written there and removed again.
        metrics: the text of metrics.json.
    """

    result: tuple[int, str]
    without_credentials: tuple[int, str]
    keys: tuple[str, ...]
    removed: tuple[str, ...]
    metrics: str


@dataclass(frozen=True)
class YarnRun:
    """A run in cluster deploy mode of YARN, with its lake and sources in HDFS.

    Attributes:
        result: return code and output of the command.
        printed: what the driver printed, in its container.
        files: paths of all files in HDFS.
        metrics: the text of metrics.json.
    """

    result: tuple[int, str]
    printed: str
    files: tuple[str, ...]
    metrics: str


@dataclass(frozen=True)
class RanksRun:
    """A run of `tests.cluster.ranks_program` on a standalone cluster of two workers.

    Attributes:
        result: return code and output.
        output: the folder with found.json.
    """

    result: tuple[int, str]
    output: Path


@dataclass(frozen=True)
class MetastoreRun:
    """Both notebooks on a catalogue of Hive's metastore, then a command that finds their run there.

    Attributes:
        notebooks: return code and output.
        found: what the notebooks' process found in the end.
        again: return code and output of `pipeline` with the run id of the notebook's run.
        folder: with the volume of models and reports.
    """

    notebooks: tuple[int, str]
    found: dict[str, Any]
    again: tuple[int, str]
    folder: Path


@dataclass(frozen=True)
class BenchmarkRun:
    """A run of the benchmark's command on a tiny matrix.

    Attributes:
        result: return code and output.
        output: the folder with benchmark.json.
    """

    result: tuple[int, str]
    output: Path


def run_killed_and_again(shop: Shop, folder: Path, properties: Path) -> KilledRun:
    """Kill the pipeline, with all its processes, and give its run id again."""
    start = _pipeline(shop, folder, "killed")
    environment = {"MASTER": "local[2]", "PROPERTIES": str(properties)}
    process = _start(start, environment)
    assert process.stdout is not None
    printed = []
    for line in process.stdout:
        printed.append(line)
        if KILL_AFTER in line:
            os.killpg(process.pid, signal.SIGKILL)
            break
    killed = (process.wait(), "".join(printed))
    lake, lake_when_killed = folder / "out" / "lake", folder / "lake-when-killed"
    shutil.copytree(lake / RUNS_TABLE.name, lake_when_killed / RUNS_TABLE.name)
    process = _start(start, environment)
    output, _ = process.communicate()
    return KilledRun(killed, (process.returncode, output), lake_when_killed, lake)


def run_on_cluster(shop: Shop, folder: Path, _: Path) -> ClusterRun:
    """Run the pipeline with conf/spark-cluster.conf on a master and two workers."""
    properties = folder / "spark.conf"
    cluster_lines = (REPOSITORY / "conf" / "spark-cluster.conf").read_text().splitlines()
    kept = [line for line in cluster_lines if line.split(" ")[0] not in CLUSTER_PROPERTIES]
    kept += [f"{key} {value}" for key, value in CLUSTER_PROPERTIES.items()]
    properties.write_text("\n".join(kept) + "\n")
    with standalone_cluster(folder) as cluster:
        environment = {
            "MASTER": cluster.master,
            "PROPERTIES": str(properties),
            "SPARK_LOCAL_IP": "127.0.0.1",
            # Of the executors, which have the driver's machine.
            "PYSPARK_PYTHON": sys.executable,
        }
        process = _start(_pipeline(shop, folder, "cluster"), environment)
        output, _ = process.communicate()
    workers = tuple(folder / f"worker-{number}" for number in range(2))
    return ClusterRun((process.returncode, output), folder / "out", workers)


def run_on_store(shop: Shop, folder: Path, properties: Path) -> StoreRun:
    """Run the pipeline in local mode on a store on loopback."""
    with object_store() as store:
        config = shop.config(f"s3a://{BUCKET}/lake", **ONE_OF_EACH)
        _set_sources(config, {one: store.put(one, f"source/{one.name}") for one in shop.tables})
        file = folder / "config.yaml"
        file.write_text(yaml.safe_dump(config))
        lines = properties.read_text()
        package = read_properties(properties)["spark.jars.packages"]
        lines += f"spark.jars.packages {package},{store.package}\n"
        without = folder / "without.conf"
        without.write_text(lines + _lines(store.properties_without_credentials))
        given = folder / "spark.conf"
        given.write_text(lines + _lines(store.properties))
        script = str(REPOSITORY / "spark-submit.sh")
        command = [script, "pipeline", "--config", str(file), "--run-id", "store"]
        command += ["--output", f"s3a://{BUCKET}/out"]
        environment = {"MASTER": "local[2]", "PROPERTIES": str(given)}
        result = _finished(_start(command, environment))
        # No machine's role is asked for, which takes long where there is none.
        environment |= {"PROPERTIES": str(without), "AWS_EC2_METADATA_DISABLED": "true"}
        refused = _finished(_start([script, "check", "--config", str(file)], environment))
        keys, removed = tuple(store.keys("")), tuple(store.removed_keys())
        metrics = store.text("out/metrics.json") if result[0] == 0 else ""
    return StoreRun(result, refused, keys, removed, metrics)


def run_on_yarn(shop: Shop, folder: Path, _: Path) -> YarnRun:
    """Run the pipeline with driver and executors in containers of YARN."""
    with hadoop_cluster(folder / "hadoop") as cluster:
        config = shop.config("/lake", **ONE_OF_EACH)
        _set_sources(config, {one: cluster.put(one, "/source") for one in shop.tables})
        file = folder / "config.yaml"
        file.write_text(yaml.safe_dump(config))
        properties = folder / "yarn.conf"
        properties.write_text(_lines(CLUSTER_PROPERTIES | YARN_PROPERTIES))
        command = [str(REPOSITORY / "spark-submit.sh"), "pipeline", "--config", str(file)]
        command += ["--run-id", "yarn", "--output", "/out"]
        environment = {
            "MASTER": "yarn",
            "DEPLOY_MODE": "cluster",
            "HADOOP_CONF_DIR": str(cluster.configuration),
            "PROPERTIES": f"{REPOSITORY / 'conf' / 'spark-cluster.conf'},{properties}",
            "ARCHIVES": str(packed_environment(folder)),
            # The zip of the package lies there, which no other run shall write meanwhile.
            "M6REC_CACHE": str(folder / "cache"),
        }
        result = _finished(_start(command, environment))
        printed = cluster.printed()
        files = tuple(cluster.paths("/"))
        metrics = cluster.text("/out/metrics.json") if result[0] == 0 else ""
    return YarnRun(result, printed, files, metrics)


def run_on_metastore(shop: Shop, folder: Path, properties: Path) -> MetastoreRun:
    """Run the notebooks for Databricks, and the pipeline again by another process."""
    given = folder / "spark.conf"
    given.write_text(properties.read_text() + _lines(_metastore_properties(folder)))
    small = shop.config(folder, **ONE_OF_EACH)
    settings = {name: small[name] for name in ("split", *ONE_OF_EACH)}
    columns = {"user": "customer", "item": "product", "time": "at"}
    places = {"lake": LAKE, "artifacts": str(folder / "volume")}
    widgets = {"interactions": INTERACTIONS, **columns, **places, "settings": json.dumps(settings)}
    asked = {"interactions": str(shop.interactions), "widgets": widgets}
    (folder / "asked.json").write_text(json.dumps(asked))
    command = [sys.executable, "-m", "tests.cluster.metastore_program", str(folder)]
    notebooks = _finished(_start(command, {"PYTHONPATH": f"{REPOSITORY / 'lib'}:{REPOSITORY}"}))
    if notebooks[0] != 0:
        return MetastoreRun(notebooks, {}, (1, ""), folder)
    found = json.loads((folder / "found.json").read_text())
    file = folder / "config.yaml"
    source = {"source": {"table": INTERACTIONS}, "columns": columns}
    file.write_text(yaml.safe_dump({"interactions": source, **places, **settings}))
    command = [str(REPOSITORY / "spark-submit.sh"), "pipeline", "--config", str(file)]
    command += ["--run-id", found["run_ids"][0], "--output", str(folder / "out")]
    again = _finished(_start(command, {"MASTER": "local[2]", "PROPERTIES": str(given)}))
    return MetastoreRun(notebooks, found, again, folder)


def _metastore_properties(folder: Path) -> dict[str, str]:
    """Of a session whose catalogue is Hive's metastore, in Derby's files below the folder."""
    options = f"{SIMPLE_COMPILER} -Dderby.system.home={folder}"
    return {
        JAVA_OPTIONS: with_java_options(options)[JAVA_OPTIONS],
        "spark.sql.catalogImplementation": "hive",
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
    }


def packed_environment(folder: Path) -> Path:
    """An archive that stands for the packed environment of 6 GB: its Python is this machine's.

    As in a packed environment, bin/python is what the containers start, and it finds the packages,
    but not M6-Rec itself, which has to come by the zip. Unlike there, the packages lie where they
    are installed, which a container on another machine would not reach.
    """
    binaries = folder / "environment" / "bin"
    binaries.mkdir(parents=True)
    python = binaries / "python"
    packages = sysconfig.get_path("purelib")
    # Without the module `site`, no .pth file of the environment leads to this repository.
    python.write_text(
        f'#!/bin/sh\nPYTHONPATH="$PYTHONPATH:{packages}" exec {sys.executable} -S "$@"\n'
    )
    python.chmod(0o755)
    archive = folder / "environment.tar.gz"
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(binaries, "bin")
    return archive


def _set_sources(config: dict[str, Any], addresses: dict[Path, str]) -> None:
    """Read the shop's tables where they have been put."""
    features = config["features"]
    for source in (config["interactions"], features["items"], features["users"]):
        source["source"]["path"] = addresses[Path(source["source"]["path"])]


def _lines(properties: dict[str, str]) -> str:
    return "".join(f"{key} {value}\n" for key, value in properties.items())


def _finished(process: "subprocess.Popen[str]") -> tuple[int, str]:
    output, _ = process.communicate()
    return process.returncode, output


def run_ranks_program(_: Shop, folder: Path, __: Path) -> RanksRun:
    """Train towers that are killed, and run the matrix programs under a driver with little room.

    Spark takes each worker for a machine with one GPU, and schedules it.
    """
    discovery = folder / "discovery.sh"
    discovery.write_text(f"#!/bin/sh\necho '{json.dumps(DISCOVERED_GPU)}'\n")
    discovery.chmod(0o755)
    options = {"amount": "1", "discoveryScript": str(discovery)}
    of_workers = " ".join(f"-Dspark.worker.resource.gpu.{k}={v}" for k, v in options.items())
    with standalone_cluster(folder, worker_options=of_workers) as cluster:
        output = folder / "out"
        output.mkdir()
        command = [sys.executable, "-m", "tests.cluster.ranks_program", cluster.master, str(output)]
        environment = {
            "PYTHONPATH": f"{REPOSITORY / 'lib'}:{REPOSITORY}",
            "SPARK_LOCAL_IP": "127.0.0.1",
            "PYSPARK_PYTHON": sys.executable,
        }
        process = _start(command, environment)
        printed, _ = process.communicate()
    return RanksRun((process.returncode, printed), output)


def run_benchmark(_: Shop, folder: Path, __: Path) -> BenchmarkRun:
    """Measure two keys of the benchmark, each contender once."""
    sizes = ["--users", "300", "--items", "400", "--interactions", "6000"]
    # As `make benchmark` does, it measures by the machine's own kernels.
    unset = [part for name in KERNELS_OF_BLAS for part in ("-u", name)]
    command = ["env", *unset, sys.executable, "-m", "tests.benchmarks", "--output", str(folder)]
    command += ["--quick", *sizes]
    command += [part for key in BENCHMARK_KEYS for part in ("--only", key)]
    process = _start(command, {"PYTHONPATH": f"{REPOSITORY / 'lib'}:{REPOSITORY}"})
    output, _ = process.communicate()
    return BenchmarkRun((process.returncode, output), folder)


def _pipeline(shop: Shop, folder: Path, run_id: str) -> list[str]:
    config, output = folder / "config.yaml", folder / "out"
    config.write_text(yaml.safe_dump(shop.config(output / "lake", **WITHOUT_EXTRAS)))
    command = [str(REPOSITORY / "spark-submit.sh"), "pipeline", "--config", str(config)]
    return [*command, "--output", str(output), "--run-id", run_id]


def _start(command: list[str], environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=shell_environment(**CORES_ARE_SHARED, **environment),
        cwd=REPOSITORY,
        # A group of its own, so that the JVM and its workers die with the script.
        start_new_session=True,
    )
