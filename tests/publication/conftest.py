"""A copy of the finished run's lake, for tests that change it."""

import shutil
from pathlib import Path

import pytest

from m6rec.config.run import Config
from m6rec.lakehouse import Lakehouse


@pytest.fixture
def copied(lakehouse: Lakehouse, config: Config, tmp_path: Path) -> Lakehouse:
    return copy_of(lakehouse, config, tmp_path)


def copy_of(lakehouse: Lakehouse, config: Config, folder: Path) -> Lakehouse:
    """The same in a folder."""
    lake = folder / "lake"
    shutil.copytree(Path(config.lake), lake)
    return Lakehouse(lakehouse.spark, str(lake), lakehouse.run_id)
