"""Rows come to the driver whole and in order, in as many parts as its room asks for."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from m6rec import columns as c
from m6rec.errors import DataError
from m6rec.kernels.factors.projection import FactorModel
from m6rec.spark.arrow_rows import MOST_VALUES, list_array
from m6rec.spark.barrier import RankTask, run_ranks
from m6rec.spark.collecting import KeptPartition, bytes_at_once, collected_batches, part_bounds
from m6rec.spark.item_matrices import item_rows
from m6rec.spark.one_file import write_one_parquet
from m6rec.stages.training.factor_models import MODEL_SCHEMA, rows_of_model
from m6rec.stages.training.pieces import PACKED_SCHEMA, Pieces, collect_pieces, pack_pieces

FIRST = 1 << 33
"""The number of the first row of partition 1."""


def test_parts_are_about_as_large_as_asked_and_hold_each_row_once() -> None:
    partitions = [KeptPartition(2, 10, 100), KeptPartition(0, 4, 30), KeptPartition(1, 6, 60)]
    # Partitions 0 and 1 fit into one part of 100 bytes; 2 has one of its own.
    assert part_bounds(partitions, 100) == [(0, 2 * FIRST), (2 * FIRST, 3 * FIRST)]
    # Of 40 bytes at once, partition 1 takes two parts, and partition 2 three.
    assert part_bounds(partitions, 40) == [
        (0, FIRST),
        (FIRST, FIRST + 3),
        (FIRST + 3, 2 * FIRST),
        (2 * FIRST, 2 * FIRST + 3),
        (2 * FIRST + 3, 2 * FIRST + 6),
        (2 * FIRST + 6, 3 * FIRST),
    ]
    assert part_bounds([KeptPartition(0, 1, 500)], 10) == [(0, FIRST)]
    assert part_bounds([], 10) == []


def test_rows_in_parts_are_those_that_come_at_once(spark: SparkSession) -> None:
    columns = ("id", "sequence(id, id + id % 7) as list", "cast(id as string) as word")
    frame = spark.range(0, 1000, 1, 4).selectExpr(*columns, "encode('x', 'utf-8') as bytes")
    at_once = pa.Table.from_batches(collected_batches(frame, 0))
    batches = list(collected_batches(frame, 1 << 40, at_once=15_000))
    assert len(batches) > 3
    assert pa.Table.from_batches(batches).equals(at_once)
    assert (
        sum(batch.num_rows for batch in collected_batches(frame.where("id < 0"), 1 << 40, 9)) == 0
    )
    assert not spark.catalog.listTables() and bytes_at_once(spark) > 1 << 20


def test_packed_rows_come_in_parts_where_they_have_many_entries(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Ten rows of a thousand entries of 8 bytes are twice what the driver may get at once here.
    monkeypatch.setattr("m6rec.spark.collecting.bytes_at_once", lambda _: 45_000)
    entries = 1_000

    def packed(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for number in batch.column("id").to_numpy():
                indices = np.arange(entries, dtype=np.int32)
                values = np.full(entries, number, np.float32)
                yield pack_pieces(
                    Pieces(np.array([number]), np.array([0, entries]), indices, values)
                )

    frame = spark.range(0, 10, 1, 2).mapInArrow(packed, PACKED_SCHEMA)
    context = spark.sparkContext
    context.setJobGroup("packed", "")
    try:
        pieces = collect_pieces(frame, 10, entries)
    finally:
        context.setLocalProperty("spark.jobGroup.id", None)
    assert pieces.keys.tolist() == list(range(10))
    assert pieces.values.reshape(10, entries).mean(axis=1).tolist() == list(range(10))
    # One counts the bytes of the partitions.
    assert len(context.statusTracker().getJobIdsForGroup("packed")) > 2


def test_what_ranks_yield_comes_in_parts_and_is_computed_once(
    spark: SparkSession, tmp_path: Path
) -> None:
    def program(task: RankTask) -> Iterator[pa.RecordBatch]:
        (tmp_path / f"{task.group.rank}-{len(list(tmp_path.iterdir()))}").touch()
        total = np.array([task.group.rank + 1])
        task.group.all_reduce(total)
        for start in range(0, 100, 10):
            rows = {"rank": [task.group.rank] * 10, "row": range(start, start + 10)}
            yield pa.RecordBatch.from_pydict(rows | {"total": total.repeat(10)})
        assert task.gpus == ()

    frame = run_ranks(spark, program, "rank long, row long, total long")
    batches = list(collected_batches(frame, 1 << 40, at_once=2_000))
    found = pa.Table.from_batches(batches).to_pandas()
    assert len(batches) > 2
    assert len(list(tmp_path.iterdir())) == 2
    assert (found["total"] == 3).all()
    assert found["rank"].tolist() == [0] * 100 + [1] * 100
    assert found["row"].tolist() == list(range(100)) * 2


def test_a_column_of_lists_with_too_many_values_is_refused() -> None:
    indptr = np.array([0, MOST_VALUES + 1])
    # Of one byte that is read again and again.
    values = np.broadcast_to(np.zeros(1, np.int8), MOST_VALUES + 1)
    with pytest.raises(DataError, match=r"1 rows with 2147483648 values.*maxRecordsPerBatch"):
        list_array(indptr, values)


def test_one_file_has_all_rows_in_their_order(spark: SparkSession, tmp_path: Path) -> None:
    file = tmp_path / "rows.parquet"
    write_one_parquet(spark.range(500).repartition(3).orderBy("id"), file)
    assert pd.read_parquet(file)["id"].tolist() == list(range(500))
    assert [one.name for one in tmp_path.iterdir()] == ["rows.parquet"]


def test_an_item_side_of_more_than_two_billion_numbers_is_written_and_read(
    spark: SparkSession, tmp_path: Path
) -> None:
    """2^24 + 256 items of 128 numbers. Nearly all of them are zeros that take no room."""
    items, width = (1 << 24) + 256, 128
    file = str(tmp_path / "factors.npy")
    # A sparse file: what is not written takes no room on the disk, nor in memory when it is mapped.
    written = np.lib.format.open_memmap(file, "w+", np.float32, (items, width))
    written[-300:] = np.arange(300)[:, None]
    written[: 1 << 10] = -1
    written.flush()

    def rows(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        factors = np.load(file, mmap_mode="r")
        scales = np.broadcast_to(np.float32(1), items)
        model = FactorModel("als", factors, None, scales, {}, np.zeros(0, np.int64))
        for batch in batches:
            for number in batch.column("id").to_pylist():
                yield rows_of_model(model, number, number + 500)

    ends = spark.createDataFrame([(0,), (items - 500,)], "id long").coalesce(1)
    found = item_rows(
        collected_batches(ends.mapInArrow(rows, MODEL_SCHEMA), 1 << 40), c.FACTOR, items
    )
    assert found.values.size > MOST_VALUES
    assert found.rows == 1000
    for part in (slice(0, 500), slice(-500, None)):
        np.testing.assert_array_equal(found.values[part], written[part])
        assert found.has_row[part].all()
