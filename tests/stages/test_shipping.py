from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from m6rec.errors import DataError
from m6rec.spark.shipping import HANDED_OVER, collect_value, hand_over, ship


def test_an_object_reaches_the_workers_with_its_large_arrays_mapped(spark: SparkSession) -> None:
    shipped = ship(spark, {"large": np.ones((100, 100)), "small": np.ones(3), "name": "model"})
    assert len(shipped.skeleton) < 2000

    def describe(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        model = shipped.load()
        total = float(model["large"].sum() + model["small"].sum())
        mapped = isinstance(model["large"], np.memmap)
        for batch in batches:
            row = {"name": model["name"], "total": total, "mapped": mapped}
            yield pa.RecordBatch.from_pylist([row] * batch.num_rows)

    frame = spark.range(2).mapInArrow(describe, "name string, total double, mapped boolean")
    assert [tuple(row) for row in frame.collect()] == [("model", 10003.0, True)] * 2


def test_an_object_comes_from_a_task_to_the_driver_as_it_was(spark: SparkSession) -> None:
    large = np.arange(60_000, dtype=np.float64).reshape(300, 200)
    value = {"large": large, "small": np.ones(3, np.int32), "name": "model"}

    def task(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        yield from hand_over(value)

    found = collect_value(spark.range(1).coalesce(1).mapInArrow(task, HANDED_OVER), dict)
    np.testing.assert_array_equal(found["large"], large)
    np.testing.assert_array_equal(found["small"], value["small"])
    assert found["name"] == "model"


def test_an_object_that_is_not_handed_over_whole_is_an_error(spark: SparkSession) -> None:
    def task(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        yield from list(hand_over(np.ones(20_000)))[:-1]

    frame = spark.range(1).coalesce(1).mapInArrow(task, HANDED_OVER)
    with pytest.raises(DataError, match="not handed over whole"):
        collect_value(frame, np.ndarray)
