"""Item neighbours, local ridge and user neighbours of one fit, distributed over Spark.

Both item methods start from gram rows. A block of target items needs only the rows of the users
that touch it, so each partition of users sends a row once to each block that it touches; the task
of a block adds up the gram rows of its targets, prunes them, and only what is kept is collected.
The ridge systems are then solved by target item against the pruned gram, which every executor
maps into memory.

Bounds: a task holds at most `ROWS_AT_ONCE` interactions and the gram entries of one block (some
`BLOCK_ENTRIES`); the driver and each executor hold `GRAM_BUDGET` gram entries of 8 bytes, unless
so many items have fewer than the ridge's candidates each. A user's row is cut to
`maximum_history` interactions, so that no user costs the square of an unbounded number.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import pyarrow as pa
import scipy.sparse as sp
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from m6rec import columns as c
from m6rec.config import ContentNeighboursConfig, NeighboursConfig
from m6rec.errors import DataError
from m6rec.kernels.content_neighbours import content_weights, warm_postings
from m6rec.kernels.item_neighbours import (
    GramBlock,
    ItemWeights,
    binary_rows,
    gram_block,
    offsets_of,
    power,
    prune_rows,
    sample_long_rows,
    similar_items,
    transpose,
)
from m6rec.kernels.ridge import (
    Gram,
    pruned_gram_rows,
    ridge_penalty,
    solve_all,
    solve_targets,
    uses_all_candidates,
)
from m6rec.kernels.rows import Float32, Float64, Int32, Int64, Rows, concatenate_rows
from m6rec.kernels.user_neighbours import (
    Candidates,
)
from m6rec.stages.arrow_rows import (
    ROW_COLUMNS,
    list_array,
    rows_from_batch,
    rows_from_batches,
)
from m6rec.stages.item_side import ShippedArrays, ship_arrays
from m6rec.stages.shipping import Shipped, ship

ROWS_AT_ONCE = 20_000_000
BLOCK_ENTRIES = 16_000_000
GRAM_BUDGET = 120_000_000
GRAM_ENTRIES = 2_000
KEPT_BUDGET = 1_500_000
KEPT_ENTRIES = 100
COST_PER_TASK = 1_000_000
PIECE_ENTRIES = 2_000_000

_PACKED = "keys binary, offsets binary, indices binary, values binary"
_KEY = "key"
# As types, for a schema in words cannot say that lists hold no nulls, which the tables demand.
_LISTS = (
    T.StructField(c.NEIGHBOUR_INDICES, T.ArrayType(T.IntegerType(), False), False),
    T.StructField(c.WEIGHTS, T.ArrayType(T.FloatType(), False), False),
)


@dataclass(frozen=True)
class MatrixStatistics:
    """What the blocks and penalties need to know of one fit's matrix, after rows are cut.

    Attributes:
        counts: int64 [M]; users of each item.
        degrees: float64 [M]; sum of each item's weights.
        costs: int64 [M]; sum over an item's users of their number of interactions.
        largest_weight: the largest weight.
        users_by_count: int64 [maximum_history + 1]; users with so many interactions.
    """

    counts: Int64
    degrees: Float64
    costs: Int64
    largest_weight: float
    users_by_count: Int64

    def mean_scale(self, exponent: float) -> float:
        """The mean of d_u^-exponent over users with interactions."""
        users = self.users_by_count[1:]
        scales = power(np.arange(1, len(users) + 1, dtype=np.float64), -exponent)
        return float(users @ scales / max(users.sum(), 1))


@dataclass(frozen=True)
class Pieces:
    """Sparse rows with their keys, in the form in which they travel: as bytes.

    Attributes:
        keys: int64 [n].
        offsets: int64 [n + 1].
        indices: int32 [entries].
        values: float32 [entries].
    """

    keys: Int64
    offsets: Int64
    indices: Int32
    values: Float32


def train_item_neighbours(
    matrix: DataFrame,
    n_items: int,
    config: NeighboursConfig,
    statistics: MatrixStatistics | None = None,
) -> ItemWeights:
    """Top-K normalised co-occurrence (see kernels.item_neighbours), K a target item.

    Args:
        matrix: user_index, item_indices, weights of one fit; the weights are R's values.
        n_items: M.
        config: of the neighbours.
        statistics: what `matrix_statistics` says of the matrix; counted unless given.
    """
    if statistics is None:
        statistics = matrix_statistics(matrix, n_items, config.maximum_history)
    prune = partial(
        _similar_pieces, neighbours=config.neighbours, item_exponent=config.item_exponent
    )
    by_target = _gram_pieces(
        matrix, n_items, config.maximum_history, statistics, False, config.user_exponent, prune
    )
    return transpose(_item_weights(by_target, n_items))


def train_ridge(
    matrix: DataFrame,
    n_items: int,
    config: NeighboursConfig,
    statistics: MatrixStatistics | None = None,
) -> ItemWeights:
    """Local ridge weights (see kernels.ridge), the largest of each history item.

    Args:
        matrix: user_index, item_indices, weights of one fit; every interaction counts as 1.
        n_items: M.
        config: of the neighbours.
        statistics: what `matrix_statistics` says of the matrix; counted unless given.

    Raises:
        DataError: the matrix has no interactions.
    """
    settings = config.ridge
    if statistics is None:
        statistics = matrix_statistics(matrix, n_items, config.maximum_history)
    degrees = statistics.counts.astype(np.float64)
    scale = statistics.mean_scale(2.0 * settings.user_exponent)
    penalty = ridge_penalty(settings.regularisation, scale, degrees, settings.item_exponent)
    everything = uses_all_candidates(n_items, settings.candidates)
    entries = n_items if everything else gram_entries(n_items, settings.candidates)
    prune = partial(_pruned_gram_pieces, item_exponent=settings.item_exponent, entries=entries)
    pieces = _gram_pieces(
        matrix,
        n_items,
        config.maximum_history,
        statistics,
        True,
        2.0 * settings.user_exponent,
        prune,
    )
    rows = _item_weights(pieces, n_items)
    gram = Gram(rows.offsets, rows.neighbour_indices, rows.weights, degrees)
    kept = settings.kept or kept_entries(n_items)
    if everything:
        return prune_rows(solve_all(gram, penalty, settings.item_exponent), kept)
    spark = matrix.sparkSession
    solve = partial(
        _solve_partition,
        gram=ship(spark, gram),
        candidates=settings.candidates,
        penalty=penalty,
        item_exponent=settings.item_exponent,
    )
    solved = _numbered_tasks(spark, n_items).mapInArrow(solve, _PACKED)
    return prune_rows(transpose(_item_weights(_collect(solved), n_items)), kept)


def train_content_neighbours(
    spark: SparkSession,
    terms: sp.csr_matrix,
    vectors: Float32,
    interaction_counts: Int64,
    config: ContentNeighboursConfig,
    seed: int,
) -> ItemWeights:
    """Content weights (see kernels.content_neighbours): rows are history items.

    Args:
        spark: whose executors solve the systems.
        terms: float32 [M, V]; the items' terms.
        vectors: float32 [M, c]; the items' content vectors.
        interaction_counts: int64 [M].
        config: of the content neighbours.
        seed: of the sample of a term that very many items have.
    """
    n_items = terms.shape[0]
    postings = warm_postings(terms, interaction_counts, config.longest_posting, seed)
    shipped = ship(spark, (terms, vectors, postings))
    solve = partial(_solve_content_partition, shipped=shipped, config=config)
    solved = _numbered_tasks(spark, n_items).mapInArrow(solve, _PACKED)
    return transpose(_item_weights(_collect(solved), n_items))


def candidate_users(matrix: DataFrame, config: NeighboursConfig, seed: int) -> Candidates:
    """At most `maximum_candidate_users` users with history, by smallest seeded hash; collected.

    Args:
        matrix: user_index, item_indices, weights of one fit.
    """
    chosen = (
        matrix.where(F.size(c.ITEM_INDICES) > 0)
        .select(*ROW_COLUMNS)
        .orderBy(F.xxhash64(F.col(c.USER_INDEX), F.lit(seed)), F.col(c.USER_INDEX))
        .limit(config.maximum_candidate_users)
    )
    pack = partial(_pack_rows_partition, maximum_history=config.maximum_history)
    pieces = _sorted_by_key(_collect(chosen.mapInArrow(pack, _PACKED)))
    return Candidates(Rows(pieces.keys, pieces.offsets, pieces.indices, pieces.values))


def item_weights_to_frame(spark: SparkSession, weights: ItemWeights, method: str) -> DataFrame:
    """Rows with entries: method, item_index, neighbour_indices, weights."""
    shipped = ship(spark, weights)
    tasks = max(1, min(_tasks(spark), len(weights.weights) // COST_PER_TASK))
    schema = T.StructType(
        [
            T.StructField(c.METHOD, T.StringType(), False),
            T.StructField(c.ITEM_INDEX, T.LongType(), False),
            *_LISTS,
        ]
    )
    numbers = spark.range(0, tasks, 1, tasks).withColumn("tasks", F.lit(tasks))
    return numbers.mapInArrow(partial(_weights_partition, shipped=shipped, method=method), schema)


def item_weights_from_frame(frame: DataFrame, n_items: int) -> ItemWeights:
    """The rows of one method (item_index, neighbour_indices, weights) as ItemWeights.

    Raises:
        DataError: an item has two rows, as when the methods are mixed, or lies beyond n_items.
    """
    rows = frame.select(
        F.col(c.ITEM_INDEX).alias(c.USER_INDEX),
        F.col(c.NEIGHBOUR_INDICES).alias(c.ITEM_INDICES),
        c.WEIGHTS,
    )
    found = rows_from_batches(rows.toArrow().to_batches())
    pieces = Pieces(found.user_index, found.offsets, found.item_indices, found.weights)
    return _item_weights(pieces, n_items)


def gram_entries(n_items: int, candidates: int) -> int:
    """Entries kept of a gram row: bounded for the whole, and never fewer than the candidates."""
    return max(candidates, min(GRAM_ENTRIES, GRAM_BUDGET // max(n_items, 1)))


def kept_entries(n_items: int) -> int:
    """Weights kept of a history item: the many small ones of a small catalogue tell something, too.

    On MovieLens-100K (1,682 items) 100 an item have an NDCG@10 of .434, and all of them .443.
    """
    return max(KEPT_ENTRIES, KEPT_BUDGET // max(n_items, 1))


def matrix_statistics(matrix: DataFrame, n_items: int, maximum_history: int) -> MatrixStatistics:
    """One aggregated pass over the rows: a partition sends only the items that it has."""
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
    """Counts by item_index; and, as key -1 - d, the number of users with d interactions."""
    users, cost = np.zeros(n_items, np.int64), np.zeros(n_items)
    degree, largest = np.zeros(n_items), np.zeros(n_items)
    by_count = np.zeros(maximum_history + 1, np.int64)
    for batch in batches:
        rows = sample_long_rows(rows_from_batch(batch), maximum_history)
        _check_items(rows, n_items)
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


def _check_items(rows: Rows, n_items: int) -> None:
    if rows.entries and int(rows.item_indices.max()) >= n_items:
        raise DataError(
            f"user_item_matrix holds item_index {int(rows.item_indices.max())}, expected less than"
            f" the {n_items} items of item_index; the tables are of different runs: run"
            " prepare_interactions again"
        )


def _gram_pieces(
    matrix: DataFrame,
    n_items: int,
    maximum_history: int,
    statistics: MatrixStatistics,
    binary: bool,
    user_exponent: float,
    prune: "partial[Pieces]",
) -> Pieces:
    """The gram rows of all items as `prune(block, degrees, unit)` leaves them."""
    spark = matrix.sparkSession
    block_of_item, n_blocks = assign_blocks(statistics, _tasks(spark))
    degrees = statistics.counts.astype(np.float64) if binary else statistics.degrees
    unit = 1.0 if binary else statistics.largest_weight**2 or 1.0
    shipped = ship_arrays(spark, {"block_of_item": block_of_item, "degrees": degrees})
    send = partial(
        _send_partition,
        shipped=shipped,
        keys=_partition_keys(spark, n_blocks),
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
    sent = matrix.select(*ROW_COLUMNS).mapInArrow(send, f"{_KEY} long, block int, {_PACKED}")
    placed = sent.repartition(n_blocks, F.col(_KEY)).drop(_KEY)
    return _collect(placed.mapInArrow(add, _PACKED))


def assign_blocks(statistics: MatrixStatistics, tasks: int) -> tuple[Int32, int]:
    """The block of each item (int32 [M]) and the number of blocks, of about equal cost each.

    Few blocks, so that a row travels few times; enough for the cores and for a task's memory.
    """
    entries = np.minimum(statistics.costs, len(statistics.costs)).sum()
    for_memory = -(-int(entries) // BLOCK_ENTRIES)
    for_cores = min(tasks, -(-int(statistics.costs.sum()) // COST_PER_TASK))
    n_blocks = max(1, for_memory, for_cores)
    # Dealt out by falling cost, there and back, each block gets its share of the costly items.
    order = np.argsort(-statistics.costs, kind="stable")
    turn = np.arange(len(order)) % (2 * n_blocks)
    blocks = np.empty(len(order), np.int32)
    blocks[order] = np.minimum(turn, 2 * n_blocks - 1 - turn)
    return blocks, n_blocks


@lru_cache(maxsize=64)
def _partition_keys(spark: SparkSession, n_blocks: int) -> tuple[int, ...]:
    """For each block a key that Spark's hash partitioning sends to a partition of its own."""
    numbers = np.arange(max(64, 32 * n_blocks))
    expression = F.pmod(F.hash(F.col("id")), F.lit(n_blocks)).alias("partition")
    rows = spark.range(0, len(numbers), 1, 1).select("id", expression).collect()
    first: dict[int, int] = {}
    for row in rows:
        first.setdefault(int(row["partition"]), int(row["id"]))
    # A partition that no number reaches shares its block with another; the result is the same.
    return tuple(first.get(block, block) for block in range(n_blocks))


def _send_partition(
    batches: Iterable[pa.RecordBatch],
    shipped: ShippedArrays,
    keys: tuple[int, ...],
    maximum_history: int,
    binary: bool,
) -> Iterator[pa.RecordBatch]:
    """Each batch's rows, packed once for each block that they touch."""
    block_of_item = np.asarray(shipped.load()["block_of_item"])
    for batch in batches:
        rows = sample_long_rows(rows_from_batch(batch), maximum_history)
        rows = binary_rows(rows) if binary else rows
        row_of_entry = np.repeat(np.arange(len(rows)), rows.counts)
        block_of_entry = block_of_item[rows.item_indices]
        for block, key in enumerate(keys):
            touching = np.unique(row_of_entry[block_of_entry == block])
            if not len(touching):
                continue
            part = _select_rows(rows, touching)
            packed = _pack(Pieces(part.user_index, part.offsets, part.item_indices, part.weights))
            yield pa.RecordBatch.from_arrays(
                [pa.array([key], pa.int64()), pa.array([block], pa.int32()), *packed.columns],
                names=[_KEY, "block", *packed.schema.names],
            )


def _select_rows(rows: Rows, chosen: Int64) -> Rows:
    counts = rows.counts[chosen]
    offsets = offsets_of(counts)
    positions = np.arange(offsets[-1]) + np.repeat(rows.offsets[chosen] - offsets[:-1], counts)
    return Rows(
        rows.user_index[chosen], offsets, rows.item_indices[positions], rows.weights[positions]
    )


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
    sums: dict[int, GramBlock] = {}

    def add(block: int) -> None:
        rows = concatenate_rows(waiting.pop(block))
        targets = np.flatnonzero(block_of_item == block).astype(np.int32)
        scales = power(rows.counts.astype(np.float64), -user_exponent)
        share = gram_block(rows, scales, targets, n_items, unit)
        sums[block] = sums[block] + share if block in sums else share

    for batch in batches:
        blocks = batch.column("block").to_pylist()
        for row, block in enumerate(blocks):
            pieces = _unpack(batch, row)
            waiting.setdefault(block, []).append(
                Rows(pieces.keys, pieces.offsets, pieces.indices, pieces.values)
            )
            if sum(rows.entries for rows in waiting[block]) > ROWS_AT_ONCE:
                add(block)
    for block in list(waiting):
        add(block)
    for block in sorted(sums):
        yield from _packed_pieces(prune(sums.pop(block), degrees, unit))


def _similar_pieces(
    block: GramBlock, degrees: Float64, unit: float, neighbours: int, item_exponent: float
) -> Pieces:
    rows = similar_items(block, degrees, unit, neighbours, item_exponent)
    return Pieces(
        block.targets.astype(np.int64), rows.offsets, rows.neighbour_indices, rows.weights
    )


def _pruned_gram_pieces(
    block: GramBlock, degrees: Float64, unit: float, item_exponent: float, entries: int
) -> Pieces:
    rows = pruned_gram_rows(block, degrees, item_exponent, entries)
    return Pieces(block.targets.astype(np.int64), *rows)


def _solve_partition(
    batches: Iterable[pa.RecordBatch],
    gram: Shipped,
    candidates: int,
    penalty: float,
    item_exponent: float,
) -> Iterator[pa.RecordBatch]:
    shared: Gram = gram.load()
    for targets in _targets_of(batches, len(shared)):
        solved = solve_targets(shared, targets, candidates, penalty, item_exponent)
        yield from _packed_weights(targets, solved)


def _solve_content_partition(
    batches: Iterable[pa.RecordBatch], shipped: Shipped, config: ContentNeighboursConfig
) -> Iterator[pa.RecordBatch]:
    terms, vectors, postings = shipped.load()
    for targets in _targets_of(batches, terms.shape[0]):
        solved = content_weights(
            terms,
            vectors,
            postings,
            targets,
            config.candidates,
            config.vector_share,
            config.regularisation,
        )
        yield from _packed_weights(targets, solved)


def _numbered_tasks(spark: SparkSession, n_items: int) -> DataFrame:
    """A row a task: its number and how many there are."""
    tasks = min(n_items, 4 * _tasks(spark))
    return spark.range(0, tasks, 1, tasks).withColumn("tasks", F.lit(tasks))


def _targets_of(batches: Iterable[pa.RecordBatch], n_items: int) -> Iterator[Int32]:
    """Each task's items: interleaved, so that neighbouring (often equally popular) ones spread."""
    for batch in batches:
        numbers = zip(
            batch.column("id").to_pylist(), batch.column("tasks").to_pylist(), strict=True
        )
        for number, tasks in numbers:
            yield np.arange(number, n_items, tasks, dtype=np.int32)


def _packed_weights(targets: Int32, solved: ItemWeights) -> Iterator[pa.RecordBatch]:
    yield from _packed_pieces(
        Pieces(targets.astype(np.int64), solved.offsets, solved.neighbour_indices, solved.weights)
    )


def _weights_partition(
    batches: Iterable[pa.RecordBatch], shipped: Shipped, method: str
) -> Iterator[pa.RecordBatch]:
    weights: ItemWeights = shipped.load()
    filled = np.flatnonzero(np.diff(weights.offsets))
    for batch in batches:
        numbers = zip(
            batch.column("id").to_pylist(), batch.column("tasks").to_pylist(), strict=True
        )
        for number, tasks in numbers:
            for items in np.array_split(filled, max(tasks, len(filled) // 4096 + 1))[number::tasks]:
                yield _weights_batch(weights, items, method)


def _weights_batch(weights: ItemWeights, items: Int64, method: str) -> pa.RecordBatch:
    rows = Rows(
        np.arange(len(weights)), weights.offsets, weights.neighbour_indices, weights.weights
    )
    part = _select_rows(rows, items)
    return pa.RecordBatch.from_arrays(
        [
            pa.array([method] * len(items), pa.string()),
            pa.array(part.user_index),
            list_array(part.offsets, part.item_indices),
            list_array(part.offsets, part.weights),
        ],
        names=[c.METHOD, c.ITEM_INDEX, c.NEIGHBOUR_INDICES, c.WEIGHTS],
    )


def _pack_rows_partition(
    batches: Iterable[pa.RecordBatch], maximum_history: int
) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        rows = sample_long_rows(rows_from_batch(batch), maximum_history)
        yield from _packed_pieces(
            Pieces(rows.user_index, rows.offsets, rows.item_indices, rows.weights)
        )


def _packed_pieces(pieces: Pieces) -> Iterator[pa.RecordBatch]:
    """Batches of one row each, of some `PIECE_ENTRIES` entries."""
    start = 0
    while start < len(pieces.keys):
        limit = pieces.offsets[start] + PIECE_ENTRIES
        stop = max(start + 1, int(np.searchsorted(pieces.offsets, limit, side="right")) - 1)
        low, high = pieces.offsets[start], pieces.offsets[stop]
        yield _pack(
            Pieces(
                pieces.keys[start:stop],
                pieces.offsets[start : stop + 1] - low,
                pieces.indices[low:high],
                pieces.values[low:high],
            )
        )
        start = stop


def _pack(pieces: Pieces) -> pa.RecordBatch:
    arrays = (
        pieces.keys.astype(np.int64, copy=False),
        pieces.offsets.astype(np.int64, copy=False),
        pieces.indices.astype(np.int32, copy=False),
        pieces.values.astype(np.float32, copy=False),
    )
    return pa.RecordBatch.from_arrays(
        [pa.array([array.tobytes()], pa.binary()) for array in arrays],
        names=["keys", "offsets", "indices", "values"],
    )


def _unpack(batch: pa.RecordBatch, row: int) -> Pieces:
    return _from_bytes(
        *(batch.column(name)[row].as_buffer() for name in ("keys", "offsets", "indices", "values"))
    )


def _from_bytes(keys: object, offsets: object, indices: object, values: object) -> Pieces:
    return Pieces(
        np.frombuffer(keys, np.int64),  # type: ignore[call-overload]
        np.frombuffer(offsets, np.int64),  # type: ignore[call-overload]
        np.frombuffer(indices, np.int32),  # type: ignore[call-overload]
        np.frombuffer(values, np.float32),  # type: ignore[call-overload]
    )


def _collect(packed: DataFrame) -> Pieces:
    """The packed item-side rows of a frame, in the order in which they come."""
    parts = [
        _from_bytes(row["keys"], row["offsets"], row["indices"], row["values"])
        for row in packed.collect()
    ]
    counts = [np.diff(part.offsets) for part in parts]
    return Pieces(
        np.concatenate([np.empty(0, np.int64), *(part.keys for part in parts)]),
        offsets_of(np.concatenate([np.empty(0, np.int64), *counts])),
        np.concatenate([np.empty(0, np.int32), *(part.indices for part in parts)]),
        np.concatenate([np.empty(0, np.float32), *(part.values for part in parts)]),
    )


def _sorted_by_key(pieces: Pieces) -> Pieces:
    order = np.argsort(pieces.keys, kind="stable")
    rows = Rows(pieces.keys, pieces.offsets, pieces.indices, pieces.values)
    part = _select_rows(rows, order)
    return Pieces(part.user_index, part.offsets, part.item_indices, part.weights)


def _item_weights(pieces: Pieces, n_items: int) -> ItemWeights:
    """Rows in any order as ItemWeights of all items; items without a row have an empty one."""
    ordered = _sorted_by_key(pieces)
    keys = ordered.keys
    if len(keys) and (np.any(np.diff(keys) == 0) or keys[0] < 0 or keys[-1] >= n_items):
        raise DataError(
            f"item weights have rows {keys[:5].tolist()} ... {keys[-1]}, expected each item of"
            f" {n_items} once at most; select one run, fit and method of item_neighbours"
        )
    counts = np.zeros(n_items, np.int64)
    counts[keys] = np.diff(ordered.offsets)
    return ItemWeights(offsets_of(counts), ordered.indices, ordered.values)


def _collect_numbers(frame: DataFrame) -> Float64:
    """A small item-side table of numbers as float64 [rows, columns]; exact below 2^53."""
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


def _tasks(spark: SparkSession) -> int:
    """How many tasks keep the cluster busy."""
    return max(2, spark.sparkContext.defaultParallelism)


__all__ = [
    "MatrixStatistics",
    "candidate_users",
    "item_weights_from_frame",
    "item_weights_to_frame",
    "matrix_statistics",
    "train_content_neighbours",
    "train_item_neighbours",
    "train_ridge",
]
