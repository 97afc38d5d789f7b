"""Write training rows as Parquet files, with a manifest against which every epoch is counted.

Petastorm reads only lists of equal length, but histories differ in length. Padded to the longest
history, they would consist almost only of padding. So a row of the files is a pack of neighbouring
users, whose items lie one after the other.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from m6rec import columns as c
from m6rec.files import AnyPlace, written_whole
from m6rec.kernels.arrays.rows import Float32, Int32, Int64, Rows, indptr_of
from m6rec.towers.modalities import Modalities

USERS_OF_PACK = 64
COUNTS = "counts"
NO_USER = -1
"""Stands in a pack for each user that it has less than USERS_OF_PACK."""


@dataclass(frozen=True)
class Manifest:
    """The Parquet files of training rows; rank r reads the files r, r + world_size, and so on.

    Attributes:
        folder: where the files are.
        files: the names within the folder, in reading order; each file is one row group.
        rows: how many rows each file has.
        width: the length of a pack's lists `item_indices` and `weights`.
        features: how many features a user has.
        world_size: for how many ranks the rows were divided.
        timed: whether the files hold the times of interactions.
        contexts: how many columns of context an interaction has.
        modalities: the columns of vectors that users' features end with.
    """

    folder: AnyPlace
    files: tuple[str, ...]
    rows: tuple[int, ...]
    width: int
    features: int
    world_size: int
    timed: bool = False
    contexts: int = 0
    modalities: Modalities = ()

    def files_of(self, rank: int) -> tuple[str, ...]:
        """The names of a rank's files."""
        return self.files[rank :: self.world_size]

    def rows_of(self, rank: int) -> int:
        """How many rows a rank has."""
        return sum(self.rows[rank :: self.world_size])

    @property
    def fewest_rows(self) -> int:
        """How many rows the rank has that has the fewest; ranks without any do not count."""
        counts = (self.rows_of(rank) for rank in range(self.world_size))
        return min((count for count in counts if count), default=1)

    def steps_per_epoch(self, users_per_batch: int, minimum_steps: int) -> int:
        """How many steps each rank takes: enough for the largest one, and none without a row.

        Ranks without any row do not count.
        """
        most = max(self.rows_of(rank) for rank in range(self.world_size))
        wanted = max(-(-most // users_per_batch), minimum_steps)
        return min(wanted, self.fewest_rows)


def pack_width(items: int, users: int, longest: int) -> int:
    """How many items a pack has room for: those of USERS_OF_PACK mean users, or the longest row."""
    return max(longest, -(-USERS_OF_PACK * items // users))


def write_row_file(
    path: AnyPlace,
    rows: Rows,
    features: Float32 | None,
    width: int,
    times: Int64 | None = None,
    contexts: Int32 | None = None,
) -> None:
    """Write rows as one row group of packs.

    A pack consists of lists without nulls: user_index int64 [USERS_OF_PACK], counts int32
    [USERS_OF_PACK], item_indices int32 [width], weights float32 [width], features float32
    [USERS_OF_PACK * features] and, where there are any, times int64 [width] and contexts int32
    [width * columns].

    Args:
        path: the file; it appears whole or not at all, also where a task is retried.
        rows: the rows in the order in which they are to be read; none is longer than `width`.
        features: float32 [n, features], or None where users have none.
        width: how many items a pack has room for.
        times: int64 [entries] in microseconds, or None where interactions have none.
        contexts: int32 [entries, columns], or None where interactions have none.
    """
    bounds = _pack_bounds(rows.indptr, width)
    sizes = np.diff(bounds)
    pack = np.repeat(np.arange(len(sizes)), sizes)
    user = pack, np.arange(len(rows)) - bounds[pack]
    entry_pack = np.repeat(pack, rows.counts)
    entry = entry_pack, np.arange(rows.entries) - rows.indptr[bounds[entry_pack]]
    users, entries = (len(sizes), USERS_OF_PACK), (len(sizes), width)
    columns = {
        c.USER_INDEX: _spread(rows.user_index, user, users, NO_USER),
        COUNTS: _spread(rows.counts.astype(np.int32), user, users),
        c.ITEM_INDICES: _spread(rows.item_indices, entry, entries),
        c.WEIGHTS: _spread(rows.weights, entry, entries),
    }
    if times is not None:
        columns[c.TIMES] = _spread(times, entry, entries)
    if contexts is not None:
        columns[c.CONTEXTS] = _spread(contexts, entry, (*entries, contexts.shape[1]))
    if features is not None:
        columns[c.FEATURES] = _spread(features, user, (*users, features.shape[1]))
    arrays = [_lists(column.reshape(len(sizes), -1)) for column in columns.values()]
    fields = [
        pa.field(name, array.type, nullable=False)
        for name, array in zip(columns, arrays, strict=True)
    ]
    table = pa.table(arrays, schema=pa.schema(fields))
    with written_whole(path) as unfinished:
        pq.write_table(table, unfinished, row_group_size=max(len(sizes), 1))


def _pack_bounds(indptr: Int64, width: int) -> Int64:
    """int64 [packs + 1]: the rows at which packs begin; each pack takes as many rows as fit."""
    bounds, n = [0], len(indptr) - 1
    while bounds[-1] < n:
        start = bounds[-1]
        fitting = int(np.searchsorted(indptr, indptr[start] + width, side="right")) - 1
        bounds.append(min(fitting, start + USERS_OF_PACK))
    return np.array(bounds, np.int64)


def _spread(
    values: npt.NDArray[Any],
    places: tuple[Int64, Int64],
    shape: tuple[int, ...],
    filler: int = 0,
) -> npt.NDArray[Any]:
    spread = np.full(shape, filler, values.dtype)
    spread[places] = values
    return spread


def cut_rows(rows: Rows, times: Int64 | None, longest: int, seed: int) -> tuple[Rows, Int64]:
    """Cut longer rows to `longest` items.

    The latest items stay or, where there are no times, a choice by the seed and the user.

    Returns:
        The cut rows, and the places of their entries among those of `rows`: int64 [entries].
    """
    kept = np.ones(rows.entries, bool)
    for long in np.flatnonzero(rows.counts > longest):
        low, high = rows.indptr[long], rows.indptr[long + 1]
        if times is None:
            generator = np.random.default_rng([seed, int(rows.user_index[long])])
            choice = generator.choice(high - low, longest, replace=False)
        else:
            choice = np.argsort(times[low:high], kind="stable")[-longest:]
        kept[low:high] = np.isin(np.arange(high - low), choice)
    indptr = indptr_of(np.minimum(rows.counts, longest))
    cut = Rows(rows.user_index, indptr, rows.item_indices[kept], rows.weights[kept])
    return cut, np.flatnonzero(kept)


def _lists(matrix: npt.NDArray[Any]) -> pa.ListArray:
    n, width = matrix.shape
    offsets = pa.array(np.arange(n + 1, dtype=np.int32) * width)
    return pa.ListArray.from_arrays(offsets, pa.array(matrix.reshape(-1)))
