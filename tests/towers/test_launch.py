"""Several processes train one pair of towers."""

from pathlib import Path

import numpy as np
import pytest
from pyspark.ml.torch.distributor import TorchDistributor
from pyspark.sql import SparkSession

from m6rec.config.towers import TowersConfig
from m6rec.kernels.arrays.rows import Float32, Rows
from m6rec.kernels.factors.projection import FactorModel
from m6rec.towers.encoder import ItemInputs
from m6rec.towers.launch import TrainingTask, train_alone, train_as_rank
from tests.towers.conftest import N_ITEMS, validation_of, write_files


@pytest.mark.slow
def test_two_processes_train_what_one_process_trains(
    spark: SparkSession,
    rows: Rows,
    factor_model: FactorModel,
    item_features: Float32,
    user_features: Float32,
    tmp_path: Path,
) -> None:
    """Not the same numbers: the ranks draw their own targets. But the same quality, saved once."""
    config = TowersConfig(
        hidden=16, epochs=4, users_per_batch=16, negatives=N_ITEMS, learning_rate=0.01,
        reader="arrow",
    )  # fmt: skip
    task = TrainingTask(
        manifest=write_files(tmp_path, rows, user_features, files=4, world_size=2),
        items=ItemInputs(factor_model, item_features),
        config=config,
        seed=3,
        validate=validation_of(rows.slice(0, 0), rows.slice(0, 0), user_features[:0]),
        log_folder=None,
        checkpoint_folder=str(tmp_path / "checkpoint"),
        epochs=None,
        threads=1,
    )
    together = TorchDistributor(2, local_mode=True, use_gpu=False).run(train_as_rank, task)
    (tmp_path / "alone").mkdir()
    alone_manifest = write_files(tmp_path / "alone", rows, user_features, 4, world_size=1)
    alone = train_alone(
        TrainingTask(**{**vars(task), "manifest": alone_manifest, "checkpoint_folder": None})
    )
    assert len(together.history) == len(alone.history)
    last, other = together.history[-1].loss, alone.history[-1].loss
    assert last < together.history[0].loss
    assert abs(last - other) < 0.1 * other
    assert [file.name for file in (tmp_path / "checkpoint").iterdir()] == ["last.safetensors"]
    users = together.encoder.encode_users(rows, user_features)
    assert np.isfinite(users).all()
