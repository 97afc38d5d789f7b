"""What a check saw of the owner's tables, printed on the terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from m6rec.check.findings import Finding, Severity, TableView, of_severity


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
    grid = Table("column", "type", "kind", "nulls", "examples", "what will happen to it")
    for column in table.columns:
        nulls = "" if column.nulls is None else f"{column.nulls:.0%}"
        cells = (
            column.name,
            column.type,
            column.kind,
            nulls,
            ", ".join(column.examples),
            column.fate,
        )
        grid.add_row(*(Text(cell) for cell in cells))
    console.print(grid)
