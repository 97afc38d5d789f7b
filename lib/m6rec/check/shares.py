"""Whether nearly all values of a column have a property, and what is found in them."""

from collections.abc import Callable, Sequence
from typing import TypeVar

Judged = TypeVar("Judged")
Found = TypeVar("Found")


def holds_for_share(
    values: Sequence[Judged], share: float, holds: Callable[[Judged], object]
) -> bool:
    """Whether at least this share of the values has a property."""
    return found_for_share(values, share, lambda value: holds(value) or None) is not None


def found_for_share(
    values: Sequence[Judged], share: float, find: Callable[[Judged], Found | None]
) -> list[Found] | None:
    """What is found in each value that has it; None where less than this share of them has.

    It looks at no more values than rule that out, which for most columns are the first few.
    """
    fewest = share * len(values)
    found: list[Found] = []
    for place, value in enumerate(values, 1):
        one = find(value)
        if one is not None:
            found.append(one)
        elif len(found) + len(values) - place < fewest:
            return None
    return found
