"""How times are written is told from examples, and asked for where two readings are possible."""

from typing import Any

import pytest

from m6rec.check.samples import ColumnSample
from m6rec.check.times import read_times
from m6rec.check.types import TypeGroup
from m6rec.config.base import TableSource
from m6rec.config.data import InteractionsConfig

SOURCE = TableSource(path="unused")


def read(*values: Any, group: TypeGroup = "text", **settings: Any) -> tuple[str | None, str]:
    column = ColumnSample("t", group, group, values)
    reading = read_times(column, InteractionsConfig(source=SOURCE, **settings))
    return reading.format, f"{reading.problem}; {reading.mend}" if reading.problem else ""


@pytest.mark.parametrize(
    ("values", "pattern"),
    [
        (("2024-03-18 12:00", "2024-03-18T12:00:00Z", "2024"), None),
        (("24.12.2024",), "d.M.yyyy"),
        (("1.12.24", "24.12.24"), "d.M.yy"),
        (("12/13/2010 8:26",), "M/d/yyyy H:mm"),
        (("13/12/2010 8:26:01",), "d/M/yyyy H:mm:ss"),
        (("3/14/24 1:05 PM",), "M/d/yy h:mm a"),
        (("2024-03-18 1:05 PM",), "yyyy-M-d h:mm a"),
        (("2024-03-18 12:00:01,5",), "yyyy-M-d H:mm:ss[,SSSSSSSSS]"),
        (("2024-03-18 12:00:01 GMT", "2024-03-18 12:00:01.5 +0200"), None),
        (("2024/03/18 12:00:01.5",), "yyyy/M/d H:mm:ss[.SSSSSSSSS]"),
        (("1 May 2024 10:00:00", "24 May 2024 10:00"), "d MMM yyyy H:mm[:ss]"),
        (("March 3, 2024",), "MMMM d, yyyy"),
        (("01-JAN-24",), "d-MMM-yy"),
        (("20240301",), "yyyyMMdd"),
        (("20240301T101500",), "yyyyMMdd'T'HHmmss"),
        (("24.12.2024", "24.12.2024 10:00"), "d.M.yyyy[ H:mm]"),
    ],
)
def test_the_format_is_told_from_examples(values: tuple[str, ...], pattern: str | None) -> None:
    assert read(*values) == (pattern, "")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (("3/4/2024",), "day and month"),
        (("13/4/2024", "4/13/2024"), "in some rows the day comes first"),
        (("yesterday",), "no time that is known"),
        (("24.12.2024", "soon"), "'soon', which is written as no time"),
        (("1710763200",), "set interactions.time_unit: seconds"),
    ],
)
def test_where_it_cannot_be_told_the_check_asks(values: tuple[str, ...], words: str) -> None:
    pattern, problem = read(*values)
    assert pattern is None
    assert words in problem


@pytest.mark.parametrize("unit", ["seconds", "milliseconds", "microseconds", "nanoseconds"])
def test_the_unit_is_told_from_the_magnitude(unit: Any) -> None:
    scale = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}[unit]
    moments = [1_710_763_200 * scale, None, 0]
    assert read(*moments[:2], group="whole number", time_unit=unit) == (None, "")
    other = "seconds" if unit != "seconds" else "milliseconds"
    _, problem = read(*moments[:2], group="whole number", time_unit=other)
    assert f"set interactions.time_unit: {unit}" in problem


def test_counters_in_place_of_times_are_left_alone() -> None:
    assert read(1, 2, 3, group="whole number", time_unit="seconds") == (None, "")


def test_a_timestamp_has_no_unit() -> None:
    assert read("2024-01-01", group="timestamp") == (None, "")
    assert "time_unit: timestamp" in read("x", group="timestamp", time_unit="seconds")[1]
    assert "time_unit" in read("2024-01-01", time_unit="seconds")[1]
    assert "has type list" in read("[]", group="list")[1]


def test_numbers_can_be_dates() -> None:
    assert read(20240301, 20240302, group="whole number") == ("yyyyMMdd", "")
    assert "time_format: yyyyMMdd" in read(20240301, group="whole number", time_unit="seconds")[1]
