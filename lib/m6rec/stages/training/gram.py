"""Add up the gram rows of all items on the cluster, by blocks of target items."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from m6rec.errors import DataError
from m6rec.kernels.arrays.rows import (
    Float64,
    Int32,
    Int64,
    Rows,
    concatenate_rows,
    indptr_of,
    slices_of_rows,
)
from m6rec.kernels.neighbours.item_neighbours import (
    GramBlock,
    binary_rows,
    gram_block,
    power,
    sample_long_rows,
    unit_of_sums,
)
from m6rec.spark.arrow_rows import ROW_COLUMNS, rows_from_batch
from m6rec.spark.runtimes import arrow_table
from m6rec.spark.shipping import ShippedArrays, ship_arrays
from m6rec.stages.training.pieces import (
    COST_PER_TASK,
    PACKED_SCHEMA,
    PIECE_ENTRIES,
    Pieces,
    bounds_of_runs,
    collect_pieces,
    pack_groups,
    packed_pieces,
    task_count,
    unpack_pieces,
)

ROWS_AT_ONCE = 20_000_000
BLOCK_ENTRIES = 16_000_000
_KEY = "key"


@dataclass(frozen=True)
class MatrixStatistics:
    """What the blocks and the penalties need to know of one fit's matrix, after rows are cut.

    Attributes:
        counts: int64 [M]; how many users have each item.
        degrees: float64 [M]; the sum of each item's weights.
        costs: int64 [M]; the sum, over the users of an item, of their numbers of interactions.
        largest_weight: the largest weight.
        users_by_count: int64 [maximum_history + 1]; how many users have each number of
            interactions.
    """

    counts: Int64
    degrees: Float64
    costs: Int64
    largest_weight: float
    users_by_count: Int64

    def mean_scale(self, exponent: float) -> float:
        """The mean of d_u^-exponent over the users with interactions."""
        users = self.users_by_count[1:]
        scales = power(np.arange(1, len(users) + 1, dtype=np.float64), -exponent)
        return float(users @ scales / max(users.sum(), 1))


def matrix_statistics(matrix: DataFrame, n_items: int, maximum_history: int) -> MatrixStatistics:
    """Count the matrix in one pass, in which a partition sends only the items that it has."""
    count = partial(_count_partition, n_items=n_items, maximum_history=maximum_history)
    counted = (
        matrix.select(*ROW_COLUMNS)
        .mapInArrow(count, f"{_KEY} long, users long, cost long, degree double, largest double")
        .groupBy(_KEY)
        .agg(
            F.sum("users").alias("users"),
            F.sum("cost").alias("cost"),
            F.sum("degree").alias("degree"),
            F.max("largest").alias("largest"),
        )
    )
    table = _collect_numbers(counted)
    of_items = table[:, 0] >= 0
    items = table[of_items]
    of_users = table[~of_items]
    places = items[:, 0].astype(np.int64)
    counts, costs = np.zeros(n_items, np.int64), np.zeros(n_items, np.int64)
    degrees = np.zeros(n_items)
    users_by_count = np.zeros(maximum_history + 1, np.int64)
    counts[places], costs[places], degrees[places] = items[:, 1], items[:, 2], items[:, 3]
    users_by_count[(-1 - of_users[:, 0]).astype(np.int64)] = of_users[:, 1]
    largest = float(items[:, 4].max(initial=0.0))
    return MatrixStatistics(counts, degrees, costs, largest, users_by_count)


def _count_partition(
    batches: Iterable[pa.RecordBatch], n_items: int, maximum_history: int
) -> Iterator[pa.RecordBatch]:
    """Counts by item_index; the key -1 - d holds the number of users with d interactions."""
    users, cost = np.zeros(n_items, np.int64), np.zeros(n_items)
    degree, largest = np.zeros(n_items), np.zeros(n_items)
    by_count = np.zeros(maximum_history + 1, np.int64)
    for batch in batches:
        rows = sample_long_rows(rows_from_batch(batch), maximum_history)
        check_items(rows, n_items)
        items = rows.item_indices
        users += np.bincount(items, minlength=n_items)
        cost += np.bincount(items, np.repeat(rows.counts, rows.counts), n_items)
        degree += np.bincount(items, rows.weights, n_items)
        np.maximum.at(largest, items, rows.weights)
        by_count += np.bincount(rows.counts, minlength=len(by_count))
    used, filled = np.flatnonzero(users), np.flatnonzero(by_count)
    nothing = np.zeros(len(filled))
    yield pa.RecordBatch.from_arrays(
        [
            pa.array(np.concatenate([used, -1 - filled])),
            pa.array(np.concatenate([users[used], by_count[filled]])),
            pa.array(np.concatenate([cost[used], nothing]).astype(np.int64)),
            pa.array(np.concatenate([degree[used], nothing])),
            pa.array(np.concatenate([largest[used], nothing])),
        ],
        names=[_KEY, "users", "cost", "degree", "largest"],
    )


def check_items(rows: Rows, n_items: int) -> None:
    """Refuse rows with an item beyond the index.

    Raises:
        DataError: an item is not below n_items.
    """
    if rows.entries and int(rows.item_indices.max()) >= n_items:
        raise DataError(
            f"user_item_matrix holds item_index {int(rows.item_indices.max())}, expected less than"
            f" the {n_items} items of item_index; the tables are of different runs: run"
            " prepare_interactions again"
        )


def gram_pieces(
    matrix: DataFrame,
    n_items: int,
    maximum_history: int,
    statistics: MatrixStatistics,
    binary: bool,
    user_exponent: float,
    prune: "partial[Pieces]",
    kept: int,
) -> Pieces:
    """The gram rows of all items, as `prune(block, degrees, unit)` returns them for each block.

    Args:
        matrix: user_index, item_indices, weights of one fit.
        n_items: M.
        maximum_history: longer rows are cut to this number of interactions.
        statistics: those of the matrix.
        binary: whether every interaction counts as 1.
        user_exponent: a user with d interactions counts d^-user_exponent.
        prune: takes a `GramBlock`, the degrees and the fixed-point unit.
        kept: how many entries it leaves a row at most.
    """
    spark = matrix.sparkSession
    block_of_item, n_blocks = assign_blocks(statistics.costs, task_count(spark))
    degrees = statistics.counts.astype(np.float64) if binary else statistics.degrees
    unit = 1.0 if binary else unit_of_sums(statistics.largest_weight, degrees)
    keys = partition_keys(spark, n_blocks)
    shipped = ship_arrays(spark, {"block_of_item": block_of_item, "degrees": degrees, "keys": keys})
    send = partial(
        _send_partition,
        shipped=shipped,
        maximum_history=maximum_history,
        binary=binary,
    )
    add = partial(
        _add_partition,
        shipped=shipped,
        n_items=n_items,
        user_exponent=user_exponent,
        unit=unit,
        prune=prune,
    )
    sent = matrix.select(*ROW_COLUMNS).mapInArrow(send, f"{_KEY} long, block int, {PACKED_SCHEMA}")
    placed = sent.repartition(n_blocks, F.col(_KEY)).drop(_KEY)
    return collect_pieces(placed.mapInArrow(add, PACKED_SCHEMA), n_items, kept)


def assign_blocks(costs: Int64, tasks: int) -> tuple[Int32, int]:
    """The block of each item, int32 [M], and the number of blocks, which cost about the same.

    What is added up is sent to each block apart, so there are only as many blocks as the cores and
    the memory of a task need.

    Args:
        costs: int64 [M]; how many numbers are added up for each item.
        tasks: how many tasks keep the cluster busy.
    """
    entries = np.minimum(costs, len(costs)).sum()
    for_memory = -(-int(entries) // BLOCK_ENTRIES)
    for_cores = min(tasks, -(-int(costs.sum()) // COST_PER_TASK))
    n_blocks = max(1, for_memory, for_cores)
    # Items are dealt out by falling cost, there and back, so each block gets its share of the
    # costly ones.
    order = np.argsort(-costs, kind="stable")
    turn = np.arange(len(order)) % (2 * n_blocks)
    blocks = np.empty(len(order), np.int32)
    blocks[order] = np.minimum(turn, 2 * n_blocks - 1 - turn)
    return blocks, n_blocks


@lru_cache(maxsize=64)
def partition_keys(spark: SparkSession, n_blocks: int) -> Int64:
    """int64 [n_blocks]: for each block, a key that Spark's hash sends to a partition of its own."""
    partition = F.pmod(F.hash(F.col("id")), F.lit(n_blocks)).alias("partition")
    numbers = spark.range(0, max(64, 32 * n_blocks), 1, 1)
    found = arrow_table(numbers.groupBy(partition).agg(F.min("id").alias(_KEY)))
    # Where no number reaches a partition, its block shares another one; the result is the same.
    keys = np.arange(n_blocks)
    keys[found.column("partition").to_numpy()] = found.column(_KEY).to_numpy()
    return keys


def _send_partition(
    batches: Iterable[pa.RecordBatch],
    shipped: ShippedArrays,
    maximum_history: int,
    binary: bool,
) -> Iterator[pa.RecordBatch]:
    """Each batch's rows, packed once for each block that they touch."""
    arrays = shipped.load()
    block_of_item, keys = np.asarray(arrays["block_of_item"]), np.asarray(arrays["keys"])
    for batch in batches:
        rows = sample_long_rows(rows_from_batch(batch), maximum_history)
        rows = binary_rows(rows) if binary else rows
        for blocks, packed in packed_by_block(rows, block_of_item):
            yield pa.RecordBatch.from_arrays(
                [pa.array(keys[blocks]), pa.array(blocks), *packed.columns],
                names=[_KEY, "block", *packed.schema.names],
            )


def packed_by_block(rows: Rows, block_of_item: Int32) -> Iterator[tuple[Int32, pa.RecordBatch]]:
    """The blocks that rows touch, ascending, and for each its rows as a row of PACKED_SCHEMA.

    Each part of them has about `PIECE_ENTRIES` entries. There may be so many blocks that most rows
    touch one as often as they have items.
    """
    row_of_entry = np.repeat(np.arange(len(rows)), rows.counts)
    block_of_entry = block_of_item[rows.item_indices].astype(np.int64)
    touched = np.unique(block_of_entry * len(rows) + row_of_entry)
    blocks, places = touched // len(rows), touched % len(rows)
    bounds = bounds_of_runs(blocks)
    sent = indptr_of(rows.counts[places])
    for start, stop in slices_of_rows(sent[bounds], PIECE_ENTRIES):
        own = bounds[start : stop + 1]
        part = rows.take(places[own[0] : own[-1]])
        pieces = Pieces(part.user_index, part.indptr, part.item_indices, part.weights)
        yield blocks[own[:-1]].astype(np.int32), pack_groups(pieces, own - own[0])


def _add_partition(
    batches: Iterable[pa.RecordBatch],
    shipped: ShippedArrays,
    n_items: int,
    user_exponent: float,
    unit: float,
    prune: "partial[Pieces]",
) -> Iterator[pa.RecordBatch]:
    """Add up the gram rows of the blocks of this partition, a bounded number of rows at once."""
    arrays = shipped.load()
    block_of_item, degrees = np.asarray(arrays["block_of_item"]), np.asarray(arrays["degrees"])
    waiting: dict[int, list[Rows]] = {}
    entries: Counter[int] = Counter()
    sums: dict[int, GramBlock] = {}

    def add(block: int) -> None:
        del entries[block]
        rows = concatenate_rows(waiting.pop(block))
        targets = np.flatnonzero(block_of_item == block).astype(np.int32)
        scales = power(rows.counts.astype(np.float64), -user_exponent)
        share = gram_block(rows, scales, targets, n_items, unit)
        sums[block] = sums[block] + share if block in sums else share

    for batch in batches:
        blocks = batch.column("block").to_pylist()
        for row, block in enumerate(blocks):
            pieces = unpack_pieces(batch, row)
            waiting.setdefault(block, []).append(
                Rows(pieces.keys, pieces.indptr, pieces.indices, pieces.values)
            )
            entries[block] += len(pieces.indices)
            if entries[block] > ROWS_AT_ONCE:
                add(block)
    for block in list(waiting):
        add(block)
    for block in sorted(sums):
        yield from packed_pieces(prune(sums.pop(block), degrees, unit))


def _collect_numbers(frame: DataFrame) -> Float64:
    """Collect a small table of numbers as float64 [rows, columns], which is exact below 2^53."""
    schema = "cells binary"
    rows = frame.mapInArrow(_cells_partition, schema).collect()
    width = len(frame.columns)
    parts = [np.frombuffer(row["cells"], np.float64).reshape(-1, width) for row in rows]
    return np.concatenate([np.empty((0, width)), *parts])


def _cells_partition(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        columns = [column.to_numpy(zero_copy_only=False) for column in batch.columns]
        cells = np.column_stack(columns).astype(np.float64)
        yield pa.RecordBatch.from_arrays(
            [pa.array([cells.tobytes()], pa.binary())],
            names=["cells"],
        )
