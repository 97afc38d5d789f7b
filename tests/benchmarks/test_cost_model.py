"""The formulae against the programs: what they reduce is counted, byte by byte."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.sparse as sp
import torch

from m6rec.config.models import AlsConfig, NeighboursConfig, SvdConfig
from m6rec.config.towers import TowersConfig
from m6rec.kernels.arrays.rows import Rows
from m6rec.kernels.factors.als import alternating_least_squares
from m6rec.kernels.factors.svd import randomized_svd
from m6rec.kernels.ranking.top_n import _ITEMS_PER_BLOCK, _USERS_PER_BLOCK
from m6rec.towers.model import TowerModel, TowerShape
from tests.benchmarks import cost_model as model
from tests.benchmarks.cost_model import Cluster, Matrix
from tests.benchmarks.scale_document import table_of_predictions
from tests.matrix_rows import rows_from_scipy

ITEMS = 50
# Work that every executor does itself.
WHOLE_ITEM_ARRAYS = {"als_item_numbers"}
MATRIX = Matrix(users=1e5, items=1e4, interactions=3e6, pairs=3e8)


class CountingCommunicator:
    """One rank that counts the bytes which more would send each other."""

    rank, size = 0, 1

    def __init__(self) -> None:
        self.reduced = 0

    def all_reduce(self, array: npt.NDArray[Any]) -> None:
        self.reduced += array.nbytes

    def start_all_reduce(self, array: npt.NDArray[Any]) -> Callable[[], None]:
        self.all_reduce(array)
        return lambda: None

    def broadcast(self, array: npt.NDArray[Any]) -> None:
        raise AssertionError("training does not broadcast")


def _rows() -> Rows:
    return rows_from_scipy(sp.random(200, ITEMS, 0.2, "csr", np.float32, random_state=1))


def _reduced_by_als(config: AlsConfig) -> int:
    communicator = CountingCommunicator()
    alternating_least_squares(_rows(), ITEMS, config, 1, communicator)
    return communicator.reduced


@pytest.mark.parametrize("steps", [2, 3])
def test_an_als_iteration_reduces_the_bytes_of_the_formula(steps: int) -> None:
    one, two = (
        AlsConfig(rank=8, iterations=iterations, conjugate_gradient_steps=steps)
        for iterations in (1, 2)
    )
    marginal = _reduced_by_als(two) - _reduced_by_als(one)
    assert marginal == model.als_payload(ITEMS, one)


@pytest.mark.parametrize("passes", [1, 7])
def test_a_decomposition_reduces_the_bytes_of_the_formula(passes: int) -> None:
    config = SvdConfig(rank=8, oversampling=4, power_passes=passes)
    communicator = CountingCommunicator()
    randomized_svd(_rows(), ITEMS, config, 1, communicator)
    assert communicator.reduced == model.svd_payload(ITEMS, config)


def test_the_towers_have_as_many_parameters_as_the_formula() -> None:
    config = TowersConfig(hidden=24)
    shape = TowerShape(8, 0, 0, config.hidden, config.feature_hidden, 0.1, 2.0)
    parameters = sum(torch.numel(one) for one in TowerModel(shape).parameters())
    assert parameters == model.tower_parameters(8, config)


def test_a_worker_of_top_n_holds_the_items_and_a_block_of_scores_a_core() -> None:
    cost = model.top_n(MATRIX, 64, Cluster(executors=5, cores_of_each=2))
    block = 4 * _USERS_PER_BLOCK * _ITEMS_PER_BLOCK
    assert cost.memory_bytes == 4 * 64 * MATRIX.items + 2 * block
    assert (
        cost.memory_bytes
        == model.top_n(
            Matrix(1e9, MATRIX.items, 1e11), 64, Cluster(executors=5, cores_of_each=2)
        ).memory_bytes
    )


@pytest.mark.parametrize(
    "cost",
    [
        lambda cluster: model.als_iteration(MATRIX, AlsConfig(rank=64), cluster),
        lambda cluster: model.top_n(MATRIX, 64, cluster),
        lambda cluster: model.neighbours(MATRIX, NeighboursConfig(), cluster),
        lambda cluster: model.ridge(MATRIX, NeighboursConfig(), cluster),
        lambda cluster: model.tower_epoch(MATRIX, 64, TowersConfig(), cluster),
    ],
)
def test_twice_the_executors_halve_the_work_of_each_and_one_alone_reduces_nothing(
    cost: Any,
) -> None:
    one, two = cost(Cluster(1)), cost(Cluster(2))
    for name, work in two.work.items():
        shared = 1 if name in WHOLE_ITEM_ARRAYS else 2
        assert work == pytest.approx(one.work[name] / shared)
    assert model.ring(1e9, 1) == 0.0
    assert model.ring(1e9, 2) == 1e9


def test_user_vectors_are_far_where_they_do_not_fit_what_is_close() -> None:
    def work(users: float) -> dict[str, float]:
        matrix = Matrix(users, MATRIX.items, MATRIX.interactions)
        return dict(model.als_iteration(matrix, AlsConfig(rank=64), Cluster(1)).work)

    bytes_of_user = 4 * 64
    close, far = (work(size / bytes_of_user) for size in (model.CLOSE_BYTES, model.FAR_BYTES))
    between = work(math.sqrt(model.CLOSE_BYTES * model.FAR_BYTES) / bytes_of_user)
    assert close["als_far_item_operations"] == 0.0
    assert far["als_item_operations"] == 0.0
    assert far["als_far_item_operations"] == close["als_item_operations"]
    assert between["als_item_operations"] == pytest.approx(close["als_item_operations"] / 2)


def test_the_document_tells_the_error_of_a_prediction() -> None:
    facts = {"users": 1000, "items": 500, "interactions": 20_000, "pairs": 0, "workers": 1}
    predicted = 2 * 64 * 1000 * 500 / 1e9
    result = {
        "constants": {"top_n_operations": {"m6rec": 1e9}},
        "scaling": {"top_n_kernel_seconds/20000": {"m6rec": predicted / 1.25}},
        "checks": {"scaling": {"top_n_kernel_seconds/20000": {"m6rec": facts}}},
    }
    (line,) = [row for row in table_of_predictions(result) if "top_n" in row]
    assert "+25%" in line
