"""A program runs on all ranks at once, adds up exactly, and impossible clusters are refused."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import types as T

from m6rec.errors import ClusterError
from m6rec.kernels.arrays.communicator import Communicator
from m6rec.kernels.arrays.rows import Rows
from m6rec.spark.barrier import check_barrier, run_program

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
