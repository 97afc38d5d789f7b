"""What each item of a history adds to a score of the towers adds up to the score."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from m6rec.kernels.arrays.rows import Float32, Rows
from m6rec.kernels.factors.projection import FactorModel, build_factor_model
from m6rec.towers.attribution import history_parts
from m6rec.towers.bagging import bag
from m6rec.towers.encoder import NORM_FLOOR, gate, user_factor_inputs
from m6rec.towers.model import TowerModel, TowerShape
from m6rec.towers.training import freeze
from tests.matrix_rows import rows_from_scipy
from tests.towers.test_encoder import trained_model

EMPTY = rows_from_scipy(sp.csr_matrix((1, 60), dtype=np.float32))


@pytest.fixture(params=["svd", "als"])
def any_factors(request: pytest.FixtureRequest, factor_model: FactorModel) -> FactorModel:
    """A linear projection, and a least-squares solution."""
    if request.param == "svd":
        return factor_model
    parameters = {
        "weight_scale": 1.3,
        "unobserved_weight": 0.1,
        "regularisation": 0.05,
        "frequency_exponent": 1.0,
        "frequency_offset": 2.0,
        "explicit": 0,
    }
    counts = factor_model.interaction_counts
    scales = np.ones(len(counts), np.float32)
    return build_factor_model("als", factor_model.factors, None, scales, parameters, counts)


def test_the_parts_add_up_to_what_the_history_adds_to_the_score(
    any_factors: FactorModel, rows: Rows, user_features: Float32, item_features: Float32
) -> None:
    """The score without the parts is that of the tower without a history, of the same length."""
    model = trained_model(any_factors.rank, 3, 4)
    towers = freeze(model, any_factors)
    items = towers.encode_items(item_features)
    for user in (0, 5, 77):
        row, features = rows.slice(user, user + 1), user_features[user : user + 1]
        inputs = torch.from_numpy(user_factor_inputs(any_factors, row))
        gates = torch.from_numpy(gate(row.counts, 2.0))
        given = torch.from_numpy(features)
        with torch.no_grad():
            whole, empty = (
                model.shared(model.user(inputs, share, given, None, None))[0].numpy()
                for share in (gates, torch.zeros(1))
            )
        scale = 1 / (np.sqrt(whole @ whole + NORM_FLOOR) * 0.1)
        user_vector = towers.encode_users(row, features)[0]
        for item in items[[3, 17]]:
            parts = history_parts((towers,), row, features, item)
            rest = scale * empty @ item[:-1] + user_vector[-1] * item[-1]
            assert len(parts) == row.entries
            assert parts.sum() + rest == pytest.approx(user_vector @ item, abs=1e-3)


def test_untrained_towers_owe_the_score_to_the_items_most_like_the_listed_one(
    factor_model: FactorModel, rows: Rows
) -> None:
    """They score by the cosine of the factors, of which each item has its own part."""
    towers = freeze(TowerModel(TowerShape(factor_model.rank, 0, 0, 16, 6, 0.1, 2.0)), factor_model)
    item = towers.encode_items(None)[8]
    row = rows.slice(0, 1)
    parts = history_parts((towers,), row, np.zeros((1, 0), np.float32), item)
    own = row.weights[:, None] * factor_model.factors[row.item_indices]
    user = towers.encode_users(row, None)[0]
    expected = own @ item[:-1] / np.linalg.norm(own.sum(axis=0)) / 0.1
    np.testing.assert_allclose(parts, expected, rtol=0.05, atol=0.02)
    assert parts.sum() == pytest.approx(user[:-1] @ item[:-1], rel=1e-3)


def test_the_parts_of_several_towers_are_added_up(
    factor_model: FactorModel, rows: Rows, user_features: Float32, item_features: Float32
) -> None:
    towers = freeze(trained_model(factor_model.rank, 3, 4), factor_model)
    both = bag([towers, towers])
    row, features = rows.slice(4, 5), user_features[4:5]
    one = history_parts((towers,), row, features, towers.encode_items(item_features)[9])
    two = history_parts(both.parts, row, features, both.encode_items(item_features)[9])
    np.testing.assert_allclose(two, 2 * one, rtol=1e-6)


def test_nothing_is_owed_to_an_empty_history(factor_model: FactorModel) -> None:
    towers = freeze(TowerModel(TowerShape(factor_model.rank, 0, 0, 16, 6, 0.1, 2.0)), factor_model)
    item = towers.encode_items(None)[8]
    assert len(history_parts((towers,), EMPTY, np.zeros((1, 0), np.float32), item)) == 0
