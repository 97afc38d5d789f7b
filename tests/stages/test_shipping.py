from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from pyspark.sql import SparkSession

from m6rec.stages.shipping import ship


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
