"""Whether nearly all values of a column have a property."""

from collections.abc import Callable, Sequence
from typing import TypeVar

Judged = TypeVar("Judged")


def holds_for_share(
    values: Sequence[Judged], share: float, holds: Callable[[Judged], object]
) -> bool:
    """Whether at least this share of the values has a property.

    It looks at no more values than rule that out, which for most columns are the first few.
    """
    least = share * len(values)
    possible = len(values)
    for value in values:
        if not holds(value):
            possible -= 1
            if possible < least:
                return False
    return True
