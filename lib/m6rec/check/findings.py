"""What a check found: problems that stop a run, warnings, notes on what was inferred, and facts."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

# Only job `check` prints facts.
Severity = Literal["problem", "warning", "note", "fact"]


@dataclass(frozen=True)
class Place:
    """Where something was found.

    Attributes:
        key: the config's key of the table.
        table: its path or name.
        column: the column, where it is one.
    """

    key: str
    table: str
    column: str | None = None

    def of(self, column: str) -> "Place":
        """A column of the same table."""
        return Place(self.key, self.table, column)

    def __str__(self) -> str:
        column = "" if self.column is None else f", column {self.column}"
        return f"{self.key}: table {self.table}{column}"


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        severity: whether it stops a run.
        place: where.
        words: what was found, and what was expected.
        remedy: the line of the configuration that mends it, or what to do.
    """

    severity: Severity
    place: Place
    words: str
    remedy: str = ""

    def __str__(self) -> str:
        remedy = f"; {self.remedy}" if self.remedy else ""
        return f"{self.place}: {self.words}{remedy}"


@dataclass(frozen=True)
class ColumnView:
    """How a column was understood.

    Attributes:
        name: the owner's name.
        type: Spark's type.
        kind: what it is taken for.
        nulls: the share of nulls in the first rows, or None without a row.
        examples: up to three values.
        treatment: what will happen to it.
    """

    name: str
    type: str
    kind: str
    nulls: float | None
    examples: tuple[str, ...]
    treatment: str


@dataclass(frozen=True)
class TableView:
    """How a table was understood.

    Attributes:
        place: the table.
        format: how it is stored.
        version: of a Delta table, what a run would read.
        rows: how many rows were looked at.
        whole: whether these were all.
        columns: its columns, in order.
        findings: what was found.
    """

    place: Place
    format: str = ""
    version: int | None = None
    rows: int = 0
    whole: bool = False
    columns: tuple[ColumnView, ...] = ()
    findings: tuple[Finding, ...] = field(default=())


def of_severity(findings: Iterable[Finding], severity: Severity) -> list[str]:
    """The findings of one severity as lines, each once."""
    return list(dict.fromkeys(str(one) for one in findings if one.severity == severity))
