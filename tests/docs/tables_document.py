"""Writes the part of docs/tables.md that follows from the code.

python -m tests.docs.tables_document
"""

from m6rec.check.types import types_table
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


if __name__ == "__main__":
    TABLES_DOCUMENT.write_text(with_types(TABLES_DOCUMENT.read_text()))
