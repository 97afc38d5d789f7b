"""The frozen encoder is the trained model."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from m6rec.errors import DataError
from m6rec.kernels.arrays.rows import Float32, Rows, concatenate_rows
from m6rec.kernels.factors.projection import FactorModel
from m6rec.towers.encoder import (
    TowerEncoder,
    gate,
    item_factor_inputs,
    popularity_inputs,
    user_factor_inputs,
)
from m6rec.towers.model import TowerModel, TowerShape
from m6rec.towers.training import freeze
from tests.lanes import needs_rows_rounded_alike


def trained_model(rank: int, user: int, item: int) -> TowerModel:
    """A model whose every weight is away from its start, as after training."""
    shape = TowerShape(rank, user, item, 16, 6, temperature=0.1, gate_half_count=2.0)
    model = TowerModel(shape)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


@pytest.fixture
def model(factor_model: FactorModel) -> TowerModel:
    return trained_model(factor_model.rank, 3, 4)


@pytest.fixture
def encoder(model: TowerModel, factor_model: FactorModel) -> TowerEncoder:
    return freeze(model, factor_model)


def test_the_user_vector_in_training_with_no_target_removed_is_that_of_encode_users(
    model: TowerModel,
    encoder: TowerEncoder,
    factor_model: FactorModel,
    rows: Rows,
    user_features: Float32,
) -> None:
    with torch.no_grad():
        in_training = model.embed_users(
            torch.from_numpy(user_factor_inputs(factor_model, rows)),
            torch.from_numpy(gate(rows.counts, model.shape.gate_half_count)),
            torch.from_numpy(user_features),
        )
    np.testing.assert_allclose(
        encoder.encode_users(rows, user_features), in_training.numpy(), atol=2e-5
    )


def test_the_item_vectors_in_training_are_those_of_encode_items(
    model: TowerModel,
    encoder: TowerEncoder,
    factor_model: FactorModel,
    item_features: Float32,
) -> None:
    counts = factor_model.interaction_counts
    with torch.no_grad():
        in_training = model.embed_items(
            torch.from_numpy(item_factor_inputs(factor_model)),
            torch.from_numpy(gate(counts, model.shape.gate_half_count)),
            torch.from_numpy(item_features),
            None,
            torch.from_numpy(popularity_inputs(counts)),
        )
    np.testing.assert_allclose(encoder.encode_items(item_features), in_training.numpy(), atol=2e-5)


def test_a_user_is_encoded_alike_alone_and_among_others(
    encoder: TowerEncoder, rows: Rows, user_features: Float32
) -> None:
    together = encoder.encode_users(rows, user_features)
    alone = encoder.encode_users(rows.slice(17, 18), user_features[17:18])
    np.testing.assert_allclose(alone, together[17:18], atol=1e-5)


@needs_rows_rounded_alike
def test_a_user_is_encoded_to_the_same_bit_alone_and_among_others(
    factor_model: FactorModel, rows: Rows
) -> None:
    shape = TowerShape(factor_model.rank, 128, 0, 256, 64, temperature=0.1, gate_half_count=2.0)
    encoder = freeze(TowerModel(shape), factor_model)
    features = np.random.default_rng(1).normal(size=(len(rows), 128)).astype(np.float32)
    together = encoder.encode_users(rows, features)
    for user in (0, 17, 95):
        alone = encoder.encode_users(rows.slice(user, user + 1), features[user : user + 1])
        np.testing.assert_array_equal(alone[0], together[user])


def test_the_age_of_a_history_does_not_change_what_towers_read_of_it(
    factor_model: FactorModel, rows: Rows
) -> None:
    decayed = replace(rows, weights=rows.weights * np.float32(2.0**-100))
    inputs = user_factor_inputs(factor_model, rows)
    assert inputs.any()
    np.testing.assert_array_equal(user_factor_inputs(factor_model, decayed), inputs)


def test_untrained_towers_rank_by_the_cosine_of_the_factors_and_popularity(
    factor_model: FactorModel, rows: Rows
) -> None:
    shape = TowerShape(factor_model.rank, 0, 0, 16, 6, temperature=0.1, gate_half_count=2.0)
    encoder = freeze(TowerModel(shape), factor_model)
    scores = encoder.encode_users(rows, None) @ encoder.encode_items(None).T

    def unit(x: np.ndarray) -> np.ndarray:
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    users = unit(rows.to_scipy(factor_model.n_items) @ factor_model.factors)
    logs = np.log1p(factor_model.interaction_counts)
    expected = users @ unit(factor_model.factors).T / 0.1 + logs - logs.mean()
    np.testing.assert_allclose(scores, expected, atol=0.05)


def test_a_user_without_history_or_features_is_scored_by_popularity_alone(
    factor_model: FactorModel,
) -> None:
    shape = TowerShape(factor_model.rank, 0, 0, 16, 6, temperature=0.1, gate_half_count=2.0)
    encoder = freeze(TowerModel(shape), factor_model)
    nobody = Rows(np.array([5]), np.array([0, 0]), np.empty(0, np.int32), np.empty(0, np.float32))
    scores = encoder.encode_users(nobody, None) @ encoder.encode_items(None).T
    np.testing.assert_allclose(scores[0], popularity_inputs(factor_model.interaction_counts))


def test_the_features_of_a_cold_user_change_the_embedding(
    encoder: TowerEncoder, user_features: Float32
) -> None:
    nobody = Rows(
        np.array([5, 6]), np.zeros(3, np.int64), np.empty(0, np.int32), np.empty(0, np.float32)
    )
    first, second = encoder.encode_users(nobody, user_features[:2])
    assert np.abs(first - second).max() > 0.1


def test_the_gate_is_closed_for_the_unseen_and_opens_with_evidence() -> None:
    np.testing.assert_allclose(gate(np.array([0, 2, 18]), 2.0), [0.0, 0.5, 0.9])


def test_no_rows_give_no_embeddings(encoder: TowerEncoder) -> None:
    none = encoder.encode_users(concatenate_rows([]), np.zeros((0, 3), np.float32))
    assert none.shape == (0, encoder.width)


def test_features_of_another_width_are_refused_by_name(encoder: TowerEncoder, rows: Rows) -> None:
    with pytest.raises(DataError, match=r"user features have shape \(120, 2\).*\(120, 3\)"):
        encoder.encode_users(rows, np.zeros((len(rows), 2), np.float32))
