"""Train a pair of towers on each kind of factors, for the selection and the final fit.

Reads user_item_matrix, splits, item_factors, models, user_features, item_features and item_images;
writes artifacts and models. The selection fit stops early on validation; the final fit takes as
many epochs, on the same schedule.
"""

from dataclasses import asdict
from typing import Any

from m6rec import columns as c
from m6rec.command_line import command_line
from m6rec.config.run import Config
from m6rec.fits.models import model_row
from m6rec.fits.towers import fit_inputs, read_images, train_pair
from m6rec.lakehouse import Lakehouse
from m6rec.towers.artifact import TowerProvenance, save_towers
from m6rec.towers.checkpoint import EpochRecord
from m6rec.towers.training import TrainingResult


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
