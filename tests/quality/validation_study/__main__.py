"""Measure all cells of the study that have not been measured, then write docs/validation.md.

python -m tests.quality.validation_study --output DIR
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from tests.quality.validation_study.cells import (
    FINAL,
    default_settings,
    measured_cell,
    save_cell,
)
from tests.quality.validation_study.data import DATA_SETS, Data
from tests.quality.validation_study.holdouts import can_be_used

# Strategy and share of each selection fit.
HOLDOUTS = (
    ("random", 0.1),
    ("random", 0.2),
    ("mixed", 0.2),
    ("last", 0.1),
    ("highest_ids", 0.2),
)


def cell_file(output: Path, data: str, strategy: str, share: float) -> Path:
    """Where a cell is kept, without its suffix."""
    return output / data / f"{strategy}_{round(100 * share)}"


def cells_of(data: Data) -> Iterator[tuple[str, float]]:
    """Strategy and share of all fits of a data set."""
    yield FINAL, 0.0
    yield from ((name, share) for name, share in HOLDOUTS if can_be_used(name, data))


def main(
    output: Annotated[Path, typer.Option(help="Where cells are kept.")],
    only: Annotated[list[str] | None, typer.Option(help="Of these data sets; repeatable.")] = None,
) -> None:
    """Measure what has not been measured."""
    for name in only or DATA_SETS:
        data = DATA_SETS[name]()
        with_times = data.training.times is not None
        settings = default_settings(with_times, data.content is not None)
        for strategy, share in cells_of(data):
            file = cell_file(output, name, strategy, share)
            if not file.with_suffix(".json").exists():
                start = time.perf_counter()
                save_cell(measured_cell(data, strategy, share, settings), file)
                print(f"{name} {strategy} {share}: {time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    typer.run(main)
