"""Train transitions of one fit on the cluster: add them up by blocks of history items.

A first pass over the users counts how much follows each item and how much each item follows, by
which all weights are divided. In a second pass each partition adds up its own transitions and sends
each sum to the block of its history item. The task of a block adds up what it gets and prunes it,
and only what is kept is collected.

Time is linear in interactions times window. A partition holds at most twice `TRANSITIONS_AT_ONCE`
sums before it sends them, and the task of a block about `BLOCK_ENTRIES`.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import scipy.sparse as sp
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.config.models import NeighboursConfig
from m6rec.kernels.arrays.rows import Int64, indptr_of, slices_of_rows
from m6rec.kernels.neighbours.item_neighbours import ItemWeights
from m6rec.kernels.neighbours.transitions import (
    Transitions,
    TransitionTotals,
    concatenate_transitions,
    most_transitions,
    transition_weights,
    transitions_of,
)
from m6rec.spark.arrow_rows import ROW_COLUMNS, rows_from_batch, times_column
from m6rec.spark.collecting import BYTES_OF_NUMBER, collected_table
from m6rec.spark.shipping import Shipped, ShippedArrays, ship, ship_arrays
from m6rec.stages.training.gram import assign_blocks, check_items, partition_keys
from m6rec.stages.training.item_weights import item_weights_of_pieces
from m6rec.stages.training.pieces import (
    PACKED_SCHEMA,
    Pieces,
    bounds_of_runs,
    collect_pieces,
    packed_pieces,
    task_count,
)

TRANSITIONS_AT_ONCE = 4_000_000
_BLOCK = "key"
_COUNTED = (c.ITEM_INDEX, "outgoing", "incoming", "found")
_SENT = (_BLOCK, "history_items", "targets", "amounts")
_SENT_SCHEMA = f"{_BLOCK} long, history_items binary, targets binary, amounts binary"


def train_transitions(matrix: DataFrame, n_items: int, config: NeighboursConfig) -> ItemWeights:
    """Train weights on what came next (kernels.neighbours.transitions).

    Args:
        matrix: user_index, item_indices, weights, times of one fit; the weights do not matter, and
            interactions without a time take no part.
        n_items: M.
        config: of the neighbours.
    """
    spark, settings = matrix.sparkSession, config.transitions
    rows = matrix.select(*ROW_COLUMNS, c.TIMES)
    find = _Finder(n_items, settings.window, config.maximum_history, TRANSITIONS_AT_ONCE)
    totals, found = _totals(rows, find)
    block_of_item, n_blocks = assign_blocks(found, task_count(spark))
    send = partial(
        _send_sums,
        find=find,
        shipped=ship_arrays(
            spark, {"block_of_item": block_of_item, "keys": partition_keys(spark, n_blocks)}
        ),
    )
    weigh = partial(
        transition_weights,
        kept=settings.kept,
        history_exponent=settings.history_exponent,
        target_exponent=settings.target_exponent,
    )
    add = partial(
        _weigh_partition,
        n_items=n_items,
        at_once=TRANSITIONS_AT_ONCE,
        totals=ship(spark, totals),
        weigh=weigh,
    )
    placed = rows.mapInArrow(send, _SENT_SCHEMA).repartition(n_blocks, F.col(_BLOCK)).drop(_BLOCK)
    pieces = collect_pieces(placed.mapInArrow(add, PACKED_SCHEMA), n_items, settings.kept)
    return item_weights_of_pieces(pieces, n_items)


@dataclass(frozen=True)
class _Finder:
    """Finds the transitions in batches of the matrix.

    Attributes:
        n_items: M.
        window: the most steps of a transition.
        maximum_history: of a longer history, the latest interactions are looked at.
        at_once: the most transitions that are found at once, unless a single row has more.
    """

    n_items: int
    window: int
    maximum_history: int
    at_once: int

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[Transitions]:
        entries = max(1, self.at_once // most_transitions(self.window))
        for batch in batches:
            rows, times = rows_from_batch(batch), times_column(batch)
            check_items(rows, self.n_items)
            for start, stop in slices_of_rows(rows.indptr, entries):
                own_times = times[rows.indptr[start] : rows.indptr[stop]]
                yield transitions_of(
                    rows.slice(start, stop), own_times, self.window, self.maximum_history
                )


def _totals(rows: DataFrame, find: _Finder) -> tuple[TransitionTotals, Int64]:
    """The totals of all transitions, and int64 [M]: how many of them start at each item."""
    grouped = (
        rows.mapInArrow(
            partial(_total_partition, find=find), ", ".join(f"{name} long" for name in _COUNTED)
        )
        .groupBy(c.ITEM_INDEX)
        .agg(*(F.sum(name).alias(name) for name in _COUNTED[1:]))
    )
    counted = collected_table(grouped, len(_COUNTED) * find.n_items * BYTES_OF_NUMBER)
    items, *sums = (counted.column(name).to_numpy() for name in _COUNTED)
    of_items = np.zeros((len(sums), find.n_items), np.int64)
    of_items[:, items] = sums
    outgoing, incoming, found = of_items
    return TransitionTotals(outgoing, incoming), found


def _total_partition(batches: Iterable[pa.RecordBatch], find: _Finder) -> Iterator[pa.RecordBatch]:
    of_items = np.zeros((3, find.n_items), np.int64)
    for transitions in find(batches):
        totals = transitions.totals(find.n_items)
        of_items[0] += totals.outgoing
        of_items[1] += totals.incoming
        of_items[2] += np.bincount(transitions.history_items, minlength=find.n_items)
    used = np.flatnonzero(of_items.any(axis=0))
    yield pa.RecordBatch.from_arrays(
        [pa.array(used), *(pa.array(counts[used]) for counts in of_items)], names=[*_COUNTED]
    )


def _send_sums(
    batches: Iterable[pa.RecordBatch],
    find: _Finder,
    shipped: ShippedArrays,
) -> Iterator[pa.RecordBatch]:
    """The partition's sums, packed once for each block that has some of them."""
    arrays = shipped.load()
    block_of_item, keys = np.asarray(arrays["block_of_item"]), np.asarray(arrays["keys"])
    for transitions in _joined(find(batches), find.at_once):
        yield from _packed_by_block(transitions.sums(find.n_items), block_of_item, keys)


def _joined(parts: Iterable[Transitions], at_once: int) -> Iterator[Transitions]:
    """The same transitions in few parts, each of at least `at_once` but the last."""
    waiting: list[Transitions] = []
    found = 0
    for part in parts:
        waiting.append(part)
        found += len(part)
        if found >= at_once:
            yield concatenate_transitions(waiting)
            waiting, found = [], 0
    if waiting:
        yield concatenate_transitions(waiting)


def _packed_by_block(
    sums: sp.csr_matrix, block_of_item: npt.NDArray[np.int32], keys: Int64
) -> Iterator[pa.RecordBatch]:
    pairs = sums.tocoo()
    order = np.argsort(block_of_item[pairs.row], kind="stable")
    blocks = block_of_item[pairs.row[order]]
    for low, high in pairwise(bounds_of_runs(blocks).tolist()):
        own = order[low:high]
        arrays = (
            pairs.row[own].astype(np.int32),
            pairs.col[own].astype(np.int32),
            pairs.data[own].astype(np.int64),
        )
        packed = [pa.array([array.tobytes()], pa.binary()) for array in arrays]
        yield pa.RecordBatch.from_arrays([pa.array([keys[blocks[low]]]), *packed], names=[*_SENT])


def _weigh_partition(
    batches: Iterable[pa.RecordBatch],
    n_items: int,
    at_once: int,
    totals: Shipped,
    weigh: Callable[[sp.csr_matrix, TransitionTotals], ItemWeights],
) -> Iterator[pa.RecordBatch]:
    """The weights of the history items of this partition's blocks."""
    sums: sp.csr_matrix | None = None
    for transitions in _joined(_unpacked(batches), at_once):
        share = transitions.sums(n_items)
        sums = share if sums is None else sums + share
    if sums is None:
        return
    weights = weigh(sums, totals.load())
    counts = np.diff(weights.indptr)
    filled = np.flatnonzero(counts)
    yield from packed_pieces(
        Pieces(filled, indptr_of(counts[filled]), weights.neighbour_indices, weights.weights)
    )


def _unpacked(batches: Iterable[pa.RecordBatch]) -> Iterator[Transitions]:
    for batch in batches:
        for row in range(batch.num_rows):
            items, targets, amounts = (batch.column(name)[row].as_buffer() for name in _SENT[1:])
            yield Transitions(
                np.frombuffer(items, np.int32),
                np.frombuffer(targets, np.int32),
                np.frombuffer(amounts, np.int64),
            )
