"""Train towers on each kind of factors and, where there are times, on order; for both fits.

The selection fit stops early on validation; the final fit takes as many epochs, on the same
schedule.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

from m6rec import columns as c
from m6rec.command_line import command_line
from m6rec.config.run import Config
from m6rec.fits.contexts import context_vocabulary
from m6rec.fits.earlier import EarlierRun
from m6rec.fits.fit import Fit, fits_of, model_row
from m6rec.fits.needs import needs_of_run
from m6rec.fits.towers import (
    TowerInputs,
    tower_inputs,
    train_bag,
    train_boosted,
    train_pair,
)
from m6rec.job_records import TRAIN_TOWERS
from m6rec.lakehouse import Lakehouse
from m6rec.rankers import BAGGED, BOOSTED, SEQUENCE
from m6rec.runs import Job
from m6rec.spark.places import remove_folder
from m6rec.towers.artifact import TowerProvenance, save_towers
from m6rec.towers.checkpoint import EpochRecord
from m6rec.towers.loop import TrainingResult


def run(
    lakehouse: Lakehouse,
    config: Config,
    fits: tuple[str, ...] = c.FITS,
    chosen_epochs: Mapping[str, int] | None = None,
    earlier: EarlierRun | None = None,
) -> None:
    """Train every configured pair of towers, and record how.

    The final fit takes its epochs from the selection fit, so it is trained after it. Where
    `chosen_epochs` are given, by model, only these models are trained, for so many epochs, of which
    towers of an earlier run go through the last ones alone.
    """
    models = needs_of_run(config).towers if chosen_epochs is None else tuple(chosen_epochs)
    if not models:
        return
    # The longest training begins first, and the others share the slots that it leaves.
    models = tuple(sorted(models, key=lambda model: model != SEQUENCE))
    best_epochs: dict[str, int | None] = {
        model: (chosen_epochs or {}).get(model) for model in models
    }
    trained = fits_of(lakehouse, config, fits)
    contexts = context_vocabulary(trained[0])
    prepared = lakehouse.run_calls(
        [partial(tower_inputs, fit, contexts, models) for fit in trained]
    )
    for fit, inputs in zip(trained, prepared, strict=True):
        records = []
        epochs = {} if fit.name == c.SELECTION else best_epochs
        trainings = [
            partial(_timed, inputs, config, model, epochs.get(model), earlier) for model in models
        ]
        for model, (result, seconds) in zip(models, inputs.run_calls(trainings), strict=True):
            if fit.name == c.SELECTION:
                best_epochs[model] = result.best_epoch
            _report(fit.name, model, result, seconds)
            records.append(_save(fit, model, result, seconds))
        fit.write_models("towers", records)
    # Only now, because a job that is started again trains all fits, from where each has come to.
    for fit in trained:
        remove_folder(lakehouse.spark, fit.artifact_path("checkpoints"))


def _timed(
    inputs: TowerInputs,
    config: Config,
    model: str,
    epochs: int | None,
    earlier: EarlierRun | None,
) -> tuple[TrainingResult, float]:
    """The training, and its seconds."""
    start = time.perf_counter()
    result = _train(inputs, config, model, epochs, earlier)
    return result, time.perf_counter() - start


def _train(
    inputs: TowerInputs,
    config: Config,
    model: str,
    epochs: int | None,
    earlier: EarlierRun | None,
) -> TrainingResult:
    towers = config.towers
    if model == BAGGED:
        return train_bag(inputs, towers, epochs)
    if model == BOOSTED:
        return train_boosted(inputs, towers, epochs)
    before = None
    if earlier is not None and epochs is not None:
        before = earlier.towers(inputs.fit, model, epochs)
    return train_pair(inputs, towers, model, before.epochs if before else epochs, before)


def _report(fit: str, model: str, result: TrainingResult, seconds: float) -> None:
    start = "" if result.start_ndcg is None else f"; start: NDCG {result.start_ndcg:.4f}"
    untrained = "" if result.best_epoch else " (best: the towers stay as untrained)"
    print(f"towers on {model}, fit {fit}{start}{untrained}; {seconds:.1f} s", flush=True)
    for record in result.history:
        mark = " (best)" if record.epoch == result.best_epoch else ""
        print(f"  {_line(record)}{mark}", flush=True)


def _line(record: EpochRecord) -> str:
    ndcg = "" if record.validation_ndcg is None else f", NDCG {record.validation_ndcg:.4f}"
    return f"epoch {record.epoch}: loss {record.loss:.4f}{ndcg}, {record.seconds:.1f} s"


def _save(fit: Fit, model: str, result: TrainingResult, seconds: float) -> dict[str, Any]:
    """Save the artifact; return the row of table `models`."""
    folder = fit.artifact_path("towers", model)
    lakehouse, shape = fit.lakehouse, result.encoder.shape
    has_features = bool(shape.get("user_features") or shape["item_features"])
    provenance = TowerProvenance(
        fit=fit.name,
        method=result.encoder.factor_model.method,
        item_factors_version=lakehouse.inputs["item_factors"],
        feature_pipeline=fit.artifact_path("features") if has_features else None,
        index_versions={name: lakehouse.version(name) for name in ("user_index", "item_index")},
        config=fit.config.towers.model_dump(mode="json"),
        seed=fit.config.seed,
    )
    save_towers(fit.artifact_place("towers", model), result.encoder, provenance)
    parameters = {
        "best_epoch": result.best_epoch,
        "start_ndcg": result.start_ndcg,
        "seconds": seconds,
        "history": [asdict(record) for record in result.history],
    }
    return model_row(model, parameters, folder)


JOB = Job(TRAIN_TOWERS, run)

if __name__ == "__main__":
    command_line(JOB, __doc__)
