"""Measure what the study has not measured yet, then write docs/validation.md.

python -m tests.quality.validation_study --output DIR
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from tests.quality.validation_study.cells import (
    FINAL,
    measured_cell,
    save_cell,
    settings_for,
)
from tests.quality.validation_study.choices import choices_of
from tests.quality.validation_study.data import DATA_SETS, Data
from tests.quality.validation_study.document import write_document
from tests.quality.validation_study.holdouts import can_be_used

# Strategy and share of each selection fit.
HOLDOUTS = (
    ("random", 0.1),
    ("random_and_new", 0.1),
    ("mixed", 0.2),
    ("last", 0.1),
    ("highest_ids", 0.2),
)


def cell_file(folder: Path, strategy: str, share: float) -> Path:
    """Where a cell is kept, without its suffix."""
    return folder / f"{strategy}_{round(100 * share)}"


def cells_of(data: Data) -> Iterator[tuple[str, float]]:
    """Strategy and share of all fits of a data set."""
    yield FINAL, 0.0
    yield from ((name, share) for name, share in HOLDOUTS if can_be_used(name, data))


def main(
    output: Annotated[Path, typer.Option(help="Where cells and results are kept.")],
    only: Annotated[list[str] | None, typer.Option(help="Of these data sets; repeatable.")] = None,
) -> None:
    """Measure what has not been measured."""
    found = {}
    for name in only or DATA_SETS:
        results = output / name / "choices.json"
        if not results.exists():
            data = DATA_SETS[name]()
            _measure_cells(data, output / name)
            results.write_text(json.dumps(choices_of(output / name, data), indent=1))
        found[name] = json.loads(results.read_text())
    write_document(found)


def _measure_cells(data: Data, folder: Path) -> None:
    settings = settings_for(data)
    for strategy, share in cells_of(data):
        file = cell_file(folder, strategy, share)
        if not file.with_suffix(".json").exists():
            start = time.perf_counter()
            save_cell(measured_cell(data, strategy, share, settings), file)
            print(
                f"{folder.name} {strategy} {share}: {time.perf_counter() - start:.0f} s", flush=True
            )


if __name__ == "__main__":
    typer.run(main)
