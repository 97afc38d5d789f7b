"""Tables of interactions as people have them: a small file for each, and what is right for it."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from m6rec.check.samples import SAMPLED_ROWS

Write = Callable[[Path], None]
# What was kept: user, item, and where they are looked at the time in UTC and the weight.
Kept = list[tuple[Any, ...]]
NOW = datetime(2026, 6, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Case:
    """A table, a configuration, and what the check says of it.

    Attributes:
        name: of the case and its file.
        write: writes the file.
        settings: of the section interactions, without the source.
        source: of the source, without the path.
        sections: other sections of the configuration.
        problems: for each problem, a pattern.
        warnings: for each warning, a pattern.
        notes: for each note, a pattern.
        kept: (user, item[, time[, weight]]) of the rows that cleaning keeps; None does not look.
        reasons: why the others are not.
    """

    name: str
    write: Write
    settings: Mapping[str, Any] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)
    sections: Mapping[str, Any] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    kept: Kept | None = None
    reasons: tuple[str, ...] = ()


def text(content: str, encoding: str = "utf-8") -> Write:
    """Writes text."""
    return lambda path: path.write_bytes(content.encode(encoding)) and None


def rows(header: str, *lines: str) -> Write:
    """Writes CSV."""
    return text("\n".join([header, *lines]) + "\n")


def parquet(columns: Mapping[str, pa.Array]) -> Write:
    """Writes Parquet."""
    return lambda path: pq.write_table(pa.table(dict(columns)), path)


def repeated_columns(first: pa.Array, second: pa.Array) -> Write:
    """Writes Parquet in which two columns are called `user_id`."""
    columns = pa.Table.from_arrays([first, second, ITEMS], ["user_id", "user_id", "item_id"])
    return lambda path: pq.write_table(columns, path)


def folder(**files: Write) -> Write:
    """Writes a folder of files, whose names have a point for each double underscore."""

    def write(path: Path) -> None:
        path.mkdir()
        for name, write_file in files.items():
            file = path / name.replace("__", ".")
            file.parent.mkdir(exist_ok=True)
            write_file(file)

    return write


def pandas_default(frame: pd.DataFrame) -> Write:
    """Writes Parquet as pandas does unless told otherwise."""
    return lambda path: frame.to_parquet(path, index=False)


USERS, ITEMS = pa.array(["ann", "bob", "cyd"]), pa.array(["tea", "rum", "gin"])
TIMED = {"columns": {"time": "t"}}
WEIGHED = {"columns": {"weight": "w"}}
MOMENT = "2024-03-18 12:00:00.123457"
NANOSECONDS = pd.Timestamp("2024-03-18 12:00:00.123457891")
NANOSECONDS_LATER = pa.array([NANOSECONDS] * 3, pa.timestamp("ns"))
_NUMBERS = pa.array([1, 2, 3])
_NOON = pa.array([time(12)] * 3, pa.time64("us"))
# What Spark does not read.
TIMES_OF_DAY = {
    "at": _NOON,
    "short": pa.array([time(12)] * 3, pa.time32("ms")),
    "nested": pa.StructArray.from_arrays([_NOON], ["at"]),
}


def _users(*ids: Any) -> Write:
    """Events of these users with as many items."""
    lines = [f"{user},i{number}" for number, user in enumerate(ids)]
    return rows("user_id,item_id", *lines)


def _times(*times: str) -> Write:
    return rows("user_id,item_id,t", *(f"u{k},i{k},{time}" for k, time in enumerate(times)))


def _times_of_type(times: pa.Array) -> Write:
    return parquet({"user_id": USERS, "item_id": ITEMS, "t": times})


def _weights(*weights: Any) -> Write:
    return rows("user_id,item_id,w", *(f"u{k},i{k},{weight}" for k, weight in enumerate(weights)))


def _read_as(*times: str) -> Kept:
    return [(f"u{k}", f"i{k}", time) for k, time in enumerate(times)]


TIMES = (
    Case(
        "nanoseconds.parquet",
        pandas_default(
            pd.DataFrame(
                {"user_id": ["ann", "bob"], "item_id": ["tea", "tea"], "t": [NANOSECONDS] * 2}
            )
        ),
        TIMED | {"time_zone": "Asia/Tokyo"},
        kept=[
            ("ann", "tea", "2024-03-18 03:00:00.123457"),
            ("bob", "tea", "2024-03-18 03:00:00.123457"),
        ],
    ),
    Case(
        "nanoseconds-with-zone.parquet",
        pandas_default(
            pd.DataFrame(
                {
                    "user_id": ["ann"],
                    "item_id": ["tea"],
                    "t": [NANOSECONDS.tz_localize("Asia/Tokyo")],
                }
            )
        ),
        TIMED,
        kept=[("ann", "tea", "2024-03-18 03:00:00.123457")],
    ),
    Case(
        "text-without-zone.csv",
        _times("2024-03-18 12:00", "2024-03-18T12:00:00+02:00", "2024-03-18"),
        TIMED | {"time_zone": "Asia/Tokyo"},
        kept=_read_as("2024-03-18 03:00:00", "2024-03-18 10:00:00", "2024-03-17 15:00:00"),
    ),
    Case(
        "hours-ahead.csv",
        _times(
            f"{datetime.now(UTC) + timedelta(hours=8, minutes=50):%Y-%m-%d %H:%M}", "2024-01-01"
        ),
        TIMED,
        warnings=("1 of the first rows lie in the future.*time_zone",),
    ),
    Case(
        "month-first.csv",
        _times("12/1/2010 8:26", "12/13/2010 9:05"),
        TIMED,
        notes=("read by the format M/d/yyyy H:mm",),
        kept=_read_as("2010-12-01 08:26:00", "2010-12-13 09:05:00"),
    ),
    Case(
        "day-first.csv",
        _times("24.12.2024", "1.2.2024"),
        TIMED,
        notes=(r"read by the format d\.M\.yyyy",),
        kept=_read_as("2024-12-24 00:00:00", "2024-02-01 00:00:00"),
    ),
    Case(
        "day-or-month.csv",
        _times("12/1/2010 8:26", "3/4/2010 9:05"),
        TIMED,
        problems=('day and month.*time_format: "d/M/yyyy H:mm" or "M/d/yyyy H:mm"',),
    ),
    Case(
        "format-given.csv",
        _times("12/1/2010 8:26", "3/4/2010 9:05"),
        TIMED | {"time_format": "d/M/yyyy H:mm"},
        kept=_read_as("2010-01-12 08:26:00", "2010-04-03 09:05:00"),
    ),
    Case(
        "weekdays.csv",
        _times('"Mon, 18 Mar 2024 12:05:00 GMT"', '"Tue, 19 Mar 2024 08:00:00 GMT"'),
        TIMED | {"time_format": "EEE, d MMM yyyy HH:mm:ss z", "time_zone": "Asia/Tokyo"},
        kept=_read_as("2024-03-18 12:05:00", "2024-03-19 08:00:00"),
    ),
    Case(
        "as-c-writes-times.csv",
        _times("Wed Aug  7 13:08:45 +0200 2013", "Thu Aug 28 13:08:45 +0000 2008"),
        TIMED,
        notes=(r"read by the format EEE MMM \[ \]d H:mm:ss XX yyyy",),
        kept=_read_as("2013-08-07 11:08:45", "2008-08-28 13:08:45"),
    ),
    Case(
        "as-browsers-write-times.csv",
        _times('"3/18/2024, 2:30:00\u202fPM"', '"3/19/2024, 11:30:00\u202fAM"'),
        TIMED,
        notes=("read by the format M/d/yyyy, h:mm:ss.a",),
        kept=_read_as("2024-03-18 14:30:00", "2024-03-19 11:30:00"),
    ),
    Case(
        "points-in-the-time-of-day.csv",
        _times("18-MAR-24 12.30.00.250000000 PM", "19-APR-24 11.00.00.000000000 AM"),
        TIMED,
        notes=(r"read by the format d-MMM-yy h\.mm\.ss\[\.SSSSSSSSS\] a",),
        kept=_read_as("2024-03-18 12:30:00.25", "2024-04-19 11:00:00"),
    ),
    Case(
        "compact-milliseconds.csv",
        _times("20240318120000123", "20240319235959004"),
        TIMED,
        notes=("read by the format yyyyMMddHHmmssSSS",),
        kept=_read_as("2024-03-18 12:00:00.123", "2024-03-19 23:59:59.004"),
    ),
    Case(
        "format-that-is-none.csv",
        _times("12/1/2010"),
        TIMED | {"time_format": "bbb"},
        problems=("time_format is none of Spark's patterns",),
    ),
    Case(
        "format-of-others.csv",
        _times("12/1/2010"),
        TIMED | {"time_format": "yyyy-MM-dd"},
        problems=("'12/1/2010', which interactions.time_format yyyy-MM-dd does not read",),
    ),
    Case(
        "halves-of-days.csv",
        _times("2024-03-18 01:05:00 PM", "2024-03-19 11:05:00 AM"),
        TIMED,
        notes=("read by the format yyyy-M-d h:mm:ss a",),
        kept=_read_as("2024-03-18 13:05:00", "2024-03-19 11:05:00"),
    ),
    Case(
        "commas-before-fractions.csv",
        _times('"2024-03-18 12:00:00,123"', '"2024-03-18 12:00:01,4"'),
        TIMED,
        notes=(r"read by the format yyyy-M-d H:mm:ss\[,SSSSSSSSS\]",),
        kept=_read_as("2024-03-18 12:00:00.123", "2024-03-18 12:00:01.4"),
    ),
    Case(
        "zones-by-name.csv",
        _times("2024-03-18T12:00:00+01:00[Europe/Berlin]"),
        TIMED,
        problems=("is read as no time after 1900; set interactions.time_format to how",),
    ),
    Case(
        "times-as-objects.json",
        text('{"user_id": "ann", "item_id": "tea", "t": {"$date": "2024-03-18"}}\n'),
        TIMED,
        problems=(r"has type struct<.*; name t\.\$date in interactions\.columns\.time",),
    ),
    Case(
        "compact.csv",
        _times("20240301", "20240302"),
        TIMED,
        notes=("read by the format yyyyMMdd",),
        kept=_read_as("2024-03-01 00:00:00", "2024-03-02 00:00:00"),
    ),
    Case(
        "compact-numbers.parquet",
        _times_of_type(pa.array([20240301] * 3, pa.int64())),
        TIMED,
        notes=("read by the format yyyyMMdd",),
        kept=[
            ("ann", "tea", "2024-03-01 00:00:00"),
            ("bob", "rum", "2024-03-01 00:00:00"),
            ("cyd", "gin", "2024-03-01 00:00:00"),
        ],
    ),
    Case(
        "compact-floats.parquet",
        _times_of_type(pa.array([20240301.0, None, 20240302.0])),
        TIMED,
        notes=("read by the format yyyyMMdd",),
        warnings=("t: is empty in 1 of the first 3 rows, which are not used",),
        kept=[("ann", "tea", "2024-03-01 00:00:00"), ("cyd", "gin", "2024-03-02 00:00:00")],
        reasons=("time missing, unparsable or before 1900",),
    ),
    Case(
        "epoch-as-text.csv",
        _times("1710763200", "1710763201"),
        TIMED,
        problems=("is a number.*time_unit: seconds",),
    ),
    Case(
        "milliseconds-as-seconds.csv",
        _times("1710763200000"),
        TIMED | {"time_unit": "seconds"},
        problems=("holds milliseconds.*time_unit is seconds.*set interactions.time_unit: mill",),
    ),
    Case(
        "seconds-as-milliseconds.csv",
        _times("1710763200"),
        TIMED | {"time_unit": "milliseconds"},
        problems=("holds seconds.*set interactions.time_unit: seconds",),
    ),
    Case(
        "microseconds.csv",
        _times("1710763200123457"),
        TIMED | {"time_unit": "microseconds"},
        kept=_read_as("2024-03-18 12:00:00.123457"),
    ),
    Case(
        "dates-of-china.csv",
        _times("2024\u5e743\u670818\u65e5 12:05", "2024\u5e7412\u67081\u65e5 08:00"),
        TIMED,
        notes=("read by the format yyyy\u5e74M\u6708d\u65e5 H:mm",),
        kept=_read_as("2024-03-18 12:05:00", "2024-12-01 08:00:00"),
    ),
    Case(
        "days-as-spreadsheets-count.csv",
        _times("45369.5", "45370.25"),
        TIMED,
        problems=("is a number .*where it counts days, as spreadsheets do",),
    ),
    Case(
        "steps.csv",
        _times("17", "18", "19"),
        TIMED | {"time_unit": "seconds"},
        warnings=("is read as times of the year 1970",),
        kept=_read_as("1970-01-01 00:00:17", "1970-01-01 00:00:18", "1970-01-01 00:00:19"),
    ),
    Case(
        "many-steps.csv",
        _times("998", "999", "1000", "2500"),
        TIMED | {"time_unit": "seconds"},
        warnings=("is read as times of the year 1970",),
        kept=_read_as(
            "1970-01-01 00:16:38",
            "1970-01-01 00:16:39",
            "1970-01-01 00:16:40",
            "1970-01-01 00:41:40",
        ),
    ),
    Case(
        "seconds-among-milliseconds.parquet",
        _times_of_type(pa.array([1710763200, 1710763201, 1710763202000])),
        TIMED | {"time_unit": "seconds"},
        warnings=("1 of 3 times cannot be read.*write all in one unit in the source",),
        reasons=("time missing, unparsable or before 1900",),
    ),
    Case(
        "words-for-no-time.csv",
        _times("NULL", "2024-03-18 12:00:00", "NULL"),
        TIMED,
        warnings=("2 of 3 times cannot be read, such as 'NULL'",),
        kept=[("u1", "i1")],
        reasons=("time missing, unparsable or before 1900",) * 2,
    ),
    Case(
        "compact-to-the-second.parquet",
        _times_of_type(pa.array([20240301120005] * 3)),
        TIMED,
        notes=("read by the format yyyyMMddHHmmss",),
        kept=[
            ("ann", "tea", "2024-03-01 12:00:05"),
            ("bob", "rum", "2024-03-01 12:00:05"),
            ("cyd", "gin", "2024-03-01 12:00:05"),
        ],
    ),
    Case(
        "no-time-at-all.csv",
        _times("yesterday", "today"),
        TIMED,
        problems=("'yesterday', which is written as no time.*time_format",),
    ),
    Case(
        "months-of-another-language.csv",
        _times("18 mars 2024 12:30", "1 mai 2024 10:00"),
        TIMED,
        problems=("'18 mars 2024 12:30', which is read as no time.*names of months in another",),
    ),
    Case(
        "times-that-stand-for-none.csv",
        _times("1970-01-01 00:00:00", "2024-01-01 00:00:00", "2024-01-02 00:00:00"),
        TIMED,
        warnings=(
            "1 of 3 times are read as before 1980, such as '1970-01-01 00:00:00'.*set"
            r' source.missing_values: \{t: \["1970-01-01 00:00:00"\]\}',
        ),
    ),
    Case(
        "two-units.csv",
        _times("1710763200000", "1710763201", "1710763202000"),
        TIMED | {"time_unit": "milliseconds"},
        warnings=("1 of 3 times are read as before 1980, such as '1710763201'.*another unit",),
    ),
    Case(
        "other-units.csv",
        _times("1710763201", "1710763200000", "1710763202000"),
        TIMED | {"time_unit": "seconds"},
        problems=("holds milliseconds since 1970, such as 1710763200000,",),
    ),
    Case(
        "floats-as-times.parquet",
        _times_of_type(pa.array([1_710_763_200.0, 1_710_763_260.0, 1_710_766_800.0], pa.float32())),
        TIMED | {"time_unit": "seconds"},
        warnings=("t: holds 1710763264 as float, which is exact to minutes at best",),
    ),
    Case(
        "weekdays-and-zones.csv",
        _times('"Mon, 18 Mar 2024 12:00:00 +0900"', '"Tue, 19 Mar 2024 12:00:00 GMT"'),
        TIMED | {"time_zone": "Asia/Tokyo"},
        notes=(r"read by the format EEE, d MMM yyyy H:mm:ss \[XX\]\[z\]",),
        kept=_read_as("2024-03-18 03:00:00", "2024-03-19 12:00:00"),
    ),
    Case(
        "zones-in-some.csv",
        _times("18 Mar 2024 12:00 +0000", "19 Mar 2024 12:00", "20 Mar 2024"),
        {
            "columns": {"time": "t"},
            "time_zone": "Asia/Tokyo",
            "time_format": "[d MMM yyyy HH:mm XX][d MMM yyyy[ HH:mm]]",
        },
        kept=_read_as("2024-03-18 12:00:00", "2024-03-19 03:00:00", "2024-03-19 15:00:00"),
    ),
    Case(
        "web-server.csv",
        _times("18/Mar/2024:12:00:00 +0900", "19/Mar/2024:02:00:00 +0900"),
        TIMED,
        kept=_read_as("2024-03-18 03:00:00", "2024-03-18 17:00:00"),
    ),
    Case(
        "compact-with-zones.csv",
        _times("20240318T120000Z", "20240318T120000+0900"),
        TIMED,
        kept=_read_as("2024-03-18 12:00:00", "2024-03-18 03:00:00"),
    ),
    Case(
        "years-first-or-last.csv",
        _times("24-03-18", "24-03-19", "24-12-31"),
        TIMED,
        problems=('t: day and year of \'24-03-18\' could be either.*"yy-M-d" or "d-M-yy"',),
    ),
    Case(
        "years-of-buddha.csv",
        _times("2567-03-18", "2567-03-19"),
        TIMED,
        problems=("t: 2 of the first rows lie in the future.*correct interactions.time_format",),
    ),
    Case(
        "two-ways.csv",
        _times("2024-03-18", "2024-03-19", "18.03.2024"),
        TIMED,
        warnings=(r"1 of 3 times cannot be read.*'18.03.2024'.*\[yyyy-MM-dd\]\[dd.MM.yyyy\]",),
    ),
    Case(
        "few-times.csv",
        _times("2024-03-18", *[""] * 9),
        TIMED,
        warnings=("t: is empty in 9 of the first 10 rows, which are not used",),
        kept=[("u0", "i0", "2024-03-18 00:00:00")],
        reasons=("time missing, unparsable or before 1900",) * 9,
    ),
    Case("no-times.csv", _times("", ""), TIMED, problems=("t: is empty in all of the first rows",)),
    Case(
        "time-of-another-type.parquet",
        _times_of_type(pa.array([True] * 3)),
        TIMED,
        problems=("t: has type boolean, expected a timestamp",),
    ),
)

IDS = (
    Case(
        "ids-with-signs-between-thousands.csv",
        rows("user_id,item_id", "17000,i0", '"17,000",i1'),
        problems=("'17,000', which is the same number as '17000' but.*without signs between",),
    ),
    Case(
        "floats-as-text.csv",
        _users("17850.0", "17850", "abc"),
        problems=("'17850', which is the same number as '17850.0'.*normalise_ids: integer",),
    ),
    Case(
        "floats-as-text-normalised.csv",
        _users("17850.0", "017850", "-0", "abc"),
        {"normalise_ids": "integer"},
        kept=[
            ("17850", "i0"),
            ("17850", "i1"),
            ("0", "i2"),
            ("abc", "i3"),
        ],
    ),
    Case(
        "whole-doubles.parquet",
        parquet(
            {
                "user_id": pa.array([1.0, 2.0, None]),
                "item_id": pa.array(
                    [Decimal(7), Decimal(10**30), Decimal(8)], pa.decimal128(38, 0)
                ),
            }
        ),
        kept=[("1", "7"), ("2", str(10**30))],
        reasons=("null or empty user id",),
    ),
    Case(
        "unsigned.parquet",
        parquet({"user_id": pa.array([2**64 - 1], pa.uint64()), "item_id": pa.array(["tea"])}),
        kept=[(str(2**64 - 1), "tea")],
    ),
    Case(
        "fractions.parquet",
        parquet({"user_id": pa.array([1.0, 2.5, 3.0]), "item_id": ITEMS}),
        warnings=("user_id: 1 of 3 ids have a fraction, such as 2.5, and ids are whole numbers",),
        kept=[("1", "tea"), ("3", "gin")],
        reasons=("user id not a whole number",),
    ),
    Case(
        "mostly-fractions.parquet",
        parquet({"user_id": pa.array([1.5, 2.5, 3.0]), "item_id": ITEMS}),
        problems=("user_id: 2 of 3 ids have a fraction, such as 1.5",),
    ),
    Case(
        "infinite.parquet",
        parquet({"user_id": pa.array([float("inf"), float("nan"), 3.0]), "item_id": ITEMS}),
        kept=[("3", "gin")],
        reasons=("null or empty user id", "user id not a whole number"),
    ),
    Case(
        "floats-of-32-bits.parquet",
        parquet({"user_id": pa.array([2.0**24 + 2, 2.0, 3.0], pa.float32()), "item_id": ITEMS}),
        warnings=("holds 16777218 as float, whose last digits may be lost",),
    ),
    Case(
        "ids-of-a-spreadsheet.csv",
        _users("1.23E+11", "ann"),
        warnings=(r"1 of 2 ids are written with an exponent, such as '1\.23E\+11'",),
    ),
    Case(
        "signs-without-width.csv",
        _users("ann\u200b", "ann", "bob"),
        {"unify_ids": ["form"]},
        kept=[("ann", "i0"), ("ann", "i1"), ("bob", "i2")],
    ),
    Case("ids-in-braces.csv", _users("{3F2504E0-4F89-11D3}", "{3F2504E0-4F89-11D4}")),
    Case(
        "nobody.csv",
        _users("guest", "guest", "ann", "bob", "guest"),
        warnings=(r"user 'guest' holds 60% of all rows.*not_a_user: \[\"guest\"\]",),
    ),
    Case(
        "nobody-named.csv",
        _users("-1", "-1", "ann"),
        {"not_a_user": [-1]},
        kept=[("ann", "i2")],
        reasons=("not a user", "not a user"),
    ),
    Case(
        "look-alikes.csv",
        _users(" ann", "ann", "Bob", "bob", "e\u0301va", "\u00e9va"),
        source={"options": {"ignoreLeadingWhiteSpace": False}},
        warnings=(
            "1 ids with spaces around them and 6 ids that differ only in.*' ann' and 'ann'; set"
            r" interactions.trim_ids: true and interactions.unify_ids: \[case, form\]",
        ),
    ),
    Case(
        "cases.csv",
        _users("Ann", "ann", "bob"),
        warnings=(r"differ only in.*set interactions.unify_ids: \[case\]",),
    ),
    Case(
        "unified.csv",
        _users("ANN", "\uff41nn", "E\u0301va", "\u00e9va", "a\u00a0b", "A b", "Nobody", ""),
        {"unify_ids": ["case", "form"], "not_a_user": ["NOBODY"]},
        kept=[
            ("ann", "i0"),
            ("ann", "i1"),
            ("\u00e9va", "i2"),
            ("\u00e9va", "i3"),
            ("a b", "i4"),
            ("a b", "i5"),
        ],
        reasons=("not a user", "null or empty user id"),
    ),
    Case(
        "quoted.csv",
        _users("'ann'", "'bob'"),
        warnings=(
            r"all ids have quotes around them, such as \"'ann'\".*options: \{quote: \"'\"\}",
        ),
    ),
    Case(
        "mostly-empty.csv",
        _users("ann", "", "", "bob", "", "", ""),
        warnings=("user_id: is empty in 5 of the first 7 rows, which are not used",),
    ),
    Case(
        "quoted-behind-spaces.csv",
        text('user_id, item_id\n"ann", "tea"\n'),
        warnings=("item_id: 1 of 1 ids have a space and quotes.*ignoreLeadingWhiteSpace: true",),
    ),
    Case(
        "quoted-behind-spaces-read.csv",
        text('user_id, item_id\n"ann", "tea"\n'),
        source={"options": {"ignoreLeadingWhiteSpace": True}},
        kept=[("ann", "tea")],
    ),
    Case(
        "apostrophes.csv",
        text("'user_id','item_id'\n'ann','tea, green'\n"),
        problems=("has no column", r"options: \{quote: \"'\"\} gives .*rows ann \| tea, green;"),
    ),
    Case(
        "apostrophes-read.csv",
        text("'user_id','item_id'\n'ann','tea, green'\n"),
        source={"options": {"quote": "'"}},
        kept=[("ann", "tea, green")],
    ),
    Case(
        "ids-as-json.csv",
        _users("ann", '"{""id"": 1}"'),
        warnings=("user_id: 1 of 2 ids are JSON.* such as user_id.id",),
    ),
    Case(
        "struct.parquet",
        parquet({"user_id": pa.array([{"id": "ann", "n": 1}]), "item_id": ITEMS[:1]}),
        problems=(r"has type struct.*name a field of it, such as user_id\.id",),
    ),
    Case(
        "fields-of-json.csv",
        _users('"{""id"": 1}"', '"{""id"": 22}"'),
        {"columns": {"user": "user_id.id"}},
        kept=[("1", "i0"), ("22", "i1")],
    ),
    Case(
        "bytes.parquet",
        parquet({"user_id": pa.array([b"ann", b"bob", b"cyd"]), "item_id": ITEMS}),
        problems=("has type binary.*set spark.sql.parquet.binaryAsString to true",),
    ),
    Case("a-user-called-0.csv", _users("0", "1", "2", "0", "1", "2", "3")),
    Case(
        "trimmed.csv",
        _users(" ann", "ann\u00a0", "\u3000ann\u2003"),
        {"trim_ids": True},
        {"options": {"ignoreLeadingWhiteSpace": False}},
        kept=[("ann", "i0"), ("ann", "i1"), ("ann", "i2")],
    ),
    Case(
        "ids-of-another-type.parquet",
        parquet({"user_id": pa.array([datetime(2024, 1, 1)] * 3), "item_id": ITEMS}),
        problems=("user_id: has type timestamp_ntz, such as .*expected text or whole numbers",),
    ),
)

RATINGS = {"ratings": {"enabled": True}}
WEIGHTS = (
    Case(
        "ratings-of-both-signs.csv",
        _weights(-10, 0, 10),
        WEIGHED,
        sections=RATINGS,
        kept=[("u0", "i0", None, -10.0), ("u1", "i1", None, 0.0), ("u2", "i2", None, 10.0)],
    ),
    Case(
        "no-rating.csv",
        _weights(0, 0, *range(1, 11)),
        WEIGHED,
        sections=RATINGS,
        warnings=(r"2 of 12 values are 0, apart.*1 to 10.*missing_values: \{w: \[0\]\}",),
    ),
    Case(
        "no-rating-named.csv",
        _weights(0, 5, "0.0"),
        WEIGHED,
        {"missing_values": {"w": [0]}},
        sections=RATINGS,
        warnings=("w: is empty in 2 of the first 3 rows, which are not used",),
        kept=[("u1", "i1", None, 5.0)],
        reasons=("weight missing or not a number",) * 2,
    ),
    Case(
        "beyond-float.csv",
        _weights(1, "1e30", "1e300"),
        WEIGHED,
        warnings=(r"holds 1e\+30, too large",),
        kept=[("u0", "i0", None, 1.0)],
        reasons=("weight beyond float",) * 2,
    ),
    Case(
        "thousands.csv",
        _weights('"1,234"', 2, '"1,234,567.5"'),
        WEIGHED,
        notes=("holds numbers such as '1,234'",),
        kept=[("u0", "i0", None, 1234.0), ("u1", "i1", None, 2.0), ("u2", "i2", None, 1234567.5)],
    ),
    Case(
        "maybe-thousands.csv",
        _weights("400", "800", "1.200", "2.000"),
        WEIGHED,
        warnings=(
            "w: holds '1.200', which may be 1200 and is read as 1.2; where it is 1200, write all"
            " without signs between thousands in the source",
        ),
    ),
    Case(
        "decimal-commas.csv",
        _weights('"1.234,5"', '"0,75"', '"2"'),
        WEIGHED,
        notes=("with ',' before the fraction",),
        kept=[("u0", "i0", None, 1234.5), ("u1", "i1", None, 0.75), ("u2", "i2", None, 2.0)],
    ),
    Case(
        "negative.csv",
        _weights(1, -2),
        WEIGHED,
        warnings=("1 of 2 weights are negative.*ratings.enabled: true.*cancellations: cancel",),
        kept=[("u0", "i0", None, 1.0)],
        reasons=("weight negative",),
    ),
    Case(
        "as-accountants-write-negatives.csv",
        _weights("(5.00)", "1.50-", "\u22122", '"($1,234.50)"', "3"),
        WEIGHED | {"cancellations": "cancel"},
        notes=(r"holds numbers such as '\(5\.00\)'",),
        warnings=("4 of 5 values have no unit where others have \\$",),
        kept=[
            ("u0", "i0", None, -5.0),
            ("u1", "i1", None, -1.5),
            ("u2", "i2", None, -2.0),
            ("u3", "i3", None, -1234.5),
            ("u4", "i4", None, 3.0),
        ],
    ),
    Case(
        "some-of-a-unit.csv",
        _weights("50%", ".75"),
        WEIGHED,
        notes=("the unit %",),
        warnings=("1 of 2 values have no unit where others have %; all are taken as they stand",),
        kept=[("u0", "i0", None, 50.0), ("u1", "i1", None, 0.75)],
    ),
    Case(
        "several-currencies.csv",
        _weights("$5", "¥500"),
        WEIGHED,
        notes=("the unit [$] and ¥",),
        warnings=("holds amounts in [$] and ¥; all are taken as they stand",),
        kept=[("u0", "i0", None, 5.0), ("u1", "i1", None, 500.0)],
    ),
    Case(
        "some-are-no-numbers.csv",
        _weights("3", "0x10", "NaN", "4"),
        WEIGHED,
        warnings=("2 of 4 weights are not finite numbers, such as '0x10', and go to quarantine",),
        kept=[("u0", "i0", None, 3.0), ("u3", "i3", None, 4.0)],
        reasons=("weight NaN or infinite", "weight missing or not a number"),
    ),
    Case(
        "digits-of-full-width.csv",
        _weights("\uff11\uff12", "\uff13"),
        WEIGHED,
        problems=("w: holds '\uff11\uff12', expected numbers as weights",),
    ),
    Case(
        "money-of-china.csv",
        _weights('"\uffe51,234"', "\uffe52.50", "\uffe57"),
        WEIGHED,
        notes=("holds numbers such as '\uffe51,234'",),
        kept=[("u0", "i0", None, 1234.0), ("u1", "i1", None, 2.5), ("u2", "i2", None, 7.0)],
    ),
    Case(
        "events-without-a-type.csv",
        rows("user_id,item_id,e", "ann,tea,", "bob,rum,buy"),
        {"columns": {"event_type": "e"}, "event_weights": {"buy": 1}, "weighting": "weight"},
        warnings=("1 of the first 2 rows have no event type, and go to quarantine",),
    ),
    Case(
        "words-as-weights.csv",
        _weights("good", "bad"),
        WEIGHED,
        problems=("w: holds 'good', expected numbers as weights; .*columns.event_type, with ev",),
    ),
    Case(
        "few-weights.parquet",
        parquet({"user_id": USERS, "item_id": ITEMS, "w": pa.array([None, None, 2.0])}),
        WEIGHED,
        warnings=("w: is empty in 2 of the first 3 rows, which are not used",),
        kept=[("cyd", "gin", None, 2.0)],
        reasons=("weight missing or not a number",) * 2,
    ),
    Case("no-weights.csv", _weights("", ""), WEIGHED, problems=("w: is empty in all of",)),
    Case(
        "sorted-by-what-is-missing.csv",
        rows(
            "user_id,item_id,e,w,t",
            *[",tea,look,," for _ in range(SAMPLED_ROWS)],
            "ann,tea,buy,2,18.03.2024 12:30",
            "bob,rum,buy,1,19.03.2024 12:30",
        ),
        {
            "columns": {"event_type": "e", "weight": "w", "time": "t"},
            "event_weights": {"buy": 1},
        },
        warnings=(
            "user_id: is empty in 9998 of the first 10000 rows",
            "[wt]: is empty in 9998 of the first 10000 rows",
            "e: has event types that .* does not list, such as 'look'",
        ),
        kept=[
            ("ann", "tea", "2024-03-18 12:30:00", 2.0),
            ("bob", "rum", "2024-03-19 12:30:00", 1.0),
        ],
        reasons=("null or empty user id",) * SAMPLED_ROWS,
    ),
    Case(
        "events-as-truth-values.parquet",
        parquet({"user_id": USERS, "item_id": ITEMS, "bought": pa.array([True, False, True])}),
        {"columns": {"event_type": "bought"}, "event_weights": {True: 3, False: 1}},
        kept=[
            ("ann", "tea", None, 3.0),
            ("bob", "rum", None, 1.0),
            ("cyd", "gin", None, 3.0),
        ],
    ),
    Case(
        "events-as-fractions.parquet",
        parquet({"user_id": USERS, "item_id": ITEMS, "e": pa.array([1.0, 2.0, None])}),
        {"columns": {"event_type": "e", "context": ["e"]}, "event_weights": {1: 3, 2: 1}},
        warnings=("1 of the first 3 rows have no event type",),
        kept=[("ann", "tea", None, 3.0), ("bob", "rum", None, 1.0)],
        reasons=("unknown event type",),
    ),
    Case(
        "unknown-events.csv",
        rows("user_id,item_id,e", "ann,tea,View", "ann,rum,view"),
        {"columns": {"event_type": "e"}, "event_weights": {"view": 1}, "weighting": "weight"},
        warnings=("event types that interactions.event_weights does not list, such as 'View'",),
    ),
)

ONE = [("ann", "tea")]
PLACES = (
    Case("no-format.csv", rows("user_id,item_id", "ann,tea"), notes=("is read as csv",), kept=ONE),
    Case(
        "no-format.parquet",
        parquet({"user_id": pa.array(["ann"]), "item_id": pa.array(["tea"])}),
        notes=("is read as parquet",),
        kept=ONE,
    ),
    Case(
        "other-case.csv",
        rows("USER_ID, item_id", "ann,tea"),
        notes=("is the column 'USER_ID'", "is the column ' item_id'"),
        kept=ONE,
    ),
    Case(
        "doubled-quotes.csv",
        rows("user_id,item_id", '"ann","A Child Called ""It"""'),
        kept=[("ann", 'A Child Called "It"')],
    ),
    Case("[1] odd.csv", rows("user_id,item_id", "ann,tea"), kept=ONE),
    Case(
        "semicolons.csv",
        rows("user_id;item_id", "ann;tea", "bob;rum"),
        problems=("has no column", r'options: \{sep: ";"\} gives columns.*rows ann \| tea / bob'),
    ),
    Case(
        "double-colons.dat",
        rows("1::1193::5::978300760", "1::661::3::978302109"),
        {"columns": {"user": "_c0", "item": "_c1"}},
        problems=("has no column", 'sep: "::", header: "false"'),
    ),
    Case(
        "latin.csv",
        text("user_id;item_id\nann;th\u00e9\nbob;caf\u00e9\n", "latin-1"),
        problems=("has no column", 'encoding: "ISO-8859-1".*th\u00e9'),
    ),
    Case(
        "china.csv",
        text("user_id,item_id\n\u5f20\u4e09,\u7eff\u8336\n\u674e\u56db,\u7ea2\u8336\n", "gbk"),
        problems=(r"in another encoding.*options: \{encoding: GB18030\}",),
    ),
    Case(
        "china-read.csv",
        text("user_id,item_id\n\u5f20\u4e09,\u7eff\u8336\n", "gbk"),
        source={"options": {"encoding": "GB18030"}},
        kept=[("\u5f20\u4e09", "\u7eff\u8336")],
    ),
    Case(
        "japan.csv",
        text("user_id,item_id\nann,\u3086\u3046\u8336\nbob,\u7d05\u8336\n", "shift_jis"),
        problems=(r"in another encoding.*options: \{encoding: Shift_JIS\}",),
    ),
    Case(
        "windows.csv",
        text("user_id,item_id\nann,\u201ccaf\u00e9\u201d\n", "cp1252"),
        problems=(r"in another encoding.*options: \{encoding: windows-1252\}",),
    ),
    Case(
        "cyrillic.csv",
        text("user_id,item_id\n\u0410\u043d\u043d\u0430,\u0427\u0430\u0439\n", "cp1251"),
        problems=(
            "in windows-1251 a line is '\u0410\u043d\u043d\u0430,\u0427\u0430\u0439'; set"
            r" options: \{encoding: windows-1251\}",
        ),
    ),
    Case(
        "cyrillic-as-latin.csv",
        text("user_id,item_id\n\u0410\u043d\u043d\u0430,\u0427\u0430\u0439\n", "cp1251"),
        source={"options": {"encoding": "ISO-8859-1"}},
        warnings=("seems to be in windows-1251, and options name ISO-8859-1",),
    ),
    Case(
        "utf-16.csv",
        text("\ufeffuser_id,item_id\nann,tea\nbob,rum\n", "utf-16-le"),
        problems=("has no column", 'encoding: "UTF-16LE", multiLine: "true"'),
    ),
    Case(
        "utf-16-halved.csv",
        text("\ufeffuser_id,item_id\nann,tea\nbob,rum\n", "utf-16-le"),
        source={"options": {"encoding": "UTF-16"}},
        problems=(
            r"in UTF-16LE .* in another encoding; .*\{encoding: UTF-16LE, multiLine: true\}",
        ),
    ),
    Case(
        "utf-16-read.csv",
        text("\ufeffuser_id,item_id\r\nann,tea\r\nbob,rum\r\n", "utf-16-le"),
        source={"options": {"encoding": "UTF-16LE", "multiLine": True}},
        kept=[("ann", "tea"), ("bob", "rum")],
    ),
    Case("bom.csv", text("\ufeffuser_id,item_id\nann,tea\n"), kept=ONE),
    Case(
        "no-header.csv",
        rows("ann,12", "bob,13"),
        problems=("has no column", 'header: "false".*ann . 12'),
    ),
    Case(
        "options.csv",
        rows("ann;tea"),
        {"columns": {"user": "_c0", "item": "_c1"}},
        {"options": {"sep": ";", "header": False}},
        kept=ONE,
    ),
    Case(
        "array.json",
        text(json.dumps([{"user_id": "ann", "item_id": "tea"}], indent=1)),
        problems=("has no column", "one JSON array.*multiLine: true"),
    ),
    Case(
        "array-read.json",
        text(json.dumps([{"user_id": "ann", "item_id": "tea"}], indent=1)),
        source={"options": {"multiLine": True}},
        kept=ONE,
    ),
    Case(
        "nested.json",
        text('{"who": {"id": 7}, "what.id": "tea"}\n'),
        {"columns": {"user": "who.id", "item": "what.id"}},
        kept=[("7", "tea")],
    ),
    Case(
        "columns.json",
        text(
            json.dumps({"user_id": {"0": "ann", "1": "bob"}, "item_id": {"0": "tea", "1": "rum"}})
        ),
        problems=(
            r"column user_id: has type struct<.*written column by column; write it row by row",
            r"column item_id: has type struct<.*to_json\(path, orient=\"records\", lines=True\)",
        ),
    ),
    Case(
        "failfast.csv",
        rows("user_id,item_id", "ann", "bob,rum,gin"),
        source={"options": {"mode": "FAILFAST"}},
        problems=("malformed rows.*FAILFAST", "2 of the first 2 rows are malformed.*mode FAILFAST"),
    ),
    Case(
        "dropmalformed.csv",
        rows("user_id,item_id", "ann,tea", "bob,rum,gin"),
        source={"options": {"mode": "DROPMALFORMED"}},
        warnings=("1 of the first 2 rows are malformed, such as 'bob,rum,gin'; they are dropped",),
        kept=ONE,
    ),
    Case(
        "not-utf-8.csv",
        text("user_id,item_id\nann,caf\u00e9\n", "latin-1"),
        problems=(r"in another encoding.*options: \{encoding: ISO-8859-1\}",),
    ),
    Case(
        "not-utf-8-further-on.csv",
        text("user_id,item_id\n" + "ann,tea\n" * 9_000 + "bob,caf\u00e9\n", "latin-1"),
        problems=(r"in another encoding.*options: \{encoding: ISO-8859-1\}",),
    ),
    Case(
        "signs-lost.csv",
        rows("user_id,item_id", "ann,caf\ufffd"),
        warnings=("item_id: holds 'caf\ufffd', in which characters were lost",),
    ),
    Case(
        "line-breaks.csv",
        rows("user_id,item_id,note", 'ann,tea,"a\nb"'),
        problems=(r"line breaks within quotes.*options: \{multiLine: true\}",),
    ),
    Case(
        "line-breaks-read.csv",
        rows("user_id,item_id,note", 'ann,tea,"a\nb"'),
        source={"options": {"multiLine": True}},
        kept=ONE,
    ),
    Case(
        "twice.csv",
        rows("user_id,item_id,item_id", "ann,tea,rum"),
        problems=(r"several columns are named item_id: name one of \['item_id1', 'item_id2'\]",),
    ),
    Case(
        "repeated-but-for-case.csv",
        rows("User,item_id,user", "ann,tea,bob"),
        {"columns": {"user": "USER"}},
        problems=(r"several columns are named USER: name one of \['User0', 'user2'\]",),
    ),
    Case(
        "letters-of-another-script.csv",
        rows("us\u0435r_id,item_id", "ann,tea"),
        problems=(
            "has no column .*'us\u0435r_id' has CYRILLIC SMALL LETTER IE in place of 'e'; correct",
        ),
    ),
    Case(
        "commented.csv",
        rows("# exported today", "user_id,item_id", "ann,tea"),
        problems=("has no column", 'may be meant so: options: {comment: "#"} gives'),
    ),
    Case(
        "comments-read.csv",
        rows("# exported today", "user_id,item_id", "ann,tea"),
        source={"options": {"comment": "#"}},
        kept=ONE,
    ),
    Case(
        "excel.csv",
        rows("sep=;", "user_id;item_id", "ann;tea"),
        problems=("has no column", "begins with 'sep=;', a line that only Excel reads"),
    ),
    Case(
        "zipped.csv",
        text("PK\x03\x04xy"),
        problems=("has no column", "zipped.csv is a zip archive"),
    ),
    Case("events.orc", text("ORC"), problems=("is ORC; make a table of the catalogue",)),
    Case("one-column.csv", rows("user_id", "ann"), problems=("has no column",)),
    Case("nothing.csv", text(""), problems=("has no column", "is empty; give one with rows")),
    Case(
        "broken.json",
        text("{broken\n"),
        problems=("has no column", "begins with '{broken', expected a JSON object a line"),
    ),
    Case(
        "by-day",
        folder(**{f"2024/0{k}__csv": rows("user_id,item_id", f"ann,i{k}") for k in (1, 2)}),
        problems=(
            "no file of that format",
            r"2 of 2 files lie .* 2024, .*recursiveFileLookup: true",
        ),
    ),
    Case(
        "half-by-day",
        folder(
            **{"2024/01__csv": rows("user_id,item_id", "ann,rum")},
            a__csv=rows("user_id,item_id", "ann,tea"),
        ),
        warnings=("1 of 2 files lie in folders such as 2024, into which Spark does not look",),
        kept=ONE,
    ),
    Case(
        "two-headers",
        folder(
            a__csv=rows("user_id,item_id", "ann,tea"), b__csv=rows("item_id,user_id", "rum,bob")
        ),
        problems=(r"b.csv has the columns \['item_id', 'user_id'\].*read by their place",),
    ),
    Case(
        "two-formats",
        folder(
            a__csv=rows("user_id,item_id", "ann,tea"),
            b__parquet=parquet({"user_id": USERS, "item_id": ITEMS}),
        ),
        problems=(r"several formats under this path: .*csv \(a.csv\)",),
    ),
    Case(
        "a-column-more",
        folder(
            a__parquet=parquet({"user_id": USERS, "item_id": ITEMS}),
            b__parquet=parquet({"user_id": USERS, "item_id": ITEMS, "w": pa.array([1, 2, 3])}),
        ),
        WEIGHED,
        problems=("has no column", r"others do not; .*options: \{mergeSchema: true\}"),
    ),
    Case(
        "two-types",
        folder(
            a__parquet=parquet({"user_id": pa.array([1, 2, 3], pa.int32()), "item_id": ITEMS}),
            b__parquet=parquet({"user_id": pa.array([1, 2, 3], pa.int64()), "item_id": ITEMS}),
        ),
        problems=(r"do not agree about the type of the column user_id \(\w+ and \w+\)",),
    ),
    Case(
        "by-user",
        folder(**{f"user_id=00{k}/a__csv": rows("item_id", f"i{k}") for k in (7, 8)}),
        notes=("column user_id: is read from folders such as user_id=00[78], as the text",),
        kept=[("007", "i7"), ("008", "i8")],
    ),
    Case(
        "time-of-day.parquet",
        parquet({"user_id": USERS, "item_id": ITEMS, **TIMES_OF_DAY, "t": NANOSECONDS_LATER}),
        TIMED,
        notes=(
            r"column at: has Parquet's type INT64 \(TIME\(MICROS,\w+\)\), which .* is left out",
            r"column short: has Parquet's type INT32 \(TIME\(MILLIS,\w+\)\), which",
            r"column nested: has Parquet's type group of INT64 \(TIME\(MICROS,\w+\)\), which",
        ),
        kept=[
            ("ann", "tea", "2024-03-18 12:00:00.123457"),
            ("bob", "rum", "2024-03-18 12:00:00.123457"),
            ("cyd", "gin", "2024-03-18 12:00:00.123457"),
        ],
    ),
    Case(
        "time-of-day-asked.parquet",
        parquet({"user_id": USERS, "item_id": ITEMS, **TIMES_OF_DAY}),
        {"columns": {"time": "at"}},
        problems=("has no column", "column at: has Parquet's type .*; cast it in the source"),
    ),
    Case(
        "long-decimals.parquet",
        parquet(
            {
                "user_id": USERS,
                "item_id": ITEMS,
                "w": pa.array([Decimal("1.5")] * 3, pa.decimal256(60, 5)),
            }
        ),
        WEIGHED,
        problems=(r"has no column \['w'\]", r"column w: has Parquet's type .*DECIMAL\(60,5\)"),
    ),
    Case(
        "beside-folders",
        folder(
            **{"day=1/a__csv": rows("user_id,item_id", "ann,tea")},
            b__csv=rows("user_id,item_id", "bob,rum"),
        ),
        warnings=("1 of 2 files lie beside folders such as day=1, and Spark reads only",),
        kept=ONE,
    ),
    Case(
        "folders-of-two-columns",
        folder(**{f"{k}=1/a__csv": rows("user_id,item_id", "ann,tea") for k in ("day", "hour")}),
        problems=("its folders name different columns, or name them at different depths",),
    ),
    Case(
        "misspelt-option.csv",
        rows("user_id,item_id", "ann,tea"),
        source={"options": {"Header": True, "multiLines": True, "fs.s3a.endpoint": "x"}},
        warnings=("options name multiLines, which Spark's reader of csv .* may be multiLine",),
        kept=ONE,
    ),
    Case(
        "commas-without-quotes.csv",
        rows("user_id,item_id,note", "ann,tea,a,", "bob,rum,a, b", "cyd,gin"),
        warnings=("2 of the first 3 lines do not have as many values as the header.*'bob,rum,a",),
        kept=[("ann", "tea"), ("bob", "rum"), ("cyd", "gin")],
    ),
    Case(
        "backslashes.csv",
        rows("user_id,note,item_id", r'ann,"say \"hi\", ok",tea', "bob,x,rum"),
        problems=(r"has quotes after a backslash within quotes.*options: \{escape: '\\'\}",),
        warnings=("item_id: has 1 ids with spaces around them",),
    ),
    Case(
        "backslashes-read.csv",
        rows("user_id,note,item_id", r'ann,"say \"hi\", ok",tea', "bob,x,rum"),
        source={"options": {"escape": "\\"}},
        kept=[("ann", "tea"), ("bob", "rum")],
    ),
    Case(
        "header-again.csv",
        rows("user_id,item_id", "ann,tea", "user_id,item_id", "bob,rum"),
        warnings=("1 of the first 3 rows are the header again; take them out of the file",),
    ),
    Case(
        "report.csv",
        rows("Sales of March", "", "user_id,item_id", "ann,tea"),
        problems=("has no column", "its header is line 3, and the lines before it do not belong"),
    ),
    Case(
        "cut.json",
        text('{"user_id": "ann", "item_id": "tea"}\n{"user_id": "bob", "it'),
        warnings=('1 of the first 2 rows are no JSON objects, such as \'{"user_id": "bob"',),
        kept=ONE,
        reasons=("null or empty user id",),
    ),
    Case(
        "items-in-lists.json",
        text('{"user_id": "ann", "items": [{"item_id": "tea"}, {"item_id": "rum"}]}\n'),
        problems=("has no column .*items.item_id is in a list: make a view with a row for each",),
    ),
    Case(
        "items-of-lists.json",
        text('{"user_id": "ann", "items": [{"item_id": "tea"}, {"item_id": "rum"}]}\n'),
        {"columns": {"item": "items.item_id"}},
        problems=(r"has type array<string>, such as '\[tea, rum\]'.*explode in SQL",),
    ),
    Case(
        "within-objects.json",
        text('{"user_id": "ann", "of": {"it": {"item_id": "tea"}}}\n'),
        problems=("name of.it.item_id in the config in place of item_id",),
    ),
    Case(
        "pointer.csv",
        text("version https://git-lfs.github.com/spec/v1\nsize 12345\n"),
        problems=("has no column", "is a pointer of Git LFS; fetch the file itself"),
    ),
    Case(
        "parquet.csv",
        parquet({"user_id": USERS, "item_id": ITEMS}),
        problems=("has no column", "is Parquet; set format: parquet"),
    ),
    Case(
        "of-delta",
        folder(
            **{"_delta_log/x__json": text("")},
            a__parquet=parquet({"user_id": USERS, "item_id": ITEMS}),
        ),
        source={"format": "parquet"},
        problems=("is of the Delta table .*of-delta and is read as parquet.*leave out format",),
    ),
    Case(
        "day=1",
        folder(a__parquet=parquet({"user_id": USERS, "item_id": ITEMS})),
        {"columns": {"context": ["day"]}},
        problems=(
            r"has no column \['day'\].*day=1 in its path has day: set options: \{basePath: /",
        ),
    ),
    Case(
        "_events.csv",
        rows("user_id,item_id", "ann,tea"),
        problems=("Spark passes over files such as .*_events.csv, whose names begin with _",),
    ),
    Case(
        "of-hudi",
        folder(
            **{".hoodie/hoodie__properties": text("")},
            a__parquet=parquet({"user_id": USERS, "item_id": ITEMS}),
        ),
        problems=("it is a table of Hudi, whose files also hold rows that were changed or",),
    ),
    Case(
        "of-iceberg",
        folder(
            **{
                "metadata/version-hint__text": text("1"),
                "data/a__parquet": parquet({"user_id": USERS, "item_id": ITEMS}),
            },
        ),
        problems=("it is a table of Iceberg, whose files also hold rows",),
    ),
    Case(
        "among-others",
        folder(Thumbs__db=text("x"), a__parquet=parquet({"user_id": USERS, "item_id": ITEMS})),
        problems=("its file Thumbs.db is no Parquet.*leave it out by a path such as",),
    ),
    *(
        Case(
            name,
            repeated_columns(USERS, other),
            problems=(r"has several columns named \['user_id'\], and Spark .* different names in",),
        )
        for name, other in (("repeated.parquet", ITEMS), ("repeated-types.parquet", _NUMBERS))
    ),
    Case(
        "no-parquet.parquet",
        text("this is text"),
        problems=("its file no-parquet.parquet is no Parquet",),
    ),
    Case("empty.csv", rows("user_id,item_id"), problems=("has no row",)),
)

CASES = (*TIMES, *IDS, *WEIGHTS, *PLACES)
