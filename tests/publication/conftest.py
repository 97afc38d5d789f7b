"""A copy of the finished run's lake, for tests that change it."""

import shutil
from pathlib import Path

import pytest

from m6rec.config.run import Config
from m6rec.lakehouse import Lakehouse


@pytest.fixture(scope="package")
def copied(
    lakehouse: Lakehouse, config: Config, tmp_path_factory: pytest.TempPathFactory
) -> Lakehouse:
    lake = tmp_path_factory.mktemp("copied") / "lake"
    shutil.copytree(Path(config.lake), lake)
    return Lakehouse(lakehouse.spark, str(lake), lakehouse.run_id)
