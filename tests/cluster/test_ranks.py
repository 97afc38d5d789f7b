"""On a real cluster of two workers: ranks that are killed, and a driver that holds nothing large.

The driver has a heap of 1 GB, and no job may bring it more than 8 MiB. The rows of the user-item
matrix have five times as much, the users' factors eight times, and the items' factors more, too.
"""

import json
from typing import Any

import pytest

from tests.process_runs import DISCOVERED_GPU, RanksRun


@pytest.fixture(scope="module")
def found(ranks_run: RanksRun) -> dict[str, Any]:
    code, printed = ranks_run.result
    assert code == 0, printed
    found: dict[str, Any] = json.loads((ranks_run.output / "found.json").read_text())
    return found


@pytest.mark.slow
def test_a_matrix_program_whose_rank_dies_is_started_again(found: dict[str, Any]) -> None:
    assert found["restarts"]["died"]
    assert found["restarts"]["counted"] == [[0, 500], [1, 500]]


@pytest.mark.slow
def test_towers_train_on_a_rank_of_each_executor_and_end_as_if_none_had_been_killed(
    found: dict[str, Any],
) -> None:
    """First the Python worker of rank 0 dies, then its whole executor."""
    towers = found["towers"]
    assert towers["ranks"] == 2
    # The start and each epoch were validated once, and again what the killed had begun.
    assert towers["calls"] == 1 + towers["epochs"] + 2
    assert towers["disturbed"] == towers["undisturbed"]
    assert towers["equal_weights"]


@pytest.mark.slow
def test_each_rank_is_given_the_gpu_that_spark_has_found_on_its_machine(
    found: dict[str, Any],
) -> None:
    assert found["towers"]["gpus"] == [DISCOVERED_GPU["addresses"]] * 2


@pytest.mark.slow
def test_the_driver_needs_no_room_for_users_nor_for_the_items_at_once(
    found: dict[str, Any],
) -> None:
    walls = found["walls"]
    assert "spark.driver.maxResultSize" in walls["collected_matrix"]
    assert walls["item_bytes"] > 3 * walls["bytes_at_once"]
    assert walls["factors_came_whole"] and walls["table_equals_model"]
    assert walls["svd_shape"] == [64_000, 32]
    assert walls["interactions"] == 5_000_000
    assert walls["user_factors"] == {"rows": 500_000, "values": 16_000_000}
    assert walls["lists"] == {"rows": 10_000, "values": 200_000}
    assert walls["tower_rows"] == 500_000
