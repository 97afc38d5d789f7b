"""Several pairs of towers add up their scores, and one is trained on what another model leaves."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from m6rec.config.run import parse_config
from m6rec.config.towers import TowersConfig
from m6rec.errors import ConfigError
from m6rec.kernels.arrays.rows import Float32, Rows
from m6rec.kernels.factors.projection import FactorModel
from m6rec.kernels.neighbours.item_neighbours import item_weights_from_scipy
from m6rec.kernels.ranking.members import UserBlock
from m6rec.rankers import MEMBER_NAMES
from m6rec.towers.artifact import TowerProvenance, load_towers, save_towers
from m6rec.towers.bagging import bag
from m6rec.towers.batches import ArrowRowBatches
from m6rec.towers.boosting import CrossFitted, best_scale
from m6rec.towers.encoder import ItemInputs, TowerEncoder
from m6rec.towers.row_files import Manifest
from m6rec.towers.start import calibrated
from m6rec.towers.training import train_towers
from tests.towers.coloured import COLOURS, N_ITEMS, validation_of

CONFIG = TowersConfig(
    hidden=16, feature_hidden=4, epochs=2, users_per_batch=32, negatives=40, precision="float32"
)


def trained(
    manifest: Manifest,
    items: ItemInputs,
    seed: int,
    base: CrossFitted | None = None,
    config: TowersConfig = CONFIG,
) -> TowerEncoder:
    batches = ArrowRowBatches(manifest, seed=seed)
    encoder = train_towers(batches, items, config, seed, threads=1, base=base).encoder
    assert isinstance(encoder, TowerEncoder)
    return encoder


def block_of(rows: Rows, features: Float32) -> UserBlock:
    nothing = np.zeros((len(rows), 0), np.float32)
    recency = np.zeros(rows.entries, np.float32)
    return UserBlock(rows, features, nothing, {}, recency, np.arange(rows.entries))


def test_a_bag_scores_by_the_sum_and_is_saved_and_read_again(
    manifest: Manifest,
    factor_model: FactorModel,
    item_features: Float32,
    user_features: Float32,
    rows: Rows,
    tmp_path: Path,
) -> None:
    items = ItemInputs(factor_model, item_features)
    parts = [trained(manifest, items, seed) for seed in (1, 2)]
    together = bag(parts)
    vectors = together.encode_items(item_features)
    users = together.user_encoder(vectors).encode(block_of(rows, user_features))
    expected = sum(
        part.encode_users(rows, user_features) @ part.encode_items(item_features).T
        for part in parts
    )
    np.testing.assert_allclose(users @ vectors.T, expected, rtol=1e-4, atol=1e-4)
    # What no neighbour by content can lend comes last.
    np.testing.assert_array_equal(vectors[:, -2], vectors[:, -1])
    provenance = TowerProvenance("final", factor_model.method, 1, None, {}, {}, 1)
    save_towers(str(tmp_path), together, provenance)
    again = load_towers(str(tmp_path)).encoder(factor_model)
    np.testing.assert_array_equal(again.encode_items(item_features), vectors)


def of_colours(strength: float) -> CrossFitted:
    """Each item speaks for the others of its colour."""
    same = np.arange(N_ITEMS) % COLOURS == (np.arange(N_ITEMS) % COLOURS)[:, None]
    weights = item_weights_from_scipy(sp.csr_matrix(same * np.float32(strength)))
    return CrossFitted((weights, weights))


def test_each_half_of_the_users_is_scored_by_what_the_other_half_taught() -> None:
    first, second = (
        item_weights_from_scipy(sp.csr_matrix(np.array(matrix, np.float32)))
        for matrix in ([[0, 4, 0], [0, 0, 0], [0, 0, 0]], [[0, 0, 9], [0, 0, -1], [0, 0, 0]])
    )
    rows = Rows(
        np.array([6, 7]), np.array([0, 1, 3]), np.array([0, 0, 1], np.int32), np.ones(3, np.float32)
    )
    logits = CrossFitted((first, second), scale=0.5).logits(rows, np.array([1, 2]))
    np.testing.assert_allclose(logits, [[1.0, 0.0], [0.0, 0.5 * np.sqrt(8)]], rtol=1e-6)


def test_the_scale_is_large_where_the_base_tells_much_and_small_where_it_misleads() -> None:
    logits = np.tile(np.array([1.0, 0.0, 0.0], np.float32), (40, 1))
    users = np.arange(40)
    told = best_scale(logits, users, np.zeros(40, np.int64))
    hardly = best_scale(logits, users, np.arange(40) % 3)
    assert told >= 16 and hardly == 0.5


def test_towers_beside_a_base_add_to_it(
    manifest: Manifest,
    factor_model: FactorModel,
    item_features: Float32,
    user_features: Float32,
    rows: Rows,
) -> None:
    items = ItemInputs(factor_model, item_features)
    base = calibrated(of_colours(0.1), ArrowRowBatches(manifest, seed=1), items, CONFIG, 1)
    assert base.scale > 1.0
    boosted, plain = trained(manifest, items, 1, base), trained(manifest, items, 1)
    again = trained(manifest, items, 1, base)
    np.testing.assert_array_equal(
        boosted.encode_items(item_features), again.encode_items(item_features)
    )
    assert not np.allclose(boosted.encode_items(item_features), plain.encode_items(item_features))
    validation = validation_of(rows, rows, user_features)
    validation = replace(validation, users=replace(validation.users, mask_seen=False))
    alone = validation.users.ndcg(base.member(), validation.k)
    assert replace(validation, base_member=base.member())(boosted, items) > alone


def test_a_base_that_knows_all_leaves_less_to_be_learned(
    manifest: Manifest, factor_model: FactorModel, item_features: Float32
) -> None:
    """The loss is that of the summed logits: it begins lower beside a base that is right."""
    items = ItemInputs(factor_model, item_features)
    batches = ArrowRowBatches(manifest, seed=1)
    without = replace(factor_model, factors=np.zeros_like(factor_model.factors))
    items = replace(items, factor_model=without)
    losses = [
        train_towers(batches, items, CONFIG, 1, threads=1, base=base).history[0].loss
        for base in (None, replace(of_colours(0.1), scale=4.0))
    ]
    assert losses[1] < losses[0] - 0.1


def test_both_are_members_only_where_they_are_asked_for() -> None:
    ensembles = ("bagged_towers", "boosted_towers")
    table = {"interactions": {"source": {"path": "table.csv", "format": "csv"}}}
    plain = parse_config(table, "test")
    asked = parse_config(table | {"towers": {"bagging": 2, "boosting": True}}, "test")
    assert set(ensembles) <= set(MEMBER_NAMES)
    assert not set(ensembles) & set(plain.hybrid_members)
    assert set(ensembles) <= set(asked.hybrid_members)
    assert plain.tower_models == ("svd", "als")
    assert asked.tower_models == ("svd", "als", "bagged", "boosted")
    # `fusion` is made of the others.
    assert asked.trained_towers == plain.trained_towers
    with pytest.raises(ConfigError, match=r"bagged_towers, which needs towers\.bagging"):
        parse_config(table | {"hybrid": {"members": ["bagged_towers"]}}, "test")
    with pytest.raises(ConfigError, match="boosting adds up logits"):
        parse_config(table | {"towers": {"boosting": True, "loss": "cosine_contrastive"}}, "test")
