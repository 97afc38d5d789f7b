"""A small training of towers, with a taste that the rows show: users like items of one colour."""

from pathlib import Path

import numpy as np
import scipy.sparse as sp

from m6rec.config.towers import TowersConfig
from m6rec.kernels.arrays.rows import Float32, Rows
from m6rec.kernels.factors.projection import FactorModel, build_factor_model
from m6rec.kernels.ranking.members import UserBlock
from m6rec.kernels.ranking.validation import ValidationUsers
from m6rec.towers.encoder import ItemInputs
from m6rec.towers.examples import split_targets
from m6rec.towers.launch import TrainingTask
from m6rec.towers.row_files import Manifest, write_row_file
from m6rec.towers.validation import TowerValidation
from tests.matrix_rows import rows_from_scipy

N_USERS, N_ITEMS, RANK = 120, 60, 8
COLOURS = 4
CONFIG = TowersConfig(
    hidden=16, epochs=4, users_per_batch=16, negatives=N_ITEMS, learning_rate=0.01, reader="arrow"
)


def coloured_rows() -> Rows:
    """120 users, each with some 8 items, three in four of the user's colour."""
    generator = np.random.default_rng(7)
    liked = np.arange(N_USERS) % COLOURS
    chance = np.where(np.arange(N_ITEMS) % COLOURS == liked[:, None], 0.4, 0.045)
    matrix = (generator.random((N_USERS, N_ITEMS)) < chance).astype(np.float32)
    matrix[:, :2] = 1
    return rows_from_scipy(sp.csr_matrix(matrix))


def factors_of(rows: Rows) -> FactorModel:
    """A truncated SVD of the rows."""
    matrix = rows.to_scipy(N_ITEMS).toarray()
    _, _, v = np.linalg.svd(matrix, full_matrices=False)
    factors = np.ascontiguousarray(v[:RANK].T, dtype=np.float32)
    counts = (matrix > 0).sum(axis=0).astype(np.int64)
    return build_factor_model("svd", factors, factors, np.ones(N_ITEMS, np.float32), {}, counts)


def colours_of_items() -> Float32:
    """float32 [60, 4]: the colour of each item, one-hot."""
    return np.eye(COLOURS, dtype=np.float32)[np.arange(N_ITEMS) % COLOURS]


def noise_of_users() -> Float32:
    """float32 [120, 3]."""
    return np.random.default_rng(3).standard_normal((N_USERS, 3)).astype(np.float32)


def write_files(
    folder: Path, rows: Rows, features: Float32 | None, files: int, world_size: int
) -> Manifest:
    """Neighbouring rows to one file; packs that the longest row does not fill."""
    width = int(rows.counts.max()) + 7
    bounds = np.linspace(0, len(rows), files + 1).astype(int)
    names = tuple(f"rows-{number:05d}.parquet" for number in range(files))
    for name, start, stop in zip(names, bounds[:-1], bounds[1:], strict=True):
        part = None if features is None else features[start:stop]
        write_row_file(folder / name, rows.slice(start, stop), part, width)
    return Manifest(
        folder=str(folder),
        files=names,
        rows=tuple(np.diff(bounds).tolist()),
        width=width,
        features=0 if features is None else features.shape[1],
        world_size=world_size,
    )


def validation_of(rows: Rows, targets: Rows, features: Float32, k: int = 20) -> TowerValidation:
    """A validation of towers on these users, who may be offered every item."""
    nothing = np.zeros((len(rows), 0), np.float32)
    recency = np.zeros(rows.entries, np.float32)
    times = np.arange(rows.entries)
    users = UserBlock(rows, features, nothing, {}, recency, times)
    masked = np.zeros(N_ITEMS, np.bool_)
    return TowerValidation(ValidationUsers(users, targets.indptr, targets.item_indices, masked), k)


def coloured_task(folder: Path, world_size: int, files: int = 4) -> TrainingTask:
    """A training on three quarters of what users have, validated on the rest."""
    rows, features = coloured_rows(), noise_of_users()
    usable, kept, held = split_targets(rows, 0.25, np.random.default_rng(1))
    return TrainingTask(
        manifest=write_files(folder, kept, features[usable], files, world_size),
        items=ItemInputs(factors_of(rows), colours_of_items()),
        config=CONFIG,
        seed=3,
        validate=validation_of(kept, held, features[usable]),
        log_folder=None,
        checkpoint_folder=None,
        epochs=None,
        threads=1,
    )
