"""Training of a pair of towers: histories left over after an epoch's targets give the input.

Each epoch, each interaction becomes a target with some probability, and the user's input is the
projection of the rest of the row. So training, validation, fold-in and scoring all embed a user by
the same function of a row. After each epoch the frozen encoder is validated; the best epoch is kept
and training stops when it has not improved for some epochs.

Every epoch's randomness comes from (seed, epoch, rank), and the state after each epoch is saved,
so that a training that was killed ends as if it had not been.
"""

import json
import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from m6rec.config import TowerPart, TowersConfig
from m6rec.errors import ArtifactError, DataError
from m6rec.kernels.projection import FactorModel
from m6rec.kernels.rows import Float32, Int64, Rows
from m6rec.towers.batches import RowBatches, TrainingRows, take_rows
from m6rec.towers.encoder import (
    TowerEncoder,
    gate,
    item_gates,
    item_inputs,
    popularity_inputs,
    user_inputs,
)
from m6rec.towers.losses import binary_cross_entropy, cosine_contrastive, sampled_softmax
from m6rec.towers.model import TowerModel, TowerShape

CHECKPOINT_FILE = "last.safetensors"
FINAL_LEARNING_RATE_SHARE = 0.05
ADAM_BETAS = (0.9, 0.98)
STAND_IN_RIDGE = 1.0
LEAST_HALF_COUNT = 1e-6
"""A gate that is 1 from the first interaction on, which is no gate."""

# What is held fixed where a part is taken out: zeros add nothing, and W stays the identity.
PARAMETERS_OF_PART: dict[TowerPart, tuple[str, ...]] = {
    "mlp": ("user.first", "user.last", "item.first", "item.last"),
    "shared": ("shared",),
    "features": ("user.feature", "user.stand_in", "item.feature", "item.stand_in", "item.image"),
    "gate": (),
    "popularity": ("popularity_weight",),
}
CPU_FLAGS = Path("/proc/cpuinfo")
BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}


@dataclass(frozen=True)
class ItemInputs:
    """The item side of a training.

    Attributes:
        factor_model: factors of M items, and the projection of rows onto them.
        features: float32 [M, features], or None.
        images: uint8 [M, 3, size, size], or None.
    """

    factor_model: FactorModel
    features: Float32 | None = None
    images: npt.NDArray[np.uint8] | None = None

    @property
    def counts(self) -> Int64:
        """int64 [M]: interactions of each item."""
        return self.factor_model.interaction_counts


class Validate(Protocol):
    """A ranking metric of frozen towers; higher is better."""

    def __call__(self, encoder: TowerEncoder, items: ItemInputs) -> float:
        """The metric."""


@dataclass(frozen=True)
class EpochRecord:
    """What an epoch cost and gave; `validation_ndcg` is None where nothing was validated."""

    epoch: int
    loss: float
    validation_ndcg: float | None
    seconds: float


@dataclass(frozen=True)
class TrainingResult:
    """The best epoch's towers, frozen, and the course of the training.

    Attributes:
        encoder: the towers of `best_epoch`.
        history: a record an epoch.
        best_epoch: how many epochs gave the best towers, from 1; 0 where the untrained start,
            which is the factor model, was better than all.
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
        seed: for the start, the targets, the negatives and the order.
        validate: called after each epoch; None trains to the end and keeps the last epoch.
        log_folder: for TensorBoard.
        checkpoint_folder: where the state after each epoch is kept, and found again.
        epochs: stop after so many, on the schedule of `config.epochs`; None: `config.epochs`.
            A final fit takes the best epoch of the selection fit, and so follows the procedure
            that validation chose.
        threads: of torch in this process.

    Raises:
        DataError: the rows are not those of the manifest, or the loss is not finite.
        ArtifactError: the checkpoint is of another training.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    training = _Training(batches, items, config, seed, validate, log_folder, checkpoint_folder)
    return training.run(config.epochs if epochs is None else epochs)


def shape_of(items: ItemInputs, user_features: int, config: TowersConfig) -> TowerShape:
    """The sizes of the towers for these inputs."""
    item_features = 0 if items.features is None else items.features.shape[1]
    image_size = 0 if items.images is None else items.images.shape[-1]
    # A gate decides between factors and features.
    gated = "gate" not in config.without and bool(user_features or item_features or image_size)
    return TowerShape(
        rank=items.factor_model.factors.shape[1],
        user_features=user_features,
        item_features=item_features,
        image_size=image_size,
        hidden=config.hidden,
        feature_hidden=config.feature_hidden,
        temperature=config.temperature,
        gate_half_count=config.gate_half_count if gated else LEAST_HALF_COUNT,
    )


def freeze(model: TowerModel, factor_model: FactorModel) -> TowerEncoder:
    """The encoder with a copy of the model's weights."""
    weights = {name: value.detach().numpy().copy() for name, value in model.state_dict().items()}
    return TowerEncoder(model.shape.to_json(), weights, factor_model)


@dataclass
class _Progress:
    """What a checkpoint keeps beside the model and the optimiser."""

    history: list[EpochRecord] = field(default_factory=list)
    start_score: float | None = None
    best_epoch: int = 0
    best_score: float = -math.inf
    best_weights: dict[str, Tensor] = field(default_factory=dict)

    def keep_best(self, epoch: int, score: float | None, model: TowerModel) -> None:
        if score is not None and score <= self.best_score:
            return
        self.best_epoch = epoch
        self.best_score = -math.inf if score is None else score
        self.best_weights = {
            name: value.detach().clone() for name, value in model.state_dict().items()
        }

    def stopped(self, patience: int) -> bool:
        return len(self.history) - self.best_epoch >= patience


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
        self.model = _start_model(shape, items, config, seed)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(),
            lr=config.learning_rate,
            betas=ADAM_BETAS,
            weight_decay=config.weight_decay,
        )
        self.draw = _ExampleDraw(items, shape, config)
        self.item_tensors = _ItemTensors(items, shape)
        self.progress = _Progress()
        self.log = _Log(log_folder if self.group.rank == 0 else None)
        self.checkpoint = (
            None
            if checkpoint_folder is None
            else _Checkpoint(Path(checkpoint_folder), self._fingerprint(shape))
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
        for step, example in enumerate(_one_ahead(drawn)):
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
        """The metric as rank 0 computes it, on every rank."""
        if self.validate is None:
            return None
        mine = 0.0
        if self.group.rank == 0:
            mine = self.validate(freeze(self.model, self.items.factor_model), self.items)
        return self.group.sums(mine, 0.0)[0]

    def _step(self, example: "_Example") -> float:
        self.optimizer.zero_grad(set_to_none=True)
        value = 0.0
        if example.pairs:
            loss = self._loss(example)
            loss.backward()  # type: ignore[no-untyped-call]
            value = loss.item()
        self.group.average_gradients(self.model, example.pairs)
        self.optimizer.step()
        return value

    def _loss(self, example: "_Example") -> Tensor:
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
        if config.loss == "cosine_contrastive":
            # The loss is on cosines: without the popularity coordinate and the temperature.
            users, items = users[:, :-1] * config.temperature, items[:, :-1]
        negative = users @ items[: example.negatives].T
        pair_user = torch.from_numpy(example.pair_user)
        targets = items.index_select(0, torch.from_numpy(example.pair_item))
        positive = (users.index_select(0, pair_user) * targets).sum(dim=1)
        own = torch.from_numpy(example.own)
        if config.loss == "sampled_softmax":
            correction = torch.full((example.negatives,), example.log_correction)
            return sampled_softmax(positive, pair_user, negative, own, correction)
        if config.loss == "binary_cross_entropy":
            return binary_cross_entropy(positive, pair_user, negative, own)
        return cosine_contrastive(positive, pair_user, negative, own)

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


def reduced_precision(precision: str) -> bool:
    """Whether matrix products of the training are in bfloat16."""
    if precision == "auto":
        flags = set(CPU_FLAGS.read_text().split()) if CPU_FLAGS.is_file() else set[str]()
        return bool(flags & BFLOAT16_FLAGS)
    return precision == "bfloat16"


def learning_rate(step: int, total_steps: int, warmup_steps: int) -> float:
    """The share of the peak rate at a step (from 0): a linear rise, then a cosine fall to 5%."""
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


def _start_model(
    shape: TowerShape, items: ItemInputs, config: TowersConfig, seed: int
) -> TowerModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # Popularity has no part in a loss on cosines and would enter the scores untrained.
        popularity = 0.0 if config.loss == "cosine_contrastive" else 1.0
        model = TowerModel(shape, popularity)
    if "features" not in config.without:
        _start_stand_in(model, items, shape)
    for part in config.without:
        _take_out(model, part)
    return model


def _take_out(model: TowerModel, part: TowerPart) -> None:
    for name, parameter in model.named_parameters():
        if name.startswith(PARAMETERS_OF_PART[part]):
            parameter.requires_grad_(False)
            if part != "shared":
                parameter.zero_()


def _start_stand_in(model: TowerModel, items: ItemInputs, shape: TowerShape) -> None:
    if items.features is not None and model.item.stand_in is not None:
        fitted = _ridge_stand_in(items, items.features, shape.gate_half_count)
        with torch.no_grad():
            model.item.stand_in.weight.copy_(torch.from_numpy(fitted.T))


def _ridge_stand_in(items: ItemInputs, features: Float32, gate_half_count: float) -> Float32:
    """The linear map from features to factors by ridge regression over items, weighted by the gate.

    float32 [features, rank]. The penalty is in units of the mean squared length of a feature.
    """
    weight = item_gates(items.factor_model, gate_half_count).astype(np.float64)[:, None]
    x = features.astype(np.float64)
    gram = x.T @ (weight * x)
    penalty = STAND_IN_RIDGE * (np.trace(gram) / len(gram) + 1e-6)
    np.fill_diagonal(gram, gram.diagonal() + penalty)
    moments = x.T @ (weight * item_inputs(items.factor_model))
    return np.linalg.solve(gram, moments).astype(np.float32)


@dataclass(frozen=True)
class _Example:
    """The arrays of one step.

    Attributes:
        user_factors, user_gates, user_features: the users' inputs from what is left of their rows.
        items: int64; the items embedded in this step, the negatives first.
        item_kept: float32; 0 where an item's factor is dropped, else 1.
        negatives: how many of `items` are negatives.
        pair_user, pair_item: int64 [pairs]; row of the user, and place in `items`.
        own: bool [users, negatives].
        log_correction: log(M / negatives).
    """

    user_factors: Float32
    user_gates: Float32
    user_features: Float32
    items: Int64
    item_kept: Float32
    negatives: int
    pair_user: Int64
    pair_item: Int64
    own: npt.NDArray[np.bool_]
    log_correction: float

    @property
    def pairs(self) -> int:
        return len(self.pair_user)


class _ExampleDraw:
    """Draws targets, negatives and dropout for a batch of rows."""

    def __init__(self, items: ItemInputs, shape: TowerShape, config: TowersConfig) -> None:
        self.factor_model = items.factor_model
        self.n_items = len(items.counts)
        self.config = config
        self.gate_half_count = shape.gate_half_count
        # Only features can stand in for a factor that is dropped.
        dropout = 0.0 if {"features", "gate"} & set(config.without) else config.input_dropout
        self.user_dropout = dropout if shape.user_features else 0.0
        self.item_dropout = dropout if shape.item_features or shape.image_size else 0.0
        # An item that nobody has is no evidence of what users leave.
        warm = np.flatnonzero(items.counts > 0)
        self._warm = warm if len(warm) else np.arange(self.n_items)
        self.negatives = min(config.negatives, len(self._warm))
        self._place = np.full(self.n_items, -1, dtype=np.int64)

    def __call__(self, batch: TrainingRows, generator: np.random.Generator) -> _Example:
        usable, rest, targets = split_targets(batch.rows, self.config.target_share, generator)
        whole = take_rows(batch.rows, usable)
        # Without replacement; in a small catalogue these are all items, and the loss is exact.
        negatives = generator.choice(self._warm, self.negatives, replace=False, shuffle=False)
        items, pair_item = self._place_items(negatives, targets.item_indices)
        return _Example(
            user_factors=user_inputs(self.factor_model, rest),
            user_gates=gate(rest.counts, self.gate_half_count)
            * _kept(generator, len(rest), self.user_dropout),
            user_features=batch.features[usable],
            items=items,
            item_kept=_kept(generator, len(items), self.item_dropout),
            negatives=self.negatives,
            pair_user=np.repeat(np.arange(len(targets)), targets.counts),
            pair_item=pair_item,
            own=self._own(whole, negatives),
            log_correction=math.log(len(self._warm) / self.negatives),
        )

    def _place_items(self, negatives: Int64, targets: npt.NDArray[np.int32]) -> tuple[Int64, Int64]:
        """The negatives and then the other targets, and each target's place among them."""
        self._place[negatives] = np.arange(len(negatives))
        others = np.unique(targets[self._place[targets] < 0]).astype(np.int64)
        self._place[others] = len(negatives) + np.arange(len(others))
        places = self._place[targets]
        items = np.concatenate([negatives, others])
        self._place[items] = -1
        return items, places

    def _own(self, rows: Rows, negatives: Int64) -> npt.NDArray[np.bool_]:
        self._place[negatives] = np.arange(len(negatives))
        places = self._place[rows.item_indices]
        self._place[negatives] = -1
        own = np.zeros((len(rows), len(negatives)), dtype=np.bool_)
        users = np.repeat(np.arange(len(rows)), rows.counts)
        own[users[places >= 0], places[places >= 0]] = True
        return own


def split_targets(
    rows: Rows, target_share: float, generator: np.random.Generator
) -> tuple[Int64, Rows, Rows]:
    """Make each interaction a target with probability `target_share`.

    Returns:
        int64 [n]: the places of the rows that have both a target and something left over;
        of those rows, what is left over; and the targets.
    """
    is_target = generator.random(rows.entries) < target_share
    row = np.repeat(np.arange(len(rows)), rows.counts)
    targets = np.bincount(row[is_target], minlength=len(rows))
    usable = (targets > 0) & (targets < rows.counts)
    kept = usable[row]
    return (
        np.flatnonzero(usable),
        _entries(rows, usable, row, kept & ~is_target),
        _entries(rows, usable, row, kept & is_target),
    )


def _entries(
    rows: Rows,
    usable: npt.NDArray[np.bool_],
    row: Int64,
    chosen: npt.NDArray[np.bool_],
) -> Rows:
    counts = np.bincount(row[chosen], minlength=len(rows))[usable]
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Rows(rows.user_index[usable], offsets, rows.item_indices[chosen], rows.weights[chosen])


def _kept(generator: np.random.Generator, n: int, dropout: float) -> Float32:
    """1 with probability 1 - dropout, else 0 (DropoutNet, Volkovs et al. 2017)."""
    return (generator.random(n) >= dropout).astype(np.float32)


def _one_ahead(examples: Iterator[_Example]) -> Iterator[_Example]:
    """The same examples, the next drawn on a thread while the caller works on this one."""
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(next, examples, None)
        while (example := pending.result()) is not None:
            pending = pool.submit(next, examples, None)
            yield example


class _ItemTensors:
    """The items' inputs as tensors, from which each step takes some rows."""

    def __init__(self, items: ItemInputs, shape: TowerShape) -> None:
        n_items = len(items.counts)
        features = np.zeros((n_items, 0), np.float32) if items.features is None else items.features
        self.factors = torch.from_numpy(item_inputs(items.factor_model))
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
        """Replace the gradients of the mean over own pairs by those over all ranks' pairs."""
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
        """Let no rank go on before all have come here."""
        if self.together:
            dist.barrier()


class _Log:
    """The TensorBoard log; of nothing where there is no folder."""

    def __init__(self, folder: str | None) -> None:
        self._writer: Any = None
        if folder is not None:
            # TensorBoard takes seconds to import and not every training has a log.
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


class _Checkpoint:
    """The state after the last whole epoch: one safetensors file with JSON in its header."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self._file = folder / CHECKPOINT_FILE
        self._fingerprint = fingerprint

    def save(
        self, model: TowerModel, optimizer: torch.optim.Optimizer, progress: _Progress
    ) -> None:
        tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in progress.best_weights.items()}
        for place, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{place}.{name}": value for name, value in state.items()}
        metadata = {
            "fingerprint": self._fingerprint,
            "history": json.dumps([asdict(record) for record in progress.history]),
            "start_score": json.dumps(progress.start_score),
            "best_epoch": str(progress.best_epoch),
            "best_score": repr(progress.best_score),
        }
        self._file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self._file.with_suffix(".unfinished")
        save_file({k: v.contiguous() for k, v in tensors.items()}, unfinished, metadata)
        unfinished.replace(self._file)

    def restore(
        self, model: TowerModel, optimizer: torch.optim.Optimizer, progress: _Progress
    ) -> None:
        """Continue from the saved state, where there is one."""
        if not self._file.is_file():
            return
        with safe_open(str(self._file), "pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if metadata["fingerprint"] != self._fingerprint:
            raise ArtifactError(
                f"checkpoint {self._file} is of a training with other settings or rows:"
                f" {metadata['fingerprint']}, expected {self._fingerprint}; use a new run id or"
                " delete the folder"
            )
        model.load_state_dict(_with_prefix(tensors, "model."))
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in _with_prefix(tensors, "optimizer.").items():
            place, key = name.split(".", 1)
            state.setdefault(int(place), {})[key] = value
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": state, "param_groups": groups})
        progress.history = [EpochRecord(**record) for record in json.loads(metadata["history"])]
        progress.start_score = json.loads(metadata["start_score"])
        progress.best_epoch = int(metadata["best_epoch"])
        progress.best_score = float(metadata["best_score"])
        progress.best_weights = _with_prefix(tensors, "best.")


def _with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
