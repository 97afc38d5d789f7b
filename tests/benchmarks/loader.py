"""Petastorm into the training of the towers, and an epoch from Delta, against memory.

A rate counts whole training steps. An epoch from Delta is that of three with the hand-over of the
table's rows to files; what is fed from memory has the same rows, batches and model. One rank and
two are tasks of Spark with one core each, and their epochs are without the hand-over.
"""

import shutil
import statistics
import time
from collections.abc import Iterator

import numpy as np
from pyspark.sql import SparkSession

from m6rec.config.models import SvdConfig
from m6rec.config.towers import TowersConfig
from m6rec.kernels.arrays.communicator import LocalCommunicator
from m6rec.kernels.factors.projection import FactorModel
from m6rec.kernels.factors.svd import randomized_svd, svd_factor_model
from m6rec.stages.training.tower_ranks import train_on_ranks
from m6rec.stages.training.tower_rows import write_tower_rows
from m6rec.towers.batches import (
    READ_PACKS,
    ArrowRowBatches,
    PetastormRowBatches,
    RowBatches,
    TrainingRows,
    unpack,
)
from m6rec.towers.encoder import ItemInputs
from m6rec.towers.launch import TrainingTask
from m6rec.towers.row_files import Manifest
from m6rec.towers.training import train_towers
from tests.benchmarks.measure import Contender, Measure, Workspace
from tests.benchmarks.spark import open_session

RATE = "loader_rows_per_second"
EPOCH = "tower_epoch_seconds"
EPOCHS = 3
RANK = 64
ROWS_PER_FILE = 32_768


class MemoryRowBatches(RowBatches):
    """Rows that lie in memory as the files hold them."""

    def __init__(self, manifest: Manifest) -> None:
        super().__init__(manifest)
        self._held = list(ArrowRowBatches(manifest)._read())

    def _read(self) -> Iterator[TrainingRows]:
        yield from self._held


class RowLoaderBatches(RowBatches):
    """Petastorm's row `DataLoader`, which takes batches of packs apart."""

    def _read(self) -> Iterator[TrainingRows]:
        from petastorm import make_batch_reader  # noqa: PLC0415 - slow to import
        from petastorm.pytorch import DataLoader  # noqa: PLC0415

        urls = [f"file://{path}" for path in self._paths()]
        reader = make_batch_reader(
            urls, reader_pool_type="thread", workers_count=1, shuffle_row_groups=False
        )
        with DataLoader(reader, batch_size=READ_PACKS) as batches:
            for batch in batches:
                packs = {name: values.numpy() for name, values in batch.items()}
                yield unpack(packs, len(packs["user_index"]), self.manifest)


def _write_rows(workspace: Workspace, spark: SparkSession, ranks: int = 1) -> Manifest:
    folder = workspace.scratch / "tower_rows"
    shutil.rmtree(folder, ignore_errors=True)
    matrix = spark.read.format("delta").load(str(workspace.scratch / "matrix"))
    row_groups = -(-matrix.count() // (ranks * ROWS_PER_FILE))
    longest = TowersConfig().maximum_history
    return write_tower_rows(matrix, None, str(folder), ranks, row_groups, longest, workspace.seed)


def _open(workspace: Workspace) -> SparkSession:
    spark = open_session(workspace)
    frame = workspace.dataset.frame(spark)
    frame.write.format("delta").mode("overwrite").save(str(workspace.scratch / "matrix"))
    return spark


def _items(workspace: Workspace) -> ItemInputs:
    config = SvdConfig(rank=min(RANK, workspace.dataset.n_items - 1), power_passes=1)
    result = randomized_svd(
        workspace.dataset.rows(),
        workspace.dataset.n_items,
        config,
        workspace.seed,
        LocalCommunicator(),
    )
    model: FactorModel = svd_factor_model(result, config)
    return ItemInputs(model)


def _epoch_seconds(batches: RowBatches, items: ItemInputs, workspace: Workspace) -> list[float]:
    result = train_towers(
        batches,
        items,
        TowersConfig(),
        workspace.seed,
        epochs=EPOCHS,
        threads=workspace.workers,
    )
    return [record.seconds for record in result.history]


def _prepare_rate(workspace: Workspace, reader: type[RowBatches]) -> Measure:
    spark = _open(workspace)
    manifest = _write_rows(workspace, spark)
    spark.stop()
    items, batches = _items(workspace), reader(manifest)

    def rate() -> float:
        # The first epoch warms up.
        seconds = statistics.median(_epoch_seconds(batches, items, workspace)[1:])
        return sum(manifest.rows) / seconds

    return rate


def prepare_rate_m6rec(workspace: Workspace) -> Measure:
    """The batched reader."""
    return _prepare_rate(workspace, PetastormRowBatches)


def prepare_rate_memory(workspace: Workspace) -> Measure:
    """The same tensors from memory."""
    return _prepare_rate(workspace, MemoryRowBatches)


def prepare_rate_data_loader(workspace: Workspace) -> Measure:
    """The row loader."""
    return _prepare_rate(workspace, RowLoaderBatches)


def prepare_epoch_m6rec(workspace: Workspace) -> Measure:
    """An epoch by Petastorm, and its part of the hand-over from Delta, once a training."""
    spark, items = _open(workspace), _items(workspace)
    _write_rows(workspace, spark)

    def epoch() -> float:
        start = time.perf_counter()
        manifest = _write_rows(workspace, spark)
        workspace.facts["hand_over_seconds"] = time.perf_counter() - start
        seconds = _epoch_seconds(PetastormRowBatches(manifest), items, workspace)
        handed_over = workspace.facts["hand_over_seconds"] / TowersConfig().epochs
        return handed_over + float(np.mean(seconds))

    return epoch


def prepare_epoch_memory(workspace: Workspace) -> Measure:
    """An epoch from memory."""
    spark = _open(workspace)
    manifest = _write_rows(workspace, spark)
    spark.stop()
    items, batches = _items(workspace), MemoryRowBatches(manifest)
    return lambda: float(np.mean(_epoch_seconds(batches, items, workspace)))


def prepare_epoch_of_ranks(workspace: Workspace) -> Measure:
    """An epoch of as many tasks as there are workers, each with a core and a share of the rows."""
    spark, items = _open(workspace), _items(workspace)
    task = TrainingTask(
        manifest=_write_rows(workspace, spark, workspace.workers),
        items=items,
        config=TowersConfig(epochs=EPOCHS, ranks=workspace.workers, reader="petastorm"),
        seed=workspace.seed,
        validate=None,
        log_folder=None,
        checkpoint_folder=None,
        epochs=None,
        threads=1,
    )

    def epoch() -> float:
        history = train_on_ranks(spark, task).history
        workspace.facts["losses"] = [record.loss for record in history]
        return float(np.mean([record.seconds for record in history]))

    return epoch


def contenders() -> list[Contender]:
    """All."""
    return [
        Contender(RATE, "default", "m6rec", prepare_rate_m6rec),
        Contender(RATE, "default", "memory", prepare_rate_memory),
        Contender(RATE, "default", "data_loader", prepare_rate_data_loader),
        Contender(EPOCH, "default", "m6rec", prepare_epoch_m6rec),
        Contender(EPOCH, "default", "memory", prepare_epoch_memory),
        Contender(EPOCH, "default", "one_rank", prepare_epoch_of_ranks, workers=1),
        Contender(EPOCH, "default", "two_ranks", prepare_epoch_of_ranks, workers=2),
    ]
