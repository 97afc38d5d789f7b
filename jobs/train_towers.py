"""Train a pair of towers on each kind of factors, for the selection and the final fit.

Reads user_item_matrix, splits, item_factors, models, user_features, item_features and item_images;
writes artifacts and models. The selection fit stops early on validation; the final fit takes as
many epochs, on the same schedule.
"""

import os
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pyspark.ml.torch.distributor import TorchDistributor
from pyspark.sql import DataFrame

from m6rec import columns as c
from m6rec.command_line import command_line
from m6rec.config import Config
from m6rec.errors import ClusterError
from m6rec.fits import item_count, model_row, read_factor_model
from m6rec.lakehouse import Lakehouse
from m6rec.stages.features import item_matrix
from m6rec.stages.images import image_array
from m6rec.stages.item_counts import interaction_counts
from m6rec.stages.matrix import target_rows
from m6rec.stages.tower_inputs import validation_sample
from m6rec.stages.tower_rows import write_tower_rows
from m6rec.towers.artifact import TowerProvenance, save_towers
from m6rec.towers.ranks import TrainingTask, train_alone, train_as_rank
from m6rec.towers.row_files import Manifest
from m6rec.towers.training import EpochRecord, ItemInputs, TrainingResult
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


def run(lakehouse: Lakehouse, config: Config, fits: tuple[str, ...] = c.FITS) -> None:
    """Train every configured pair of towers, and record how.

    The final fit takes its epochs from the selection fit, so it is trained after it.
    """
    best_epochs: dict[str, int | None] = dict.fromkeys(config.towers.inputs)
    images = read_images(lakehouse)
    for fit in fits:
        inputs = fit_inputs(lakehouse, config, fit, images)
        records = []
        for method in config.towers.inputs:
            epochs = None if fit == c.SELECTION else best_epochs[method]
            result = train_pair(lakehouse, config, inputs, method, epochs)
            if fit == c.SELECTION:
                best_epochs[method] = result.best_epoch
            _report(fit, method, result)
            records.append(_save(lakehouse, config, fit, method, result))
        lakehouse.write_rows("models", records, fit=fit, kind="towers")


def fit_inputs(lakehouse: Lakehouse, config: Config, fit: str, images: Images | None) -> FitInputs:
    """Write the training rows of a fit, and read what else its towers need."""
    n_items = item_count(lakehouse)
    matrix = lakehouse.read("user_item_matrix", fit=fit).cache()
    user_features = lakehouse.read("user_features", fit=fit).cache()
    manifest = _write_rows(lakehouse, config, fit, matrix, user_features)
    validate = None
    # Cold items have no factors of their own: how they rank says nothing of the training.
    if fit == c.SELECTION and config.evaluate.candidates == "all":
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


def _report(fit: str, method: str, result: TrainingResult) -> None:
    start = "" if result.start_ndcg is None else f"; start: NDCG {result.start_ndcg:.4f}"
    print(f"towers on {method}, fit {fit}{start}", flush=True)
    for record in result.history:
        mark = " (best)" if record.epoch == result.best_epoch else ""
        print(f"  {_line(record)}{mark}", flush=True)


def _line(record: EpochRecord) -> str:
    ndcg = "" if record.validation_ndcg is None else f", NDCG {record.validation_ndcg:.4f}"
    return f"epoch {record.epoch}: loss {record.loss:.4f}{ndcg}, {record.seconds:.1f} s"


def _save(
    lakehouse: Lakehouse, config: Config, fit: str, method: str, result: TrainingResult
) -> dict[str, Any]:
    """Save the artifact; return the row of table `models`."""
    folder = lakehouse.artifact_path("towers", fit, method)
    shape = result.encoder.shape
    has_features = bool(shape["user_features"] or shape["item_features"])
    provenance = TowerProvenance(
        fit=fit,
        method=method,
        item_factors_version=lakehouse.inputs["item_factors"],
        feature_pipeline=lakehouse.artifact_path("features", fit) if has_features else None,
        index_versions={name: lakehouse.version(name) for name in ("user_index", "item_index")},
        config=config.towers.model_dump(mode="json"),
        seed=config.seed,
    )
    save_towers(folder, result.encoder, provenance)
    parameters = {
        "best_epoch": result.best_epoch,
        "start_ndcg": result.start_ndcg,
        "history": [asdict(record) for record in result.history],
    }
    return model_row(method, parameters, folder)


if __name__ == "__main__":
    command_line("train_towers", run, __doc__)
