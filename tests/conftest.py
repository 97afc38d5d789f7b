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
from tests.synthetic_shop import Shop, make_shop

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    """`local[2]`: two partitions run side by side, as few cores as show a distribution bug."""
    properties = read_properties(REPOSITORY / "conf" / "spark-local.conf")
    properties["spark.driver.memory"] = "2g"
    properties["spark.sql.shuffle.partitions"] = "2"
    # Tests run each query a few times at most: compiling it well costs more than it saves. The
    # simple compiler alone has 48 MiB for its code, which a run of the pipeline fills; then all
    # that follows is interpreted.
    properties["spark.driver.extraJavaOptions"] = (
        "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=256m -XX:+UseParallelGC"
    )
    properties["spark.sql.codegen.factoryMode"] = "NO_CODEGEN"
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
