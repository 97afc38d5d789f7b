"""Weights and ratings: a value outside the run of the others, and weights too large to compute."""

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
    """The value that may mean that there is none, such as 0 or 99 beside 1 to 10.

    It is one of the usual such values, the least or the largest of few, whole and evenly spaced
    values, and stands apart from them, or is a 0 beside values that begin with 1 of which there
    are more than 5, or is negative beside positive ones.
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
    """Whether a value is a 0 before a scale that begins with 1, or a -1 before one without sign."""
    return candidate <= 0.0 and rest[0] in {0.0, 1.0} and rest[-1] >= 5.0
