"""Write the small generated tables that the examples by trade (conf/examples) read.

Then `./spark-submit.sh pipeline --config conf/examples/news.yaml --output output/examples/news/run`
runs one of them; docs/examples has a page for each. Beside the tables of a trade lies config.yaml,
which is the same configuration with their whole paths, for tables in another folder.
"""

import json
import re
from pathlib import Path
from typing import Annotated

import typer

from m6rec.command_line import errors_as_messages
from m6rec.config.reading import shipped_file
from m6rec.datasets.trades.tables import TRADES, write_trades

_DEFAULT = Path("output/examples")


def write_config(trade: str, output: Path) -> Path:
    """Write the trade's configuration beside its tables; return the file."""
    text = shipped_file(f"examples/{trade}.yaml").read_text(encoding="utf-8")
    place = output.resolve()
    paths = re.compile(rf"{_DEFAULT}/([\w./]+)")
    file = output / trade / "config.yaml"
    file.write_text(
        paths.sub(lambda found: json.dumps(f"{place}/{found[1]}", ensure_ascii=False), text),
        encoding="utf-8",
    )
    return file


def main(
    output: Annotated[
        Path, typer.Option("--output", help="Folder for the tables, a folder for each trade.")
    ] = _DEFAULT,
    trade: Annotated[
        list[str] | None, typer.Option("--trade", help="One of the trades; all unless given.")
    ] = None,
) -> None:
    """Write the tables."""
    with errors_as_messages():
        trades = trade or list(TRADES)
        for file in write_trades(output, trades):
            print(file, flush=True)
        for name in trades:
            print(write_config(name, output), flush=True)


main.__doc__ = __doc__

if __name__ == "__main__":
    typer.run(main)
