"""Training rows as Parquet files, and a manifest that every epoch is counted against."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from m6rec import columns as c
from m6rec.errors import DataError
from m6rec.kernels.rows import Float32, Int32, Rows

MANIFEST_FILE = "manifest.json"
NO_ITEM = -1
"""Fills the item lists up to the common width."""


@dataclass(frozen=True)
class Manifest:
    """Parquet files of training rows; rank r of `world_size` reads files r, r + world_size, ...

    Attributes:
        folder: where the files are.
        files: names within the folder, in reading order; each is one row group.
        rows: rows of each file.
        width: length of the padded lists `item_indices` and `weights`.
        features: length of the list `features`.
        world_size: ranks that the rows were divided for.
    """

    folder: str
    files: tuple[str, ...]
    rows: tuple[int, ...]
    width: int
    features: int
    world_size: int

    def files_of(self, rank: int) -> tuple[str, ...]:
        """Full paths of a rank's files."""
        names = self.files[rank :: self.world_size]
        return tuple(str(Path(self.folder) / name) for name in names)

    def rows_of(self, rank: int) -> int:
        """How many rows a rank has."""
        return sum(self.rows[rank :: self.world_size])

    def steps_per_epoch(self, users_per_batch: int, minimum_steps: int) -> int:
        """Steps that every rank takes: enough for the largest rank, and none without a row."""
        counts = [self.rows_of(rank) for rank in range(self.world_size)]
        wanted = max(-(-max(counts) // users_per_batch), minimum_steps)
        return max(min(wanted, *counts), 1)

    def save(self) -> None:
        """Write the manifest beside its files."""
        text = json.dumps(asdict(self), indent=1)
        (Path(self.folder) / MANIFEST_FILE).write_text(text)


def load_manifest(folder: str) -> Manifest:
    """Read a folder's manifest.

    Raises:
        DataError: there is none.
    """
    file = Path(folder) / MANIFEST_FILE
    if not file.is_file():
        raise DataError(f"{file} does not exist; write the tower rows again")
    values = json.loads(file.read_text())
    return Manifest(
        folder=folder,
        files=tuple(values["files"]),
        rows=tuple(values["rows"]),
        width=values["width"],
        features=values["features"],
        world_size=values["world_size"],
    )


def write_row_file(path: Path, rows: Rows, features: Float32 | None, width: int, seed: int) -> None:
    """Write rows as one row group: non-null int64 user_index and lists of one length.

    Args:
        path: the file; it appears whole or not at all.
        rows: the rows, in the order in which they are to be read.
        features: float32 [n, features], or None where users have none.
        width: length of the item lists; see `pad`.
        seed: see `pad`.
    """
    items, weights = pad(rows, width, seed)
    columns = {
        c.USER_INDEX: pa.array(rows.user_index),
        c.ITEM_INDICES: _lists(items),
        c.WEIGHTS: _lists(weights),
    }
    if features is not None:
        columns[c.FEATURES] = _lists(features)
    fields = [pa.field(name, column.type, nullable=False) for name, column in columns.items()]
    table = pa.table(list(columns.values()), schema=pa.schema(fields))
    # A retried task must never leave half a file under the final name.
    unfinished = path.with_name(f".{path.name}.unfinished")
    pq.write_table(table, unfinished, row_group_size=max(len(rows), 1))
    unfinished.replace(path)


def pad(rows: Rows, width: int, seed: int) -> tuple[Int32, Float32]:
    """Rows as lists of one length: items int32 [n, width] (NO_ITEM fills), weights float32.

    Rows longer than `width` keep a random choice of so many items, by the seed and the user.
    """
    items = np.full((len(rows), width), NO_ITEM, dtype=np.int32)
    weights = np.zeros((len(rows), width), dtype=np.float32)
    place = np.arange(rows.entries) - np.repeat(rows.offsets[:-1], rows.counts)
    row = np.repeat(np.arange(len(rows)), rows.counts)
    short = np.repeat(rows.counts <= width, rows.counts)
    items[row[short], place[short]] = rows.item_indices[short]
    weights[row[short], place[short]] = rows.weights[short]
    for long in np.flatnonzero(rows.counts > width):
        generator = np.random.default_rng([seed, int(rows.user_index[long])])
        kept = np.sort(generator.choice(int(rows.counts[long]), width, replace=False))
        items[long] = rows.item_indices[rows.offsets[long] + kept]
        weights[long] = rows.weights[rows.offsets[long] + kept]
    return items, weights


def _lists(matrix: npt.NDArray[Any]) -> pa.ListArray:
    n, width = matrix.shape
    offsets = pa.array(np.arange(n + 1, dtype=np.int32) * width)
    return pa.ListArray.from_arrays(offsets, pa.array(matrix.reshape(-1)))
