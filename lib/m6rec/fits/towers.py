"""What the towers of a fit are trained on, and how a pair of them, or several, are trained."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from pyspark.sql import DataFrame

from m6rec import columns as c
from m6rec.config.towers import TowersConfig
from m6rec.fits.contexts import training_codes
from m6rec.fits.fit import Fit
from m6rec.fits.members import member_names
from m6rec.fits.validation import nothing_held_out, validation_users
from m6rec.kernels.arrays.contexts import ContextVocabulary
from m6rec.lakehouse import side_by_side
from m6rec.rankers import BAGGED, BOOSTED, FUSION, SEQUENCE
from m6rec.spark.barrier import cores_of_task
from m6rec.stages.training.neighbours import train_cross_fitted_ridge
from m6rec.stages.training.tower_ranks import ranks_of, train_in_own_task, train_on_ranks
from m6rec.stages.training.tower_rows import write_tower_rows
from m6rec.towers.bagging import bag
from m6rec.towers.batches import reader_named
from m6rec.towers.boosting import CrossFitted
from m6rec.towers.encoder import ItemInputs, TowerEncoder
from m6rec.towers.launch import TrainingTask, train_alone
from m6rec.towers.loop import TrainingResult
from m6rec.towers.ranks import CPU, chosen_device
from m6rec.towers.row_files import Manifest
from m6rec.towers.start import calibrated
from m6rec.towers.validation import TowerValidation
from m6rec.towers.warm_start import EarlierTowers

Trained = TypeVar("Trained")
# If each user holds out one item, so many users tell towers apart whose NDCG differs by 2%. With a
# few thousand, the noise between two epochs is larger than what several epochs gain.
VALIDATION_USERS = 10_000
ROWS_PER_FILE = 32_768


@dataclass(frozen=True)
class TowerInputs:
    """What all pairs of towers of a fit are trained on.

    Attributes:
        fit: the fit.
        manifest: of the training rows.
        items: the item side by method.
        validate: measures an epoch, or None where there is nothing to choose.
        ranks: how many tasks train together, or None where one process does.
        contexts: what the towers that know order learn of contexts.
        one_task_each: whether each training in one process is a Spark task of its own, so that
            several run at once, and not in the driver.
        threads_of_sets: how many threads torch has for a training of towers on sets in one
            process; the result does not depend on it.
    """

    fit: Fit
    manifest: Manifest
    items: dict[str, ItemInputs]
    validate: TowerValidation | None
    ranks: int | None
    contexts: ContextVocabulary
    one_task_each: bool
    threads_of_sets: int

    def run_calls(self, trainings: Sequence[Callable[[], Trained]]) -> Iterator[Trained]:
        """What the trainings return: as many at once as tasks can run, or one after the other."""
        if self.one_task_each:
            yield from side_by_side(trainings, self.fit.spark.sparkContext.defaultParallelism)
        else:
            for training in trainings:
                yield training()


def tower_inputs(
    fit: Fit, contexts: ContextVocabulary, models: Sequence[str] | None = None
) -> TowerInputs:
    """Write the training rows of a fit, and read what else its towers need.

    `contexts` are those that `context_vocabulary` finds; `models` are those of
    `Config.tower_models` that are to be trained, all unless given.
    """
    towers, has_few_rows = fit.config.towers, fit.lakehouse.in_memory is not None
    trained = fit.config.tower_models if models is None else models
    ranks = ranks_of(fit.spark, towers.ranks)
    in_one_process = ranks is None and towers.ranks == "auto"
    # Towers that know order use one core and leave the others free, and steps are small where rows
    # are few: so each training is a task of its own. A task gets none of the driver's GPUs.
    may_have_own_tasks = has_few_rows or (SEQUENCE in trained and len(trained) > 1)
    one_task_each = (
        may_have_own_tasks and in_one_process and chosen_device(towers.device, None) == CPU
    )
    matrix, user_features = fit.matrix.cache(), fit.user_features.cache()
    manifest = _write_rows(fit, matrix, user_features, contexts, ranks or 1)
    validate = None
    # Cold items have no factors of their own, so how they rank says nothing about the training.
    if fit.name == c.SELECTION and not fit.config.evaluate.ranks_cold_items:
        validate = _validation(fit)
    items = _item_inputs(fit, trained)
    matrix.unpersist()
    user_features.unpersist()
    threads = len(os.sched_getaffinity(0))
    if one_task_each:
        threads = 1 if has_few_rows else max(threads // len(trained), 1)
    return TowerInputs(fit, manifest, items, validate, ranks, contexts, one_task_each, threads)


def train_pair(
    inputs: TowerInputs,
    config: TowersConfig,
    model: str,
    epochs: int | None,
    earlier: EarlierTowers | None = None,
) -> TrainingResult:
    """Train a pair of towers, on one kind of factors or on order.

    `epochs` and `earlier` are as in `train_towers`.
    """
    task = _task(inputs, config, model, epochs)
    return _train(inputs, replace(task, earlier=earlier))


def train_bag(inputs: TowerInputs, config: TowersConfig, epochs: int | None) -> TrainingResult:
    """Train `bagging` pairs of towers, each from another seed, for as many epochs.

    The first pair chooses the number of epochs, and the history of its training is reported for the
    whole bag.
    """
    task = _task(inputs, config, BAGGED, epochs)
    seeds = [task.seed + number for number in range(1, config.bagging + 1)]
    first = _train(inputs, replace(task, seed=seeds[0]))
    results = [first]
    for number, seed in enumerate(seeds[1:], start=2):
        other = _task(inputs, config, BAGGED, first.best_epoch, number)
        results.append(_train(inputs, replace(other, seed=seed, validate=None)))
    parts = [result.encoder for result in results]
    return replace(first, encoder=bag([part for part in parts if isinstance(part, TowerEncoder)]))


def train_boosted(inputs: TowerInputs, config: TowersConfig, epochs: int | None) -> TrainingResult:
    """Train a pair of towers on what the local ridge leaves, by cross-fitting."""
    fit = inputs.fit
    task = _task(inputs, config, BOOSTED, epochs)
    neighbours = fit.settings.neighbours
    base = CrossFitted(train_cross_fitted_ridge(fit.matrix, fit.n_items, neighbours))
    batches = reader_named(config.reader)(inputs.manifest, 0, task.seed)
    base = calibrated(base, batches, task.items, config, task.seed)
    validate = inputs.validate
    if validate is not None:
        validate = replace(validate, base_member=base.member())
    return _train(inputs, replace(task, base=base, validate=validate))


def _task(
    inputs: TowerInputs, config: TowersConfig, model: str, epochs: int | None, number: int = 1
) -> TrainingTask:
    """The training of a pair, or of the pair of that number where a model has several."""
    fit, in_order = inputs.fit, model == SEQUENCE
    epochs_of_schedule = config.epochs_of_sets(fit.config.has_order)
    name = "_without_".join([f"towers_{model}", *config.without])
    if number > 1:
        name = f"{name}_{number}"
    return TrainingTask(
        manifest=inputs.manifest,
        items=inputs.items[config.factors_of(model)],
        config=config.model_copy(update={"epochs": epochs_of_schedule}),
        seed=fit.config.seed,
        validate=inputs.validate,
        log_folder=fit.artifact_place("tensorboard", name),
        checkpoint_folder=fit.artifact_place("checkpoints", name),
        epochs=epochs,
        threads=_threads(inputs, in_order),
        in_order=in_order,
        contexts=inputs.contexts,
    )


def _threads(inputs: TowerInputs, in_order: bool) -> int:
    """How many threads torch has for a training.

    A step of towers that know order is hundreds of small products. To wake other threads for each
    takes longer than they save.
    """
    if inputs.ranks is not None:
        return cores_of_task(inputs.fit.spark)
    return 1 if in_order else inputs.threads_of_sets


def _train(inputs: TowerInputs, task: TrainingTask) -> TrainingResult:
    spark = inputs.fit.spark
    if inputs.ranks is not None:
        return train_on_ranks(spark, task)
    return train_in_own_task(spark, task) if inputs.one_task_each else train_alone(task)


def _write_rows(
    fit: Fit,
    matrix: DataFrame,
    user_features: DataFrame,
    contexts: ContextVocabulary,
    ranks: int,
) -> Manifest:
    towers = fit.config.towers
    rows = matrix if fit.config.has_order else matrix.drop(c.TIMES)
    if contexts.columns:
        rows = rows.join(training_codes(fit, contexts), c.USER_INDEX, how="left")
    return write_tower_rows(
        rows,
        user_features,
        fit.artifact_place("tower_rows"),
        world_size=ranks,
        row_groups=-(-matrix.count() // (ranks * ROWS_PER_FILE)) or 1,
        maximum_history=towers.maximum_history,
        seed=fit.config.seed,
        context_columns=len(contexts.columns),
        modalities=fit.modalities("users"),
    )


def _validation(fit: Fit) -> TowerValidation:
    users = validation_users(fit, member_names(FUSION, fit.config), VALIDATION_USERS)
    if users is None:
        raise nothing_held_out("epoch")
    return TowerValidation(users)


def _item_inputs(fit: Fit, models: Sequence[str]) -> dict[str, ItemInputs]:
    """The items by method: they differ in their factors alone."""
    config = fit.config.towers
    features = fit.item_matrix(c.FEATURES)
    return {
        method: ItemInputs(
            fit.factor_model(method),
            features if features.shape[1] else None,
            fit.modalities("items"),
            fit.item_pictures,
        )
        for method in sorted({config.factors_of(model) for model in models})
    }
