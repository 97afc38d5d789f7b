"""Write the small generated tables that the examples by trade (conf/examples) read.

Then `./spark-submit.sh pipeline --config conf/examples/news.yaml --output output/examples/news/run`
runs one of them; docs/examples has a page for each.
"""

from pathlib import Path
from typing import Annotated

import typer

from m6rec.command_line import errors_as_messages
from m6rec.datasets.trades.tables import TRADES, write_trades


def main(
    output: Annotated[
        Path, typer.Option("--output", help="Folder for the tables, a folder for each trade.")
    ] = Path("output/examples"),
    trade: Annotated[
        list[str] | None, typer.Option("--trade", help="One of the trades; all unless given.")
    ] = None,
) -> None:
    """Write the tables."""
    with errors_as_messages():
        for file in write_trades(output, trade or tuple(TRADES)):
            print(file, flush=True)


main.__doc__ = __doc__

if __name__ == "__main__":
    typer.run(main)
