"""Writes the part of docs/tables.md that follows from the code.

python -m tests.docs.tables_document
"""

from m6rec.check.types import COLUMN_TYPES
from tests.test_layers import REPOSITORY

TABLES_DOCUMENT = REPOSITORY / "docs" / "tables.md"
_START, _END = "<!-- generated: types -->", "<!-- end -->"


def with_types(text: str) -> str:
    """The document with the table of types made anew between its markers."""
    before, _, rest = text.partition(_START)
    _, found, after = rest.partition(_END)
    if not found:
        raise ValueError(f"{TABLES_DOCUMENT} lacks the lines {_START} and {_END}; add them")
    return f"{before}{_START}\n{types_table()}\n{_END}{after}"


def types_table() -> str:
    """The types of columns as a table of Markdown."""
    lines = [
        "| type | user or item | time | weight | attribute, unless `kinds` names it |",
        "|---|---|---|---|---|",
    ]
    for group, row in COLUMN_TYPES.items():
        roles = (row.user_or_item, row.time, row.weight, row.attribute)
        cells = (f"{group}: {row.spark}", *("refused" if cell is None else cell for cell in roles))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    TABLES_DOCUMENT.write_text(with_types(TABLES_DOCUMENT.read_text()))
