"""Small inputs for the towers."""

import pytest

from m6rec.kernels.arrays.rows import Float32, Rows
from m6rec.kernels.factors.projection import FactorModel
from m6rec.towers.row_files import Manifest
from tests.towers.coloured import (
    coloured_rows,
    colours_of_items,
    factors_of,
    noise_of_users,
    write_files,
)


@pytest.fixture(scope="session")
def rows() -> Rows:
    return coloured_rows()


@pytest.fixture(scope="session")
def factor_model(rows: Rows) -> FactorModel:
    return factors_of(rows)


@pytest.fixture(scope="session")
def item_features() -> Float32:
    return colours_of_items()


@pytest.fixture(scope="session")
def user_features() -> Float32:
    return noise_of_users()


@pytest.fixture(scope="session")
def manifest(
    rows: Rows, user_features: Float32, tmp_path_factory: pytest.TempPathFactory
) -> Manifest:
    """The rows in four files for one rank."""
    return write_files(tmp_path_factory.mktemp("rows"), rows, user_features, files=4, world_size=1)
