"""Train a pair of towers to rank the interactions that are taken out of users' rows.

In each epoch, each interaction becomes a target with some probability, and the user's input is the
projection of the rest of the row. So training, validation, fold-in and scoring all embed a user by
the same function of a row.
"""

from collections.abc import Iterator
from typing import Any, assert_never

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from m6rec.config.towers import TowersConfig
from m6rec.errors import DataError
from m6rec.files import AnyPlace
from m6rec.kernels.arrays.rows import Float32
from m6rec.kernels.factors.projection import FactorModel
from m6rec.towers.batches import RowBatches
from m6rec.towers.boosting import CrossFitted
from m6rec.towers.encoder import (
    PICTURE_UNITS,
    ItemInputs,
    TowerEncoder,
    item_factor_inputs,
    item_gates,
    popularity_inputs,
)
from m6rec.towers.examples import Example, ExampleDraw
from m6rec.towers.loop import (
    TrainingLoop,
    TrainingResult,
    Validate,
    adam_of,
    reduced_precision,
    schedule_of,
    weights_of,
)
from m6rec.towers.losses import (
    binary_cross_entropy,
    cosine_contrastive,
    is_of_cosines,
    sampled_softmax,
)
from m6rec.towers.model import TowerModel
from m6rec.towers.picture_training import PictureReader
from m6rec.towers.ranks import ALONE, Rank
from m6rec.towers.start import shape_of, start_model
from m6rec.towers.warm_start import EarlierTowers, take_over


def train_towers(
    batches: RowBatches,
    items: ItemInputs,
    config: TowersConfig,
    seed: int,
    validate: Validate | None = None,
    log_folder: AnyPlace | None = None,
    checkpoint_folder: AnyPlace | None = None,
    epochs: int | None = None,
    threads: int | None = None,
    earlier: EarlierTowers | None = None,
    base: CrossFitted | None = None,
    rank: Rank = ALONE,
) -> TrainingResult:
    """Train one pair of towers.

    Where there are several ranks, every one calls this with its own batches: gradients are averaged
    over the pairs of all ranks and only rank 0 validates and saves.

    Args:
        batches: this rank's training rows.
        items: factors, features and pictures of all items.
        config: sizes, schedule and loss.
        seed: of the start, the targets, the negatives and the order.
        validate: called after each epoch; None trains to the end and keeps the last epoch.
        log_folder: where TensorBoard's log is written; None writes none.
        checkpoint_folder: where the state after each epoch is kept and found again; None keeps
            none.
        epochs: stop after this many epochs of the schedule of `config.epochs`; None takes all of
            them. A final fit takes the best epoch of the selection fit, as validation chose it.
        threads: how many threads torch has in this process; None changes nothing.
        earlier: towers to go on from; None starts from the factors.
        base: a model on whose logits those of the towers are added in training.
        rank: this one, among all that train together.

    Raises:
        DataError: the rows are not those of the manifest, or the loss is not finite.
        ArtifactError: the checkpoint is that of another training.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    schedule = schedule_of(config, epochs, earlier)
    trainee = _SetTowers(batches, items, config, seed, base, rank.device)
    if earlier is not None:
        take_over(trainee.model, earlier)
    loop = TrainingLoop(trainee, items, schedule, validate, log_folder, checkpoint_folder, rank)
    return loop.run()


def freeze(
    model: TowerModel, factor_model: FactorModel, picture_units: Tensor | None = None
) -> TowerEncoder:
    """The encoder with a copy of the model's weights, and of what it makes of all pictures."""
    weights = weights_of(model)
    if picture_units is not None:
        weights[PICTURE_UNITS] = picture_units.cpu().numpy().copy()
    return TowerEncoder(model.shape.to_json(), weights, factor_model)


class _SetTowers:
    """Towers that see a history as a set, while they are trained."""

    clip: float | None = None

    def __init__(
        self,
        batches: RowBatches,
        items: ItemInputs,
        config: TowersConfig,
        seed: int,
        base: CrossFitted | None,
        device: torch.device,
    ) -> None:
        self.batches = batches
        self.items = items
        self.config = config
        self.seed = seed
        self.device = device
        self.reduced = reduced_precision(config.precision, device)
        _check_finite(items.features)
        self.steps = batches.manifest.steps_per_epoch(
            config.users_per_batch, config.minimum_steps_per_epoch
        )
        manifest = batches.manifest
        shape = shape_of(items, manifest.features, config, manifest.modalities)
        self.model: TowerModel = start_model(shape, items, config, seed).to(device)
        self.optimizers = [adam_of(self.model.parameters(), config)]
        self.draw = ExampleDraw(items, shape, config, base)
        self.item_tensors = _ItemTensors(items, self.model, config, device)

    def examples(self, epoch: int, rank: int) -> Iterator[Example]:
        """The examples of an epoch, each from a batch of rows."""
        generator = np.random.default_rng([self.seed, epoch, rank, 1])
        # What the network makes of the pictures that a step does not read.
        self.item_tensors.all_units()
        return (self.draw(rows, generator) for rows in self.batches.epoch(epoch, self.steps))

    def freeze(self) -> TowerEncoder:
        """The encoder with a copy of the model's weights."""
        return freeze(self.model, self.items.factor_model, self.item_tensors.all_units())

    def fingerprint(self) -> dict[str, Any]:
        """What a checkpoint and the training that resumes from it must have in common."""
        return {
            "config": self.config.model_dump(mode="json"),
            "shape": self.model.shape.to_json(),
            "seed": self.seed,
            "rows": sum(self.batches.manifest.rows),
            "method": self.items.factor_model.method,
        }

    def loss(self, example: Example) -> Tensor:
        """The configured loss over the example's pairs, and that of pictures if there are any."""
        config = self.config
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.reduced):
            users = self.model.embed_users(
                self._tensor(example.user_factors),
                self._tensor(example.user_gates),
                self._tensor(example.user_features),
                self._tensor(example.user_modalities),
            )
            items, misplaced = self.item_tensors.embed(example)
        if is_of_cosines(config.loss):
            # This loss takes cosines, without the popularity coordinate and the temperature.
            users, items = users[:, :-1] * config.temperature, items[:, :-1]
        loss = self._ranking_loss(example, users, items)
        return loss if misplaced is None else loss + config.images.alignment * misplaced

    def _ranking_loss(self, example: Example, users: Tensor, items: Tensor) -> Tensor:
        config = self.config
        negative = users @ items[: example.negatives].T
        pair_user = self._tensor(example.pair_user)
        targets = items.index_select(0, self._tensor(example.pair_item))
        positive = (users.index_select(0, pair_user) * targets).sum(dim=1)
        if example.base is not None:
            base = self._tensor(example.base)
            negative = negative + base[:, : example.negatives]
            positive = positive + base[pair_user, self._tensor(example.pair_item)]
        own = self._tensor(example.own)
        match config.loss:
            case "sampled_softmax":
                correction = torch.full(
                    (example.negatives,), example.log_correction, device=self.device
                )
                return sampled_softmax(
                    positive, pair_user, negative, own, correction, config.trimmed
                )
            case "binary_cross_entropy":
                return binary_cross_entropy(positive, pair_user, negative, own, config.trimmed)
            case "cosine_contrastive":
                return cosine_contrastive(positive, pair_user, negative, own, config.trimmed)
            case _:
                assert_never(config.loss)

    def _tensor(self, array: npt.NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(self.device)


def _check_finite(features: Float32 | None) -> None:
    if features is not None and not np.isfinite(features).all():
        item = int(np.flatnonzero(~np.isfinite(features).all(axis=1))[0])
        raise DataError(
            f"the features of item {item} are not finite; build the item features again and look"
            " for infinite attributes"
        )


class _ItemTensors:
    """The items' inputs as tensors, of which each step takes some rows."""

    def __init__(
        self, items: ItemInputs, model: TowerModel, config: TowersConfig, device: torch.device
    ) -> None:
        n_items = len(items.counts)
        features = np.zeros((n_items, 0), np.float32) if items.features is None else items.features
        self.device = device
        self.factors = self._tensor(item_factor_inputs(items.factor_model))
        self.gates = self._tensor(item_gates(items.factor_model, model.shape.gate_half_count))
        self.features = self._tensor(features)
        self.popularity = self._tensor(popularity_inputs(items.counts))
        self.model = model
        self.is_aligned = not {"features", "gate"} & set(config.without)
        branches = model.item.pictures
        self.pictures = (
            None
            if branches is None
            else PictureReader(items.pictures, branches, config.images, device)
        )

    def all_units(self) -> Tensor | None:
        """What the branches make of the pictures of all items, where there are any."""
        return None if self.pictures is None else self.pictures.units()

    def embed(self, example: Example) -> tuple[Tensor, Tensor | None]:
        """The embeddings of the example's items, and the alignment loss of its pictures.

        The latter is how far the items whose pictures are read in this step lie, when they are
        embedded without their factors, from where they lie with them. It is None where no pictures
        are read, or nothing stands in for factors.
        """
        items = self._tensor(example.items)
        units, misplaced = None, None
        if self.pictures is not None:
            units = self.pictures.units_in_step(example.items, example.fresh, example.augmentation)
            if len(example.fresh) and self.is_aligned:
                fresh = self._tensor(example.fresh)
                misplaced = self._misplaced(items[fresh], units[fresh])
        embedded = self.model.embed_items(
            self.factors[items],
            self.gates[items] * self._tensor(example.item_kept),
            self.features[items],
            units,
            self.popularity[items],
            self._tensor(example.item_modalities),
        )
        return embedded, misplaced

    def _misplaced(self, items: Tensor, units: Tensor) -> Tensor:
        """1 - cosine of items' directions with and without their factors, by evidence."""
        factors, features = self.factors[items], self.features[items]
        popularity, gates = self.popularity[items], self.gates[items]
        alone = self.model.embed_items(factors, 0 * gates, features, units, popularity)
        with torch.no_grad():
            whole = self.model.embed_items(factors, gates, features, units, popularity)
        cosines = (alone[:, :-1] * whole[:, :-1]).sum(dim=1)
        return (gates * (1 - cosines)).sum() / gates.sum().clamp_min(1e-6)

    def _tensor(self, array: npt.NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(self.device)
