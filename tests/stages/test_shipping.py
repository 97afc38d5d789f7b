"""Arrays and objects reach the executors as they were, mapped, and come to the driver whole."""

import functools
import pickle
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyspark import SparkFiles
from pyspark.sql import SparkSession

from m6rec.errors import ClusterError, DataError
from m6rec.spark.shipping import (
    HANDED_OVER,
    ShippedArrays,
    collect_value,
    freeing_shipped_arrays,
    hand_over,
    ship,
    ship_arrays,
)


def test_executors_map_the_arrays_that_the_driver_sent(spark: SparkSession) -> None:
    numbers = np.arange(12, dtype=np.float32).reshape(3, 4)
    shipped = ship_arrays(spark, {"numbers": numbers, "counts": np.array([5, 7], dtype=np.int64)})

    def describe(
        batches: Iterator[pa.RecordBatch], handle: ShippedArrays
    ) -> Iterator[pa.RecordBatch]:
        for _ in batches:
            arrays = handle.load()
            same = arrays["numbers"] is handle.load()["numbers"]
            yield pa.RecordBatch.from_pydict(
                {
                    "sum": [float(arrays["numbers"].sum() + arrays["counts"].sum())],
                    "kind": [
                        f"{type(arrays['numbers']).__name__} {arrays['numbers'].shape} {same}"
                    ],
                }
            )

    frame = spark.range(4).repartition(2)
    rows = frame.mapInArrow(
        functools.partial(describe, handle=shipped), "sum double, kind string"
    ).collect()
    assert rows
    assert {(row["sum"], row["kind"]) for row in rows} == {(78.0, "memmap (3, 4) True")}


def test_the_driver_can_load_what_it_sent(spark: SparkSession) -> None:
    shipped = ship_arrays(spark, {"empty": np.empty((0, 3), np.float32), "one": np.ones(1)})
    arrays = shipped.load()
    assert arrays["empty"].shape == (0, 3)
    assert not arrays["one"].flags.writeable


def test_equal_arrays_share_a_file_and_other_arrays_do_not(spark: SparkSession) -> None:
    first = ship_arrays(spark, {"a": np.arange(4, dtype=np.int32)})
    again = ship_arrays(spark, {"b": np.arange(4, dtype=np.int32)})
    other = ship_arrays(spark, {"c": np.arange(4, dtype=np.int64)})
    assert first.files[0][1] == again.files[0][1] != other.files[0][1]
    assert len(pickle.dumps(first)) < 1000


def sum_of_tasks(spark: SparkSession, shipped: ShippedArrays) -> float:
    """The sum of all numbers that a task finds."""

    def total(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for _ in batches:
            sums = [float(array.sum()) for array in shipped.load().values()]
            yield pa.RecordBatch.from_pydict({"total": [sum(sums)]})

    [row] = spark.range(1).coalesce(1).mapInArrow(total, "total double").collect()
    return float(row["total"])


def test_an_array_is_once_on_the_drivers_disk(spark: SparkSession) -> None:
    [(_, name)] = ship_arrays(spark, {"a": np.arange(2_001)}).files
    root = Path(SparkFiles.getRootDirectory())
    temporary = Path(tempfile.gettempdir())
    found = {*temporary.glob(f"*/{name}"), *temporary.glob(f"*/*/{name}"), *root.glob(name)}
    assert {file.resolve() for file in found} == {(root / name).resolve()}
    assert (root / name).stat().st_size > 8 * 2_001


def test_arrays_that_are_freed_leave_the_disk_and_can_be_sent_again(spark: SparkSession) -> None:
    root = Path(SparkFiles.getRootDirectory())
    before, after = np.arange(3_001.0), np.arange(3_002.0)
    kept = ship_arrays(spark, {"kept": before})
    with freeing_shipped_arrays(spark):
        sent = ship_arrays(spark, {"kept": before, "gone": after})
        # Nor does it matter whether a task has read them.
        unread = ship_arrays(spark, {"unread": np.arange(3_003.0)})
        assert sum_of_tasks(spark, sent) == before.sum() + after.sum()
    sizes = [(root / file).stat().st_size for _, file in (*sent.files, *unread.files)]
    assert sizes == [128 + before.nbytes, 0, 0]
    with pytest.raises(Exception, match=r"is not on this executor.*call it again"):
        sum_of_tasks(spark, unread)
    again = ship_arrays(spark, {"unread": np.arange(3_003.0)})
    assert sum_of_tasks(spark, again) == np.arange(3_003.0).sum()
    assert sum_of_tasks(spark, kept) == before.sum()


def test_a_file_that_did_not_arrive_is_named(spark: SparkSession) -> None:
    with pytest.raises(ClusterError, match="m6rec-missing"):
        ShippedArrays((("a", "m6rec-missing.npy"),)).load()


def test_an_object_reaches_the_workers_with_its_large_arrays_mapped_and_all_of_them_read_only(
    spark: SparkSession,
) -> None:
    arrays = {"large": np.ones((100, 100)), "small": np.ones(3), "empty": np.empty((0, 2))}
    shipped = ship(spark, {**arrays, "name": "model"})
    assert len(shipped.skeleton) < 2000

    def describe(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        model = shipped.load()
        total = float(model["large"].sum() + model["small"].sum())
        mapped = isinstance(model["large"], np.memmap)
        frozen = not any(model[name].flags.writeable for name in ("large", "small", "empty"))
        for batch in batches:
            row = {"name": model["name"], "total": total, "mapped": mapped, "frozen": frozen}
            yield pa.RecordBatch.from_pylist([row] * batch.num_rows)

    schema = "name string, total double, mapped boolean, frozen boolean"
    frame = spark.range(2).mapInArrow(describe, schema)
    assert [tuple(row) for row in frame.collect()] == [("model", 10003.0, True, True)] * 2


def test_an_object_comes_from_a_task_to_the_driver_as_it_was(spark: SparkSession) -> None:
    large = np.arange(60_000, dtype=np.float64).reshape(300, 200)
    value = {"large": large, "small": np.ones(3, np.int32), "name": "model"}

    def task(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        yield from hand_over(value)

    found = collect_value(spark.range(1).coalesce(1).mapInArrow(task, HANDED_OVER), dict)
    np.testing.assert_array_equal(found["large"], large)
    np.testing.assert_array_equal(found["small"], value["small"])
    assert found["name"] == "model"


def test_a_worker_keeps_nothing_of_what_it_has_handed_over() -> None:
    value = np.ones(20_000)
    kept = weakref.ref(value)
    for _ in hand_over({"weights": value}):
        pass
    del value
    assert kept() is None


def test_an_object_that_is_not_handed_over_whole_is_an_error(spark: SparkSession) -> None:
    def task(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        yield from list(hand_over(np.ones(20_000)))[:-1]

    frame = spark.range(1).coalesce(1).mapInArrow(task, HANDED_OVER)
    with pytest.raises(DataError, match="not handed over whole"):
        collect_value(frame, np.ndarray)
