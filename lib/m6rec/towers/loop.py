"""Train a model by epochs: validate each, keep the best, and go on where a killed training stopped.

What is trained is a Trainee: it draws the examples of an epoch, and gives the loss of one. All
random choices of an epoch follow from the seed, the epoch and the rank, and the state after each
epoch is saved. So a training that was killed and started again ends with the same towers.

Where there are several ranks, each runs the loop with its own examples: gradients are averaged over
the pairs of all ranks, and only rank 0 validates and saves.
"""

import json
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, assert_never

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from m6rec.config.towers import Precision, SequenceConfig, TowersConfig
from m6rec.errors import DataError
from m6rec.files import AnyPlace, filled
from m6rec.towers.checkpoint import EpochRecord, TrainingCheckpoint, TrainingProgress
from m6rec.towers.encoder import ItemInputs, Towers
from m6rec.towers.ranks import ALONE, Rank
from m6rec.towers.warm_start import EarlierTowers

FINAL_LEARNING_RATE_SHARE = 0.05
ADAM_BETAS = (0.9, 0.98)
CPU_FLAGS = Path("/proc/cpuinfo")
BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}


class HasPairs(Protocol):
    """The arrays of one training step."""

    @property
    def pairs(self) -> int:
        """How many targets there are."""


Drawn = TypeVar("Drawn", bound=HasPairs)


class Trainee(Protocol):
    """What the loop trains."""

    @property
    def model(self) -> nn.Module:
        """The model."""

    @property
    def optimizers(self) -> Sequence[torch.optim.Optimizer]:
        """The optimisers of all its parameters."""

    @property
    def steps(self) -> int:
        """How many steps an epoch has, the same on every rank."""

    @property
    def clip(self) -> float | None:
        """The largest length of the dense gradient; None leaves the gradient as it is."""

    def examples(self, epoch: int, rank: int) -> Iterator[Any]:
        """The examples of an epoch, counted from 0; each has `pairs`."""

    def loss(self, example: Any) -> Tensor:
        """The mean loss over the example's pairs."""

    def freeze(self) -> Towers:
        """The towers with a copy of the model's weights."""

    def fingerprint(self) -> dict[str, Any]:
        """What a checkpoint and the training that resumes from it must have in common."""


class Validate(Protocol):
    """A function that measures how well frozen towers rank; higher is better."""

    def __call__(self, encoder: Towers, items: ItemInputs) -> float:
        """The ranking metric of the towers."""


@dataclass(frozen=True)
class Schedule:
    """How long a training lasts and how fast it learns.

    Attributes:
        epochs: over which the learning rate falls.
        stop_after: after how many epochs training ends; at most `epochs`.
        patience: epochs without a better validation after which training ends.
        learning_rate: the highest.
        warmup_steps: in which the learning rate rises to it.
        first_epoch: the epoch, counted from 0, with which training begins; above 0 where it goes on
            from earlier towers.
    """

    epochs: int
    stop_after: int
    patience: int
    learning_rate: float
    warmup_steps: int
    first_epoch: int = 0


def schedule_of(
    config: TowersConfig | SequenceConfig, epochs: int | None, earlier: EarlierTowers | None
) -> Schedule:
    """The schedule of the config, up to `epochs` if any, from where earlier towers stand if any."""
    return Schedule(
        epochs=config.epochs,
        stop_after=config.epochs if epochs is None else epochs,
        patience=config.patience,
        learning_rate=config.learning_rate,
        warmup_steps=config.warmup_steps,
        first_epoch=0 if earlier is None else earlier.first_epoch,
    )


@dataclass(frozen=True)
class TrainingResult:
    """The best epoch's towers, frozen, and the course of the training.

    Attributes:
        encoder: the towers of `best_epoch`.
        history: a record for each epoch.
        best_epoch: how many epochs gave the best towers; 0 where the untrained start was better
            than all epochs.
        start_ndcg: the validation metric of the untrained start, or None without validation.
    """

    encoder: Towers
    history: tuple[EpochRecord, ...]
    best_epoch: int
    start_ndcg: float | None


class TrainingLoop:
    """One rank's training of a trainee."""

    def __init__(
        self,
        trainee: Trainee,
        items: ItemInputs,
        schedule: Schedule,
        validate: Validate | None,
        log_folder: AnyPlace | None,
        checkpoint_folder: AnyPlace | None,
        rank: Rank = ALONE,
    ) -> None:
        """Prepare the training.

        Args:
            trainee: what is trained.
            items: the item side, for validation.
            schedule: of the training.
            validate: called after each epoch; None trains to the end and keeps the last epoch.
            log_folder: where TensorBoard's log is written; None writes none.
            checkpoint_folder: where the state after each epoch is kept and found again.
            rank: this one, among all that train together.
        """
        self.trainee = trainee
        self.items = items
        self.schedule = schedule
        self.validate = validate
        self.rank = rank
        self.progress = TrainingProgress()
        self.log = _Log(log_folder if self.rank.number == 0 else None)
        self.checkpoint = (
            None
            if checkpoint_folder is None
            else TrainingCheckpoint(
                checkpoint_folder, json.dumps(trainee.fingerprint(), sort_keys=True), rank.size
            )
        )

    def run(self) -> TrainingResult:
        """Train to the end, or until `patience` epochs have brought nothing better.

        Raises:
            DataError: the rows are not those of the manifest, or the loss is not finite.
            ArtifactError: the checkpoint is that of another training.
        """
        model, progress = self.trainee.model, self.progress
        if self.checkpoint is not None:
            self.checkpoint.restore(model, self.trainee.optimizers, progress)
        if not progress.history:
            progress.start_score = self._validated()
            progress.keep_best(0, progress.start_score, model)
        while len(progress.history) < self.schedule.stop_after:
            if self.validate is not None and progress.stopped(self.schedule.patience):
                break
            self._run_epoch(len(progress.history))
        self.log.close()
        model.load_state_dict(progress.best_weights)
        return TrainingResult(
            self.trainee.freeze(),
            tuple(progress.history),
            progress.best_epoch,
            progress.start_score,
        )

    def _run_epoch(self, epoch: int) -> None:
        start = time.perf_counter()
        losses, pairs = 0.0, 0
        place = self.schedule.first_epoch + epoch
        examples = one_ahead(self.trainee.examples(place, self.rank.number))
        for step, example in enumerate(examples):
            self._set_learning_rate(place * self.trainee.steps + step)
            loss = self._step(example)
            if not math.isfinite(loss):
                raise DataError(
                    f"the loss of epoch {epoch + 1}, step {step + 1} is {loss}, expected a finite"
                    " number; lower towers.learning_rate or features.clip"
                )
            losses += loss * example.pairs
            pairs += example.pairs
        losses, pairs_of_all = self.rank.sums(losses, float(pairs))
        self._finish_epoch(epoch + 1, losses / max(pairs_of_all, 1.0), start)

    def _finish_epoch(self, epoch: int, loss: float, start: float) -> None:
        model, progress = self.trainee.model, self.progress
        score = self._validated()
        record = EpochRecord(epoch, loss, score, time.perf_counter() - start)
        progress.history.append(record)
        progress.keep_best(epoch, score, model)
        self.log.write(record)
        if self.checkpoint is not None and self.rank.number == 0:
            self.checkpoint.save(model, self.trainee.optimizers, progress)
        self.rank.wait()

    def _validated(self) -> float | None:
        """The metric that rank 0 computes, on every rank."""
        if self.validate is None:
            return None
        mine = 0.0
        if self.rank.number == 0:
            mine = self.validate(self.trainee.freeze(), self.items)
        return self.rank.sums(mine, 0.0)[0]

    def _step(self, example: HasPairs) -> float:
        for optimizer in self.trainee.optimizers:
            optimizer.zero_grad(set_to_none=True)
        value = 0.0
        if example.pairs:
            loss = self.trainee.loss(example)
            loss.backward()  # type: ignore[no-untyped-call]
            value = loss.item()
        trainee = self.trainee
        self.rank.average_gradients(trainee.model, trainee.optimizers, example.pairs)
        if self.trainee.clip is not None:
            nn.utils.clip_grad_norm_(_dense(self.trainee.model), self.trainee.clip)
        for optimizer in self.trainee.optimizers:
            optimizer.step()
        return value

    def _set_learning_rate(self, step: int) -> None:
        schedule = self.schedule
        total = schedule.epochs * self.trainee.steps
        rate = learning_rate(step, total, schedule.warmup_steps)
        for optimizer in self.trainee.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = schedule.learning_rate * rate


def one_ahead(examples: Iterator[Drawn]) -> Iterator[Drawn]:
    """The same examples; a thread draws the next one while the caller works on this one."""
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(next, examples, None)
        while (example := pending.result()) is not None:
            pending = pool.submit(next, examples, None)
            yield example


def adam_of(
    parameters: Iterable[nn.Parameter], config: TowersConfig | SequenceConfig
) -> torch.optim.AdamW:
    """The optimiser of dense parameters, which passes over all of them in one call."""
    return torch.optim.AdamW(
        parameters,
        lr=config.learning_rate,
        betas=ADAM_BETAS,
        weight_decay=config.weight_decay,
        fused=True,
    )


def weights_of(model: nn.Module) -> dict[str, npt.NDArray[np.float32]]:
    """A copy of the model's weights by name, wherever they lie."""
    return {name: value.detach().cpu().numpy().copy() for name, value in model.state_dict().items()}


def reduced_precision(precision: Precision, device: torch.device) -> bool:
    """Whether the training computes matrix products in bfloat16."""
    match precision:
        case "auto":
            if device.type == "cuda":
                return bool(torch.cuda.is_bf16_supported(including_emulation=False))
            flags = set(CPU_FLAGS.read_text().split()) if CPU_FLAGS.is_file() else set[str]()
            return bool(flags & BFLOAT16_FLAGS)
        case "bfloat16":
            return True
        case "float32":
            return False
        case _:
            assert_never(precision)


def learning_rate(step: int, total_steps: int, warmup_steps: int) -> float:
    """The share of the peak learning rate at a step: a linear rise, then a cosine fall to 5%."""
    warmup = min(warmup_steps, total_steps // 10)
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(total_steps - warmup, 1)
    fall = 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
    return FINAL_LEARNING_RATE_SHARE + (1 - FINAL_LEARNING_RATE_SHARE) * fall


def _dense(model: nn.Module) -> list[nn.Parameter]:
    """The parameters whose gradient is not that of a few rows."""
    return [p for p in model.parameters() if p.grad is not None and not p.grad.is_sparse]


class _Log:
    """The TensorBoard log; without a folder nothing is logged."""

    def __init__(self, folder: AnyPlace | None) -> None:
        self._writer: Any = None
        self._folder = ExitStack()
        if folder is not None:
            # TensorBoard takes seconds to import, and not every training has a log.
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415

            self._writer = SummaryWriter(self._folder.enter_context(filled(folder)))

    def write(self, record: EpochRecord) -> None:
        if self._writer is None:
            return
        self._writer.add_scalar("loss", record.loss, record.epoch)
        self._writer.add_scalar("seconds", record.seconds, record.epoch)
        if record.validation_ndcg is not None:
            self._writer.add_scalar("validation_ndcg", record.validation_ndcg, record.epoch)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._folder.close()
