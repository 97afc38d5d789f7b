"""Columns that are named nearly as the configuration names them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_ROW_NUMBERS = re.compile(
    r"_c\d+|unnamed: ?\d+(_level_\d+)?|_corrupt_record|_rescued_data|__index_level_\d+__|",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Matches:
    """Where the columns that the configuration names are.

    Attributes:
        found: the table's name of each column, by the configuration's.
        missing: the columns that the table does not have.
        doubtful: columns that two of the table's could be, with these.
    """

    found: dict[str, str]
    missing: tuple[str, ...]
    doubtful: dict[str, tuple[str, ...]]

    @property
    def renamed(self) -> dict[str, str]:
        """The columns that are named otherwise in the table."""
        return {asked: there for asked, there in self.found.items() if asked != there}


def find_columns(available: Sequence[str], asked: Sequence[str]) -> Matches:
    """Find columns by their exact names, else whatever the case and the white space around them."""
    found: dict[str, str] = {}
    missing: list[str] = []
    doubtful: dict[str, tuple[str, ...]] = {}
    for name in dict.fromkeys(asked):
        alike = tuple(one for one in available if _plain(one) == _plain(name))
        if name in available:
            found[name] = name
        elif len(alike) == 1:
            found[name] = alike[0]
        elif alike:
            doubtful[name] = alike
        else:
            missing.append(name)
    return Matches(found, tuple(missing), doubtful)


def is_unnamed(column: str) -> bool:
    """Whether a program has named a column, and not a person."""
    return _ROW_NUMBERS.fullmatch(column.strip()) is not None


def _plain(name: str) -> str:
    return " ".join(name.replace("\ufeff", "").split()).casefold()
