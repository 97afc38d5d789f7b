"""Where towers are trained, and that a CUDA device trains what the processor trains.

Nothing here needs Spark: on a machine with torch, numpy, scipy, numba, pyarrow and pydantic alone,
`pytest --noconftest tests/towers/test_device.py` runs it.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from m6rec.config.towers import SequenceConfig, TowersConfig
from m6rec.errors import ClusterError
from m6rec.kernels.arrays.contexts import NO_CONTEXTS
from m6rec.kernels.arrays.rows import Float32, Int64, Rows, indptr_of
from m6rec.kernels.factors.projection import FactorModel, build_factor_model
from m6rec.towers.encoder import ItemInputs
from m6rec.towers.launch import TrainingTask, train_alone
from m6rec.towers.loop import TrainingResult
from m6rec.towers.ranks import chosen_device
from m6rec.towers.row_files import Manifest, write_row_file
from m6rec.towers.warm_start import EarlierTowers, FeatureMap

N_USERS, N_ITEMS, RANK, COLOURS = 400, 60, 8, 4
needs_cuda = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="torch finds no CUDA device on this machine"
)
without_cuda = pytest.mark.skipif(
    torch.cuda.is_available(), reason="torch finds a CUDA device on this machine"
)
TOWERS = TowersConfig(
    hidden=16, feature_hidden=8, epochs=4, users_per_batch=32, negatives=40, learning_rate=0.01,
    reader="arrow",
    sequence=SequenceConfig(
        length=8, width=16, feature_hidden=8, epochs=4, negatives=24, users_per_batch=32,
        dropout=0.0, learning_rate=0.01,
    ),
)  # fmt: skip


def histories() -> tuple[Rows, Int64]:
    """Users who like one colour each, three times in four, and when each liked an item."""
    generator = np.random.default_rng(7)
    counts = generator.integers(4, 14, N_USERS)
    colours = np.repeat(np.arange(N_USERS) % COLOURS, counts)
    off = generator.random(len(colours)) < 0.25
    drawn = generator.integers(0, N_ITEMS // COLOURS, len(colours)) * COLOURS
    items = drawn + np.where(off, generator.integers(0, COLOURS, len(colours)), colours)
    rows = Rows(
        np.arange(N_USERS),
        indptr_of(counts),
        items.astype(np.int32),
        np.ones(len(items), np.float32),
    )
    return rows, np.arange(len(items)) * 3_600_000_000


def item_side(rows: Rows) -> ItemInputs:
    generator = np.random.default_rng(3)
    factors = generator.standard_normal((N_ITEMS, RANK)).astype(np.float32)
    factors[:, :COLOURS] += 2 * colours_of_items()
    counts = np.bincount(rows.item_indices, minlength=N_ITEMS)
    ones = np.ones(N_ITEMS, np.float32)
    model: FactorModel = build_factor_model("svd", factors, factors, ones, {}, counts)
    return ItemInputs(model, colours_of_items())


def colours_of_items() -> Float32:
    return np.eye(COLOURS, dtype=np.float32)[np.arange(N_ITEMS) % COLOURS]


def task_on(folder: Path, device: str, precision: str, in_order: bool) -> TrainingTask:
    rows, times = histories()
    name, width = "rows-00000.parquet", int(rows.counts.max()) + 7
    write_row_file(folder / name, rows, None, width, times)
    of_order = TOWERS.sequence.model_copy(update={"precision": precision})
    changes = {"device": device, "precision": precision, "sequence": of_order}
    return TrainingTask(
        manifest=Manifest(str(folder), (name,), (N_USERS,), width, 0, 1, timed=True),
        items=item_side(rows),
        config=TOWERS.model_copy(update=changes),
        seed=1,
        validate=None,
        log_folder=None,
        checkpoint_folder=None,
        epochs=None,
        threads=1,
        in_order=in_order,
    )


def losses(result: TrainingResult) -> list[float]:
    return [record.loss for record in result.history]


@needs_cuda
@pytest.mark.parametrize("in_order", [False, True], ids=["sets", "order"])
def test_a_cuda_device_trains_what_the_processor_trains(tmp_path: Path, in_order: bool) -> None:
    processor = train_alone(task_on(tmp_path, "cpu", "float32", in_order))
    device = train_alone(task_on(tmp_path, "cuda", "float32", in_order))
    # Sums are taken in another order, and the differences grow from step to step.
    np.testing.assert_allclose(losses(device), losses(processor), rtol=1e-4)
    for name, weights in processor.encoder.weights.items():
        of_device = device.encoder.weights[name]
        assert np.linalg.norm(of_device - weights) <= 0.01 * np.linalg.norm(weights), name


@needs_cuda
@pytest.mark.parametrize("in_order", [False, True], ids=["sets", "order"])
def test_mixed_precision_on_a_cuda_device_learns_as_much(tmp_path: Path, in_order: bool) -> None:
    whole = train_alone(task_on(tmp_path, "cuda", "float32", in_order))
    mixed = train_alone(task_on(tmp_path, "cuda", "bfloat16", in_order))
    assert losses(mixed) != losses(whole)
    np.testing.assert_allclose(losses(mixed), losses(whole), rtol=5e-3)
    assert all(array.dtype == np.float32 for array in mixed.encoder.weights.values())


@needs_cuda
@pytest.mark.parametrize("in_order", [False, True], ids=["sets", "order"])
def test_a_training_on_a_cuda_device_goes_on_from_its_checkpoint(
    tmp_path: Path, in_order: bool
) -> None:
    task = task_on(tmp_path, "cuda", "float32", in_order)
    begun = {"checkpoint_folder": str(tmp_path / "checkpoint")}
    train_alone(TrainingTask(**{**vars(task), **begun, "epochs": 2}))
    resumed = train_alone(TrainingTask(**{**vars(task), **begun}))
    np.testing.assert_allclose(losses(resumed), losses(train_alone(task)), rtol=1e-4)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_cuda)])
@pytest.mark.parametrize("in_order", [False, True], ids=["sets", "order"])
def test_a_training_goes_on_from_earlier_towers(
    tmp_path: Path, in_order: bool, device: str
) -> None:
    task = task_on(tmp_path, device, "float32", in_order)
    weights = train_alone(task).encoder.weights
    nothing = FeatureMap(np.zeros((0, 0), np.float32))
    known = FeatureMap(np.eye(COLOURS, dtype=np.float32))
    earlier = EarlierTowers(weights, NO_CONTEXTS, 4, 0, nothing, known)
    again = train_alone(replace(task, epochs=0, earlier=earlier)).encoder.weights
    for name, array in weights.items():
        np.testing.assert_allclose(again[name], array, rtol=1e-3, atol=1e-5)


@needs_cuda
def test_a_rank_takes_the_gpu_that_spark_gave_it_and_auto_none_that_it_did_not() -> None:
    assert chosen_device("auto", ("0",)) == torch.device("cuda", 0)
    assert chosen_device("auto", None).type == "cuda"
    assert chosen_device("auto", ()).type == "cpu"
    with pytest.raises(ClusterError, match=r"spark\.task\.resource\.gpu\.amount"):
        chosen_device("cuda", ())


@without_cuda
def test_without_a_cuda_device_the_processor_trains_and_cuda_is_refused() -> None:
    assert chosen_device("auto", None) == chosen_device("cpu", None) == torch.device("cpu")
    with pytest.raises(ClusterError, match="finds no CUDA device"):
        chosen_device("cuda", None)
