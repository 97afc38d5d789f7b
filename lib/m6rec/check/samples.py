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
_EXAMPLES = 3
_MOST_NAMES = 30
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


def shown_names(names: Sequence[str]) -> str:
    """Names of columns as they are shown to a person: as a list, and not all of very many."""
    listed = ", ".join(map(shown, names[:_MOST_NAMES]))
    more = f", and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return f"[{listed}{more}]"
