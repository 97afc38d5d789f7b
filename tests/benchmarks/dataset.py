"""The matrix that all contenders read: arrays to map, and the same rows as Parquet for Spark."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import scipy.sparse as sp
from pyspark.sql import DataFrame, SparkSession

from m6rec import columns as c
from m6rec.errors import DataError
from m6rec.kernels.arrays.rows import Rows
from m6rec.spark.arrow_rows import list_array
from tests.benchmarks.generator import Sizes, generate

_FILES = 4
# Written last.
_SIZES = "sizes.json"


@dataclass(frozen=True)
class Dataset:
    """A folder of the matrix; pickles to a path, and every process maps the arrays."""

    folder: Path
    n_items: int

    def rows(self) -> Rows:
        """The matrix in memory."""
        return Rows(*(np.load(self.folder / f"{name}.npy") for name in Rows.__annotations__))

    def scipy(self) -> sp.csr_matrix:
        """The matrix as SciPy has it."""
        return self.rows().to_scipy(self.n_items)

    def sizes(self) -> dict[str, int]:
        """users, items, interactions; pairs, the sum of the squared lengths of histories."""
        sizes: dict[str, int] = json.loads((self.folder / _SIZES).read_text())
        return sizes

    def frame(self, spark: SparkSession) -> DataFrame:
        """Columns user_index, item_indices, weights."""
        return spark.read.parquet(str(self.folder / "rows"))


def save(rows: Rows, n_items: int, folder: Path) -> Dataset:
    """Write the arrays and the Parquet files."""
    (folder / "rows").mkdir(parents=True, exist_ok=True)
    for name in Rows.__annotations__:
        np.save(folder / f"{name}.npy", getattr(rows, name))
    bounds = np.linspace(0, len(rows), _FILES + 1).astype(int)
    for number, (start, stop) in enumerate(pairwise(bounds)):
        part = rows.slice(int(start), int(stop))
        table = pa.table(
            {
                c.USER_INDEX: pa.array(part.user_index),
                c.ITEM_INDICES: list_array(part.indptr, part.item_indices),
                c.WEIGHTS: list_array(part.indptr, part.weights),
            }
        )
        pq.write_table(table, folder / "rows" / f"part-{number}.parquet")
    sizes = {
        "users": len(rows),
        "items": n_items,
        "interactions": rows.entries,
        "pairs": int(np.square(rows.counts).sum()),
    }
    (folder / _SIZES).write_text(json.dumps(sizes))
    return Dataset(folder, n_items)


def generated(sizes: Sizes, seed: int, folder: Path) -> Dataset:
    """The generator's matrix, kept in `folder` for who asks again."""
    return kept(lambda: generate(sizes, seed), sizes.items, folder)


def kept(make: Callable[[], Rows], n_items: int, folder: Path) -> Dataset:
    """The matrix that lies in `folder`, or else what `make` gives, written there."""
    if (folder / _SIZES).exists():
        return Dataset(folder, n_items)
    return save(make(), n_items, folder)


def load_interactions(path: Path) -> tuple[Rows, int]:
    """Rows of a Parquet file (or folder) with user_id, item_id and optionally weight.

    Pairs that stand twice count once, with their weights added up.

    Raises:
        DataError: there is no such file, a column is missing, or there is no interaction.
    """
    try:
        if (path / "train.parquet").exists():
            raise DataError(f"{path} is a folder of several tables; give {path / 'train.parquet'}")
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError(
            f"{path} is no Parquet file or folder of such files ({error}); give one with the"
            f" columns {c.USER_ID} and {c.ITEM_ID}, and optionally {c.WEIGHT}"
        ) from error
    missing = {c.USER_ID, c.ITEM_ID} - set(table.column_names)
    if missing or not table.num_rows:
        raise DataError(
            f"{path} has {table.num_rows} rows and the columns {table.column_names}; the benchmark"
            f" needs rows with {c.USER_ID} and {c.ITEM_ID}, and optionally {c.WEIGHT}"
        )
    names = [name for name in (c.USER_ID, c.ITEM_ID, c.WEIGHT) if name in table.column_names]
    table = table.select(names).drop_null()
    users, items = (_codes(table.column(name)) for name in (c.USER_ID, c.ITEM_ID))
    weights = np.ones(table.num_rows, np.float32)
    if c.WEIGHT in names:
        weights = table.column(c.WEIGHT).cast(pa.float32()).to_numpy()
    matrix = sp.csr_matrix((weights, (users, items)))
    matrix.sum_duplicates()
    ordered = matrix.sorted_indices()
    return (
        Rows(
            np.arange(matrix.shape[0], dtype=np.int64),
            ordered.indptr.astype(np.int64),
            ordered.indices.astype(np.int32),
            ordered.data,
        ),
        matrix.shape[1],
    )


def _codes(column: pa.ChunkedArray) -> np.ndarray:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return pc.dictionary_encode(column).combine_chunks().indices.to_numpy(zero_copy_only=False)
