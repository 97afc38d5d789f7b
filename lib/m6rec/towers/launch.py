"""Run a training in this process alone, or as one of several ranks."""

from collections.abc import Sequence
from dataclasses import dataclass

from m6rec.config.towers import TowersConfig
from m6rec.files import AnyPlace
from m6rec.kernels.arrays.contexts import NO_CONTEXTS, ContextVocabulary
from m6rec.towers.batches import reader_named
from m6rec.towers.boosting import CrossFitted
from m6rec.towers.encoder import ItemInputs
from m6rec.towers.loop import TrainingResult, Validate
from m6rec.towers.ranks import LocalRank, Rank, TensorCommunicator, chosen_device
from m6rec.towers.row_files import Manifest
from m6rec.towers.sequence_training import train_sequence_towers
from m6rec.towers.training import train_towers
from m6rec.towers.warm_start import EarlierTowers


@dataclass(frozen=True)
class TrainingTask:
    """All that a rank needs: the manifest of its rows and the arguments of a training.

    Attributes:
        in_order: whether towers that know order are trained, and not those on sets.
        contexts: what towers that know order learn of contexts.
        earlier: towers to go on from, if any.
        base: a model on whose logits those of the towers are added in training, if any.
    """

    manifest: Manifest
    items: ItemInputs
    config: TowersConfig
    seed: int
    validate: Validate | None
    log_folder: AnyPlace | None
    checkpoint_folder: AnyPlace | None
    epochs: int | None
    threads: int
    in_order: bool = False
    contexts: ContextVocabulary = NO_CONTEXTS
    earlier: EarlierTowers | None = None
    base: CrossFitted | None = None


def train_alone(task: TrainingTask) -> TrainingResult:
    """Train in this process alone."""
    return _train(task, Rank(LocalRank(), chosen_device(task.config.device, None)))


def train_as_rank(
    task: TrainingTask, group: TensorCommunicator, gpus: Sequence[str] = ()
) -> TrainingResult:
    """Train as one of the ranks of `group`, which all call this with the same task.

    `gpus` are the addresses of the GPUs that this rank has been given.
    """
    return _train(task, Rank(group, chosen_device(task.config.device, gpus)))


def _train(task: TrainingTask, rank: Rank) -> TrainingResult:
    batches = reader_named(task.config.reader)(task.manifest, rank.number, task.seed)
    if task.in_order:
        return train_sequence_towers(
            batches,
            task.items,
            task.config.sequence,
            task.seed,
            task.validate,
            task.log_folder,
            task.checkpoint_folder,
            task.epochs,
            task.threads,
            task.contexts,
            task.earlier,
            rank,
        )
    return train_towers(
        batches,
        task.items,
        task.config,
        task.seed,
        task.validate,
        task.log_folder,
        task.checkpoint_folder,
        task.epochs,
        task.threads,
        task.earlier,
        task.base,
        rank,
    )
