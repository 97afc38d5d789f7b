"""Predict ratings by four members, each a function of the user's row, and blend them.

rating_bias is the mean with both biases. Three members predict what it leaves of a rating:
rating_als by explicit ALS, rating_taste by the user's regression over the items' places, and
rating_audience by the item's regression over the users' places (see kernels.ratings.choices).
rating_hybrid is the weighted sum of all four, with weights by least squares on validation.
"""

from dataclasses import dataclass

import numpy as np

from m6rec.config.models import RatingsConfig
from m6rec.kernels.arrays.communicator import Communicator
from m6rec.kernels.arrays.rows import Float32, Float64, Int64, Rows
from m6rec.kernels.factors.als import alternating_least_squares
from m6rec.kernels.factors.projection import FactorModel, project
from m6rec.kernels.ratings.choices import (
    ChoiceVectors,
    choice_vectors,
    item_audiences,
    user_tastes,
)
from m6rec.kernels.ratings.rating_biases import RatingBiases, fit_biases

RATING_BIAS = "rating_bias"
RATING_MEMBERS = (RATING_BIAS, "rating_als", "rating_taste", "rating_audience")
RATING_HYBRID = "rating_hybrid"
RATING_MODELS = (*RATING_MEMBERS, RATING_HYBRID)

# Weights are drawn towards 1 for the bias and a third for each other member, as strongly as one
# rating whose parts are all 1 would draw them.
_PRIOR_WEIGHTS = (1.0, 1 / 3, 1 / 3, 1 / 3)
_PRIOR_STRENGTH = 1.0


@dataclass(frozen=True)
class RatingModel:
    """The item side of all members.

    Attributes:
        biases: mean and item biases.
        factors: explicit ALS on the residuals.
        choices: the places of items and users by who rates what.
        audiences: float32 [M, k]; each item's regression over the users' places.
        taste_regularisation: lambda of each user's regression over the items' places.
    """

    biases: RatingBiases
    factors: FactorModel
    choices: ChoiceVectors
    audiences: Float32
    taste_regularisation: float


def fit_ratings(
    rows: Rows, n_items: int, config: RatingsConfig, seed: int, communicator: Communicator
) -> RatingModel:
    """Fit all members on the rows of all ranks; every rank returns the same model.

    Args:
        rows: this rank's users; the weights are ratings.
        n_items: M, the same on all ranks.
        config: of the members.
        seed: of ALS and SVD.
        communicator: the group; all ranks call this function together.
    """
    biases = fit_biases(
        rows,
        n_items,
        config.user_bias_regularisation,
        config.item_bias_regularisation,
        config.bias_iterations,
        communicator,
    )
    residuals = biases.residuals(rows, biases.of_users(rows))
    choices = choice_vectors(rows, n_items, config.choices(), seed, communicator)
    places = choices.of_users(rows)
    audiences = item_audiences(
        residuals, n_items, places, config.audience_regularisation, communicator
    )
    factors = alternating_least_squares(residuals, n_items, config.als(), seed, communicator)
    return RatingModel(biases, factors, choices, audiences, config.taste_regularisation)


def rating_parts(
    model: RatingModel, rows: Rows, target_indptr: Int64, target_items: Int64
) -> Float64:
    """What each member predicts for each target: float64 [targets, members], as in RATING_MEMBERS.

    The first column is a rating; the others are what the members would add to it.

    Args:
        model: the item side, fitted on the same fit's ratings.
        rows: the users; the weights are ratings.
        target_indptr: int64 [n + 1]; row r has the targets target_indptr[r] up to [r + 1].
        target_items: int64 [targets].
    """
    owners = np.repeat(np.arange(len(rows)), np.diff(target_indptr))
    user_biases = model.biases.of_users(rows)
    residuals = model.biases.residuals(rows, user_biases)
    tastes = user_tastes(residuals, model.choices.items, model.taste_regularisation)
    vectors: tuple[tuple[Float32, Float32], ...] = (
        (project(model.factors, residuals), model.factors.factors),
        (tastes, model.choices.items),
        (model.choices.of_users(rows), model.audiences),
    )
    base = model.biases.mean + user_biases[owners] + model.biases.items[target_items]
    added: list[Float64] = [
        np.einsum("nk,nk->n", users[owners], items[target_items], dtype=np.float64)
        for users, items in vectors
    ]
    added[0] += model.factors.parameters["mean_rating"]
    return np.stack([base, *added], axis=1)


def blend_weights(gram: Float64, moment: Float64) -> Float64:
    """The weights w of the parts X that predict the ratings y: float64 [members].

    w = w0 + (X^T X + lambda I)^-1 (X^T y - X^T X w0) is a ridge regression towards the prior
    weights w0, which remain where there are no ratings to learn from.

    Args:
        gram: float64 [members, members]; X^T X.
        moment: float64 [members]; X^T y.
    """
    prior: Float64 = np.array(_PRIOR_WEIGHTS)
    damped = gram + _PRIOR_STRENGTH * np.eye(len(prior))
    weights: Float64 = prior + np.linalg.solve(damped, moment - gram @ prior)
    return weights
