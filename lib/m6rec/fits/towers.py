"""What the towers of a fit are trained on, and how a pair of them is trained."""

import os
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pyspark.ml.torch.distributor import TorchDistributor
from pyspark.sql import DataFrame

from m6rec import columns as c
from m6rec.config.run import Config
from m6rec.errors import ClusterError
from m6rec.fits.fit import item_count
from m6rec.fits.members import read_factor_model
from m6rec.lakehouse import Lakehouse
from m6rec.stages.features.images import image_array
from m6rec.stages.features.reading import item_matrix
from m6rec.stages.pairs.matrix import interaction_counts, target_rows
from m6rec.stages.ranking.validation import validation_sample
from m6rec.stages.training.tower_rows import write_tower_rows
from m6rec.towers.encoder import ItemInputs
from m6rec.towers.launch import TrainingTask, train_alone, train_as_rank
from m6rec.towers.row_files import Manifest
from m6rec.towers.training import TrainingResult
from m6rec.towers.validation import ValidationSample

VALIDATION_USERS = 2_000
ROWS_PER_FILE = 32_768
Images = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class FitInputs:
    """What all pairs of towers of a fit are trained on.

    Attributes:
        fit: its name.
        manifest: of the training rows.
        items: the item side by method.
        validate: a sample of validation users, or None where there is nothing to choose.
    """

    fit: str
    manifest: Manifest
    items: dict[str, ItemInputs]
    validate: ValidationSample | None


def fit_inputs(lakehouse: Lakehouse, config: Config, fit: str, images: Images | None) -> FitInputs:
    """Write the training rows of a fit, and read what else its towers need."""
    n_items = item_count(lakehouse)
    matrix = lakehouse.read("user_item_matrix", fit=fit).cache()
    user_features = lakehouse.read("user_features", fit=fit).cache()
    manifest = _write_rows(lakehouse, config, fit, matrix, user_features)
    validate = None
    # Cold items have no factors of their own: how they rank says nothing of the training.
    if fit == c.SELECTION and not config.evaluate.ranks_cold_items:
        validate = _validation(lakehouse, config, matrix, user_features)
    items = _item_inputs(lakehouse, config, fit, matrix, images, n_items)
    matrix.unpersist()
    user_features.unpersist()
    return FitInputs(fit, manifest, items, validate)


def train_pair(
    lakehouse: Lakehouse, config: Config, inputs: FitInputs, method: str, epochs: int | None
) -> TrainingResult:
    """Train the pair of towers on one kind of factors; `epochs` as in `train_towers`."""
    name = "_without_".join([f"towers_{method}", *config.towers.without])
    task = TrainingTask(
        manifest=inputs.manifest,
        items=inputs.items[method],
        config=config.towers,
        seed=config.seed,
        validate=inputs.validate,
        log_folder=lakehouse.artifact_path("tensorboard", inputs.fit, name),
        checkpoint_folder=lakehouse.artifact_path("checkpoints", inputs.fit, name),
        epochs=epochs,
        threads=max(1, len(os.sched_getaffinity(0)) // config.towers.processes),
    )
    if config.towers.processes == 1:
        return train_alone(task)
    distributor = TorchDistributor(config.towers.processes, local_mode=True, use_gpu=False)
    result = distributor.run(train_as_rank, task)
    if not isinstance(result, TrainingResult):
        raise ClusterError(
            f"training of the towers in {config.towers.processes} processes gave {result!r},"
            " expected the result of rank 0; see the log of the launcher above"
        )
    return result


def read_images(lakehouse: Lakehouse) -> Images | None:
    """uint8 [M, 3, size, size]: the items' images, or None where there are none."""
    if not lakehouse.exists("item_images"):
        return None
    return image_array(lakehouse.read("item_images"), item_count(lakehouse))


def _write_rows(
    lakehouse: Lakehouse, config: Config, fit: str, matrix: DataFrame, user_features: DataFrame
) -> Manifest:
    processes = config.towers.processes
    return write_tower_rows(
        matrix,
        user_features,
        lakehouse.artifact_path("tower_rows", fit),
        world_size=processes,
        row_groups=-(-matrix.count() // (processes * ROWS_PER_FILE)) or 1,
        maximum_history=config.towers.maximum_history,
        seed=config.seed,
    )


def _validation(
    lakehouse: Lakehouse, config: Config, matrix: DataFrame, user_features: DataFrame
) -> ValidationSample:
    targets = target_rows(lakehouse.read("splits"), c.VALIDATION)
    return validation_sample(matrix, targets, user_features, VALIDATION_USERS, config.seed)


def _item_inputs(
    lakehouse: Lakehouse,
    config: Config,
    fit: str,
    matrix: DataFrame,
    images: Images | None,
    n_items: int,
) -> dict[str, ItemInputs]:
    """The items by method: they differ in their factors alone."""
    counts = interaction_counts(matrix, n_items)
    features = item_matrix(lakehouse.read("item_features", fit=fit), c.FEATURES, n_items)
    return {
        method: ItemInputs(
            read_factor_model(lakehouse, fit, method, counts),
            features if features.shape[1] else None,
            images,
        )
        for method in config.towers.inputs
    }
