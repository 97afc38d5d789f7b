"""The likely readings of a file that lacks the columns that it should have."""

# Letters of other scripts are meant as they are.
# ruff: noqa: RUF001

import pytest

from m6rec.check.encodings import encoding_of, line_beyond_ascii, shows_another
from m6rec.check.readings import (
    has_line_breaks,
    header_of,
    is_json_array,
    likely_readings,
)

NEEDED = ("user_id", "item_id")


@pytest.mark.parametrize(
    ("start", "options", "first"),
    [
        (b"user_id;item_id\nann;tea\nbob;rum\n", {"sep": ";"}, ("ann", "tea")),
        (b"user_id\titem_id\nann\ttea\n", {"sep": "\t"}, ("ann", "tea")),
        (b"user_id\x01item_id\nann\x01tea\n", {"sep": "\x01"}, ("ann", "tea")),
        (b"user_id~item_id\nann~tea\n", {"sep": "~"}, ("ann", "tea")),
        (b"1::1193::5\n1::661::3\n", {"sep": "::", "header": "false"}, ("1", "1193", "5")),
        (
            "user_id;item_id\nann;th\u00e9\n".encode("latin-1"),
            {"sep": ";", "encoding": "ISO-8859-1"},
            ("ann", "th\u00e9"),
        ),
        (
            "\ufeffuser_id,item_id\nann,tea\n".encode("utf-16-le"),
            {"encoding": "UTF-16LE", "multiLine": "true"},
            ("ann", "tea"),
        ),
        (
            b'item_id,user_id\n"two\nlines",ann\n"b",bob\n',
            {"multiLine": "true"},
            ("two\nlines", "ann"),
        ),
    ],
)
def test_the_likeliest_reading_has_the_columns(
    start: bytes, options: dict[str, str], first: tuple[str, ...]
) -> None:
    [reading] = likely_readings(start, NEEDED)
    assert reading.options == options
    assert reading.rows[0] == first


def test_a_separator_of_two_signs_is_likelier_than_half_of_it() -> None:
    readings = likely_readings(b"user_id||item_id\nann||tea\n", NEEDED)
    assert [one.options["sep"] for one in readings] == ["||", "|"]


def test_what_has_one_column_under_every_reading_has_no_likely_one() -> None:
    assert likely_readings(b"word\nother\n", NEEDED) == []


def test_a_json_array_is_told_from_objects() -> None:
    assert is_json_array(b'\xef\xbb\xbf [{"a": 1}]')
    assert not is_json_array(b'{"a": [1]}')


@pytest.mark.parametrize(
    ("start", "has_them"),
    [
        (b'u,i,n\nann,tea,"a\nb"\n', True),
        (b'u,i,n\nann,tea,"a b"\n', False),
        # The last row is cut.
        (b'u,i,n\nann,tea,"a b"\nbob,rum,"a\nb', False),
        # A quote that is never closed, and one that is no quote.
        (b'u,i,n\nann,tea,"12 inches\nbob,rum,x\ncyd,gin,"y"\n', False),
        (b'u,i,n\nann,tea,12"\nbob,rum,13"\n', False),
        (b"", False),
    ],
)
def test_line_breaks_within_quotes_are_told_from_a_quote_that_is_never_closed(
    start: bytes, has_them: bool
) -> None:
    assert has_line_breaks(start, ",") == has_them


def test_a_header_is_compared_whatever_its_case_and_white_space() -> None:
    assert header_of(b"\xef\xbb\xbfUser_ID; item_id\nann;tea\n", ";") == ("user_id", "item_id")
    assert header_of(b"", ";") == ()


def test_a_file_of_one_column_and_comments_have_their_readings() -> None:
    assert [one.options for one in likely_readings(b"user_id\nann\n", NEEDED)] == [{}]
    [reading] = likely_readings(b"# of today\nuser_id,item_id\nann,tea\n", NEEDED)
    assert (reading.options, reading.rows) == ({"comment": "#"}, (("ann", "tea"),))


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("张三,绿茶\n李四,高级红茶、新款\n", "GB18030"),
        ("太郎,緑茶のセット\n花子,コーヒー\n", "Shift_JIS"),
        ("太郎,緑茶のセット\n花子,コーヒー\n", "EUC-JP"),
        ("張三,綠茶與紅茶\n李四,咖啡\n", "Big5"),
        ("철수,녹차 세트\n영희,커피와 우유\n", "EUC-KR"),
        ("José,café\nJürgen,Größe\n", "ISO-8859-1"),
        ("José,“café” für 3 €\n", "windows-1252"),
        ("José,茶\n", "UTF-8"),
        ("Анна,Чай зелёный\nПётр,Кофе молотый\n", "windows-1251"),
        ("Анна,Чай зелёный\nПётр,Кофе молотый\n", "KOI8-R"),
        ("Γιώργος,Πράσινο τσάι\nΜαρία,Καφές ελληνικός\n", "windows-1253"),
        ("Stanisław,Herbata żurawinowa\nMałgorzata,Książka o Łodzi\n", "windows-1250"),
        ("Lucie,Zelený čaj\nJiří,Příliš žluťoučký kůň\n", "windows-1250"),
        ("Ayşe,Yeşil çay\nÇiğdem,Kışlık mont\n", "windows-1254"),
        # Several western languages in one file, and signs among words.
        ("Søren,Grøn te 5 m³\nHélène,Pâtes fraîches\nJürgen,Größe\nJosé,¿Niños?\n", "ISO-8859-1"),
        ("João,Pão de queijo\nÅsa,Bryggkaffe\nNiccolò,Tè verde\nÞór,Æska\n", "ISO-8859-1"),
    ],
)
def test_the_encoding_of_a_country_is_told(text: str, encoding: str) -> None:
    assert encoding_of(text.encode(encoding)) == encoding


def test_an_encoding_in_which_every_byte_is_a_character_is_doubted() -> None:
    cyrillic, accented = "id\nЗелёный чай\nЧёрный кофе\n", "id\nthé vert\n"
    assert shows_another(cyrillic.encode("cp1251"), "ISO-8859-1") == "windows-1251"
    assert shows_another(accented.encode(), "latin1") == "UTF-8"
    assert shows_another(accented.encode("cp1252"), "ISO-8859-1") is None
    assert shows_another(b"id\ntea\n", "ISO-8859-1") is None
    assert shows_another(cyrillic.encode("cp1251"), "KOI8-R") is None
    assert line_beyond_ascii(accented.encode("cp1252"), "ISO-8859-1") == "thé vert"
