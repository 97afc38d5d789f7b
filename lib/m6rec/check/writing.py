"""How the values of an attribute are written: as numbers, as dates, or several in a text."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from m6rec.check.numbers import DecimalSign, numbers_as_text
from m6rec.check.samples import CellValue
from m6rec.check.times import read_dates

_NUMBERS = (int, float, Decimal)
_EARLIEST_DATE, _LATEST_DATE = 19000101, 20991231


@dataclass(frozen=True)
class Writing:
    """How the values of a column are written.

    Attributes:
        decimal_sign: of text, the sign before the fraction; empty for plain numbers.
        date_format: of dates, Spark's pattern; None for numbers, and for dates that Spark reads.
        separator: of several values in a text, what stands between them; empty for other columns.
        only_unit: of text, the unit beside which others become missing; empty where any may stand.
    """

    decimal_sign: DecimalSign = ""
    date_format: str | None = None
    separator: str = ""
    only_unit: str = ""


AS_IS = Writing()


def writing_of_texts(values: Sequence[str]) -> Writing | None:
    """How texts write numbers or dates.

    None where texts are neither, and where day and month of their dates cannot be told apart.
    """
    dates = read_dates(values)
    if dates is not None:
        return None if dates.problem else Writing(date_format=dates.format)
    numbers = numbers_as_text(values)
    return None if numbers is None else Writing(numbers.decimal_sign, only_unit=numbers.only_unit)


def writing_of_numbers(values: Sequence[CellValue]) -> Writing:
    """How numbers are written: as such, or all as dates such as 20240301."""
    # Of nearly all columns the first number shows that they are no dates.
    if not all(_may_be_date(value) for value in values if isinstance(value, _NUMBERS)):
        return AS_IS
    dates = read_dates([f"{value:.0f}" for value in values if isinstance(value, _NUMBERS)])
    return AS_IS if dates is None else Writing(date_format=dates.format)


def _may_be_date(number: float | Decimal) -> bool:
    in_range = math.isfinite(number) and _EARLIEST_DATE <= number <= _LATEST_DATE
    return in_range and number == int(number)
