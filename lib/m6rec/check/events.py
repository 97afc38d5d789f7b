"""How times and weights in a table of events are written, inferred from its first rows."""

from collections.abc import Mapping
from dataclasses import dataclass

from m6rec.check.numbers import DecimalSign, numbers_as_text
from m6rec.check.samples import ColumnSample
from m6rec.check.times import read_times
from m6rec.config.data import InteractionsConfig


@dataclass(frozen=True)
class EventReading:
    """What the first rows of a table of events show and its schema does not say.

    Attributes:
        time_format: how times are written, in Spark's patterns; None where Spark reads them.
        decimal_sign: the sign before the fraction of weights that are text; empty for plain ones.
        only_unit: the unit of weights beside which others are none; empty where any may stand.
    """

    time_format: str | None = None
    decimal_sign: DecimalSign = ""
    only_unit: str = ""


def read_events(
    columns: Mapping[str, ColumnSample],
    config: InteractionsConfig,
    known: EventReading | None = None,
) -> EventReading:
    """How times and weights are written, as far as the first rows show it.

    Where they do not, as `03/04/2025` alone, it is as in the table whose reading is `known`.
    """
    known = EventReading() if known is None else known
    names = config.columns
    time_format = None
    if names.time is not None and names.time in columns:
        time = read_times(columns[names.time], config)
        time_format = known.time_format if time.problem else time.format
    decimal_sign: DecimalSign = ""
    only_unit = ""
    if names.weight is not None and names.weight in columns:
        column = columns[names.weight]
        weight = numbers_as_text(column.texts) if column.group == "text" else None
        if weight is not None:
            signs = any("." in text or "," in text for text in column.texts)
            is_open = not (signs or weight.decimal_sign)
            decimal_sign = known.decimal_sign if is_open else weight.decimal_sign
            only_unit = known.only_unit if is_open else weight.only_unit
    return EventReading(time_format, decimal_sign, only_unit)
