"""Columns of vectors of the owner's, as the first rows of a table show them.

In the sample of a table such a value is shown as `128 numbers` or, where a row has several vectors,
as `5 x 128 numbers`, with NOT_USABLE after it where no vector is both finite and other than zero.
Text is as the owner has written it.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator

from m6rec.check.findings import Finding, Place
from m6rec.check.samples import LONGEST_LIST, ColumnSample

NOT_USABLE = ", not usable"
# Fewer may be a place on the map, a range or measures of a thing.
LEAST_WITHOUT_BRACKETS = 8
# Of arrays of several lengths, lists of values hardly ever share one so often.
_SHARE_OF_A_LENGTH = 0.3
_BEGINS_A_NUMBER = frozenset("+-.0123456789")
_AS_TEXT = " in brackets, such as [0.1, 0.2], one a row (several need a column of arrays of arrays)"
# A sample may hold the beginning alone of a text.
_FIRST_OF_SEVERAL = re.compile(r"[\[({]\s*([\[({][^\[\](){}]*[\])}])")
_SHOWN = re.compile(rf"(?:\d+ x )?(\d+) numbers({NOT_USABLE})?")


def numbers_in_text(text: str | None) -> list[float] | None:
    """The numbers of a list with commas or white space between them; None of any other text.

    A list without brackets has `LEAST_WITHOUT_BRACKETS` numbers or more.
    """
    text = (text or "").strip()
    in_brackets = text[:1] + text[-1:] in {"[]", "()", "{}"}
    if not in_brackets and text[:1] not in _BEGINS_A_NUMBER:
        return None
    listed = text[1:-1] if in_brackets else text
    parts = [part for part in re.split(r"[\s,;]+", listed) if part]
    if not in_brackets and len(parts) < LEAST_WITHOUT_BRACKETS:
        return None
    try:
        return [float(part) for part in parts]
    except ValueError:
        return None


def holds_several_in_text(column: ColumnSample) -> bool:
    """Whether each text is a list of vectors, by the first; whole numbers may as well be codes."""
    texts = column.texts if column.group == "text" else []
    firsts = [match[1] for text in texts if (match := _FIRST_OF_SEVERAL.match(text))]
    if not texts or len(firsts) < len(texts):
        return False
    vectors = [numbers_in_text(first) for first in firsts]
    return all(vectors) and any("." in first for first in firsts)


def lengths_of_vectors(column: ColumnSample) -> list[int]:
    """The length of each row's vector, or of its first one where it has several."""
    return [length for length, _ in _read(column)]


def has_usable_vector(column: ColumnSample) -> bool:
    """Whether any row shows a usable vector."""
    return any(usable for _, usable in _read(column))


def is_cut(column: ColumnSample) -> bool:
    """Whether the sample holds the beginning alone of any text."""
    return any(isinstance(value, str) and len(value) >= LONGEST_LIST for value in column.values)


def findings_of_vectors(column: ColumnSample, table: Place, whole: bool) -> Iterator[Finding]:
    """What is wrong or doubtful with a column of kind embedding.

    Args:
        column: its first rows.
        table: its table.
        whole: whether the table has no more rows.
    """
    place = table.of(column.name)
    is_of_words = column.type in {"array<string>", "array<boolean>"}
    if column.group not in {"vector", "list", "text"} or is_of_words:
        yield Finding(
            "problem",
            place,
            f"has type {column.shown_type}, expected array<float>, array<double> or arrays of these"
            " for the kind embedding",
            "cast it in the source, or give the column another kind",
        )
        return
    if column.group == "list" or is_cut(column):
        return
    found = _read(column)
    usable = Counter(length for length, is_usable in found if is_usable)
    if not usable:
        if whole:
            yield Finding(
                "problem",
                place,
                f"has no usable vector in its {len(column.values)} rows",
                "give vectors of finite numbers"
                f"{_AS_TEXT if column.group == 'text' else ''}, or set the column's kind to ignore",
            )
        return
    length, fitting = max(usable.items(), key=lambda item: (item[1], item[0]))
    others = {
        "none": len(column.values) - len(found),
        "one of another length": usable.total() - fitting,
        "one with NaN, an infinity or null, or all zero": len(found) - usable.total(),
    }
    if any(others.values()):
        counted = ", ".join(f"{count} have {words}" for words, count in others.items() if count)
        yield Finding(
            "warning",
            place,
            f"holds vectors of {length} numbers in {fitting} of the first {len(column.values)}"
            f" rows; {counted}, and count as without",
        )


def findings_of_lengths(column: ColumnSample, table: Place, kind: str) -> Iterator[Finding]:
    """Arrays that may be vectors, but are of so many lengths that they are not taken for any.

    Args:
        column: its first rows.
        table: its table.
        kind: what the column counts as.
    """
    lengths = Counter(lengths_of_vectors(column) if column.group == "vector" else ())
    if not lengths:
        return
    length, rows = max(lengths.items(), key=lambda item: (item[1], item[0]))
    if length < LEAST_WITHOUT_BRACKETS or rows < _SHARE_OF_A_LENGTH * lengths.total():
        return
    counts_as = "is left out" if kind == "ignore" else "is read as several values"
    yield Finding(
        "warning",
        table.of(column.name),
        f"holds {length} numbers in {rows} of {lengths.total()} rows, and another count of them in"
        f" the others, so that it {counts_as}",
        f"where these are vectors, set kinds: {{{column.name}: embedding}}, which uses those of"
        f" {length} numbers; else set the column's kind to {kind}",
    )


def _read(column: ColumnSample) -> list[tuple[int, bool]]:
    """The length of each row's vector, and whether it is usable."""
    if column.group == "text":
        given = (numbers for text in column.texts if (numbers := numbers_in_text(text)))
        return [(len(one), all(map(math.isfinite, one)) and any(one)) for one in given]
    matches = (_SHOWN.fullmatch(text) for text in column.texts)
    return [(int(match[1]), match[2] is None) for match in matches if match is not None]
