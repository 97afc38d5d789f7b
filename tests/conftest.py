"""One Spark session and one finished run of the pipeline for all tests that need them."""

import os
from collections.abc import Iterator
from pathlib import Path

import coverage
import pytest
from pyspark.sql import SparkSession

from m6rec.config import Config, parse_config
from m6rec.lakehouse import Lakehouse
from m6rec.session import get_session, read_properties
from tests.quick_spark import QUICK_TO_START
from tests.synthetic_shop import Shop, make_shop

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def local_properties() -> dict[str, str]:
    """conf/spark-local.conf, made quick to start."""
    return read_properties(REPOSITORY / "conf" / "spark-local.conf") | QUICK_TO_START


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
def lakehouse(spark: SparkSession, config: Config, output: Path) -> Lakehouse:
    """The tables of a run of the whole pipeline."""
    from jobs.pipeline import run_pipeline  # noqa: PLC0415 - torch, for these tests alone

    return run_pipeline(spark, config, "first", output)
