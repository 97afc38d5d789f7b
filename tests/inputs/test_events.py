"""Tables of interactions as people have them: what the check says, and what cleaning keeps."""

import re
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from m6rec.check.numbers import DecimalSign, is_number, value_of
from m6rec.config.run import Config, parse_config
from m6rec.fits.inspection import inspect_sources
from m6rec.fits.sources import open_sources
from m6rec.spark.values import number_in_text
from m6rec.stages.pairs.cleaning import clean_interactions
from tests.inputs.events import CASES, NOW, Case


def config_of(case: Case, folder: Path) -> Config:
    file = folder / case.name
    case.write(file)
    source = {"path": str(file), **case.source}
    return parse_config({"interactions": {"source": source, **case.settings}, **case.sections}, "")


def assert_found(lines: list[str], patterns: tuple[str, ...]) -> None:
    """Each pattern is found by a line, and each line by a pattern."""
    for pattern in patterns:
        assert any(re.search(pattern, line) for line in lines), (pattern, lines)
    for line in lines:
        assert any(re.search(pattern, line) for pattern in patterns), line


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_check_says_what_is_right(spark: SparkSession, tmp_path: Path, case: Case) -> None:
    config = config_of(case, tmp_path)
    inspection = inspect_sources(spark, config)
    assert_found(inspection.lines("problem"), case.problems)
    assert_found(inspection.lines("warning"), case.warnings)
    notes = [line for line in inspection.lines("note") if case.notes or "is read as" not in line]
    for pattern in case.notes:
        assert any(re.search(pattern, line) for line in notes), (pattern, notes)
    if case.kept is not None:
        assert kept(spark, config, len(case.kept[0])) == (sorted(case.kept), sorted(case.reasons))


def kept(spark: SparkSession, config: Config, width: int) -> tuple[list[Any], list[str]]:
    """The rows that cleaning keeps, and the reasons of the others."""
    events = open_sources(spark, config).interactions
    cleaned = clean_interactions(
        events.frame, events.config, NOW, None, events.reading, config.ratings.enabled
    )
    rows = cleaned.labelled.select(
        "user_id", "item_id", F.col("event_time").cast("string"), "weight", "reason"
    ).collect()
    held = sorted(tuple(row)[:width] for row in rows if row["reason"] is None)
    return held, sorted(row["reason"] for row in rows if row["reason"] is not None)


def test_the_check_and_spark_read_the_same_numbers_in_texts(spark: SparkSession) -> None:
    texts = [
        "1,234",
        "1.234,5",
        "12 kg",
        "(5.00)",
        "1.50-",
        "\u22122",
        "$1,234.50",
        "0,75",
        "1.299",
        "0,250",
        "0.125",
    ]
    texts += ["1.234.567", "1,234,567", "4.5/5", "n/a", "3 000", "12", "-7.5 %", ".5", "5,", "soon"]
    texts += ["1e3", "1,5E+03", "₹1,23,456.00", "-1.234.567,5", "0017.5"]
    texts += ["12.03.2024", "192.168.1.20", "1,2,3 €", "00017", "0017,5", "10.000.00 €", "1,23,45"]
    frame = spark.createDataFrame([(text,) for text in texts], "text string")
    signs: tuple[DecimalSign, ...] = (".", ",")
    for sign in signs:
        rows = frame.select("text", number_in_text(F.col("text"), sign).alias("number")).collect()
        assert {row.text: row.number for row in rows} == {one: value_of(one, sign) for one in texts}
        assert {row.text for row in rows if row.number is not None} == set(filter(is_number, texts))


def test_a_number_of_another_unit_is_none(spark: SparkSession) -> None:
    units = {"€": ("5 €", "$5"), "days": ("5 days", "5 day"), "kg": ("5 kg",), "/5": ("5 /5",)}
    texts = [*(text for given in units.values() for text in given), "5 g", "5e0", "0,5e1"]
    frame = spark.createDataFrame([(text,) for text in texts], "text string")
    numbers = [number_in_text(F.col("text"), ",", unit).alias(unit) for unit in units]
    rows = frame.select("text", *numbers).collect()
    for unit, given in units.items():
        read = {row["text"]: row[unit] for row in rows if row[unit] is not None}
        assert read == dict.fromkeys((*given, "5e0", "0,5e1"), 5.0)
