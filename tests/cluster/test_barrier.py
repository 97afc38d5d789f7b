"""A program runs on all ranks at once, adds up exactly, and impossible clusters are refused."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import types as T
from torch import distributed

from m6rec.errors import ClusterError
from m6rec.kernels.arrays.communicator import Communicator
from m6rec.kernels.arrays.rows import Rows
from m6rec.spark.barrier import (
    GlooCommunicator,
    _gloo_group,
    check_barrier,
    host_of,
    own_address,
    run_program,
)

SCHEMA = T.StructType().add("rank", "long").add("size", "long").add("value", "binary")


def _matrix(spark: SparkSession, users: int = 20) -> DataFrame:
    rows = [(user, [0, user + 1], [1.0, 2.0]) for user in reversed(range(users))]
    return spark.createDataFrame(
        rows, "user_index long, item_indices array<int>, weights array<float>"
    )


def test_all_ranks_get_the_same_bits_of_a_sum(spark: SparkSession) -> None:
    def program(rows: Rows, communicator: Communicator) -> Iterator[pa.RecordBatch]:
        generator = np.random.default_rng(communicator.rank)
        array = generator.standard_normal((1001, 7)).astype(np.float32)
        communicator.all_reduce(array)
        yield pa.RecordBatch.from_pydict(
            {"rank": [communicator.rank], "size": [communicator.size], "value": [array.tobytes()]}
        )

    first, second = run_program(_matrix(spark), program, SCHEMA).orderBy("rank").collect()
    assert (first["rank"], second["rank"], first["size"]) == (0, 1, 2)
    assert first["value"] == second["value"]
    expected = sum(
        np.random.default_rng(rank).standard_normal((1001, 7)).astype(np.float32)
        for rank in range(2)
    )
    np.testing.assert_array_equal(
        np.frombuffer(first["value"], np.float32).reshape(1001, 7), expected
    )


def test_each_user_is_on_one_rank_in_order_and_broadcast_gives_rank_zeros(
    spark: SparkSession,
) -> None:
    def program(rows: Rows, communicator: Communicator) -> Iterator[pa.RecordBatch]:
        held = np.full(3, communicator.rank + 5, np.int64)
        communicator.broadcast(held)
        assert (held == 5).all()
        assert (rows.item_indices[1::2] == rows.user_index + 1).all()
        yield pa.RecordBatch.from_pydict(
            {
                "rank": [communicator.rank],
                "size": [communicator.size],
                "value": [rows.user_index.tobytes()],
            }
        )

    collected = run_program(_matrix(spark), program, SCHEMA).collect()
    users = [np.frombuffer(row["value"], np.int64) for row in collected]
    assert all((np.diff(part) > 0).all() for part in users)
    assert sorted(np.concatenate(users)) == list(range(20))


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("[fd00:10:1::5]:41000", "fd00:10:1::5"),
        ("10.0.3.7:41000", "10.0.3.7"),
        ("worker-1.shop.internal:41000", "worker-1.shop.internal"),
    ],
)
def test_a_tasks_address_has_its_host(address: str, host: str) -> None:
    assert host_of(address) == host


@pytest.fixture(params=["127.0.0.1", "::1"])
def loopback(request: pytest.FixtureRequest) -> str:
    address = str(request.param)
    try:
        socket.create_server((address, 0), family=socket.getaddrinfo(address, 0)[0][0]).close()
    except OSError:
        pytest.skip(f"this machine has no {address}")
    return address


def test_ranks_join_by_addresses_of_both_kinds(loopback: str) -> None:
    address = own_address("another", ["another", loopback])
    assert address == loopback
    store = distributed.TCPStore(address, 0, 2, True, wait_for_workers=False)

    def total(rank: int) -> float:
        joined = distributed.TCPStore(address, store.port, 2, False)
        communicator = GlooCommunicator(_gloo_group(joined, rank, 2, address), joined)
        array = np.array([rank + 1.0])
        communicator.all_reduce(array)
        return float(array[0])

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(total, range(2))) == [3.0, 3.0]


def test_a_failure_of_one_rank_fails_the_stage(spark: SparkSession) -> None:
    def program(rows: Rows, communicator: Communicator) -> Iterator[pa.RecordBatch]:
        if communicator.rank == 1:
            raise ValueError("rank one gave up")
        yield from ()

    with pytest.raises(Exception, match="rank one gave up"):
        run_program(_matrix(spark), program, SCHEMA).collect()


def test_a_strided_array_is_refused(spark: SparkSession) -> None:
    def program(rows: Rows, communicator: Communicator) -> Iterator[pa.RecordBatch]:
        # A rank that fails while the other still joins has that one fail first, in words of Gloo's.
        communicator.all_reduce(np.zeros(1, np.float32))
        communicator.all_reduce(np.zeros((4, 4), np.float32)[:, :2])
        yield from ()

    with pytest.raises(Exception, match="contiguous float32"):
        run_program(_matrix(spark), program, SCHEMA).collect()


def test_ranks_are_the_slots_of_the_cluster_and_more_are_refused(spark: SparkSession) -> None:
    assert check_barrier(spark) == 2
    assert check_barrier(spark, 1) == 1
    with pytest.raises(ClusterError, match=r"3 ranks .* 2 task slots .*spark.executor.instances"):
        run_program(_matrix(spark), lambda rows, communicator: iter(()), SCHEMA, ranks=3)
