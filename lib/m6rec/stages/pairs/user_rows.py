"""Bring each user's pairs together once: hold some out, and lay out the rows of the matrix.

A partition's pairs come sorted by user and are handed to the kernels a block of whole users at a
time, so that a task holds no more than a block and its largest user.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql import types as T

from m6rec import columns as c
from m6rec.kernels.arrays.hashing import hash_of_columns
from m6rec.kernels.arrays.rows import Float32, Float64, Int64, indptr_of
from m6rec.kernels.evaluation.holdout import Bools, HeldOutQuota, first_of_rows, known_in
from m6rec.kernels.evaluation.mixed_split import ItemSample, choose_mixed

_PAIRS, _FLAG = "_pairs", "_flag"
PAIRS_OF_USER = "_pairs_of_user"
_BLOCK_ROWS = 1 << 16
_FOLDS = (c.TRAIN, c.VALIDATION, c.TEST)
_TRAIN = _FOLDS.index(c.TRAIN)
# The matrix's columns of lists: of pairs, and of Arrow's and Spark's types for them.
_OF_FIT = {
    c.ITEM_INDICES: (c.ITEM_INDEX, pa.int32(), T.IntegerType()),
    c.WEIGHTS: (c.WEIGHT, pa.float32(), T.FloatType()),
    c.TIMES: (c.EVENT_TIME, None, T.TimestampType()),
    c.EXCLUDED_INDICES: (c.ITEM_INDEX, pa.int32(), T.IntegerType()),
}


@dataclass(frozen=True)
class Block:
    """The pairs of some users, each with all of its own; arrays of one value a pair.

    Attributes:
        users: int64 [users]; the indices of the users.
        rows: int64 [pairs]; the place of each pair's user among these, ascending.
        items: int64 [pairs].
        positive: bool [pairs].
        pairs: the other columns.
    """

    users: Int64
    rows: Int64
    items: Int64
    positive: Bools
    pairs: pa.Table


class Holdout(Protocol):
    """Chooses among the pairs of a block that are in training."""

    @property
    def columns(self) -> dict[str, Column]:
        """What it needs of each pair beside users and items."""
        ...

    def chooser(self) -> Callable[[Block, Bools], Bools]:
        """A function of a block and which pairs are in training, to send to workers.

        It gives flags of pairs of training.
        """
        ...


@dataclass(frozen=True)
class FirstOfUsers:
    """Holds out the first of each user's pairs in an order.

    Attributes:
        name: a name for the order among those of one pass; one name stands for one order.
        order: long; the lowest come first, nulls last.
        quota: how many of a user's positive pairs.
        seed: seed and salt by which ties are drawn. By index, which goes by how many users have an
            item, a day's least or most popular items would be held out.
        others: positive pairs that are held out in any case; none unless given.
        takes_later: whether the first pairs are the latest ones, and pairs that came after one of
            them and are not positive go with them, since at that time they were as little known.
    """

    name: str
    order: Column
    quota: HeldOutQuota
    seed: tuple[int, int]
    others: Column | None = None
    takes_later: bool = False

    @property
    def columns(self) -> dict[str, Column]:
        """The order, and what is held out in any case."""
        others = {} if self.others is None else {_FLAG: self.others}
        return {self.name: self.order, **others}

    def chooser(self) -> Callable[[Block, Bools], Bools]:
        """As `Holdout` has it."""
        return partial(
            _first_of_users,
            name=self.name,
            quota=self.quota,
            seed=self.seed,
            has_others=self.others is not None,
            takes_later=self.takes_later,
        )


@dataclass(frozen=True)
class MixedOfUsers:
    """Holds out a share of each user's items, half of them alike: see `choose_mixed`."""

    sample: ItemSample
    share: float
    seed: tuple[int, int]

    @property
    def columns(self) -> dict[str, Column]:
        """Nothing."""
        return {}

    def chooser(self) -> Callable[[Block, Bools], Bools]:
        """As `Holdout` has it."""
        return partial(_mixed, sample=self.sample, share=self.share, seed=self.seed)


def _first_of_users(
    block: Block,
    training: Bools,
    name: str,
    quota: HeldOutQuota,
    seed: tuple[int, int],
    has_others: bool,
    takes_later: bool,
) -> Bools:
    order = block.pairs.column(name).fill_null(np.iinfo(np.int64).max).to_numpy()
    eligible = training & block.positive
    ties = hash_of_columns(*seed, block.users[block.rows], block.items)
    held = first_of_rows(block.rows, eligible, order, ties, len(block.users), quota)
    if has_others:
        held |= eligible & block.pairs.column(_FLAG).to_numpy()
    if takes_later:
        earliest = np.full(len(block.users), np.iinfo(np.int64).min)
        np.maximum.at(earliest, block.rows[held], order[held])
        held |= training & ~block.positive & (order < earliest[block.rows])
    return held


def _mixed(
    block: Block, training: Bools, sample: ItemSample, share: float, seed: tuple[int, int]
) -> Bools:
    places = np.flatnonzero(training & block.positive)
    places = places[np.lexsort((block.items[places], block.rows[places]))]
    indptr = indptr_of(np.bincount(block.rows[places], minlength=len(block.users)))
    items = block.items[places].astype(np.int32)
    held: Bools = np.zeros(len(training), dtype=np.bool_)
    held[places] = choose_mixed(block.users, indptr, items, sample, share, seed)
    return held


def user_rows(
    folded: DataFrame,
    holdouts: Sequence[tuple[str, Holdout]] = (),
    fits: Sequence[str] = (),
    users: DataFrame | None = None,
    kept: Sequence[str] | None = None,
) -> DataFrame:
    """One row for each user, from which `pairs_of` and `matrix_of` take what they give.

    Args:
        folded: user_index, item_index, fold, positive and any other columns; for fits weight and
            event_time. Where it has _owner, it is partitioned by it.
        holdouts: to which fold each moves pairs of training, one after the other.
        fits: of which there are rows of the matrix.
        users: user_index; these have a row whether or not they have a pair.
        kept: the columns of `pairs_of`; all but _owner unless given.
    """
    if kept is None:
        kept = [name for name in folded.columns if name not in (c.OWNER, c.USER_INDEX)]
    of_fit = [source for source, *_ in _OF_FIT.values()] if fits else []
    sent = dict.fromkeys((c.ITEM_INDEX, c.FOLD, c.POSITIVE, *of_fit, *kept))
    needed = {name: column for _, one in holdouts for name, column in one.columns.items()}
    given = folded.withColumns(needed) if needed else folded
    owner = [c.OWNER] if c.OWNER in folded.columns and users is None else []
    if users is not None:
        bare = users.select(c.USER_INDEX)
        given = given.drop(c.OWNER).unionByName(bare, allowMissingColumns=True)
    # The window has Spark bring the pairs of a user together where they are not, and sort them.
    of_user = F.count(F.lit(1)).over(Window.partitionBy(*owner, c.USER_INDEX))
    pairs = given.select(c.USER_INDEX, *sent, *needed, of_user.alias(PAIRS_OF_USER))
    types = folded.schema
    schema = T.StructType([T.StructField(c.USER_INDEX, T.LongType())])
    if kept:
        pair = T.StructType([T.StructField(name, types[name].dataType) for name in kept])
        schema.add(_PAIRS, T.ArrayType(pair))
    for fit in fits:
        for name, (_, _, kind) in _OF_FIT.items():
            schema.add(_of_fit(fit, name), T.ArrayType(kind))
    lay_out = partial(
        _lay_out,
        choosers=[(fold, one.chooser()) for fold, one in holdouts],
        kept=list(kept),
        fits=tuple(fits),
    )
    return pairs.mapInArrow(lay_out, schema)


def pairs_of(rows: DataFrame) -> DataFrame:
    """One row for each pair of `user_rows`, with its index and the kept columns."""
    return rows.select(c.USER_INDEX, F.inline(_PAIRS))


def matrix_of(rows: DataFrame, fits: Sequence[str]) -> DataFrame:
    """The rows of table `user_item_matrix` of `user_rows` that were made for these fits."""
    of_fits = F.array(
        *(
            F.struct(
                F.lit(fit).alias(c.FIT),
                *(F.col(_of_fit(fit, name)).alias(name) for name in _OF_FIT),
            )
            for fit in fits
        )
    )
    return rows.select(c.USER_INDEX, F.inline(of_fits)).select(c.FIT, c.USER_INDEX, *_OF_FIT)


def _of_fit(fit: str, name: str) -> str:
    return f"_{fit}_{name}"


def _lay_out(
    batches: Iterable[pa.RecordBatch],
    choosers: list[tuple[str, Callable[[Block, Bools], Bools]]],
    kept: list[str],
    fits: tuple[str, ...],
) -> Iterator[pa.RecordBatch]:
    for table in whole_users(batches):
        block = _block(table)
        folds = pc.index_in(block.pairs.column(c.FOLD), pa.array(_FOLDS)).to_numpy()
        folds = folds.copy()
        for fold, choose in choosers:
            folds[choose(block, folds == _TRAIN)] = _FOLDS.index(fold)
        order = np.lexsort((folds, block.items, block.rows))
        yield _batch(block, order, folds[order], block.positive[order], kept, fits)


def whole_users(
    batches: Iterable[pa.RecordBatch], least_rows: int = _BLOCK_ROWS
) -> Iterator[pa.Table]:
    """Cut rows that lie user by user into blocks, none of which divides a user.

    Args:
        batches: user_index, and _pairs_of_user, how many rows the user has in all.
        least_rows: how many rows are gathered before a block is cut.
    """
    held: list[pa.RecordBatch] = []
    n_rows = 0
    for batch in batches:
        if not batch.num_rows:
            continue
        held.append(batch)
        n_rows += batch.num_rows
        of_last = int(batch.column(PAIRS_OF_USER)[-1].as_py())
        if n_rows < max(least_rows, of_last):
            continue
        table = pa.Table.from_batches(held)
        users = table.column(c.USER_INDEX).to_numpy()
        start_of_last = n_rows - _equal_at_end(users)
        # The last user is whole, or its rows wait for those that follow.
        cut = n_rows if n_rows - start_of_last == of_last else start_of_last
        yield table.slice(0, cut)
        held, n_rows = table.slice(cut).to_batches(), n_rows - cut
    if held:
        yield pa.Table.from_batches(held)


def _equal_at_end(values: Int64) -> int:
    """How many values at the end equal the last."""
    others = np.flatnonzero(values != values[-1])
    return len(values) - (int(others[-1]) + 1 if len(others) else 0)


def _block(table: pa.Table) -> Block:
    given = table.column(c.USER_INDEX).to_numpy()
    rows = np.cumsum(np.concatenate([[False], given[1:] != given[:-1]]))
    users = given[np.concatenate([[True], given[1:] != given[:-1]])] if len(given) else given
    # A user without a pair comes without an item.
    has_item = table.column(c.ITEM_INDEX).is_valid().to_numpy()
    if not has_item.all():
        table, rows = table.filter(pa.array(has_item)), rows[has_item]
    table = table.combine_chunks()
    items = table.column(c.ITEM_INDEX).to_numpy()
    positive = table.column(c.POSITIVE).to_numpy()
    return Block(users, rows.astype(np.int64), items, positive, table)


def _batch(
    block: Block,
    order: Int64,
    folds: Int64,
    positive: Bools,
    kept: list[str],
    fits: tuple[str, ...],
) -> pa.RecordBatch:
    """A row for each user, of its pairs by ascending item and fold."""
    rows, items = block.rows[order], block.items[order]
    columns: dict[str, pa.Array] = {c.USER_INDEX: pa.array(block.users)}
    if kept:
        ordered = block.pairs.select([name for name in kept if name != c.FOLD]).take(order)
        of_fold = pa.array(_FOLDS).take(pa.array(folds))
        values = [of_fold if name == c.FOLD else _joined(ordered.column(name)) for name in kept]
        pairs = pa.StructArray.from_arrays(values, names=kept)
        columns[_PAIRS] = pa.ListArray.from_arrays(_offsets(block, rows), pairs)
    for fit in fits:
        known = known_in(rows, items, folds, tuple(map(_FOLDS.index, c.FOLDS_OF_FIT[fit])))
        for name, (source, kind, _) in _OF_FIT.items():
            chosen = known & (~positive if name == c.EXCLUDED_INDICES else positive)
            places = np.flatnonzero(chosen)
            values_of_fit = _joined(block.pairs.column(source).take(pa.array(order[places])))
            if name == c.WEIGHTS:
                values_of_fit = pa.array(_as_floats(values_of_fit.to_numpy(zero_copy_only=False)))
            elif kind is not None:
                values_of_fit = values_of_fit.cast(kind, safe=False)
            offsets = _offsets(block, rows[places])
            columns[_of_fit(fit, name)] = pa.ListArray.from_arrays(offsets, values_of_fit)
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def _as_floats(weights: Float64) -> Float32:
    """The weights as float32, in which those that are above 0 stay so, however long they decay."""
    floats = weights.astype(np.float32)
    least = np.finfo(np.float32).tiny
    floats[(weights > 0.0) & (floats < least)] = least
    return floats


def _joined(column: pa.ChunkedArray) -> pa.Array:
    joined = column.combine_chunks()
    return joined if isinstance(joined, pa.Array) else pa.concat_arrays(joined.chunks)


def _offsets(block: Block, rows: Int64) -> pa.Array:
    counts = np.bincount(rows, minlength=len(block.users))
    return pa.array(indptr_of(counts).astype(np.int32))
