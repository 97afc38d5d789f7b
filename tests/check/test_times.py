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
    return reading.format, f"{reading.problem}; {reading.remedy}" if reading.problem else ""


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
        (("1.12.24", "24.12.23", "2.11.22"), "d.M.yy"),
        (("99-03-18", "99-03-19"), "yy-M-d"),
        (("20240318T120000Z",), "yyyyMMdd'T'HHmmssXX"),
        (("2024/03/18 12:00:00 +0900",), "yyyy/M/d H:mm:ss XX"),
        (("18/Mar/2024:12:00:00 +09:00",), "d/MMM/yyyy:H:mm:ss XXX"),
        (("Mon, 18 Mar 2024 12:00:00 GMT",), "EEE, d MMM yyyy H:mm:ss z"),
        (("18 Mar 2024 12:00 GMT", "19 Mar 2024 12:00 Z"), "d MMM yyyy H:mm [XX][z]"),
        (("Wed Aug 27 13:08:45 +0000 2008",), "EEE MMM d H:mm:ss XX yyyy"),
        (("Wed Aug  7 13:08:45 2008", "Thu Aug 28 13:08:45 2008"), "EEE MMM [ ]d H:mm:ss yyyy"),
        (("3/18/2024, 2:30:00\u202fPM",), "M/d/yyyy, h:mm:ss\u202fa"),
        (("March 18, 2024 at 2:30 PM",), "MMMM d, yyyy 'at' h:mm a"),
        (("18-MAR-24 12.00.00.000000000 PM",), "d-MMM-yy h.mm.ss[.SSSSSSSSS] a"),
        (("18.03.2024 12.30",), "d.M.yyyy H.mm"),
        (("20240318120000123",), "yyyyMMddHHmmssSSS"),
        (("2024\ub144 3\uc6d4 18\uc77c 9:30",), "yyyy\ub144 M\uc6d4 d\uc77c H:mm"),
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
        (
            ("24.12.2024", "3/24/2024", "3/25/2024"),
            "several ways, such as '3/24/2024' and '24.12.2024'",
        ),
        (("2024/3/18 1:00 Z", "2024/3/18 1:00"), "in several ways"),
        (("24-03-18", "24-03-19"), "day and year of '24-03-18' could be either"),
        (('{"$date": "2024-03-18"}',), "name a field of them, such as t.$date"),
        (("'2024-03-18'", "'2024-03-19'"), "quotes around all times"),
        (("18. M\u00e4rz 2024",), "names of months in another language"),
        (("\uff12\uff10\uff12\uff14-\uff10\uff13-\uff11\uff18",), "no time that is known"),
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
    assert "write seconds since 1970 as digits" in read("1,710,763,200", time_unit="seconds")[1]
    assert "has type list" in read("[]", group="list")[1]


def test_numbers_can_be_dates() -> None:
    assert read(20240301, 20240302, group="whole number") == ("yyyyMMdd", "")
    assert "time_format: yyyyMMdd" in read(20240301, group="whole number", time_unit="seconds")[1]


def test_times_of_a_file_that_was_written_column_by_column_are_not_a_field_of_it() -> None:
    name = "struct<" + ",".join(f"{row}:bigint" for row in range(99)) + ">"
    reading = read_times(ColumnSample("t", name, "nested", ()), InteractionsConfig(source=SOURCE))
    assert 'orient="records", lines=True' in reading.remedy
    assert f"has type {name[:199]}…, expected a timestamp" in reading.problem
