"""The training rows of the towers as plain Parquet files that torch can read.

Rows are put in the order of a hash and dealt to the files in turn, so that the ranks' rows differ
by at most one and no file is a sample of some part of the users.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.errors import DataError
from m6rec.stages.arrow_rows import matrix_column, rows_from_batch
from m6rec.towers.row_files import Manifest, write_row_file

MINIMUM_ITEMS = 2
"""An item for the input and one for a target."""

_BUCKETS = 64
_FILE = "file"
_POSITION = "position"


def write_tower_rows(
    matrix: DataFrame,
    user_features: DataFrame | None,
    folder: str,
    world_size: int,
    row_groups: int,
    maximum_history: int,
    seed: int,
) -> Manifest:
    """Write one fit's rows as `world_size * row_groups` Parquet files of equal rows.

    Args:
        matrix: user_index, item_indices, weights; rows with fewer than two items are left out.
        user_features: user_index, features (of one length for all); users of the matrix without
            features get zeros.
        folder: a path that the driver, the executors and the ranks share.
        world_size: ranks that will train.
        row_groups: files of each rank.
        maximum_history: longer rows are cut to a random choice of so many items.
        seed: for the order and the cuts.

    Raises:
        DataError: no row has two items.
    """
    rows = matrix.select(c.USER_INDEX, c.ITEM_INDICES, c.WEIGHTS).where(
        F.size(c.ITEM_INDICES) >= MINIMUM_ITEMS
    )
    width = _longest(rows, c.ITEM_INDICES)
    if width is None:
        raise DataError(
            "no user has two items to train the towers on; they need an item for the input and one"
            " for a target: lower interactions.minimum_* or give more interactions"
        )
    features = 0
    if user_features is not None:
        features = _longest(user_features, c.FEATURES) or 0
    if features and user_features is not None:
        some = user_features.select(c.USER_INDEX, c.FEATURES)
        rows = rows.join(some, c.USER_INDEX, "left")
        zeros = F.array_repeat(F.lit(0.0).cast("float"), features)
        rows = rows.withColumn(c.FEATURES, F.coalesce(c.FEATURES, zeros))
    files = world_size * row_groups
    Path(folder).mkdir(parents=True, exist_ok=True)
    write = partial(
        _write_files,
        folder=folder,
        width=min(width, maximum_history),
        features=features,
        seed=seed,
    )
    written = (
        _dealt(rows, files, seed)
        .repartition(files, _FILE)
        .sortWithinPartitions(_FILE, _POSITION)
        .mapInArrow(write, f"{_FILE} int, name string, rows long")
        .toPandas()
        .sort_values(_FILE)
    )
    manifest = Manifest(
        folder=folder,
        files=tuple(written["name"]),
        rows=tuple(int(count) for count in written["rows"]),
        width=min(width, maximum_history),
        features=features,
        world_size=world_size,
    )
    _check_files(manifest, files)
    manifest.save()
    return manifest


def _longest(frame: DataFrame, column: str) -> int | None:
    row = frame.agg(F.max(F.size(column))).first()
    return None if row is None or row[0] is None else int(row[0])


def _dealt(rows: DataFrame, files: int, seed: int) -> DataFrame:
    """The rows with `position` in hash order and `file` = position mod files.

    Positions are counted within buckets of the hash and shifted by the sizes of the buckets before,
    so that no single task sorts all rows.
    """
    keyed = rows.withColumn("hash", F.xxhash64(F.col(c.USER_INDEX), F.lit(seed)))
    keyed = keyed.withColumn("bucket", F.pmod("hash", F.lit(_BUCKETS)).cast("int"))
    sizes = np.zeros(_BUCKETS, dtype=np.int64)
    for row in keyed.groupBy("bucket").count().collect():
        sizes[row["bucket"]] = row["count"]
    starts = F.array(*(F.lit(int(start)) for start in np.cumsum(sizes) - sizes))
    within = F.row_number().over(Window.partitionBy("bucket").orderBy("hash", c.USER_INDEX))
    position = F.element_at(starts, F.col("bucket") + 1) + within - 1
    placed = keyed.withColumn(_POSITION, position.cast("long"))
    return placed.withColumn(_FILE, F.pmod(_POSITION, F.lit(files)).cast("int")).drop(
        "hash", "bucket"
    )


def _write_files(
    batches: Iterator[pa.RecordBatch], folder: str, width: int, features: int, seed: int
) -> Iterator[pa.RecordBatch]:
    """Write a partition's rows, a file each value of `file`; yield what was written."""
    blocks = [batch for batch in batches if batch.num_rows]
    if not blocks:
        return
    table = pa.Table.from_batches(blocks)
    numbers = table.column(_FILE).to_numpy()
    for number in np.unique(numbers):
        part = table.filter(pa.array(numbers == number)).combine_chunks().to_batches()[0]
        rows = rows_from_batch(part)
        name = f"rows-{number:05d}.parquet"
        values = matrix_column(part, c.FEATURES) if features else None
        write_row_file(Path(folder) / name, rows, values, width, seed)
        yield pa.RecordBatch.from_pydict(
            {
                _FILE: pa.array([number], pa.int32()),
                "name": pa.array([name]),
                "rows": pa.array([len(rows)], pa.int64()),
            }
        )


def _check_files(manifest: Manifest, expected: int) -> None:
    if len(manifest.files) != min(expected, sum(manifest.rows)):
        raise DataError(
            f"{len(manifest.files)} files of tower rows were written to {manifest.folder},"
            f" expected {expected}"
        )
