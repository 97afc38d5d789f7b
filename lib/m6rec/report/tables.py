"""What a check saw of the owner's tables, printed on the terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from m6rec.check.findings import ColumnView, Finding, Severity, TableView, of_severity
from m6rec.check.samples import shown_type

_HEADINGS = ("column", "type", "kind", "nulls", "examples", "what will happen to it")
# To lay out a grid of thousands of rows takes seconds, and no screen shows it.
_MOST_IN_A_GRID = 1_000


def print_inspection(
    console: Console, tables: Sequence[TableView], findings: Sequence[Finding]
) -> None:
    """A table of columns for each table of the owner's, then what was found."""
    for table in tables:
        _print_table(console, table)
    # Problems are the message with which the job ends.
    severities: tuple[Severity, ...] = ("fact", "note", "warning")
    for severity in severities:
        for line in of_severity(findings, severity):
            console.print(Text(f"{severity}: {line}"), soft_wrap=True)


def _print_table(console: Console, table: TableView) -> None:
    rows = f"all {table.rows} rows" if table.whole else f"the first {table.rows} rows"
    version = "" if table.version is None else f", version {table.version}"
    title = f"{table.place.key}: {table.place.table}"
    if not table.columns:
        console.print(Text(f"{title}: not read"), soft_wrap=True)
        return
    console.print(Text(f"{title} ({table.format}{version}; {rows})"), soft_wrap=True)
    if len(table.columns) > _MOST_IN_A_GRID:
        lines = (" | ".join(cells) for cells in (_HEADINGS, *map(_cells, table.columns)))
        console.print(Text("\n".join(lines)), soft_wrap=True)
        return
    grid = Table(*_HEADINGS)
    for column in table.columns:
        grid.add_row(*(Text(cell) for cell in _cells(column)))
    console.print(grid)


def _cells(column: ColumnView) -> tuple[str, ...]:
    nulls = "" if column.nulls is None else f"{column.nulls:.0%}"
    examples = ", ".join(column.examples)
    return column.name, shown_type(column.type), column.kind, nulls, examples, column.treatment
