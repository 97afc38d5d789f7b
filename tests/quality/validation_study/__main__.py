"""Measure what the study has not measured yet, then write docs/validation.md.

python -m tests.quality.validation_study --data DIR --output DIR
"""

import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from m6rec import kernels
from tests.quality.validation_study.cells import (
    FINAL,
    measured_cell,
    save_cell,
    settings_for,
)
from tests.quality.validation_study.choices import choices_of
from tests.quality.validation_study.data import DATA_SETS, Data
from tests.quality.validation_study.document import lines_of, write_document
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
    data: Annotated[
        Path,
        typer.Option(
            help="The folder with citeulike-a, amazon-musical-instruments, gowalla and sequences.",
            exists=True,
            file_okay=False,
        ),
    ],
    output: Annotated[Path, typer.Option(help="Where cells and results are kept.")],
    only: Annotated[
        list[str] | None,
        typer.Option(help="Of these data sets, without the document; repeatable."),
    ] = None,
) -> None:
    """Measure what has not been measured."""
    # What other code has measured is not taken for new.
    kept = output / digest_of_code()
    found = {}
    for name in only or DATA_SETS:
        results = kept / name / "choices.json"
        if not results.exists():
            pairs = DATA_SETS[name](data)
            _measure_cells(pairs, kept / name)
            results.write_text(json.dumps(choices_of(kept / name, pairs), indent=1))
        found[name] = json.loads(results.read_text())
    if only:
        print("\n".join(lines_of(found)))
    else:
        write_document(found)


def digest_of_code() -> str:
    """A hash of the study's own files and of the kernels that it runs."""
    digest = hashlib.sha256()
    for folder in (Path(__file__).parent, Path(kernels.__file__).parent):
        for file in sorted(folder.rglob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


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
