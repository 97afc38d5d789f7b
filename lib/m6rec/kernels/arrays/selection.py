"""Select the largest values of each sparse row, whatever the order of the values."""

import numba
import numpy as np

from m6rec.kernels.arrays.rows import Float32, Int64


def largest_in_rows(indptr: Int64, values: Float32, kept: int) -> tuple[Int64, Int64]:
    """The positions of each row's `kept` largest values, ascending; ties by lower position.

    Args:
        indptr: int64 [n + 1].
        values: float32 [entries]; non-negative.
        kept: how many entries of a row are kept at most.

    Returns:
        The positions, int64 [kept entries], and how many entries each row keeps, int64 [n].
    """
    lengths = np.diff(indptr).astype(np.int64)
    counts = np.minimum(lengths, kept)
    positions = _largest_positions(
        indptr.astype(np.int64), np.ascontiguousarray(values, dtype=np.float32), kept, counts.sum()
    )
    return positions, counts


@numba.njit(cache=True)
def kth_largest(values: Float32, k: int) -> np.uint32:
    """The bits of the k-th largest of non-negative floats, by radix selection in linear time."""
    bits = values.view(np.uint32)
    prefix = np.uint32(0)
    mask = np.uint32(0)
    remaining = k
    for shift in (24, 16, 8, 0):
        histogram = np.zeros(256, np.int64)
        for value in bits:
            if (value & mask) == prefix:
                histogram[(value >> np.uint32(shift)) & np.uint32(255)] += 1
        digit = 255
        while histogram[digit] < remaining:
            remaining -= histogram[digit]
            digit -= 1
        prefix |= np.uint32(digit) << np.uint32(shift)
        mask |= np.uint32(255) << np.uint32(shift)
    return prefix


@numba.njit(cache=True)
def _largest_positions(indptr: Int64, values: Float32, kept: int, total: int) -> Int64:
    positions = np.empty(total, np.int64)
    filled = 0
    for row in range(len(indptr) - 1):
        start, stop = indptr[row], indptr[row + 1]
        if stop - start <= kept:
            for p in range(start, stop):
                positions[filled] = p
                filled += 1
            continue
        row_values = values[start:stop]
        threshold = kth_largest(row_values, kept)
        bits = row_values.view(np.uint32)
        above = 0
        for value in bits:
            if value > threshold:
                above += 1
        ties = kept - above
        for p in range(start, stop):
            value = bits[p - start]
            if value > threshold:
                positions[filled] = p
                filled += 1
            elif value == threshold and ties > 0:
                positions[filled] = p
                filled += 1
                ties -= 1
    return positions
