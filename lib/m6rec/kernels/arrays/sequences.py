"""Put histories in the order of their times, cut to the last items, as padded matrices.

The time that lies between an item and the one before it is told by a bin: gaps of a day and of two
days differ more than gaps of a year and a day.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from m6rec.kernels.arrays.rows import NO_ITEM, UNKNOWN_TIME, Int32, Int64, Rows

# Bin 0 is a gap that is not known: that before the first item, or next to an item without a time.
# Bin 1 is less than a minute, and each further bin is four times as long: the last but one begins
# at two years.
GAP_BINS = 13
_MINUTE = 60_000_000
_RATIO = 4.0


@dataclass(frozen=True)
class Sequences:
    """The last items of some histories, oldest first, padded on the left.

    Attributes:
        items: int32 [n, length]; NO_ITEM where the history is shorter.
        gaps: int8 [n, length]; the bin of the time since the item before.
    """

    items: Int32
    gaps: npt.NDArray[np.int8]


def time_order(rows: Rows, times: Int64) -> Int64:
    """int64 [entries]: the entries of each row by time, those at one time by item.

    Args:
        rows: histories.
        times: int64 [entries] in microseconds; `UNKNOWN_TIME` counts as the oldest.
    """
    row = np.repeat(np.arange(len(rows)), rows.counts)
    order: Int64 = np.lexsort((rows.item_indices, times, row))
    return order


def last_items(rows: Rows, times: Int64, length: int) -> Sequences:
    """The last `length` items of each history.

    Args:
        rows: histories; a row without entries becomes a row of NO_ITEM.
        times: int64 [entries] in microseconds.
        length: how many items a sequence has at most.
    """
    order = time_order(rows, times)
    counts = rows.counts
    row = np.repeat(np.arange(len(rows)), counts)
    # The place of each entry, counted from the end of its row.
    from_end = rows.indptr[row + 1] - np.arange(rows.entries)
    kept = from_end <= length
    width = min(length, int(counts.max(initial=0)))
    items = np.full((len(rows), width), NO_ITEM, np.int32)
    gaps = np.zeros((len(rows), width), np.int8)
    place = row[kept], width - from_end[kept]
    items[place] = rows.item_indices[order][kept]
    gaps[place] = gap_bins(rows, times[order])[kept]
    return Sequences(items, gaps)


def gap_bins(rows: Rows, times: Int64) -> npt.NDArray[np.int8]:
    """int8 [entries]: the bin of the time between each entry and the one before it in its row.

    Args:
        rows: histories.
        times: int64 [entries] in microseconds, ascending within a row.
    """
    bins = np.zeros(len(times), np.int8)
    if len(times) < 2:
        return bins
    known = (times[1:] != UNKNOWN_TIME) & (times[:-1] != UNKNOWN_TIME)
    minutes = np.where(known, times[1:] - np.where(known, times[:-1], 0), 0) / _MINUTE
    steps = np.floor(np.log(np.maximum(minutes, 1.0)) / np.log(_RATIO)).astype(np.int64)
    later = np.where(minutes < 1.0, 1, 2 + steps)
    bins[1:] = np.where(known, np.minimum(later, GAP_BINS - 1), 0)
    starts = rows.indptr[:-1]
    bins[starts[starts < len(times)]] = 0
    return bins
