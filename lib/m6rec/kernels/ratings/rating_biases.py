"""Fit ratings by a mean and two biases: r_ui = mean + b_u + b_i.

The model is that of Koren, Bell, Volinsky (2009, "Matrix factorization techniques for recommender
systems", eq. 3). User and item biases by turns minimise the squared errors plus
lambda_u |b_u|^2 + lambda_i |b_i|^2. A user's bias is a function of the user's row and the item
biases, which training and prediction share.
"""

from dataclasses import dataclass

import numpy as np

from m6rec.kernels.arrays.communicator import Communicator, all_sum
from m6rec.kernels.arrays.rows import Float32, Float64, Rows
from m6rec.kernels.arrays.sparse_products import count_items


@dataclass(frozen=True)
class RatingBiases:
    """The item side of the biases.

    Attributes:
        mean: of all ratings.
        items: float64 [M]; 0 for an item that nobody rated.
        user_regularisation: lambda_u, in ratings.
    """

    mean: float
    items: Float64
    user_regularisation: float

    def of_users(self, rows: Rows) -> Float64:
        """float64 [n]: each user's bias; 0 for a row without ratings.

        b_u = sum_i (r_ui - mean - b_i) / (|I_u| + lambda_u).
        """
        left = rows.weights - self.mean - self.items[rows.item_indices]
        row_of_entry = np.repeat(np.arange(len(rows)), rows.counts)
        sums = np.bincount(row_of_entry, left, minlength=len(rows))
        biases: Float64 = sums / (rows.counts + self.user_regularisation)
        return biases

    def residuals(self, rows: Rows, user_biases: Float64) -> Rows:
        """The rows with each rating less its mean and biases."""
        explained = self.mean + self.items[rows.item_indices]
        explained += np.repeat(user_biases, rows.counts)
        left: Float32 = (rows.weights - explained).astype(np.float32)
        return Rows(rows.user_index, rows.indptr, rows.item_indices, left)


def fit_biases(
    rows: Rows,
    n_items: int,
    user_regularisation: float,
    item_regularisation: float,
    iterations: int,
    communicator: Communicator,
) -> RatingBiases:
    """Fit the biases of the rows of all ranks; every rank returns the same.

    Args:
        rows: this rank's users; the weights are ratings.
        n_items: M, the same on all ranks.
        user_regularisation, item_regularisation: lambda, positive, in ratings.
        iterations: how often item and user biases are fitted in turn.
        communicator: the group; all ranks call this function together.
    """
    counts = count_items(rows, n_items)
    communicator.all_reduce(counts)
    total = all_sum(communicator, float(rows.weights.sum(dtype=np.float64)))
    mean = total / max(all_sum(communicator, rows.entries), 1.0)
    biases = RatingBiases(mean, np.zeros(n_items), user_regularisation)
    for _ in range(iterations):
        left = rows.weights - mean - np.repeat(biases.of_users(rows), rows.counts)
        sums = np.bincount(rows.item_indices, left, minlength=n_items)
        communicator.all_reduce(sums)
        biases = RatingBiases(mean, sums / (counts + item_regularisation), user_regularisation)
    return biases
