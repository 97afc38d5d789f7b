"""One Spark session and one finished run of the pipeline for all tests that need them."""

import os
import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import coverage
import pytest
from pyspark.sql import SparkSession
from xdist.scheduler import LoadScopeScheduling

from m6rec.config.run import Config, parse_config
from m6rec.lakehouse import Lakehouse
from m6rec.spark.session import get_session
from m6rec.startup.jvm import SIMPLE_COMPILER
from tests.local_properties import with_java_options
from tests.process_runs import (
    BenchmarkRun,
    ClusterRun,
    KilledRun,
    MetastoreRun,
    RanksRun,
    StoreRun,
    YarnRun,
    run_benchmark,
    run_killed_and_again,
    run_on_cluster,
    run_on_metastore,
    run_on_store,
    run_on_yarn,
    run_ranks_program,
)
from tests.shell_environment import CORES_ARE_SHARED
from tests.synthetic_shop import Shop, make_shop

REPOSITORY = Path(__file__).parent.parent
KERNEL_TESTS = Path(__file__).parent / "kernels"
os.environ.update(CORES_ARE_SHARED)


# Fixtures of what runs in processes of its own, and what makes each.
PROCESS_RUNS = {
    "killed_run": run_killed_and_again,
    "cluster_run": run_on_cluster,
    "store_run": run_on_store,
    "yarn_run": run_on_yarn,
    "metastore_run": run_on_metastore,
    "ranks_run": run_ranks_program,
    "benchmark_run": run_benchmark,
}
FINISHED_RUN = "finished run"
# What tests ask for by a parameter of that name; `copied` is a copy of the finished run.
RUNS = ("lakehouse", "copied", *PROCESS_RUNS)
ProcessRun = KilledRun | ClusterRun | StoreRun | YarnRun | MetastoreRun | RanksRun | BenchmarkRun


class RunsTogether(LoadScopeScheduling):  # type: ignore[misc]
    """Modules with tests of the finished run or of process runs go to one worker.

    `make test` has two workers. So each run is made once, and the other worker has all else to do.
    A module is the least that a worker takes.
    """

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        return FINISHED_RUN if asks_for_a_run(REPOSITORY / module) else module


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> RunsTogether:
    return RunsTogether(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of kernels come first, then those of runs, then all others.

    What the kernels' tests compile, no pipeline has to compile in each of its Python workers.
    """
    items.sort(key=_place)


def _place(item: pytest.Item) -> tuple[bool, bool, bool]:
    waits = any(name in _fixtures(item) for name in PROCESS_RUNS)
    return (not item.path.is_relative_to(KERNEL_TESTS), not asks_for_a_run(item.path), waits)


@cache
def asks_for_a_run(module: Path) -> bool:
    """Whether a test or a fixture of the module has a parameter that is called like a run.

    The process that divides the tests among the workers knows nothing of them but their names.
    """
    named = rf"(^@pytest\.fixture[^\n]*\ndef |^def test_)\w+\([^)]*\b({'|'.join(RUNS)}): "
    return re.search(named, module.read_text(), re.MULTILINE) is not None


def _fixtures(item: pytest.Item) -> tuple[str, ...]:
    return tuple(getattr(item, "fixturenames", ()))


@pytest.fixture(scope="session")
def process_runs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[ProcessRun]]]:
    """The process runs that selected tests ask for, begun at once, one after the other."""
    asked = {name for item in request.session.items for name in _fixtures(item)}
    runs = {name: run for name, run in PROCESS_RUNS.items() if name in asked}
    with ThreadPoolExecutor(1) as pool:
        yield {
            name: pool.submit(
                run,
                request.getfixturevalue("shop"),
                tmp_path_factory.mktemp(name),
                request.getfixturevalue("properties_file"),
            )
            for name, run in runs.items()
        }


@pytest.fixture(scope="session")
def killed_run(process_runs: dict[str, Future[KilledRun]]) -> KilledRun:
    return process_runs["killed_run"].result()


@pytest.fixture(scope="session")
def cluster_run(process_runs: dict[str, Future[ClusterRun]]) -> ClusterRun:
    return process_runs["cluster_run"].result()


@pytest.fixture(scope="session")
def store_run(process_runs: dict[str, Future[ProcessRun]]) -> StoreRun:
    return process_runs["store_run"].result()


@pytest.fixture(scope="session")
def yarn_run(process_runs: dict[str, Future[ProcessRun]]) -> YarnRun:
    return process_runs["yarn_run"].result()


@pytest.fixture(scope="session")
def metastore_run(process_runs: dict[str, Future[MetastoreRun]]) -> MetastoreRun:
    return process_runs["metastore_run"].result()


@pytest.fixture(scope="session")
def ranks_run(process_runs: dict[str, Future[RanksRun]]) -> RanksRun:
    return process_runs["ranks_run"].result()


@pytest.fixture(scope="session")
def benchmark_run(process_runs: dict[str, Future[BenchmarkRun]]) -> BenchmarkRun:
    return process_runs["benchmark_run"].result()


@pytest.fixture(scope="session")
def local_properties() -> dict[str, str]:
    """conf/spark-local.conf for a few rows.

    Adaptive execution would put these into one partition after each shuffle, and plan anew.
    """
    few = {"spark.sql.shuffle.partitions": "2", "spark.sql.adaptive.enabled": "false"}
    return with_java_options(SIMPLE_COMPILER) | few


@pytest.fixture(scope="session")
def properties_file(
    local_properties: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The same as a file, for jobs that start Spark themselves."""
    file = tmp_path_factory.mktemp("properties") / "spark.conf"
    file.write_text("".join(f"{key} {value}\n" for key, value in local_properties.items()))
    return file


@pytest.fixture(scope="session")
def spark(local_properties: dict[str, str]) -> Iterator[SparkSession]:
    """`local[2]`: two partitions run side by side, as few cores as show a distribution bug."""
    # What the developer has set for Spark would win over the properties.
    for name in [name for name in os.environ if name.startswith(("SPARK_", "PYSPARK_"))]:
        del os.environ[name]
    properties = dict(local_properties)
    if coverage.Coverage.current() is not None:
        os.environ["M6REC_COVERAGE_FILE"] = str(REPOSITORY / ".coverage")
        properties["spark.python.daemon.module"] = "tests.coverage_daemon"
    session = get_session("m6rec-tests", properties, master="local[2]")
    yield session
    session.stop()


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return make_shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="session")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the finished run leaves its tables, metrics and report."""
    return tmp_path_factory.mktemp("output")


@pytest.fixture(scope="session")
def config(shop: Shop, output: Path) -> Config:
    return parse_config(shop.config(output / "lake"), "test")


@pytest.fixture(scope="session")
def lakehouse(
    spark: SparkSession,
    config: Config,
    output: Path,
    process_runs: dict[str, Future[ProcessRun]],  # begun before, to go on beside
) -> Lakehouse:
    """The tables of a run of the whole pipeline."""
    from jobs.pipeline import run_pipeline  # noqa: PLC0415 - torch, for these tests alone

    return run_pipeline(spark, config, "first", output)
