"""What types of columns can be of a kind that the configuration gives them."""

from typing import get_args

import pytest

from m6rec.check.findings import Finding, Place
from m6rec.check.judging import (
    findings_of_ids,
    findings_of_inferred_kinds,
    findings_of_kinds,
    findings_of_weights,
)
from m6rec.check.samples import ColumnSample
from m6rec.check.types import COLUMN_TYPES, TypeGroup
from m6rec.check.vectors import findings_of_lengths
from m6rec.config.data import FeatureKind
from m6rec.config.run import parse_config

PLACE = Place("features.items", "items")


def _is_refused(group: TypeGroup, kind: FeatureKind) -> bool:
    columns = {"x": ColumnSample("x", group, group, ("1",))}
    found = findings_of_kinds(columns, {"x": kind}, PLACE)
    return any(f"cannot be {kind}" in finding.words for finding in found)


@pytest.mark.parametrize("kind", get_args(FeatureKind))
def test_every_kind_says_which_types_of_columns_it_takes(kind: FeatureKind) -> None:
    assert not _is_refused("text", kind)


def test_a_column_of_another_type_is_refused() -> None:
    assert {group for group in COLUMN_TYPES if not _is_refused(group, "image")} == {"text", "bytes"}
    assert not any(_is_refused(group, "ignore") for group in COLUMN_TYPES)


def _of_text(*texts: str | None) -> list[str]:
    columns = {"frames": ColumnSample("frames", "string", "text", texts)}
    return [str(finding) for finding in findings_of_inferred_kinds(columns, PLACE)]


def test_several_vectors_as_text_are_said_not_to_be_read() -> None:
    nested = "[[0.1, 0.2], [0.3, 0.4]]"
    cut = "[[0.5, 1], [0.25, "
    for texts in ((nested, None, "[ [1, 2.5]]"), ("[(0.1 0.2) (0.3 0.4)]",), (nested, cut)):
        [line] = _of_text(*texts)
        assert f"holds several vectors a row as text, such as '{texts[0]}'" in line
        assert "from_json(frames, 'array<array<float>>') in SQL, or set" in line
    for other in ("[0.1, 0.2]", "[[1, 2], [3]]", "[['a', 'b']]", "[[]]", '[{"a": 0.1}]'):
        assert not _of_text(other), other
    assert not _of_text(nested, "about a sea")
    assert not _of_text()


def _of_lengths(*lengths: int, group: TypeGroup = "vector") -> list[str]:
    shown = tuple(f"{length} numbers" for length in lengths)
    column = ColumnSample("cover", "array<float>", group, shown)
    return [str(finding) for finding in findings_of_lengths(column, PLACE, "multi_valued")]


def test_arrays_of_two_lengths_are_said_to_be_no_vectors() -> None:
    [line] = _of_lengths(*[64] * 55, *[48] * 45)
    assert "cover: holds 64 numbers in 55 of 100 rows" in line
    assert "set kinds: {cover: embedding}, which uses those of 64 numbers" in line
    # Lists of a few prices, and lists of any length, are several values.
    assert not _of_lengths(*[3] * 55, *[2] * 45)
    assert not _of_lengths(*range(8, 40))
    assert not _of_lengths(*[64] * 9, group="list")
    assert not _of_lengths()


def _of_numeric(*texts: str) -> list[str]:
    columns = {"price": ColumnSample("price", "string", "text", texts)}
    return [str(finding) for finding in findings_of_kinds(columns, {"price": "numeric"}, PLACE)]


def test_numbers_that_are_lost_are_said() -> None:
    prices = ["12,50 €"] * 18
    assert not _of_numeric(*prices, "1e3", "gratis")
    [line] = _of_numeric(*prices, "5 kg")
    assert "1 of 19 values, such as '5 kg', have another unit than the others (€)" in line
    [mixed] = _of_numeric(*["6 kg"] * 6, *["5 g"] * 4, "7")
    assert "10 of 11 values, such as '6 kg', count as missing, for the column has" in mixed
    assert "several units, kg, g" in mixed
    [words] = _of_numeric(*["1,5"] * 8, "gratis", "soon")
    assert "10 of 10 values, such as '1,5', count as missing, for 2 others are not" in words
    assert not _of_numeric("1.5", "2e3", "n/a")


def test_a_few_ids_that_are_equal_as_numbers_stop_no_run() -> None:
    def found(ids: tuple[str, ...], **settings: str) -> list[Finding]:
        config = parse_config({"interactions": {"source": {"path": "x"}, **settings}}, "test")
        column = ColumnSample("buyer", "string", "text", ids)
        return list(findings_of_ids(column, PLACE, config.interactions))

    # That '07' is among the first rows of a night must not depend on what was deleted before them.
    few, all_of_them = (*map(str, range(100)), "07"), ("1", "1.0", "2", "2.0")
    [dirt], [written_in_two_ways] = found(few), found(all_of_them)
    assert (dirt.severity, written_in_two_ways.severity) == ("warning", "problem")
    assert "holds '07', which is the same number as '7' but another id" in str(dirt)
    [stated] = found(all_of_them, normalise_ids="none")
    assert stated.severity == "warning"
    assert not found(all_of_them, normalise_ids="integer")


def test_weights_of_several_units_are_refused_by_the_units() -> None:
    config = parse_config({"interactions": {"source": {"path": "x"}}}, "test")

    def found(*texts: str) -> list[str]:
        column = ColumnSample("paid", "string", "text", texts)
        return [str(finding) for finding in findings_of_weights(column, PLACE, config)]

    [refused] = found(*["6 kg"] * 6, *["5 g"] * 4)
    assert "holds numbers of several units, kg, g, expected numbers of one as weights" in refused
    assert any(
        "1 of 19 weights are not finite numbers, such as '5 kg'" in line
        for line in found(*["12,50 €"] * 18, "5 kg")
    )


BY_ROW_NUMBERS = "struct<" + ",".join(f"{row}:map<string,decimal(10,2)>" for row in range(99)) + ">"


def test_a_struct_of_row_numbers_is_a_file_that_was_written_column_by_column() -> None:
    column = ColumnSample("w", BY_ROW_NUMBERS, "nested", ("{...}",))
    config = parse_config({"interactions": {"source": {"path": "x"}}}, "test")
    for found in (
        findings_of_ids(column, PLACE, config.interactions),
        findings_of_weights(column, PLACE, config),
    ):
        [line] = map(str, found)
        assert 'in pandas by to_json(path, orient="records", lines=True)' in line
        assert len(line) < 700
        assert f"has type {BY_ROW_NUMBERS[:199]}…, such as" in line


@pytest.mark.parametrize("name", ["struct<id:bigint,0:bigint>", "array<struct<0:int>>", "string"])
def test_other_types_are_not_taken_for_one_of_row_numbers(name: str) -> None:
    assert not ColumnSample("w", name, "nested", ()).has_a_field_for_each_row
