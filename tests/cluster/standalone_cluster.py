"""A real standalone cluster on loopback: one master and workers, from the pip-installed Spark."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyspark

from m6rec.startup.jvm import SIMPLE_COMPILER
from tests.shell_environment import shell_environment

SPARK_CLASS = Path(pyspark.__file__).parent / "bin" / "spark-class"
MASTER = "org.apache.spark.deploy.master.Master"
WORKER = "org.apache.spark.deploy.worker.Worker"


@dataclass(frozen=True)
class StandaloneCluster:
    """The address of a running master, and the folder with its logs and work."""

    master: str
    folder: Path


@contextmanager
def standalone_cluster(
    folder: Path,
    workers: int = 2,
    memory: str = "2g",
    seconds: float = 90.0,
    worker_options: str = "",
) -> Iterator[StandaloneCluster]:
    """Start a master and `workers` workers of one core, wait until all are registered, stop them.

    `worker_options` are of the workers' JVMs.

    Raises:
        TimeoutError: they did not register within `seconds`; the message has the logs' tails.
    """
    port, page = _free_port(), _free_port()
    address = f"spark://127.0.0.1:{port}"
    processes: list[subprocess.Popen[bytes]] = []
    try:
        ports = ["--port", str(port), "--webui-port", str(page)]
        processes.append(_start(folder, "master", MASTER, "--host", "127.0.0.1", *ports))
        for number in range(workers):
            name = f"worker-{number}"
            options = ["--host", "127.0.0.1", "--cores", "1", "--memory", memory]
            options += ["--webui-port", "0", "--work-dir", str(folder / name)]
            started = _start(
                folder, name, WORKER, *options, address, SPARK_WORKER_OPTS=worker_options
            )
            processes.append(started)
        _wait_for_workers(folder, processes, page, workers, seconds)
        yield StandaloneCluster(address, folder)
    finally:
        for process in reversed(processes):
            _stop(process)


def _start(folder: Path, name: str, *command: str, **variables: str) -> subprocess.Popen[bytes]:
    environment = shell_environment(
        SPARK_LOCAL_IP="127.0.0.1",
        SPARK_DAEMON_MEMORY="512m",
        SPARK_DAEMON_JAVA_OPTS=SIMPLE_COMPILER,
        PYSPARK_PYTHON=sys.executable,
        **variables,
    )
    with (folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen(
            [str(SPARK_CLASS), *command],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )


def _wait_for_workers(
    folder: Path, processes: list[subprocess.Popen[bytes]], page: int, workers: int, seconds: float
) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        died = any(process.poll() is not None for process in processes)
        if not died and _alive_workers(page) == workers:
            return
        if died:
            break
        time.sleep(0.5)
    tails = "\n".join(f"{log.name}: {log.read_text()[-800:]}" for log in folder.glob("*.log"))
    raise TimeoutError(f"{workers} workers did not register within {seconds} s\n{tails}")


def _alive_workers(page: int) -> int:
    """How many workers the master's page counts as alive; 0 while it does not answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{page}/json/", timeout=5) as answer:
            return int(json.load(answer)["aliveworkers"])
    except (OSError, json.JSONDecodeError):
        return 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the process group: executors are children of their worker."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
