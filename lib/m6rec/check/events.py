"""How times and weights in a table of events are written, inferred from its first rows."""

from collections.abc import Mapping
from dataclasses import dataclass

from m6rec.check.numbers import DecimalSign, numbers_as_text
from m6rec.check.samples import ColumnSample
from m6rec.check.times import TimeReading, read_times
from m6rec.config.data import InteractionsConfig


@dataclass(frozen=True)
class EventReading:
    """What the first rows of a table of events show and its schema does not say.

    Attributes:
        time_format: how times are written, in Spark's patterns; None where Spark reads them.
        decimal_sign: the sign before the fraction of weights that are text; empty for plain ones.
    """

    time_format: str | None = None
    decimal_sign: DecimalSign = ""


def read_events(columns: Mapping[str, ColumnSample], config: InteractionsConfig) -> EventReading:
    """How times and weights are written, as far as the first rows show it."""
    names = config.columns
    time = TimeReading()
    if names.time is not None and names.time in columns:
        time = read_times(columns[names.time], config)
    weight = None
    if names.weight is not None and names.weight in columns:
        column = columns[names.weight]
        weight = numbers_as_text(column.texts) if column.group == "text" else None
    return EventReading(time.format, "" if weight is None else weight.decimal_sign)
