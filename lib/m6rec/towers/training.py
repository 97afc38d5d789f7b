"""Train a pair of towers to rank the interactions that are taken out of users' rows.

In each epoch, each interaction becomes a target with some probability, and the user's input is the
projection of the rest of the row. So training, validation, fold-in and scoring all embed a user by
the same function of a row. After each epoch the frozen encoder is validated. The best epoch is
kept, and training stops when some epochs have brought no better one.

All random choices of an epoch follow from the seed, the epoch and the rank, and the state after
each epoch is saved. So a training that was killed and started again ends with the same towers.
"""

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, assert_never

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from m6rec.config.models import Precision, TowersConfig
from m6rec.errors import DataError
from m6rec.kernels.arrays.rows import Float32
from m6rec.kernels.factors.projection import FactorModel
from m6rec.towers.batches import RowBatches
from m6rec.towers.checkpoint import EpochRecord, TrainingCheckpoint, TrainingProgress
from m6rec.towers.encoder import (
    ItemInputs,
    TowerEncoder,
    item_factor_inputs,
    item_gates,
    popularity_inputs,
)
from m6rec.towers.examples import Example, ExampleDraw, one_ahead
from m6rec.towers.losses import (
    binary_cross_entropy,
    cosine_contrastive,
    is_of_cosines,
    sampled_softmax,
)
from m6rec.towers.model import TowerModel, TowerShape
from m6rec.towers.start import shape_of, start_model

FINAL_LEARNING_RATE_SHARE = 0.05
ADAM_BETAS = (0.9, 0.98)
CPU_FLAGS = Path("/proc/cpuinfo")
BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}


class Validate(Protocol):
    """A function that measures how well frozen towers rank; higher is better."""

    def __call__(self, encoder: TowerEncoder, items: ItemInputs) -> float:
        """The ranking metric of the towers."""


@dataclass(frozen=True)
class TrainingResult:
    """The best epoch's towers, frozen, and the course of the training.

    Attributes:
        encoder: the towers of `best_epoch`.
        history: a record for each epoch.
        best_epoch: how many epochs gave the best towers; 0 where the untrained start, which ranks
            as the factor model does, was better than all epochs.
        start_ndcg: the validation metric of the untrained start, or None without validation.
    """

    encoder: TowerEncoder
    history: tuple[EpochRecord, ...]
    best_epoch: int
    start_ndcg: float | None


def train_towers(
    batches: RowBatches,
    items: ItemInputs,
    config: TowersConfig,
    seed: int,
    validate: Validate | None = None,
    log_folder: str | None = None,
    checkpoint_folder: str | None = None,
    epochs: int | None = None,
    threads: int | None = None,
) -> TrainingResult:
    """Train one pair of towers.

    Where `torch.distributed` has been initialised, every rank calls this with its own batches:
    gradients are averaged over the pairs of all ranks and only rank 0 validates and saves.

    Args:
        batches: this rank's training rows.
        items: factors, features and images of all items.
        config: sizes, schedule and loss.
        seed: of the start, the targets, the negatives and the order.
        validate: called after each epoch; None trains to the end and keeps the last epoch.
        log_folder: where TensorBoard's log is written; None writes none.
        checkpoint_folder: where the state after each epoch is kept and found again; None keeps
            none.
        epochs: stop after this many epochs of the schedule of `config.epochs`; None takes all of
            them. A final fit takes the best epoch of the selection fit, as validation chose it.
        threads: how many threads torch has in this process; None changes nothing.

    Raises:
        DataError: the rows are not those of the manifest, or the loss is not finite.
        ArtifactError: the checkpoint is that of another training.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    training = _Training(batches, items, config, seed, validate, log_folder, checkpoint_folder)
    return training.run(config.epochs if epochs is None else epochs)


def freeze(model: TowerModel, factor_model: FactorModel) -> TowerEncoder:
    """The encoder with a copy of the model's weights."""
    weights = {name: value.detach().numpy().copy() for name, value in model.state_dict().items()}
    return TowerEncoder(model.shape.to_json(), weights, factor_model)


class _Training:
    """One rank's training."""

    def __init__(
        self,
        batches: RowBatches,
        items: ItemInputs,
        config: TowersConfig,
        seed: int,
        validate: Validate | None,
        log_folder: str | None,
        checkpoint_folder: str | None,
    ) -> None:
        self.batches = batches
        self.items = items
        self.config = config
        self.seed = seed
        self.validate = validate
        self.group = _Group()
        self.reduced = reduced_precision(config.precision)
        _check_finite(items.features)
        self.steps = batches.manifest.steps_per_epoch(
            config.users_per_batch, config.minimum_steps_per_epoch
        )
        shape = shape_of(items, batches.manifest.features, config)
        self.model = start_model(shape, items, config, seed)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(),
            lr=config.learning_rate,
            betas=ADAM_BETAS,
            weight_decay=config.weight_decay,
        )
        self.draw = ExampleDraw(items, shape, config)
        self.item_tensors = _ItemTensors(items, shape)
        self.progress = TrainingProgress()
        self.log = _Log(log_folder if self.group.rank == 0 else None)
        self.checkpoint = (
            None
            if checkpoint_folder is None
            else TrainingCheckpoint(Path(checkpoint_folder), self._fingerprint(shape))
        )

    def run(self, epochs: int) -> TrainingResult:
        if self.checkpoint is not None:
            self.checkpoint.restore(self.model, self.optimizer, self.progress)
        progress = self.progress
        if not progress.history:
            progress.start_score = self._validated()
            progress.keep_best(0, progress.start_score, self.model)
        while len(progress.history) < epochs:
            if self.validate is not None and progress.stopped(self.config.patience):
                break
            self._run_epoch(len(progress.history))
        self.log.close()
        self.model.load_state_dict(progress.best_weights)
        return TrainingResult(
            freeze(self.model, self.items.factor_model),
            tuple(progress.history),
            progress.best_epoch,
            progress.start_score,
        )

    def _run_epoch(self, epoch: int) -> None:
        start = time.perf_counter()
        generator = np.random.default_rng([self.seed, epoch, self.group.rank, 1])
        losses, pairs = 0.0, 0
        drawn = (self.draw(rows, generator) for rows in self.batches.epoch(epoch, self.steps))
        for step, example in enumerate(one_ahead(drawn)):
            self._set_learning_rate(epoch * self.steps + step)
            loss = self._step(example)
            if not math.isfinite(loss):
                raise DataError(
                    f"the loss of epoch {epoch + 1}, step {step + 1} is {loss}, expected a finite"
                    " number; lower towers.learning_rate or features.clip"
                )
            losses += loss * example.pairs
            pairs += example.pairs
        losses, pairs_of_all = self.group.sums(losses, float(pairs))
        self._finish_epoch(epoch + 1, losses / max(pairs_of_all, 1.0), start)

    def _finish_epoch(self, epoch: int, loss: float, start: float) -> None:
        score = self._validated()
        record = EpochRecord(epoch, loss, score, time.perf_counter() - start)
        self.progress.history.append(record)
        self.progress.keep_best(epoch, score, self.model)
        self.log.write(record, self.model.popularity_weight.item())
        if self.checkpoint is not None and self.group.rank == 0:
            self.checkpoint.save(self.model, self.optimizer, self.progress)
        self.group.wait()

    def _validated(self) -> float | None:
        """The metric that rank 0 computes, on every rank."""
        if self.validate is None:
            return None
        mine = 0.0
        if self.group.rank == 0:
            mine = self.validate(freeze(self.model, self.items.factor_model), self.items)
        return self.group.sums(mine, 0.0)[0]

    def _step(self, example: "Example") -> float:
        self.optimizer.zero_grad(set_to_none=True)
        value = 0.0
        if example.pairs:
            loss = self._loss(example)
            loss.backward()  # type: ignore[no-untyped-call]
            value = loss.item()
        self.group.average_gradients(self.model, example.pairs)
        self.optimizer.step()
        return value

    def _loss(self, example: "Example") -> Tensor:
        config = self.config
        with torch.autocast("cpu", torch.bfloat16, enabled=self.reduced):
            users = self.model.embed_users(
                torch.from_numpy(example.user_factors),
                torch.from_numpy(example.user_gates),
                torch.from_numpy(example.user_features),
            )
            items = self.item_tensors.embed(
                self.model, torch.from_numpy(example.items), torch.from_numpy(example.item_kept)
            )
        if is_of_cosines(config.loss):
            # This loss takes cosines, without the popularity coordinate and the temperature.
            users, items = users[:, :-1] * config.temperature, items[:, :-1]
        negative = users @ items[: example.negatives].T
        pair_user = torch.from_numpy(example.pair_user)
        targets = items.index_select(0, torch.from_numpy(example.pair_item))
        positive = (users.index_select(0, pair_user) * targets).sum(dim=1)
        own = torch.from_numpy(example.own)
        match config.loss:
            case "sampled_softmax":
                correction = torch.full((example.negatives,), example.log_correction)
                return sampled_softmax(positive, pair_user, negative, own, correction)
            case "binary_cross_entropy":
                return binary_cross_entropy(positive, pair_user, negative, own)
            case "cosine_contrastive":
                return cosine_contrastive(positive, pair_user, negative, own)
            case _:
                assert_never(config.loss)

    def _set_learning_rate(self, step: int) -> None:
        rate = learning_rate(step, self.config.epochs * self.steps, self.config.warmup_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * rate

    def _fingerprint(self, shape: TowerShape) -> str:
        values = {
            "config": self.config.model_dump(mode="json"),
            "shape": shape.to_json(),
            "seed": self.seed,
            "rows": self.batches.manifest.rows,
            "world_size": self.group.size,
            "method": self.items.factor_model.method,
        }
        return json.dumps(values, sort_keys=True)


def reduced_precision(precision: Precision) -> bool:
    """Whether the training computes matrix products in bfloat16."""
    match precision:
        case "auto":
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


def _check_finite(features: Float32 | None) -> None:
    if features is not None and not np.isfinite(features).all():
        item = int(np.flatnonzero(~np.isfinite(features).all(axis=1))[0])
        raise DataError(
            f"the features of item {item} are not finite; build the item features again and look"
            " for infinite attributes"
        )


class _ItemTensors:
    """The items' inputs as tensors, of which each step takes some rows."""

    def __init__(self, items: ItemInputs, shape: TowerShape) -> None:
        n_items = len(items.counts)
        features = np.zeros((n_items, 0), np.float32) if items.features is None else items.features
        self.factors = torch.from_numpy(item_factor_inputs(items.factor_model))
        self.gates = torch.from_numpy(item_gates(items.factor_model, shape.gate_half_count))
        self.features = torch.from_numpy(features)
        self.images = None if items.images is None else torch.from_numpy(items.images)
        self.popularity = torch.from_numpy(popularity_inputs(items.counts))

    def embed(self, model: TowerModel, items: Tensor, kept: Tensor) -> Tensor:
        return model.embed_items(
            self.factors[items],
            self.gates[items] * kept,
            self.features[items],
            None if self.images is None else self.images[items],
            self.popularity[items],
        )


class _Group:
    """The ranks of this training; a group of one where torch.distributed was not initialised."""

    def __init__(self) -> None:
        self.together = dist.is_available() and dist.is_initialized()
        self.rank = dist.get_rank() if self.together else 0
        self.size = dist.get_world_size() if self.together else 1

    def average_gradients(self, model: TowerModel, pairs: int) -> None:
        """Replace the gradients over this rank's pairs by the mean over the pairs of all ranks."""
        if not self.together:
            return
        parameters = list(model.parameters())
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad * pairs for p in parameters]
        flat = torch.cat([*(g.reshape(-1) for g in gradients), torch.tensor([float(pairs)])])
        dist.all_reduce(flat)
        flat[:-1] /= flat[-1].clamp_min(1)
        start = 0
        for parameter in parameters:
            stop = start + parameter.numel()
            parameter.grad = flat[start:stop].view_as(parameter).clone()
            start = stop

    def sums(self, first: float, second: float) -> tuple[float, float]:
        """Two numbers, each summed over ranks."""
        if not self.together:
            return first, second
        cell = torch.tensor([first, second], dtype=torch.float64)
        dist.all_reduce(cell)
        return float(cell[0]), float(cell[1])

    def wait(self) -> None:
        """Wait until all ranks have come here."""
        if self.together:
            dist.barrier()


class _Log:
    """The TensorBoard log; without a folder nothing is logged."""

    def __init__(self, folder: str | None) -> None:
        self._writer: Any = None
        if folder is not None:
            # TensorBoard takes seconds to import, and not every training has a log.
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415

            self._writer = SummaryWriter(folder)

    def write(self, record: EpochRecord, popularity_weight: float) -> None:
        if self._writer is None:
            return
        self._writer.add_scalar("loss", record.loss, record.epoch)
        self._writer.add_scalar("seconds", record.seconds, record.epoch)
        self._writer.add_scalar("popularity_weight", popularity_weight, record.epoch)
        if record.validation_ndcg is not None:
            self._writer.add_scalar("validation_ndcg", record.validation_ndcg, record.epoch)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
