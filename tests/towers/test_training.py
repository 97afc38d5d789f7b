"""Training learns, stops, and goes on after a kill as if nothing had been."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from m6rec.config.towers import TowersConfig
from m6rec.errors import DataError
from m6rec.kernels.arrays.contexts import NO_CONTEXTS
from m6rec.kernels.arrays.rows import Float32, Rows
from m6rec.kernels.factors.projection import FactorModel
from m6rec.towers.batches import ArrowRowBatches
from m6rec.towers.encoder import ItemInputs, TowerEncoder, gate
from m6rec.towers.examples import split_targets
from m6rec.towers.loop import TrainingResult, Validate, learning_rate
from m6rec.towers.row_files import Manifest
from m6rec.towers.training import train_towers
from m6rec.towers.warm_start import EarlierTowers, FeatureMap
from tests.towers.coloured import COLOURS, N_ITEMS, validation_of, write_files

CONFIG = TowersConfig(
    hidden=16,
    feature_hidden=8,
    epochs=6,
    users_per_batch=16,
    negatives=40,
    learning_rate=0.01,
    input_dropout=0.3,
    patience=10,
)


class KilledError(Exception):
    """Stands for the end of the process."""


@pytest.fixture
def items(factor_model: FactorModel, item_features: Float32) -> ItemInputs:
    return ItemInputs(factor_model, item_features)


def train(
    manifest: Manifest,
    items: ItemInputs,
    config: TowersConfig = CONFIG,
    validate: Validate | None = None,
    **options: Any,
) -> TrainingResult:
    batches = ArrowRowBatches(manifest, seed=5)
    return train_towers(batches, items, config, 5, validate, threads=1, **options)


def matched(places: Iterable[int | None], before: int) -> FeatureMap:
    """Features of which earlier towers knew those with a place."""
    rows = np.vstack([np.eye(before, dtype=np.float32), np.zeros(before, np.float32)])
    return FeatureMap(rows[[before if place is None else place for place in places]])


class Scores:
    """A validation that gives the listed values in turn."""

    def __init__(self, *values: float) -> None:
        self.values = list(values)

    def __call__(self, encoder: TowerEncoder, items: ItemInputs) -> float:
        return self.values.pop(0)


@pytest.mark.parametrize("loss", ["sampled_softmax", "binary_cross_entropy", "cosine_contrastive"])
def test_each_loss_falls(manifest: Manifest, items: ItemInputs, loss: str) -> None:
    config = CONFIG.model_copy(update={"loss": loss})
    history = train(manifest, items, config).history
    assert history[-1].loss < history[0].loss


def test_a_loss_that_is_not_known_is_not_trained_as_another(
    manifest: Manifest, items: ItemInputs
) -> None:
    with pytest.raises(AssertionError, match="hinge"):
        train(manifest, items, CONFIG.model_copy(update={"loss": "hinge"}))


def test_training_beats_the_factor_model_that_it_starts_from(
    rows: Rows, user_features: Float32, items: ItemInputs, tmp_path: Path
) -> None:
    generator = np.random.default_rng(1)
    usable, kept, held = split_targets(rows, 0.2, generator)
    manifest = write_files(tmp_path, kept, user_features[usable], files=2, world_size=1)
    validate = validation_of(kept, held, user_features[usable], k=5)
    result = train(manifest, items, validate=validate)
    best = max(record.validation_ndcg or 0.0 for record in result.history)
    assert result.start_ndcg is not None
    assert best > result.start_ndcg + 0.02
    assert validate(result.encoder, items) == pytest.approx(best, abs=1e-6)


def test_a_cold_item_is_placed_by_its_features(manifest: Manifest, items: ItemInputs) -> None:
    """An item without factor and count lies nearest to the warm items of its colour."""
    trained = train(manifest, items).encoder
    cold = list(range(8, 8 + COLOURS))
    model = items.factor_model
    factors, counts = model.factors.copy(), model.interaction_counts.copy()
    factors[cold], counts[cold] = 0, 0
    encoder = replace(
        trained, factor_model=replace(model, factors=factors, interaction_counts=counts)
    )
    directions = encoder.encode_items(items.features)[:, :-1]
    warm = np.setdiff1d(np.arange(2, N_ITEMS), cold)
    for item in cold:
        likeness = directions[warm] @ directions[item]
        same = warm % COLOURS == item % COLOURS
        assert likeness[same].mean() > likeness[~same].mean() + 0.3


def test_the_same_seed_gives_the_same_towers_and_another_seed_others(
    manifest: Manifest, items: ItemInputs, rows: Rows, user_features: Float32
) -> None:
    def users(seed: int) -> Float32:
        batches = ArrowRowBatches(manifest, seed=seed)
        config = CONFIG.model_copy(update={"epochs": 2})
        encoder = train_towers(batches, items, config, seed, threads=1).encoder
        return encoder.encode_users(rows, user_features)

    first = users(5)
    np.testing.assert_array_equal(first, users(5))
    assert np.abs(first - users(6)).max() > 1e-3


def test_a_killed_training_ends_as_if_it_had_not_been_killed(
    manifest: Manifest,
    items: ItemInputs,
    rows: Rows,
    user_features: Float32,
    tmp_path: Path,
) -> None:
    scores = (0.1, 0.2, 0.5, 0.3, 0.4, 0.35, 0.3)
    whole = train(manifest, items, validate=Scores(*scores))
    calls = 0

    def killing(encoder: TowerEncoder, items: ItemInputs) -> float:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise KilledError
        return scores[calls - 1]

    with pytest.raises(KilledError):
        train(manifest, items, validate=killing, checkpoint_folder=str(tmp_path))
    resumed = train(manifest, items, validate=Scores(*scores[4:]), checkpoint_folder=str(tmp_path))
    assert resumed.best_epoch == whole.best_epoch == 2
    assert [r.loss for r in resumed.history] == [r.loss for r in whole.history]
    np.testing.assert_array_equal(
        resumed.encoder.encode_users(rows, user_features),
        whole.encoder.encode_users(rows, user_features),
    )


def test_a_finished_training_is_not_run_again(
    manifest: Manifest, items: ItemInputs, tmp_path: Path
) -> None:
    first = train(manifest, items, checkpoint_folder=str(tmp_path), epochs=2)
    again = train(manifest, items, checkpoint_folder=str(tmp_path), epochs=2)
    assert again.history == first.history


def test_a_checkpoint_of_other_settings_is_passed_over(
    manifest: Manifest, items: ItemInputs, tmp_path: Path
) -> None:
    train(manifest, items, checkpoint_folder=str(tmp_path), epochs=1)
    other = CONFIG.model_copy(update={"learning_rate": 0.02})
    anew = train(manifest, items, other, checkpoint_folder=str(tmp_path), epochs=1)
    alone = train(manifest, items, other, epochs=1)
    assert [record.loss for record in anew.history] == [record.loss for record in alone.history]


def test_training_stops_when_validation_has_not_improved_for_the_patience(
    manifest: Manifest, items: ItemInputs
) -> None:
    config = CONFIG.model_copy(update={"patience": 2})
    result = train(manifest, items, config, Scores(0.1, 0.3, 0.2, 0.29))
    assert len(result.history) == 3
    assert result.best_epoch == 1


def test_towers_that_never_beat_the_start_are_the_start(
    manifest: Manifest, items: ItemInputs
) -> None:
    config = CONFIG.model_copy(update={"patience": 2})
    result = train(manifest, items, config, Scores(0.5, 0.3, 0.2))
    assert result.best_epoch == 0
    assert not result.encoder.weights["user.last.weight"].any()


def test_the_best_epochs_towers_are_those_of_a_training_that_stops_there(
    manifest: Manifest, items: ItemInputs
) -> None:
    chosen = train(manifest, items, validate=Scores(0.1, 0.2, 0.3, 0.25, 0.2, 0.1, 0.1))
    final = train(manifest, items, epochs=chosen.best_epoch)
    for name, weights in chosen.encoder.weights.items():
        np.testing.assert_array_equal(final.encoder.weights[name], weights)


def test_the_course_is_logged_for_tensorboard(
    manifest: Manifest, items: ItemInputs, tmp_path: Path
) -> None:
    train(manifest, items, log_folder=str(tmp_path), epochs=1)
    assert any(file.name.startswith("events.out") for file in tmp_path.iterdir())


def test_features_that_are_not_finite_stop_the_training(
    manifest: Manifest, items: ItemInputs
) -> None:
    assert items.features is not None
    broken = items.features.copy()
    broken[3, 1] = np.inf
    with pytest.raises(DataError, match="not finite"):
        train(manifest, replace(items, features=broken), epochs=1)


def test_targets_and_what_is_left_over_make_up_the_row(rows: Rows) -> None:
    usable, rest, targets = split_targets(rows, 0.5, np.random.default_rng(0))
    assert len(usable) > 100
    for place, row in enumerate(usable):
        whole = rows.item_indices[rows.indptr[row] : rows.indptr[row + 1]]
        left = rest.item_indices[rest.indptr[place] : rest.indptr[place + 1]]
        aimed = targets.item_indices[targets.indptr[place] : targets.indptr[place + 1]]
        assert len(left) and len(aimed)
        np.testing.assert_array_equal(np.sort(np.concatenate([left, aimed])), whole)


def test_the_learning_rate_rises_then_falls_to_a_twentieth() -> None:
    rates = [learning_rate(step, 1000, 30) for step in range(1000)]
    assert rates[0] == pytest.approx(1 / 30)
    assert rates[30] == 1.0
    assert rates[999] == pytest.approx(0.05, abs=1e-4)
    assert all(np.diff(rates[30:]) < 0)


def test_validation_does_not_rank_what_the_user_has_seen(
    factor_model: FactorModel, items: ItemInputs, rows: Rows, manifest: Manifest
) -> None:
    encoder = train(manifest, items, epochs=0).encoder
    features = np.zeros((len(rows), 3), np.float32)
    seen_again = validation_of(rows, rows, features)
    assert seen_again(encoder, items) == 0.0


@pytest.mark.parametrize(
    ("part", "fixed"),
    [
        ("mlp", {"user.first", "user.last", "item.first", "item.last"}),
        ("shared", {"shared"}),
        ("features", {"user.feature", "user.stand_in", "item.feature", "item.stand_in"}),
        ("popularity", {"popularity_weight"}),
    ],
)
def test_a_part_that_is_taken_out_learns_nothing(
    manifest: Manifest, items: ItemInputs, part: str, fixed: set[str]
) -> None:
    config = CONFIG.model_copy(update={"without": (part,), "epochs": 2})
    weights = train(manifest, items, config).encoder.weights
    whole = train(manifest, items, CONFIG.model_copy(update={"epochs": 2})).encoder.weights
    held = {name for name in weights if name.removesuffix(".weight").removesuffix(".bias") in fixed}
    assert {name for name in weights if untrained(weights[name])} == held
    assert not any(untrained(whole[name]) for name in held)


def untrained(weights: Float32) -> bool:
    """Whether they are those that add nothing: zeros, or the identity."""
    identity = np.eye(len(weights)) if weights.ndim == 2 else None
    return not weights.any() or bool(identity is not None and np.array_equal(weights, identity))


def test_without_the_gate_one_interaction_counts_as_many(
    manifest: Manifest, items: ItemInputs
) -> None:
    config = CONFIG.model_copy(update={"without": ("gate",), "epochs": 1})
    half_count = train(manifest, items, config).encoder.shape["gate_half_count"]
    assert gate(np.array([0, 1, 100]), half_count) == pytest.approx([0, 1, 1], abs=1e-5)


def test_products_in_bfloat16_learn_what_products_in_float32_do(
    manifest: Manifest, items: ItemInputs
) -> None:
    losses = {
        precision: train(manifest, items, CONFIG.model_copy(update={"precision": precision}))
        .history[-1]
        .loss
        for precision in ("float32", "bfloat16")
    }
    assert losses["bfloat16"] != losses["float32"]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.01)


def test_earlier_towers_are_trained_on_for_the_last_epochs_of_the_schedule(
    manifest: Manifest, items: ItemInputs
) -> None:
    whole = train(manifest, items)
    earlier = EarlierTowers(
        whole.encoder.weights, NO_CONTEXTS, 4, 2, matched(range(3), 3), matched(range(COLOURS), 4)
    )
    again = train(manifest, items, epochs=2, earlier=earlier)
    assert [record.epoch for record in again.history] == [1, 2]
    # They start where the earlier ones ended, and not where those began.
    assert again.history[0].loss < whole.history[0].loss
    assert again.history[-1].loss < 1.05 * whole.history[-1].loss


def test_what_earlier_towers_do_not_know_starts_as_without_them(
    manifest: Manifest, items: ItemInputs
) -> None:
    start = train(manifest, items, epochs=0).encoder.weights
    known = {name: array + 1.0 for name, array in start.items()}
    known["item.feature.weight"] = known["item.feature.weight"][:, ::-1][:, :3]
    known["item.first.weight"] = known["item.first.weight"][:4]
    # Their factors had four dimensions.
    known["shared.weight"] = known["shared.weight"][:4, :4]
    # Of the item's four colours, the earlier towers had three, in another order.
    places = matched([2, None, 0, 1], 3)
    earlier = EarlierTowers(known, NO_CONTEXTS, 0, 0, matched(range(3), 3), places)
    taken = train(manifest, items, epochs=0, earlier=earlier).encoder.weights
    np.testing.assert_array_equal(taken["item.first.weight"], start["item.first.weight"])
    np.testing.assert_array_equal(taken["shared.weight"][:4, :4], known["shared.weight"])
    np.testing.assert_array_equal(taken["shared.weight"][4:], start["shared.weight"][4:])
    np.testing.assert_array_equal(taken["user.first.weight"], known["user.first.weight"])
    columns = taken["item.feature.weight"]
    np.testing.assert_array_equal(columns[:, 1], start["item.feature.weight"][:, 1])
    np.testing.assert_array_equal(columns[:, [0, 2, 3]], known["item.feature.weight"][:, [2, 0, 1]])
