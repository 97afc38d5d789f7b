"""Weights and ratings: values that stand for missing ones, and weights too large to sum."""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

# Its square, summed over a million rows, is still a float of 32 bits.
LARGEST_WEIGHT = 1e15
_FEW_VALUES = 25
_SEVERAL = 4
_GAP = 1.5
_USUAL_PLACEHOLDERS = frozenset((0.0, -1.0, 99.0, 999.0, 9999.0, -99.0, -999.0))


def outside_the_run(numbers: Sequence[float]) -> float | None:
    """The value that may stand for a missing one, such as 0 or 99 beside ratings from 1 to 10.

    Such a value is one that people often use so, it is the least or the largest of few different
    values, and either it stands further from the others than these from each other, or the others
    are a scale from 0 or 1 up to 5 or more and it is below it.
    """
    counted = Counter(numbers)
    values = sorted(counted)
    if not _SEVERAL <= len(values) <= _FEW_VALUES:
        return None
    for place, rest in ((0, values[1:]), (-1, values[:-1])):
        candidate = values[place]
        step = min(b - a for a, b in pairwise(rest))
        gap = abs(candidate - rest[0 if place == 0 else -1])
        stands_apart = gap > step * _GAP or _is_no_rating(candidate, rest)
        if candidate in _USUAL_PLACEHOLDERS and stands_apart:
            return candidate
    return None


def _is_no_rating(candidate: float, rest: Sequence[float]) -> bool:
    """Whether a value of at most 0 stands below a scale from 0 or 1 up to 5 or more."""
    return candidate <= 0.0 and rest[0] in {0.0, 1.0} and rest[-1] >= 5.0
