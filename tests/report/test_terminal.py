"""What jobs print of the owner's values is what the owner wrote."""

import pytest
from rich.table import Table

from m6rec.report.terminal import terminal


def test_ids_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    console = terminal(least_width=200)
    assert console.width >= 200
    table = Table("id")
    table.add_row("sku:m:12")
    console.print(table)
    console.print("sku:m:12")
    assert capsys.readouterr().out.count("sku:m:12") == 2
