"""Ids that are written in several ways, and ids that stand for nobody."""

import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from decimal import Decimal
from itertools import combinations

from m6rec.check.samples import CellValue
from m6rec.config.data import InteractionsConfig

# Ids that shops and logs write where they mean no user in particular; in lower case.
NOBODY = frozenset(
    ("", "0", "-1", "na", "n/a", "nan", "null", "none", "nil", "unknown", "undefined", "guest")
    + ("anonymous", "anon", "not set", "(not set)", "test", "-", "?", "99999", "00000000")
    + ("\\n", "<na>", "nat", "(null)", "#n/a", "00000000-0000-0000-0000-000000000000")
)
# Digits of any length, with their sign: larger ids than any integer type holds.
INTEGER_ID = r"\s*([+-]?)0*(\d+)(?:[.]0*)?\s*"
_INTEGER = re.compile(INTEGER_ID, re.ASCII)
# A whole number with signs between thousands, as spreadsheets show it.
GROUPED_DIGITS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+", re.ASCII)
# Spreadsheets write long numbers in this form, which has lost their last digits.
_WITH_EXPONENT = re.compile(r"\d(\.\d+)?[eE]\+?\d{1,2}", re.ASCII)
# Characters without width, which no screen shows.
_INVISIBLE = str.maketrans(
    "",
    "",
    "\0\u200b\u2060\ufeff\u00ad"
    # They say in which direction a text runs, and come with what is copied from some windows.
    "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    # They say whether a sign is drawn in colours.
    "\ufe0e\ufe0f",
)
# Above these numbers, floats of 64 bits, and of 32, do not hold every whole number.
_LARGEST_EXACT, _LARGEST_EXACT_FLOAT = 2**53, 2**24
# The separator between the domain and the rest of an item's id. No domain contains it.
DOMAIN_END = "/"
DOMINANT_SHARE = 1 / 3
# The share of the rows from which on an id in NOBODY is reported.
_NOTABLE_SHARE = 0.01
_FEWEST_USERS, _FEWEST_ROWS = 3, 3
# A number such as 0 may be a user like any other. It is reported only if it has this many times
# the rows of every other user.
_APART = 2


def integer_form(text: str) -> str:
    """An id that is a whole number as its digits; any other id as it is."""
    match = _INTEGER.fullmatch(text)
    if match is None:
        return text
    sign = "-" if match[1] == "-" and match[2] != "0" else ""
    return sign + match[2]


def text_within(domain: str, item_id: str) -> str:
    """The id of an item in its domain, as `spark.values.id_within` makes it."""
    return f"{domain}{DOMAIN_END}{item_id}"


def id_text(value: CellValue, config: InteractionsConfig) -> str | None:
    """An id as the tables of a run hold it."""
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, float | Decimal):
        whole = math.isfinite(value) and value == int(value)
        return str(int(value)) if whole else str(value)
    text = composed(str(value)) if "form" in config.unify_ids else str(value)
    if config.trim_ids:
        text = text.strip()
    if "case" in config.unify_ids:
        text = text.lower()
    return integer_form(text) if config.normalise_ids == "integer" else text


def composed(text: str) -> str:
    """A text in the Unicode form in which `unify_ids` writes all forms that look alike.

    Characters without width are left out.
    """
    return unicodedata.normalize("NFKC", text).translate(_INVISIBLE)


def fractions_among(values: Iterable[CellValue]) -> list[float | Decimal]:
    """The numbers that are not whole."""
    numbers = (value for value in values if isinstance(value, float | Decimal))
    return [value for value in numbers if math.isfinite(value) and value != int(value)]


def loses_digits(values: Iterable[CellValue], kind: str) -> float | None:
    """The first number of Spark's type `kind` that is too large to be exact; None without one."""
    largest = _LARGEST_EXACT_FLOAT if kind == "float" else _LARGEST_EXACT
    numbers = (value for value in values if isinstance(value, float))
    return next((v for v in numbers if math.isfinite(v) and abs(v) >= largest), None)


def written_with_exponent(ids: Iterable[str]) -> list[str]:
    """The ids that a spreadsheet has written, such as `1.23E+11`."""
    return [text for text in ids if _WITH_EXPONENT.fullmatch(text.strip())]


@dataclass(frozen=True)
class EqualNumbers:
    """Ids that are the same number as others and not the same text.

    Attributes:
        pair: the first two.
        share: of all ids, of those that have others like them.
    """

    pair: tuple[str, str]
    share: float


def equal_as_numbers(*tables: Iterable[str]) -> EqualNumbers | None:
    """The ids, of one table or two, that are the same number and not the same text."""
    texts = dict.fromkeys(text for ids in tables for text in ids)
    forms: dict[str, list[str]] = defaultdict(list)
    for text in texts:
        digits = text.replace(",", "") if GROUPED_DIGITS.fullmatch(text) else text
        if _INTEGER.fullmatch(digits) is not None:
            forms[integer_form(digits)].append(text)
    several = [alike for alike in forms.values() if len(alike) > 1]
    if not several:
        return None
    first, second, *_ = several[0]
    return EqualNumbers((first, second), sum(map(len, several)) / len(texts))


# What two ids that look alike may differ in, and how it is taken away.
_DIFFERENCES: dict[str, Callable[[str], str]] = {
    "form": composed,
    "space": str.strip,
    "case": str.lower,
}


def _alike(text: str, differences: Iterable[str]) -> str:
    """A text without these differences."""
    for name, without in _DIFFERENCES.items():
        if name in differences:
            text = without(text)
    return text


def settings_that_unify(differences: Collection[str]) -> str:
    """The lines of the configuration that make ids equal in spite of these differences."""
    kinds = [name for name in ("case", "form") if name in differences]
    lines = ["interactions.trim_ids: true"] if "space" in differences else []
    lines += [f"interactions.unify_ids: [{', '.join(kinds)}]"] if kinds else []
    return f"set {' and '.join(lines)}" if lines else ""


@dataclass(frozen=True)
class LookAlikes:
    """Ids that differ only in white space, case or Unicode form.

    Attributes:
        padded: how many ids have white space around them.
        alike: how many ids look like another one.
        example: two of these, or one that is padded.
        differences: which of space, case and form they differ in.
    """

    padded: int
    alike: int
    example: tuple[str, ...]
    differences: frozenset[str]


def look_alikes(ids: Iterable[str]) -> LookAlikes | None:
    """The ids that look like others; None where there are none."""
    forms: dict[str, set[str]] = defaultdict(set)
    padded: list[str] = []
    for text in set(ids):
        if text != text.strip():
            padded.append(text)
        forms[_alike(text, _DIFFERENCES)].add(text)
    groups = sorted(sorted(group) for group in forms.values() if len(group) > 1)
    if not padded and not groups:
        return None
    example = tuple(groups[0][:2]) if groups else (min(padded),)
    found = {"space"} if padded else set()
    for name in _DIFFERENCES:
        others = [other for other in _DIFFERENCES if other != name]
        if any(len({_alike(text, others) for text in group}) > 1 for group in groups):
            found.add(name)
    return LookAlikes(len(padded), sum(map(len, groups)), example, frozenset(found))


def differences_between(own: Collection[str], theirs: Collection[str]) -> frozenset[str]:
    """The differences in spelling without which the ids of two tables match; empty if none help."""
    whole = set(own)
    kinds = [*combinations(_DIFFERENCES, 1), *combinations(_DIFFERENCES, 2), tuple(_DIFFERENCES)]
    shared = len(whole & set(theirs))
    for differences in kinds:
        there = {_alike(text, differences) for text in theirs}
        matching = sum(_alike(text, differences) in there for text in whole)
        if matching > shared and matching >= len(whole) / 2:
            return frozenset(differences)
    return frozenset()


def dominant_user(users: list[str]) -> tuple[str, float, bool] | None:
    """The user that may be nobody: the id, its share of the rows, and whether its name says so."""
    counted = Counter(users).most_common()
    if len(counted) < _FEWEST_USERS:
        return None
    for place, (user, count) in enumerate(counted):
        share = count / len(users)
        most_of_others = counted[1 if place == 0 else 0][1]
        least = _APART * most_of_others if user.strip().isdigit() else 2
        if user.strip().lower() in NOBODY and count >= least and share >= _NOTABLE_SHARE:
            return user, share, True
    (user, count), (_, next_count) = counted[:2]
    share = count / len(users)
    apart = count >= 2 * next_count and count >= _FEWEST_ROWS
    return (user, share, False) if apart and share >= DOMINANT_SHARE else None
