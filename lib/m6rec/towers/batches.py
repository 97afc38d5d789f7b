"""Read training rows in batches, by Petastorm or by plain PyArrow, under one contract.

An epoch of a rank is a fixed number of batches that together hold each of the rank's rows exactly
once. Rows are read in the order of the files and shuffled within a pool by the seed and the epoch's
number, so that any epoch can be drawn again. Their number is checked against the manifest.
"""

import importlib.util
import re
import tempfile
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from m6rec import columns as c
from m6rec.config.towers import RowReader
from m6rec.errors import DataError
from m6rec.files import files_at_hand
from m6rec.kernels.arrays.rows import (
    UNKNOWN_TIME,
    Float32,
    Int32,
    Int64,
    Rows,
    concatenate_rows,
    entries_of_rows,
    indptr_of,
)
from m6rec.towers.row_files import COUNTS, NO_USER, Manifest

POOL_ROWS = 65_536
READ_PACKS = 64


@dataclass(frozen=True)
class TrainingRows:
    """Rows of the user-item matrix with the users' features.

    Attributes:
        rows: the histories.
        times: int64 [entries] in microseconds; `UNKNOWN_TIME` where interactions have none.
        features: float32 [n, features]; of width 0 where users have none.
        contexts: int32 [entries, columns]; the codes of the owner's columns of the context.
    """

    rows: Rows
    times: Int64
    features: Float32
    contexts: Int32

    def __len__(self) -> int:
        return len(self.rows)


class RowBatches(ABC):
    """The batches of one rank."""

    def __init__(
        self, manifest: Manifest, rank: int = 0, seed: int = 0, pool_rows: int = POOL_ROWS
    ) -> None:
        self.manifest = manifest
        self.rank = rank
        self._seed = seed
        self._pool_rows = pool_rows
        # An epoch reads all of a rank's files: what lies elsewhere is fetched once.
        self._files = ExitStack()
        self._folder: Path | None = None
        # Rows that fit in one pool are read once, for all epochs.
        self._kept: tuple[TrainingRows, ...] | None = None

    def epoch(self, number: int, steps: int) -> Iterator[TrainingRows]:
        """The epoch's `steps` batches, which hold each row once and differ by at most one row.

        A rank without rows gets as many empty ones, since all ranks take each step together.

        Raises:
            DataError: the files do not hold the rows that the manifest counts.
        """
        expected = self.manifest.rows_of(self.rank)
        bounds = np.arange(steps + 1, dtype=np.int64) * expected // steps
        sizes = iter(np.diff(bounds).tolist())
        size = next(sizes)
        held = empty_rows(self.manifest)
        pools = self._shuffled_pools(number, expected)
        for pool in chain(pools, [empty_rows(self.manifest)]):
            held = concatenate_training_rows([held, pool])
            start = 0
            while size is not None and start + size <= len(held):
                yield slice_training_rows(held, start, start + size)
                start += size
                size = next(sizes, None)
            held = slice_training_rows(held, start, len(held))

    def _paths(self) -> list[Path]:
        """The rank's files on this machine."""
        names = self.manifest.files_of(self.rank)
        if self._folder is None:
            here = files_at_hand(self.manifest.folder, names)
            self._folder = self._files.enter_context(here).absolute()
        return [self._folder / name for name in names]

    def _shuffled_pools(self, number: int, expected: int) -> Iterator[TrainingRows]:
        generator = np.random.default_rng([self._seed, number, self.rank])
        found, pool, pooled = 0, list[TrainingRows](), 0
        for block in self._blocks():
            found += len(block)
            self._check_count(found, expected, complete=False)
            pool.append(block)
            pooled += len(block)
            if pooled >= self._pool_rows:
                yield _shuffled(pool, generator)
                pool, pooled = [], 0
        self._check_count(found, expected, complete=True)
        if pool:
            yield _shuffled(pool, generator)

    def _blocks(self) -> Iterator[TrainingRows]:
        """The rank's rows once, in file order."""
        if self._kept is not None:
            yield from self._kept
            return
        blocks, rows = list[TrainingRows](), 0
        for block in self._read():
            rows += len(block)
            if rows <= self._pool_rows:
                blocks.append(block)
            else:
                blocks.clear()
            yield block
        if rows <= self._pool_rows:
            self._kept = tuple(blocks)

    def _check_count(self, found: int, expected: int, complete: bool) -> None:
        if found > expected or (complete and found < expected):
            raise DataError(
                f"rank {self.rank} read {found} rows of {self.manifest.folder} in an epoch, the"
                f" manifest counts {expected}; write the tower rows again"
            )

    @abstractmethod
    def _read(self) -> Iterator[TrainingRows]:
        """The rank's rows as its files hold them, in their order."""


class ArrowRowBatches(RowBatches):
    """Rows read by PyArrow, a row group at a time."""

    def _read(self) -> Iterator[TrainingRows]:
        for path in self._paths():
            with pq.ParquetFile(path) as file:
                for group in range(file.num_row_groups):
                    table = file.read_row_group(group)
                    yield self._from_table(table)

    def _from_table(self, table: pa.Table) -> TrainingRows:
        columns = {name: table.column(name).combine_chunks() for name in table.column_names}
        return unpack(
            {name: column.flatten().to_numpy() for name, column in columns.items()},
            table.num_rows,
            self.manifest,
        )


class PetastormRowBatches(RowBatches):
    """Rows read by Petastorm's batch reader and its batched loader."""

    def _read(self) -> Iterator[TrainingRows]:
        # For every file, Petastorm calls functions that PyArrow 14 has deprecated.
        warnings.filterwarnings("ignore", category=FutureWarning, module="petastorm")
        # Petastorm takes seconds to import, and only this reader needs it.
        from petastorm import make_batch_reader  # noqa: PLC0415
        from petastorm.pytorch import BatchedDataLoader  # noqa: PLC0415

        paths = self._paths()
        if not paths:
            return
        with _plain_folder(paths[0].parent) as folder:
            urls = [f"file://{folder / path.name}" for path in paths]
            # One worker keeps the order of the files. The rank's files are its shard, so the
            # reader itself needs none.
            reader = make_batch_reader(
                urls, reader_pool_type="thread", workers_count=1, shuffle_row_groups=False
            )
            with BatchedDataLoader(
                reader, batch_size=READ_PACKS, transform_fn=_owned_tensor
            ) as loader:
                for batch in loader:
                    packs = {name: values.numpy() for name, values in batch.items()}
                    yield unpack(packs, len(packs[c.USER_INDEX]), self.manifest)


@contextmanager
def _plain_folder(folder: Path) -> Iterator[Path]:
    """The folder under a path without characters that an address would have to encode.

    Petastorm takes addresses and reads their paths as they stand there, encoded.
    """
    if re.fullmatch(r"[\w./-]+", str(folder), re.ASCII):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="m6rec-rows-") as scratch:
        link = Path(scratch) / "rows"
        link.symlink_to(folder, target_is_directory=True)
        yield link


READERS: dict[str, type[RowBatches]] = {"petastorm": PetastormRowBatches, "arrow": ArrowRowBatches}


def reader_named(name: RowReader) -> type[RowBatches]:
    """The reader of that name; `auto` is Petastorm's where it is installed."""
    if name == "auto":
        # Petastorm does not read with the PyArrow of newer Spark versions, which come without it.
        name = "petastorm" if importlib.util.find_spec("petastorm") is not None else "arrow"
    return READERS[name]


def unpack(columns: Mapping[str, npt.NDArray[Any]], packs: int, manifest: Manifest) -> TrainingRows:
    """The users of packs that `write_row_file` has written, in order.

    Args:
        columns: the lists of all packs by name, of any shape.
        packs: how many packs there are.
        manifest: says what users and interactions have.
    """
    users, counts, items, weights = (
        columns[name].reshape(packs, -1)
        for name in (c.USER_INDEX, COUNTS, c.ITEM_INDICES, c.WEIGHTS)
    )
    present = users != NO_USER
    filled = np.arange(items.shape[1]) < counts.sum(axis=1)[:, None]
    rows = Rows(users[present], indptr_of(counts[present]), items[filled], weights[filled])
    times = np.full(rows.entries, UNKNOWN_TIME)
    if c.TIMES in columns:
        times = columns[c.TIMES].reshape(packs, -1)[filled]
    features = np.zeros((len(rows), 0), dtype=np.float32)
    if manifest.features:
        features = columns[c.FEATURES].reshape(*users.shape, manifest.features)[present]
    contexts = np.zeros((rows.entries, 0), dtype=np.int32)
    if manifest.contexts:
        contexts = columns[c.CONTEXTS].reshape(*items.shape, manifest.contexts)[filled]
    return TrainingRows(rows, times, features, contexts)


def empty_rows(manifest: Manifest) -> TrainingRows:
    """No rows, with features and contexts of the manifest's widths."""
    return TrainingRows(
        concatenate_rows([]),
        np.empty(0, np.int64),
        np.zeros((0, manifest.features), dtype=np.float32),
        np.zeros((0, manifest.contexts), dtype=np.int32),
    )


def concatenate_training_rows(blocks: list[TrainingRows]) -> TrainingRows:
    """One block of the rows of all blocks, in order."""
    filled = [block for block in blocks if len(block)]
    if len(filled) == 1:
        return filled[0]
    return TrainingRows(
        concatenate_rows([block.rows for block in filled]),
        np.concatenate([np.empty(0, np.int64), *(block.times for block in filled)]),
        np.concatenate([block.features for block in filled or blocks]),
        np.concatenate([block.contexts for block in filled or blocks]),
    )


def slice_training_rows(block: TrainingRows, start: int, stop: int) -> TrainingRows:
    """The rows from start up to stop."""
    low, high = block.rows.indptr[start], block.rows.indptr[stop]
    return TrainingRows(
        block.rows.slice(start, stop),
        block.times[low:high],
        block.features[start:stop],
        block.contexts[low:high],
    )


def _shuffled(pool: list[TrainingRows], generator: np.random.Generator) -> TrainingRows:
    together = concatenate_training_rows(pool)
    order = generator.permutation(len(together)).astype(np.int64)
    _, entries = entries_of_rows(together.rows.indptr, order)
    return TrainingRows(
        together.rows.take(order),
        together.times[entries],
        together.features[order],
        together.contexts[entries],
    )


def _owned_tensor(values: npt.NDArray[Any]) -> torch.Tensor:
    # Torch has no read-only tensors, and Arrow's memory is read-only.
    return torch.from_numpy(values.copy())
