"""Make the towers before training: their sizes, and weights that rank as the factors do.

Also find the scale of a base model to whose logits those of the towers are added.
"""

from dataclasses import replace

import numpy as np
import torch

from m6rec.config.towers import TowerPart, TowersConfig
from m6rec.kernels.arrays.rows import Float32
from m6rec.towers.batches import RowBatches
from m6rec.towers.boosting import CrossFitted, best_scale
from m6rec.towers.encoder import (
    ItemInputs,
    item_factor_inputs,
    item_gates,
)
from m6rec.towers.examples import ExampleDraw
from m6rec.towers.losses import is_of_cosines
from m6rec.towers.modalities import Modalities, modality_shares, pooled_columns, split_features
from m6rec.towers.model import TowerModel, TowerShape

STAND_IN_RIDGE = 1.0
LEAST_HALF_COUNT = 1e-6
"""With this half count the gate is 1 from the first interaction on, so there is no gate."""

# The parameters that are held fixed where a part is taken out: W at the identity, the others at
# zero, where they add nothing.
PARAMETERS_OF_PART: dict[TowerPart, tuple[str, ...]] = {
    "mlp": ("user.first", "user.last", "item.first", "item.last"),
    "shared": ("shared",),
    "features": (
        "user.feature",
        "user.stand_in",
        "user.modalit",
        "item.feature",
        "item.stand_in",
        "item.modalit",
        "item.picture",
    ),
    "gate": (),
    "popularity": ("popularity_weight",),
}


def shape_of(
    items: ItemInputs,
    user_features: int,
    config: TowersConfig,
    user_modalities: Modalities = (),
) -> TowerShape:
    """The sizes of the towers for these inputs."""
    item_features = 0 if items.features is None else items.features.shape[1]
    # A gate decides between factors and features, so it needs features or pictures.
    described = bool(user_features or item_features or items.pictures)
    gated = "gate" not in config.without and described
    return TowerShape(
        rank=items.factor_model.factors.shape[1],
        user_features=user_features,
        item_features=item_features,
        hidden=config.hidden,
        feature_hidden=config.feature_hidden,
        temperature=config.temperature,
        gate_half_count=config.gate_half_count if gated else LEAST_HALF_COUNT,
        user_modalities=user_modalities,
        item_modalities=items.modalities,
        picture_frames=tuple(one.frames for one in items.pictures),
        picture_channels=config.images.channels,
        picture_blocks=config.images.blocks,
    )


def start_model(
    shape: TowerShape, items: ItemInputs, config: TowersConfig, seed: int
) -> TowerModel:
    """The untrained towers, which rank as the factor model does.

    Args:
        shape: the sizes.
        items: their features and factors give the start of the items' stand-in.
        config: the loss, and the parts that are taken out.
        seed: of the random weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # A loss on cosines does not train the weight of popularity, so it must not enter scores.
        popularity = 0.0 if is_of_cosines(config.loss) else 1.0
        model = TowerModel(shape, popularity)
    if "features" not in config.without:
        _start_stand_in(model, items, shape)
    for part in config.without:
        _take_out(model, part)
    return model


def calibrated(
    base: CrossFitted, batches: RowBatches, items: ItemInputs, config: TowersConfig, seed: int
) -> CrossFitted:
    """The base with the scale by which its own logits explain a batch of rows best."""
    manifest = batches.manifest
    shape = shape_of(items, manifest.features, config, manifest.modalities)
    steps = manifest.steps_per_epoch(config.users_per_batch, config.minimum_steps_per_epoch)
    first = next(iter(batches.epoch(0, steps)))
    example = ExampleDraw(items, shape, config, base)(first, np.random.default_rng([seed, 3]))
    if example.base is None or not example.pairs:
        return base
    return replace(base, scale=best_scale(example.base, example.pair_user, example.pair_item))


def _take_out(model: TowerModel, part: TowerPart) -> None:
    for name, parameter in model.named_parameters():
        if name.startswith(PARAMETERS_OF_PART[part]):
            parameter.requires_grad_(False)
            if part != "shared":
                parameter.zero_()


def _start_stand_in(model: TowerModel, items: ItemInputs, shape: TowerShape) -> None:
    if items.features is None:
        return
    plain, columns = split_features(items.features, shape.item_modalities)
    read = [plain]
    if columns:
        pooled, present = pooled_columns(columns, {})
        others = [one.present[:, None] for one in items.pictures]
        weights = modality_shares(np.hstack([present, *others]))
        read += [each * weights[:, c : c + 1] for c, each in enumerate(pooled)]
    features = np.hstack(read) if columns else plain
    fitted = torch.from_numpy(_ridge_stand_in(items, features, shape.gate_half_count).T)
    with torch.no_grad():
        if model.item.stand_in is not None:
            model.item.stand_in.weight.copy_(fitted[:, : plain.shape[1]])
        if model.item.modality_stand_in is not None:
            model.item.modality_stand_in.weight.copy_(fitted[:, plain.shape[1] :])


def _ridge_stand_in(items: ItemInputs, features: Float32, gate_half_count: float) -> Float32:
    """The linear map from features to factors: float32 [features, rank].

    It is a ridge regression over items, weighted by their gates. The penalty is in units of the
    mean squared length of a feature.
    """
    weight = item_gates(items.factor_model, gate_half_count).astype(np.float64)[:, None]
    x = features.astype(np.float64)
    gram = x.T @ (weight * x)
    penalty = STAND_IN_RIDGE * (np.trace(gram) / len(gram) + 1e-6)
    np.fill_diagonal(gram, gram.diagonal() + penalty)
    moments = x.T @ (weight * item_factor_inputs(items.factor_model))
    return np.linalg.solve(gram, moments).astype(np.float32)
