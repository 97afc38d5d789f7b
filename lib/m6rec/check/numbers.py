"""Numbers that people write as text: with a unit, a currency, and separators of thousands."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from m6rec.check.shares import found_for_share

# Of attributes: squares of the largest floats, which may stand for missing ones, are infinite.
LARGEST_NUMBER = 1e30
# The sign before the fraction; empty for text that every program reads as a number.
DecimalSign = Literal["", ".", ","]
# What people write in place of a missing number, in lower case.
NO_NUMBER = frozenset(
    (
        "-",
        "--",
        "\u2014",
        "\u2013",
        "?",
        ".",
        "n/a",
        "na",
        "n.a.",
        "#n/a",
        "nan",
        "null",
        "none",
        "nil",
    )
    + ("unknown", "missing", "tba", "tbd", "\\n", "<na>", "nat", "(null)")
)
# A code, such as a zip code, may have a leading zero, but a number has none.
_PLAIN = re.compile(r"[+-]?(0|[1-9]\d*|\d*\.\d+|\d+\.\d*)([eE][+-]?\d+)?", re.ASCII)
_CURRENCY = (
    r"[$€£¥￥₹₽₩￦₺₴฿₫₪₱₦₸元円圆圓원]|(?:US|CA|AU|NZ|HK|NT|MX|[ACRS])\$|(?:CN|JP)[¥￥]|RMB|人民币|人民幣"
    r"|CHF|EUR|USD|GBP|JPY|CNY|INR|SEK|NOK|DKK|PLN|CZK|CAD|AUD|NZD|HKD|TWD|SGD|KRW|BRL|MXN|RUB|TRY"
    r"|ZAR|THB|HUF|RON|ILS|AED|SAR|IDR|MYR|VND|PHP|Rs\.?|kr\.?|zł|Kč|Ft|lei"
)
_UNIT = (
    r"%|°C|°F|mg|kg|g|t|lbs?|oz|mm|cm|dm|km|m|in|ft|mi|ml|cl|dl|l|kB|MB|GB|TB|Hz|kHz|MHz|GHz"
    r"|W|kW|kWh|V|mAh|Ah|px|MP|ms|s|sec|min|mins|h|hrs?|hours?|minutes?|days?|weeks?|months?|years?"
    r"|pcs|pages?|毫克|千克|公斤|克|斤|毫米|厘米|公里|米|毫升|升|秒|分钟|小时|天|岁|页|件|个"
    r"|stars?|points?|Sterne?|Punkte?|étoiles?|estrellas?|星"
)
# Of one thing, and of several.
_PLURALS = (
    *((name, f"{name}s") for name in ("star", "point", "hour", "minute", "day", "week", "month")),
    *((name, f"{name}s") for name in ("year", "page", "min", "hr", "lb", "étoile", "estrella")),
    *(("Stern", "Sterne"), ("Punkt", "Punkte")),
)
# The largest rating, as people write it after a rating: 4/5.
_SCALE = r"/[ ]?(?:5|10|100)"
SPACES = "\\s\u00a0\u202f'\u2019"
# Spaces stand between thousands; numbers of telephones and codes have them elsewhere.
_DIGITS = rf"(?:\d{{1,3}}(?:[{SPACES}]\d{{3}})+(?:[.,]\d*)?|\d[\d.,]*)"
_EXPONENT = r"[eE][+-]?\d+"


def _number_between(before: str, after: str) -> str:
    return (
        rf"^[\s\u00a0]*([+-]?)(?:{before})?[\s\u00a0]*"
        rf"([+-]?(?:{_DIGITS}|[.,]\d+)(?:{_EXPONENT})?)[\s\u00a0]*(?:{after})?[\s\u00a0]*$"
    )


NUMBER_IN_TEXT = _number_between(_CURRENCY, f"{_CURRENCY}|{_UNIT}|{_SCALE}")
# Only ASCII digits match, as in Spark's regular expressions.
_IN_TEXT = re.compile(NUMBER_IN_TEXT, re.ASCII)
# How accountants write -5.00. Without a fraction, a number in brackets may be a count.
_MAYBE_CURRENCY = rf"[\s\u00a0]*(?:{_CURRENCY})?[\s\u00a0]*"
_TO_THE_FRACTION = rf"\d[.,]\d\d{_MAYBE_CURRENCY}"
NEGATIVE_OF_ACCOUNTS = (
    rf"^{_MAYBE_CURRENCY}(?:\([^()]*{_TO_THE_FRACTION}\)|[^()-]*{_TO_THE_FRACTION}-)"
    rf"{_MAYBE_CURRENCY}$"
)
SIGNS_OF_ACCOUNTS = "[()-]"
TYPOGRAPHIC_MINUS = "\u2212"
_NEGATIVE_OF_ACCOUNTS = re.compile(NEGATIVE_OF_ACCOUNTS, re.ASCII)
_WITHOUT_NUMBER = re.compile(rf"(?<=[\d.,]){_EXPONENT}|[\d.,+\-{SPACES}]", re.ASCII)
_MONEY = "money"
_MOST_ARE_NUMBERS = 0.9
_SHOWN_UNITS = 3
_AND = " and "
# Before signs between thousands there is no zero.
_GROUPS = re.compile(r"[+-]?[1-9]\d{0,2}([.,]\d{3})+")
# What is no number: a code has a leading zero, and a date, a version or an address several points.
# Points of a number stand between thousands (in India, above a thousand, after each two digits),
# and its fraction follows another sign.
ODD_DIGITS = (
    r"^[+-]*(?![+-])(?:0\d(?!\d*[.]\d*$)|(?=[^.,]*[.,][^.,]*[.,])"
    r"(?!\d{1,3}([.,])\d{3}(?:\1\d{3})*(?:(?!\1)[.,]\d+)?$|\d{1,2}(?:,\d{2})+,\d{3}(?:\.\d+)?$))"
)
_ODD_DIGITS = re.compile(ODD_DIGITS, re.ASCII)
_BELOW_1000 = re.compile(r"[+-]?\d{1,3}", re.ASCII)
_MAYBE_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}\.\d{3}", re.ASCII)


@dataclass(frozen=True)
class NumbersAsText:
    """How a column's numbers are written.

    Attributes:
        decimal_sign: empty where all are plain.
        unit: what stands beside them, such as kg or $.
        others: values that are no numbers, and become missing.
        without_unit: how many numbers stand without a unit though others have one.
        only_unit: where a few values have another unit, and become missing, that of most; empty
            where there are none, and all are taken as they stand.
    """

    decimal_sign: DecimalSign
    unit: str
    others: tuple[str, ...]
    without_unit: int = 0
    only_unit: str = ""

    @property
    def has_several_units(self) -> bool:
        """Whether values are of several currencies."""
        return _AND in self.unit

    def reads(self, text: str) -> bool:
        """Whether a value of the column is one of its numbers."""
        stripped = text.strip()
        return is_number(stripped) and stripped not in self._exceptions

    @cached_property
    def _exceptions(self) -> frozenset[str]:
        return frozenset(self.others)


def numbers_as_text(values: Sequence[str]) -> NumbersAsText | None:
    """How texts write numbers; None where the texts are not numbers.

    Words such as n/a stand for missing values. Of the other values nearly all have to be numbers,
    with one unit or a currency where they have any. A few that have another unit are no numbers of
    the column: 500 g is not 500 among kilograms.
    """
    texts = [value.strip() for value in values]
    rest = [text for text in texts if text and text.lower() not in NO_NUMBER]
    if not rest:
        return None
    missing = tuple(dict.fromkeys(text for text in texts if text.lower() in NO_NUMBER))
    if all(map(_PLAIN.fullmatch, rest)):
        return NumbersAsText("", "", missing)
    if _are_codes(rest):
        return None
    found = found_for_share(rest, _MOST_ARE_NUMBERS, lambda text: text if is_number(text) else None)
    if found is None:
        return None
    unit_of = {text: _unit(text) for text in found}
    units = Counter(unit_of[text] for text in found)
    without_unit = units.pop("", 0)
    kind, most = _most_common_kind(units)
    if without_unit + most < _MOST_ARE_NUMBERS * len(rest):
        return None
    units = _with_plurals(Counter({one: units[one] for one in units if _kind(one) == kind}))
    unit = _AND.join(name for name, _ in units.most_common(_SHOWN_UNITS))
    read = [text for text in found if _kind(unit_of[text]) in {"", kind}]
    numbers = set(read)
    others = tuple(dict.fromkeys(text for text in rest if text not in numbers))
    return NumbersAsText(
        _decimal_sign(read, kind == _MONEY),
        unit,
        (*missing, *others),
        without_unit if unit else 0,
        max(units, key=units.__getitem__) if len(read) < len(found) else "",
    )


def _are_codes(texts: Sequence[str]) -> bool:
    """Whether nearly all texts are so many digits, some with a leading zero, as zip codes are.

    Zeros alone, such as the year 0000, stand for what is missing.
    """
    digits = [text for text in texts if re.fullmatch(r"\d*[1-9]\d*", text, re.ASCII)]
    lengths = Counter(map(len, digits))
    length, count = lengths.most_common(1)[0] if lengths else (0, 0)
    has_zeros = any(text[0] == "0" for text in digits if len(text) == length)
    return has_zeros and count >= _MOST_ARE_NUMBERS * len(texts)


def several_units(values: Sequence[str]) -> tuple[str, ...]:
    """The units of numbers of several kinds, the most frequent first; none where all are of one."""
    units = Counter(
        unit for value in values if is_number(text := value.strip()) and (unit := _unit(text))
    )
    if len({_kind(unit) for unit in units}) <= 1:
        return ()
    return tuple(unit for unit, _ in units.most_common(_SHOWN_UNITS))


def number_pattern(only_unit: str) -> str:
    """As `NUMBER_IN_TEXT`, the numbers without a unit or with this one; with any where it is empty.

    One currency stands for all, for amounts of several are taken as they stand.
    """
    if _kind(only_unit) == _MONEY:
        return _number_between(_CURRENCY, _CURRENCY)
    if only_unit.startswith("/"):
        return _number_between("", only_unit.replace("/", "/[ ]?"))
    if not re.fullmatch(_UNIT, only_unit):
        return NUMBER_IN_TEXT
    names = (one for pair in _PLURALS if only_unit in pair for one in pair)
    return _number_between("", "|".join(dict.fromkeys((only_unit, *names))))


def is_number(text: str) -> bool:
    """Whether a text is a number, also one with a unit or separators of thousands."""
    if _PLAIN.fullmatch(text):
        return True
    number = _number_in(text)
    return number is not None and _ODD_DIGITS.search(number) is None


def _unit(text: str) -> str:
    scale = re.search(rf"{_SCALE}$", text)
    if scale is not None:
        return scale[0].replace(" ", "")
    return _WITHOUT_NUMBER.sub("", _with_leading_sign(text))


def _with_plurals(units: Counter[str]) -> Counter[str]:
    """The units, in which that of one thing counts as that of several where both are written."""
    return Counter(
        {
            unit: count
            for unit, count in units.items()
            if not any(unit == one and many in units for one, many in _PLURALS)
        }
    )


def _most_common_kind(units: Counter[str]) -> tuple[str, int]:
    kinds = Counter[str]()
    for unit, count in units.items():
        kinds[_kind(unit)] += count
    return kinds.most_common(1)[0] if kinds else ("", 0)


def _kind(unit: str) -> str:
    """What units have in common that need not be told apart: currencies, and one of its plural."""
    if re.fullmatch(_CURRENCY, unit):
        return _MONEY
    return next((many for one, many in _PLURALS if unit == one), unit)


def _decimal_sign(texts: Sequence[str], of_money: bool) -> DecimalSign:
    """The sign before the fraction, by the values that leave no doubt.

    Where all leave doubt, 1.299 of a currency is more than a thousand, since prices have no three
    digits in their fraction.
    """
    votes: Counter[DecimalSign] = Counter()
    written = [_number_in(text) or text for text in texts]
    for digits in written:
        if "," in digits and "." in digits:
            votes["," if digits.rindex(",") > digits.rindex(".") else "."] += 1
        elif digits.count(",") == 1 and not _GROUPS.fullmatch(digits):
            votes[","] += 1
        elif (digits.count(".") == 1 and not _GROUPS.fullmatch(digits)) or digits.count(",") > 1:
            votes["."] += 1
        elif digits.count(".") > 1:
            votes[","] += 1
    if not votes and of_money:
        in_groups = any("." in digits for digits in written)
        without_groups = any(re.fullmatch(r"[+-]?\d{4,}", digits) for digits in written)
        return "," if in_groups and not without_groups else "."
    return "," if votes[","] > votes["."] else "."


def maybe_thousands(values: Sequence[str]) -> str | None:
    """A number such as 1.200 that may well be 1200; None where there is no doubt.

    There is doubt where all numbers with a point have three digits behind it, and beside them there
    are whole numbers below 1000 alone.
    """
    texts = [text for value in values if (text := value.strip()).lower() not in NO_NUMBER]
    numbers = [digits for text in texts if (digits := _number_in(text))]
    with_point = [digits for digits in numbers if "." in digits]
    whole = [digits for digits in numbers if re.search("[.eE]", digits) is None]
    is_doubtful = (
        with_point
        and whole
        and all(map(_MAYBE_THOUSANDS.fullmatch, with_point))
        and all(map(_BELOW_1000.fullmatch, whole))
    )
    return with_point[0] if is_doubtful else None


def _number_in(text: str) -> str | None:
    """The number in a text, with its sign and points but without spaces; None where it has none."""
    match = _IN_TEXT.match(_with_leading_sign(text))
    return re.sub(f"[{SPACES}]", "", match[1] + match[2]) if match else None


def value_of(text: str, decimal_sign: DecimalSign) -> float | None:
    """The number that a text stands for, as `spark.values.number_in_text` has it; None for none."""
    digits = _number_in(text)
    if digits is None or _ODD_DIGITS.search(digits) is not None:
        return None
    if _fraction_follows_comma(digits, decimal_sign):
        digits = digits.replace(".", "").replace(",", ".")
    try:
        return float(digits.replace(",", ""))
    except ValueError:
        return None


def _fraction_follows_comma(digits: str, decimal_sign: DecimalSign) -> bool:
    """Whether the fraction comes after the comma; where it cannot be told, by the column's sign."""
    commas, points = digits.count(","), digits.count(".")
    if commas and points:
        return digits.rindex(",") > digits.rindex(".")
    in_groups = _GROUPS.fullmatch(digits) is not None
    if commas:
        return commas == 1 and (not in_groups or decimal_sign == ",")
    return points > 1 or (points == 1 and in_groups and decimal_sign == ",")


def _with_leading_sign(text: str) -> str:
    """The text with the ASCII sign before its number, as `spark.values.number_in_text` has it."""
    text = text.replace(TYPOGRAPHIC_MINUS, "-")
    if _NEGATIVE_OF_ACCOUNTS.match(text):
        return "-" + re.sub(SIGNS_OF_ACCOUNTS, "", text)
    return text
