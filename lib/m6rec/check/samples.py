"""The first rows of a table by column, in Python's own types."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from itertools import islice

from m6rec.check.types import TypeGroup

SAMPLED_ROWS = 10_000
LONGEST_LIST = 65_536
"""Of a text that begins with a bracket so many characters are read."""
_LONGEST_EXAMPLE = 60
_LONGEST_TYPE = 200
_EXAMPLES = 3
_MOST_NAMES = 30
WRITE_ROW_BY_ROW = (
    "its fields are the numbers of rows, as the file was written column by column; write it row by"
    ' row, in pandas by to_json(path, orient="records", lines=True)'
)
# Of a type, what lies within the types of its fields.
_WITHIN_A_FIELD = re.compile(r"<[^<>]*>|\([^()]*\)")
CellValue = str | int | float | Decimal | bool | None


@dataclass(frozen=True)
class ColumnSample:
    """A column's first values.

    Attributes:
        name: the column.
        type: Spark's name of its type.
        group: what kind of type that is.
        values: numbers and truth values as they are, all else as text.
    """

    name: str
    type: str
    group: TypeGroup
    values: Sequence[CellValue]

    @cached_property
    def present(self) -> list[CellValue]:
        """The values that are not null."""
        return [value for value in self.values if value is not None]

    @cached_property
    def texts(self) -> list[str]:
        """The values that are neither null nor empty, as text without the space around them."""
        texts = (str(value).strip() for value in self.values if value is not None)
        return [text for text in texts if text]

    @property
    def first_field(self) -> str | None:
        """The first field of a struct as a config names it; None for columns of other types."""
        field = re.match(r"struct<`?([^:`]+)", self.type)
        return None if field is None else f"{self.name}.{field[1]}"

    @property
    def shown_type(self) -> str:
        """The type as it is shown to a person."""
        return shown_type(self.type)

    @property
    def has_a_field_for_each_row(self) -> bool:
        """Whether it is a struct whose fields are numbers of rows, as pandas writes JSON."""
        fields = _fields_of_struct(self.type)
        return bool(fields) and all(field.isdecimal() for field in fields)

    @property
    def nulls(self) -> float | None:
        """The share of nulls."""
        return 1.0 - len(self.present) / len(self.values) if self.values else None

    @property
    def examples(self) -> tuple[str, ...]:
        """Up to three different values."""
        different = dict.fromkeys(self.present[:1000])
        return tuple(islice(dict.fromkeys(map(shown, different)), _EXAMPLES))


@dataclass(frozen=True)
class TableSample:
    """The first rows of a table.

    Attributes:
        rows: how many.
        whole: whether the table has no more.
        columns: by name.
    """

    rows: int
    whole: bool
    columns: dict[str, ColumnSample]


def as_spark_writes(value: CellValue) -> str:
    """A value as the text that a run makes of it; of a number that is whole, its digits."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float | Decimal) and math.isfinite(value) and value == int(value):
        return str(int(value))
    return str(value)


def shown(value: CellValue) -> str:
    """A value as it is shown to a person: text in quotes, and cut where it is long."""
    if not isinstance(value, str):
        return str(value)
    text = value if len(value) <= _LONGEST_EXAMPLE else f"{value[: _LONGEST_EXAMPLE - 1]}…"
    return repr(text)


def shown_type(name: str) -> str:
    """A type as it is shown to a person: cut where it is long, as that of a struct can be."""
    return name if len(name) <= _LONGEST_TYPE else f"{name[: _LONGEST_TYPE - 1]}…"


def _fields_of_struct(name: str) -> list[str]:
    """The fields of a struct by Spark's name of its type; none for other types."""
    if not name.startswith("struct<"):
        return []
    inner = name.removeprefix("struct<").removesuffix(">")
    while (shorter := _WITHIN_A_FIELD.sub("", inner)) != inner:
        inner = shorter
    return [field.split(":")[0].strip("`") for field in inner.split(",")]


def shown_names(names: Sequence[str]) -> str:
    """Names of columns as they are shown to a person: as a list, and not all of very many."""
    listed = ", ".join(map(shown, names[:_MOST_NAMES]))
    more = f", and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return f"[{listed}{more}]"
