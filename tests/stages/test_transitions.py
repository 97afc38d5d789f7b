"""The distributed transitions against the same kernel on one machine."""

import datetime

import numpy as np
import numpy.testing as npt
import pytest
from pyspark.sql import DataFrame, SparkSession

from m6rec.config.models import NeighboursConfig, TransitionsConfig
from m6rec.kernels.arrays.rows import UNKNOWN_TIME, Int64, Rows, indptr_of
from m6rec.kernels.neighbours import transitions as kernel
from m6rec.kernels.neighbours.item_neighbours import ItemWeights
from m6rec.stages.training import gram
from m6rec.stages.training import transitions as stage

N_USERS, N_ITEMS = 90, 30
SETTINGS = TransitionsConfig(window=4, kept=6, history_exponent=0.4, target_exponent=0.6)
CONFIG = NeighboursConfig(transitions=SETTINGS, maximum_history=12)
SCHEMA = (
    "user_index long, item_indices array<int>, weights array<float>, times array<timestamp>,"
    " excluded_indices array<int>"
)
START = datetime.datetime(2025, 1, 1, tzinfo=datetime.UTC)


@pytest.fixture(scope="module")
def histories() -> tuple[Rows, Int64]:
    """Histories with shared times; some users have no history, some no times or few."""
    generator = np.random.default_rng(8)
    held = generator.random((N_USERS, N_ITEMS)) < generator.uniform(0.05, 0.8, (N_USERS, 1))
    held[5] = False
    users, items = np.nonzero(held)
    days = generator.integers(0, 25, len(items))
    seconds = int(START.timestamp()) + 86_400 * days
    known = (users % 7 != 3) & ((users % 7 != 4) | (generator.random(len(items)) < 0.5))
    counts = np.bincount(users, minlength=N_USERS)
    rows = Rows(
        np.arange(N_USERS),
        indptr_of(counts),
        items.astype(np.int32),
        generator.uniform(0.5, 3.0, len(items)).astype(np.float32),
    )
    return rows, np.where(known, seconds, UNKNOWN_TIME)


def _frame(spark: SparkSession, histories: tuple[Rows, Int64], users: list[int]) -> DataFrame:
    rows, times = histories
    data = []
    for user in users:
        own = slice(rows.indptr[user], rows.indptr[user + 1])
        at = [
            None if one == UNKNOWN_TIME else datetime.datetime.fromtimestamp(one, datetime.UTC)
            for one in times[own].tolist()
        ]
        data.append((user, rows.item_indices[own].tolist(), rows.weights[own].tolist(), at, []))
    return spark.createDataFrame(data, SCHEMA)


def _expected(histories: tuple[Rows, Int64]) -> ItemWeights:
    rows, times = histories
    return kernel.transitions(rows, times, N_ITEMS, 4, 6, 0.4, 0.6, 12)


def _assert_same_bits(found: ItemWeights, expected: ItemWeights) -> None:
    npt.assert_array_equal(found.indptr, expected.indptr)
    npt.assert_array_equal(found.neighbour_indices, expected.neighbour_indices)
    npt.assert_array_equal(found.weights, expected.weights)


@pytest.mark.parametrize(("partitions", "at_once"), [(1, 4_000_000), (3, 50), (7, 1)])
def test_the_partitioning_changes_no_bit_of_what_the_kernel_gives(
    spark: SparkSession,
    histories: tuple[Rows, Int64],
    monkeypatch: pytest.MonkeyPatch,
    partitions: int,
    at_once: int,
) -> None:
    monkeypatch.setattr(stage, "TRANSITIONS_AT_ONCE", at_once)
    monkeypatch.setattr(gram, "BLOCK_ENTRIES", 250)
    users = np.random.default_rng(partitions).permutation(N_USERS).tolist()
    matrix = _frame(spark, histories, users).repartition(partitions)
    found = stage.train_transitions(matrix, N_ITEMS, CONFIG)
    expected = _expected(histories)
    assert len(expected.weights) > 3 * N_ITEMS
    _assert_same_bits(found, expected)


def test_rows_without_times_take_no_part(
    spark: SparkSession, histories: tuple[Rows, Int64]
) -> None:
    rows, times = histories
    first = [times[start] for start in rows.indptr[:-1] if start < rows.entries]
    assert UNKNOWN_TIME in first
    timed = [
        user
        for user in range(N_USERS)
        if (times[rows.indptr[user] : rows.indptr[user + 1]] != UNKNOWN_TIME).any()
    ]
    assert len(timed) < N_USERS - 1
    found = stage.train_transitions(_frame(spark, histories, timed), N_ITEMS, CONFIG)
    _assert_same_bits(found, _expected(histories))
    untimed = [user for user in range(N_USERS) if user not in timed]
    nothing = stage.train_transitions(_frame(spark, histories, untimed), N_ITEMS, CONFIG)
    assert len(nothing) == N_ITEMS
    assert len(nothing.weights) == 0


def test_items_beyond_the_index_are_named(
    spark: SparkSession, histories: tuple[Rows, Int64]
) -> None:
    matrix = _frame(spark, histories, list(range(N_USERS)))
    with pytest.raises(Exception, match="holds item_index 29, expected less than the 20 items"):
        stage.train_transitions(matrix, 20, CONFIG)
