"""One Spark session for all tests, from the same properties file as the jobs."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from m6rec.session import get_session, read_properties

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    """`local[2]`: two partitions run side by side, as few cores as show a distribution bug."""
    properties = read_properties(REPOSITORY / "conf" / "spark-local.conf")
    properties["spark.driver.memory"] = "2g"
    properties["spark.sql.shuffle.partitions"] = "2"
    session = get_session("m6rec-tests", properties, master="local[2]")
    yield session
    session.stop()
