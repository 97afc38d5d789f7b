"""How the numbers of an attribute are written: as numbers, or as dates that become seconds."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from m6rec.check.numbers import DecimalSign, numbers_as_text
from m6rec.check.samples import CellValue
from m6rec.check.times import read_dates


@dataclass(frozen=True)
class Writing:
    """How the values of a column are written.

    Attributes:
        decimal_sign: of text, the sign before the fraction; empty for plain numbers.
        date_format: of dates, Spark's pattern; None for numbers, and for dates that Spark reads.
    """

    decimal_sign: DecimalSign = ""
    date_format: str | None = None


AS_IS = Writing()


def writing_of_texts(values: Sequence[str]) -> Writing | None:
    """How texts write numbers or dates.

    None where texts are neither, and where day and month of their dates cannot be told apart.
    """
    dates = read_dates(values)
    if dates is not None:
        return None if dates.problem else Writing(date_format=dates.format)
    numbers = numbers_as_text(values)
    return None if numbers is None else Writing(numbers.decimal_sign)


def writing_of_numbers(values: Iterable[CellValue]) -> Writing:
    """How numbers are written: as such, or all as dates such as 20240301."""
    numbers = [value for value in values if isinstance(value, int | float | Decimal)]
    are_whole = all(map(_is_whole, numbers))
    dates = read_dates([f"{number:.0f}" for number in numbers]) if are_whole else None
    return AS_IS if dates is None else Writing(date_format=dates.format)


def _is_whole(number: float | Decimal) -> bool:
    return math.isfinite(number) and number == int(number)
