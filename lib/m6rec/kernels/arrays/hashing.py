"""Hash whole numbers by SplitMix64, so that a draw is the same wherever a row lies.

The generator adds a constant to its state and mixes the bits of the sum (Steele, Lea and Flood
2014, "Fast splittable pseudorandom number generators"). A number hashed in this way can stand for
a random draw that depends on nothing but the number. All arithmetic is modulo 2^64.
"""

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

UInt64 = npt.NDArray[np.uint64]

INCREMENT = np.uint64(0x9E3779B97F4A7C15)
_FIRST_FACTOR = np.uint64(0xBF58476D1CE4E5B9)
_SECOND_FACTOR = np.uint64(0x94D049BB133111EB)


def mix_bits(state: UInt64) -> UInt64:
    """uint64, of any shape: SplitMix64's output for each state, after its increment."""
    mixed = (state ^ (state >> np.uint64(30))) * _FIRST_FACTOR
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _SECOND_FACTOR
    return mixed ^ (mixed >> np.uint64(31))


# The same function on one number, for compiled loops.
mix_bits_of_one: Any = numba.njit(cache=True, nogil=True)(mix_bits)


def hash_of_columns(*columns: npt.NDArray[Any] | int) -> UInt64:
    """uint64 [n]: a hash of the numbers at the same place of all columns, which chains their mixes.

    Args:
        columns: whole numbers, arrays [n] or one number for all places; at least one array.
    """
    state: UInt64 = np.zeros(1, dtype=np.uint64)
    for column in columns:
        state = mix_bits(state + np.asarray(column).astype(np.uint64) + INCREMENT)
    return state


@numba.njit(cache=True, nogil=True)
def hash_of_pair(first: int, second: int) -> np.uint64:
    """A hash of two whole numbers, for compiled loops."""
    mixed: np.uint64 = mix_bits_of_one(np.uint64(first) * INCREMENT + np.uint64(second) + INCREMENT)
    return mixed
