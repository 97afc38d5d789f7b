"""Columns of vectors have branches of their own in the towers, and what is missing is masked."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from m6rec.config.towers import TowersConfig
from m6rec.kernels.arrays.rows import Float32, Rows
from m6rec.kernels.factors.projection import FactorModel
from m6rec.towers.artifact import TowerProvenance, load_towers, save_towers
from m6rec.towers.batches import ArrowRowBatches
from m6rec.towers.encoder import (
    ItemInputs,
    TowerEncoder,
    item_factor_inputs,
    item_gates,
    popularity_inputs,
)
from m6rec.towers.modalities import (
    modality_shares,
    plain_width,
    pooled_columns,
    split_features,
)
from m6rec.towers.model import TowerModel, TowerShape
from m6rec.towers.sequence_encoder import SequenceEncoder, sequence_factors
from m6rec.towers.sequence_model import SequenceModel, SequenceShape
from m6rec.towers.start import shape_of, start_model
from m6rec.towers.training import freeze, train_towers
from tests.towers.coloured import write_files

PLAIN = 4
# A picture has one vector, a video has up to three.
PICTURE, VIDEO = (1, 5), (3, 2)
MODALITIES = (PICTURE, VIDEO)


@pytest.fixture
def features(factor_model: FactorModel) -> Float32:
    """Item 0 has no picture, item 1 one frame of a video, item 2 no video, item 3 neither."""
    drawn = np.random.default_rng(4).standard_normal((factor_model.n_items, PLAIN + 11))
    drawn[0, 4:9] = drawn[1, 11:15] = drawn[2, 9:15] = drawn[3, 4:15] = 0.0
    return drawn.astype(np.float32)


def away_from_start(model: torch.nn.Module) -> None:
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))


def test_features_end_with_the_columns(features: Float32) -> None:
    plain, (picture, video) = split_features(features, MODALITIES)
    assert plain.shape[1] == plain_width(features.shape[1], MODALITIES) == PLAIN
    np.testing.assert_array_equal(picture[:, 0], features[:, 4:9])
    np.testing.assert_array_equal(video[:, 1], features[:, 11:13])


def test_without_attention_the_mean_of_what_is_there_is_taken(features: Float32) -> None:
    _, columns = split_features(features, MODALITIES)
    (picture, video), present = pooled_columns(columns, {})
    np.testing.assert_array_equal(picture, columns[0][:, 0])
    np.testing.assert_allclose(video[4], columns[1][4].mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(video[1], columns[1][1, 0], rtol=1e-5)
    # The modality that is there counts for the one that is not.
    np.testing.assert_array_equal(
        modality_shares(present)[:5], [[0, 2], [1, 1], [2, 0], [0, 0], [1, 1]]
    )


def test_attention_chooses_among_the_vectors_of_a_row(features: Float32) -> None:
    _, columns = split_features(features, MODALITIES)
    query = 100 * columns[1][4, 2] / np.linalg.norm(columns[1][4, 2]) ** 2
    (_, video), _ = pooled_columns(columns, {1: query.astype(np.float32)})
    nearest = (columns[1][4] @ query).argmax()
    np.testing.assert_allclose(video[4], columns[1][4, nearest], atol=1e-3)


def test_the_towers_embed_in_training_as_when_they_are_frozen(
    factor_model: FactorModel, features: Float32
) -> None:
    width = features.shape[1]
    shape = TowerShape(factor_model.rank, width, width, 16, 6, 0.1, 2.0, MODALITIES, MODALITIES)
    model = TowerModel(shape)
    away_from_start(model)
    factors, gates = item_factor_inputs(factor_model), item_gates(factor_model, 2.0)
    popularity = popularity_inputs(factor_model.interaction_counts)
    with torch.no_grad():
        in_training = model.embed_items(
            *map(torch.from_numpy, (factors, gates, features)), None, torch.from_numpy(popularity)
        )
    encoder = freeze(model, factor_model)
    np.testing.assert_allclose(encoder.encode_items(features), in_training.numpy(), atol=2e-5)


def test_the_towers_on_order_embed_in_training_as_when_they_are_frozen(
    factor_model: FactorModel, features: Float32
) -> None:
    n_items = factor_model.n_items
    shape = SequenceShape(
        factor_model.rank, features.shape[1], n_items, 8, 1, 2, 5, 6, modalities=MODALITIES
    )
    model = SequenceModel(shape, torch.zeros(8, factor_model.rank), 0.5).eval()
    away_from_start(model)
    with torch.no_grad():
        in_training = model.embed_items(
            torch.arange(n_items),
            torch.from_numpy(sequence_factors(factor_model)),
            torch.from_numpy(features),
        )
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    frozen = SequenceEncoder(shape.to_json(), weights, factor_model)
    np.testing.assert_allclose(frozen.encode_items(features), in_training.numpy(), atol=2e-5)


def test_a_column_that_training_leaves_out_is_one_that_is_missing(
    factor_model: FactorModel, features: Float32
) -> None:
    model = TowerModel(
        TowerShape(factor_model.rank, 0, features.shape[1], 16, 6, 0.1, 2.0, (), MODALITIES)
    )
    away_from_start(model)
    without_picture = features.copy()
    without_picture[:, 4:9] = 0.0
    kept = torch.tensor([[0.0, 1.0]]).expand(len(features), 2)
    embedded = []
    with torch.no_grad():
        for given, mask in ((features, kept), (without_picture, None)):
            factors, gates = item_factor_inputs(factor_model), item_gates(factor_model, 2.0)
            tensors = map(torch.from_numpy, (factors, gates, given))
            popularity = torch.zeros(len(features))
            embedded.append(model.embed_items(*tensors, None, popularity, mask).numpy())
    np.testing.assert_allclose(embedded[0], embedded[1], atol=1e-6)


def test_untrained_towers_place_items_without_history_by_their_vectors(
    factor_model: FactorModel,
) -> None:
    """Items whose vectors are a linear map of their factors are placed where their factors are."""
    generator = np.random.default_rng(1)
    inputs = item_factor_inputs(factor_model)
    vectors = inputs @ generator.standard_normal((factor_model.rank, 24)) / factor_model.rank**0.5
    items = ItemInputs(factor_model, vectors.astype(np.float32), modalities=((1, 12), (1, 12)))
    config = TowersConfig(feature_hidden=8)
    model = start_model(shape_of(items, 0, config), items, config, seed=1)
    with torch.no_grad():
        placed = model.embed_items(
            torch.from_numpy(inputs),
            torch.zeros(len(inputs)),
            torch.from_numpy(vectors.astype(np.float32)),
            None,
            torch.zeros(len(inputs)),
        ).numpy()[:, :-1]
    own = inputs / np.linalg.norm(inputs, axis=1, keepdims=True)
    warm = factor_model.interaction_counts > 0
    assert np.einsum("nk,nk->n", placed, own)[warm].mean() > 0.8


def test_trained_towers_with_columns_of_both_sides_are_saved_and_read_again(
    factor_model: FactorModel, features: Float32, rows: Rows, tmp_path: Path
) -> None:
    of_users = np.random.default_rng(8).standard_normal((len(rows), 6)).astype(np.float32)
    written = write_files(tmp_path / "rows", rows, of_users, files=1, world_size=1)
    manifest = replace(written, modalities=((1, 2), (2, 2)))
    items = ItemInputs(factor_model, features, modalities=MODALITIES)
    config = TowersConfig(hidden=16, feature_hidden=8, epochs=2, users_per_batch=16, negatives=40)
    results = [
        train_towers(ArrowRowBatches(manifest, seed=5), items, config, 5, threads=1)
        for _ in range(2)
    ]
    trained = results[0].encoder
    assert isinstance(trained, TowerEncoder)
    embedded = trained.encode_items(features), trained.encode_users(rows, of_users)
    assert all(np.isfinite(each).all() for each in embedded)
    # Which columns are left out follows from the seed.
    np.testing.assert_array_equal(results[1].encoder.encode_items(features), embedded[0])
    provenance = TowerProvenance("final", factor_model.method, 1, None, {}, {}, 5)
    save_towers(str(tmp_path / "towers"), trained, provenance)
    again = load_towers(str(tmp_path / "towers")).encoder(factor_model)
    np.testing.assert_array_equal(again.encode_items(features), embedded[0])
