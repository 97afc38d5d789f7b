"""Numbers, ids and weights as people write them."""

import io

import pytest
from rich.console import Console

from m6rec.check.findings import ColumnView, Place, TableView
from m6rec.check.ids import (
    EqualNumbers,
    differences_between,
    dominant_user,
    equal_as_numbers,
    id_text,
    integer_form,
    look_alikes,
    settings_that_unify,
)
from m6rec.check.names import find_columns, is_unnamed
from m6rec.check.numbers import NumbersAsText, maybe_thousands, numbers_as_text
from m6rec.check.shares import holds_for_share
from m6rec.check.weights import outside_the_run
from m6rec.config.data import InteractionsConfig
from m6rec.report.tables import print_inspection


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1.5", "2"], NumbersAsText("", "", ())),
        (["1.5", "n/a", "2"], NumbersAsText("", "", ("n/a",))),
        (["$1,299.00", "$5", "\u2014"], NumbersAsText(".", "$", ("\u2014",))),
        (["1.299,00 €", "12,50 €"], NumbersAsText(",", "€", ())),
        (["1.299 €", "899 €", "12.499 €"], NumbersAsText(",", "€", ())),
        (["1.299 €", "2400 €"], NumbersAsText(".", "€", ())),
        (["1.250 kg", "2.500 kg"], NumbersAsText(".", "kg", ())),
        (["3/5", "4.5/5", "4 /5", "n/a"], NumbersAsText(".", "/5", ("n/a",))),
        (["5 stars", "4 stars", "1 stars"], NumbersAsText(".", "stars", ())),
        (["5 stars", "1 star"], NumbersAsText(".", "stars", ())),
        (["1 day", "1 day"], NumbersAsText(".", "day", ())),
        (["+49 30 100000", "+49 30 100007"], None),
        (["1'234.50", "2 000,5", "12 500 000 kg"], NumbersAsText(".", "kg", (), 2)),
        (["6'2", "5'11"], None),
        (["3/5", "7/10"], None),
        (["1/2", "3/4"], None),
        (["1,299 €", "899 €"], NumbersAsText(".", "€", ())),
        (["12 kg", "1 kg"], NumbersAsText(".", "kg", ())),
        (["90 min", "n/a"], NumbersAsText(".", "min", ("n/a",))),
        (["1,234", "2"], NumbersAsText(".", "", ())),
        (["0,5", "1,234"], NumbersAsText(",", "", ())),
        (["0,250 kg", "1,500 kg"], NumbersAsText(",", "kg", ())),
        (["0.999 €", "0.899 €"], NumbersAsText(".", "€", ())),
        (["1 299", "12"], NumbersAsText(".", "", ())),
        (["50%"], NumbersAsText(".", "%", ())),
        (["50%", ".75", "20%"], NumbersAsText(".", "%", (), without_unit=1)),
        (["(5.00)", "($1.50)", "3.00-", "\u22122", "4"], NumbersAsText(".", "$", (), 4)),
        (
            ["(5,00 \u20ac)", "5,00- \u20ac", "(1.234,50) \u20ac", "7,50 \u20ac"],
            NumbersAsText(",", "\u20ac", ()),
        ),
        (["(5)", "(12)"], None),
        (["18-", "25-"], None),
        (["12 kg", "5 g"], None),
        ([*["6 kg"] * 6, *["5 g"] * 4], None),
        ([*["12,50 €"] * 9, "1e3"], NumbersAsText(",", "€", (), 1)),
        ([*["12,50 €"] * 9, "1,5E+03"], NumbersAsText(",", "€", (), 1)),
        ([*["12,50 €"] * 9, "$5", "5 kg"], NumbersAsText(",", "€ and $", ("5 kg",), 0, "€")),
        ([*["2 days"] * 8, "1 day", "6 h"], NumbersAsText(".", "days", ("6 h",), 0, "days")),
        ([*["1,5"] * 18, "1 kg", "1 g"], NumbersAsText(",", "kg", ("1 g",), 18, "kg")),
        (["Size 12"], None),
        (["01234", "55105"], None),
        ([*(str(code) for code in range(10_115, 10_145)), "01067"], None),
        ([*["2019"] * 29, "0000"], NumbersAsText(".", "", ("0000",))),
        ([*["12,50 €"] * 9, "00017"], NumbersAsText(",", "€", ("00017",))),
        ([*["12,50 €"] * 9, "10.000.00 €"], NumbersAsText(",", "€", ("10.000.00 €",))),
        (["₹1,23,456.00", "₹99.50"], NumbersAsText(".", "₹", ())),
        (["3D", "2D"], None),
        (["192.168.1.1"], None),
        (["PG-13"], None),
        (["n/a", ""], None),
    ],
)
def test_numbers_are_told_from_codes_and_words(
    values: list[str], expected: NumbersAsText | None
) -> None:
    assert numbers_as_text(values) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["400", "n/a", "", "1.200", "2.000"], "1.200"),
        (["400 kg", "1.200 kg", "auf Anfrage"], "1.200"),
        (["1.200", "2.000"], None),
        (["400", "1200"], None),
        (["400", "1200", "1.250"], None),
        (["400", "0.250", "1.250"], None),
        (["400", "1.25", "1.250"], None),
        (["400", "1.234,5", "1.200"], None),
        (["400", "1,234.500"], None),
    ],
)
def test_a_point_that_may_stand_between_thousands_is_found(
    values: list[str], expected: str | None
) -> None:
    assert maybe_thousands(values) == expected


def test_a_number_has_one_form_as_an_id() -> None:
    forms = {"17850.0": "17850", "017850": "17850", "-0": "0", "a1": "a1", "1.5": "1.5"}
    assert {text: integer_form(text) for text in forms} == forms


def test_ids_that_are_equal_as_numbers_are_found_within_and_between_tables() -> None:
    assert equal_as_numbers(["1", "a", "1.0", "b"]) == EqualNumbers(("1", "1.0"), 0.5)
    assert equal_as_numbers(["1", "2", "1"], ["02", "1"]) == EqualNumbers(("2", "02"), 2 / 3)
    assert equal_as_numbers(["17000", "17,000"]) == EqualNumbers(("17000", "17,000"), 1.0)
    assert equal_as_numbers(["17000", "17,0,00", "1,7000"]) is None
    assert equal_as_numbers(["1", "2"], ["2", "b", "b.0"]) is None


def test_ids_that_look_alike_are_counted() -> None:
    found = look_alikes(["ann", " ann", "Bob", "bob", "cyd"])
    assert found is not None
    assert (found.padded, found.alike, found.example) == (1, 4, (" ann", "ann"))
    assert look_alikes(["ann", "bob"]) is None
    invisible = look_alikes(["ann", "\u202aann", "ann\u200e", "\u2764", "\u2764\ufe0f"])
    assert invisible is not None
    assert (invisible.alike, invisible.differences) == (5, {"form"})


def test_a_user_of_many_rows_or_of_a_telling_name_is_found() -> None:
    assert dominant_user(["guest"] * 2 + list("abcdefgh")) == ("guest", 0.2, True)
    assert dominant_user(["x"] * 5 + list("abcde")) == ("x", 0.5, False)
    assert dominant_user(list("abcdefgh")) is None
    assert dominant_user([]) is None


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, *range(1, 11)], 0.0),
        ([-1.0, *range(1, 11)], -1.0),
        ([*range(1, 11), 99.0], 99.0),
        ([float(k) for k in range(1, 6)], None),
        ([float(k) for k in range(-10, 11)], None),
        ([0.0, 1.0], None),
        ([0.0, 0.5, 1.0, 1.5, 2.0], None),
    ],
)
def test_a_value_outside_the_run_of_the_others_is_pointed_at(
    values: list[float], expected: float | None
) -> None:
    assert outside_the_run(values) == expected


def test_columns_are_found_whatever_case_and_space() -> None:
    matches = find_columns(["USER_ID", " item_id", "a", "A "], ["user_id", "item_id", "A", "b"])
    assert matches.renamed == {"user_id": "USER_ID", "item_id": " item_id"}
    assert matches.missing == ("b",)
    assert matches.doubtful == {"A": ("a", "A ")}


def test_columns_that_a_program_has_named_are_known() -> None:
    assert all(map(is_unnamed, ("_c0", "Unnamed: 0", "_corrupt_record", "")))
    assert not any(map(is_unnamed, ("c0", "index", "name")))


@pytest.mark.parametrize(
    ("ids", "differences", "lines"),
    [
        (["Ann", "ann"], {"case"}, "set interactions.unify_ids: [case]"),
        (["e\u0301va", "\u00e9va"], {"form"}, "set interactions.unify_ids: [form]"),
        (["ann ", "ann"], {"space"}, "set interactions.trim_ids: true"),
        (
            ["\uff21nn", "ann"],
            {"case", "form"},
            "set interactions.unify_ids: [case, form]",
        ),
        (
            [" Bob", "bob", "\uff41", "a"],
            {"space", "case", "form"},
            "set interactions.trim_ids: true and interactions.unify_ids: [case, form]",
        ),
    ],
)
def test_ids_that_look_alike_have_the_lines_that_unify_them(
    ids: list[str], differences: set[str], lines: str
) -> None:
    found = look_alikes(ids)
    assert found is not None
    assert found.differences == differences
    assert settings_that_unify(found.differences) == lines
    kinds = [kind for kind in ("case", "form") if kind in differences]
    settings = {"unify_ids": kinds, "trim_ids": "space" in differences}
    unified = InteractionsConfig.model_validate({"source": {"path": "x"}, **settings})
    assert len({id_text(one, unified) for one in ids}) == len(ids) // 2


def test_what_hides_that_tables_have_the_same_ids_is_told() -> None:
    assert differences_between(["u1", "u2"], ["U1", "U2"]) == {"case"}
    assert differences_between(["u1", "u2"], [" U1", "U2 "]) == {"space", "case"}
    assert differences_between(["u1", "u2"], ["u1", "u2"]) == frozenset()
    assert differences_between(["u1", "u2"], ["x", "y"]) == frozenset()


def test_0_is_a_user_like_any_other_among_numbers_unless_it_is_apart() -> None:
    assert dominant_user(["0", "1", "2"] * 4) is None
    assert dominant_user(["0"] * 9 + ["1"] * 5 + ["2", "3", "4"]) is None
    assert dominant_user(["0"] * 4 + ["1", "2", "3"]) == ("0", 4 / 7, True)
    assert dominant_user(["guest", "guest", "ann", "ann", "bob", "bob"]) == ("guest", 1 / 3, True)


def test_values_are_looked_at_until_they_rule_a_share_out() -> None:
    seen: list[int] = []
    assert not holds_for_share(range(1_000), 0.9, seen.append)
    assert len(seen) == 101
    assert holds_for_share([1] * 9 + [0], 0.9, bool)
    assert not holds_for_share([1] * 8 + [0] * 2, 0.9, bool)


def test_a_long_type_is_cut_in_the_table_of_columns() -> None:
    name = f"struct<{','.join(f'{row}:string' for row in range(1_000))}>"
    column = ColumnView("user_id", name, "user", 0.0, (), "the user's id")
    shown = io.StringIO()
    table = TableView(Place("interactions.source", "wide"), "json", columns=(column,) * 1_001)
    print_inspection(Console(file=shown, width=140), [table], [])
    assert f" | {name[:199]}… | user | 0%" in shown.getvalue().splitlines()[-1]


def test_a_table_of_thousands_of_columns_is_shown_as_lines() -> None:
    column = ColumnView("size", "double", "numeric", 0.5, ("1.5", "2.5"), "a number")
    shown = io.StringIO()
    table = TableView(Place("features.items", "wide"), "parquet", columns=(column,) * 1_001)
    print_inspection(Console(file=shown, width=140), [table], [])
    lines = shown.getvalue().splitlines()
    assert lines[-1] == "size | double | numeric | 50% | 1.5, 2.5 | a number"
    assert len(lines) == 1_003
