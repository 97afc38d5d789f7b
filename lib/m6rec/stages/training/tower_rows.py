"""Write the training rows of the towers as plain Parquet files, which torch can read.

Rows are put in the order of a hash and dealt to the files in turn. So the numbers of rows of the
ranks differ by at most one, and every file is a random sample of all users. The order is made by
buckets of the hash, which are more where there are more rows, so that no task sorts too many.
"""

from collections.abc import Iterator
from functools import partial

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.errors import DataError
from m6rec.files import AnyPlace, as_place
from m6rec.kernels.arrays.rows import Int32, Int64
from m6rec.spark.arrow_rows import (
    ROW_COLUMNS,
    list_column,
    matrix_column,
    rows_from_batch,
    times_column,
)
from m6rec.towers.modalities import Modalities
from m6rec.towers.row_files import Manifest, cut_rows, pack_width, write_row_file

MINIMUM_ITEMS = 2
"""One item for the input and one for a target."""

_FEWEST_BUCKETS = 64
_MOST_BUCKETS = 4096
_ROWS_OF_BUCKET = 500_000
_HASH = "hash"
_BUCKET = "bucket"
_FILE = "file"
_POSITION = "position"


def write_tower_rows(
    matrix: DataFrame,
    user_features: DataFrame | None,
    folder: AnyPlace,
    world_size: int,
    row_groups: int,
    maximum_history: int,
    seed: int,
    context_columns: int = 0,
    modalities: Modalities = (),
) -> Manifest:
    """Write one fit's rows as `world_size * row_groups` Parquet files with equally many rows.

    Args:
        matrix: user_index, item_indices, weights and, where they are to be trained in order,
            times; where there are context columns, contexts, which has so many codes for each
            item; rows with fewer than two items are left out.
        user_features: user_index, features (of one length for all); users of the matrix without
            features get zeros.
        folder: where the driver, the executors and the ranks find the files.
        world_size: how many ranks will train.
        row_groups: how many files each rank gets.
        maximum_history: longer rows are cut to their latest items, or without times to a random
            choice.
        seed: of the order and the cuts.
        context_columns: how many columns of context an interaction has.
        modalities: the columns of vectors that the features end with.

    Raises:
        DataError: no row has two items.
    """
    timed = c.TIMES in matrix.columns
    read = [*ROW_COLUMNS, *((c.TIMES,) if timed else ())]
    read += [c.CONTEXTS] if context_columns else []
    rows = matrix.select(*read).where(F.size(c.ITEM_INDICES) >= MINIMUM_ITEMS)
    keyed = _with_hash(rows, seed, _FEWEST_BUCKETS)
    sizes, items, longest = _sizes(keyed, _FEWEST_BUCKETS, maximum_history)
    buckets = buckets_for(int(sizes.sum()))
    if buckets > _FEWEST_BUCKETS:
        keyed = _with_hash(rows, seed, buckets)
        sizes, items, longest = _sizes(keyed, buckets, maximum_history)
    if not longest:
        raise DataError(
            "no user has two items to train the towers on; they need an item for the input and one"
            " for a target: lower interactions.minimum_* or give more interactions"
        )
    width = pack_width(items, int(sizes.sum()), longest)
    features = 0 if user_features is None else feature_width(user_features)
    if features and user_features is not None:
        keyed = join_features(keyed, user_features, features)
    files = world_size * row_groups
    dealt = _dealt(keyed, (np.cumsum(sizes) - sizes).tolist(), files)
    write = partial(
        _write_files,
        folder=folder,
        width=width,
        features=features,
        maximum_history=maximum_history,
        seed=seed,
        timed=timed,
        context_columns=context_columns,
    )
    names, counts = _written(dealt, write, files)
    manifest = Manifest(
        folder,
        names,
        counts,
        width,
        features,
        world_size,
        timed,
        context_columns,
        modalities if features else (),
    )
    _check_files(manifest, files)
    return manifest


def _written(
    dealt: DataFrame, write: "partial[Iterator[pa.RecordBatch]]", files: int
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Write all files by one task each; their names and numbers of rows, in order."""
    written = (
        dealt.repartition(files, _FILE)
        .sortWithinPartitions(_FILE, _POSITION)
        .mapInArrow(write, f"{_FILE} int, name string, rows long")
        .toPandas()
        .sort_values(_FILE)
    )
    return tuple(written["name"]), tuple(int(count) for count in written["rows"])


def feature_width(user_features: DataFrame) -> int:
    """The length of the lists in column features; 0 where there is no row."""
    row = user_features.select(F.size(c.FEATURES)).first()
    return 0 if row is None else int(row[0])


def join_features(rows: DataFrame, user_features: DataFrame, width: int) -> DataFrame:
    """The rows with a column features; a user without features gets zeros."""
    joined = rows.join(user_features.select(c.USER_INDEX, c.FEATURES), c.USER_INDEX, "left")
    zeros = F.array_repeat(F.lit(0.0).cast("float"), width)
    return joined.withColumn(c.FEATURES, F.coalesce(c.FEATURES, zeros))


def buckets_for(rows: int) -> int:
    """How many buckets so many rows are sorted in: each is a task's work."""
    return min(max(_FEWEST_BUCKETS, -(-rows // _ROWS_OF_BUCKET)), _MOST_BUCKETS)


def _with_hash(rows: DataFrame, seed: int, buckets: int) -> DataFrame:
    keyed = rows.withColumn(_HASH, F.xxhash64(F.col(c.USER_INDEX), F.lit(seed)))
    return keyed.withColumn(_BUCKET, F.pmod(_HASH, F.lit(buckets)).cast("int"))


def _sizes(keyed: DataFrame, buckets: int, maximum_history: int) -> tuple[Int64, int, int]:
    """The rows of each bucket of the hash, and the items of all rows and of the longest, cut."""
    sizes, items, longest = np.zeros(buckets, dtype=np.int64), 0, 0
    length = F.least(F.size(c.ITEM_INDICES), F.lit(maximum_history))
    counted = keyed.groupBy(_BUCKET).agg(
        F.count("*").alias("rows"), F.sum(length).alias("items"), F.max(length).alias("longest")
    )
    for row in counted.collect():
        sizes[row[_BUCKET]] = row["rows"]
        items += row["items"]
        longest = max(longest, row["longest"])
    return sizes, items, longest


def _dealt(keyed: DataFrame, starts: list[int], files: int) -> DataFrame:
    """Add `position`, the place in the order of the hash, and `file` = position mod files.

    Positions are counted within a bucket of the hash and shifted by the number of rows in earlier
    buckets, so that no single task sorts all rows.
    """
    start = F.element_at(F.array(*map(F.lit, starts)), F.col(_BUCKET) + 1)
    within = F.row_number().over(Window.partitionBy(_BUCKET).orderBy(_HASH, c.USER_INDEX))
    placed = keyed.withColumn(_POSITION, (start + within - 1).cast("long"))
    return placed.withColumn(_FILE, F.pmod(_POSITION, F.lit(files)).cast("int")).drop(
        _HASH, _BUCKET
    )


def _write_files(
    batches: Iterator[pa.RecordBatch],
    folder: AnyPlace,
    width: int,
    features: int,
    maximum_history: int,
    seed: int,
    timed: bool,
    context_columns: int,
) -> Iterator[pa.RecordBatch]:
    """Write a partition's rows, one file for each value of `file`, and yield what was written."""
    blocks = [batch for batch in batches if batch.num_rows]
    if not blocks:
        return
    table = pa.Table.from_batches(blocks)
    numbers = table.column(_FILE).to_numpy()
    for number in np.unique(numbers):
        part = table.filter(pa.array(numbers == number)).combine_chunks().to_batches()[0]
        times = times_column(part) if timed else None
        rows, kept = cut_rows(rows_from_batch(part), times, maximum_history, seed)
        contexts = _contexts(part, context_columns) if context_columns else None
        if contexts is not None and len(contexts) != len(part.column(c.ITEM_INDICES).values):
            raise DataError(
                f"rows of users have {len(part.column(c.ITEM_INDICES).values)} items and contexts"
                f" of {len(contexts)}; this is a defect of M6-Rec, please report it"
            )
        name = f"rows-{number:05d}.parquet"
        values = matrix_column(part, c.FEATURES) if features else None
        write_row_file(
            as_place(folder) / name,
            rows,
            values,
            width,
            None if times is None else times[kept],
            None if contexts is None else contexts[kept],
        )
        yield pa.RecordBatch.from_pydict(
            {
                _FILE: pa.array([number], pa.int32()),
                "name": pa.array([name]),
                "rows": pa.array([len(rows)], pa.int64()),
            }
        )


def _contexts(batch: pa.RecordBatch, columns: int) -> Int32:
    """int32 [entries, columns]: the codes of each interaction."""
    _, codes = list_column(batch, c.CONTEXTS)
    return codes.astype(np.int32, copy=False).reshape(-1, columns)


def _check_files(manifest: Manifest, expected: int) -> None:
    if len(manifest.files) != min(expected, sum(manifest.rows)):
        raise DataError(
            f"{len(manifest.files)} files of tower rows were written to {manifest.folder},"
            f" expected {expected}"
        )
