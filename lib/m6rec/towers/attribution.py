"""Divide a score of the towers among the items of the user's history, by integrated gradients.

A score is r . v / (|r| temperature), with r = W T (see `towers.model`). The length |r| is held
fixed, and r . v is followed from the empty history to the user's own: at the point a of this path,
from 0 to 1, the tower reads a g x in place of g x, and a g in place of the gate. The integral of
the gradient along the path is the difference of its ends (Sundararajan, Taly and Yan 2017). The
factor x is a sum over the history, sum_h x_h, so that h gets its part of it; what the gate adds,
which counts items, is shared equally. The rest of the score is owed to the user's features and to
popularity.
"""

from collections.abc import Sequence

import numpy as np
from scipy.special import erf, roots_legendre

from m6rec.kernels.arrays.rows import Float32, Float64, Rows
from m6rec.kernels.ranking.attribution import factor_parts
from m6rec.towers.encoder import NORM_FLOOR, TowerEncoder, gate, user_factor_inputs

# The number of points of the quadrature.
_STEPS = 32


def history_parts(
    pairs: Sequence[TowerEncoder], rows: Rows, features: Float32, item: Float32
) -> Float64:
    """What each item of one user's history adds to the score of an item: float64 [entries].

    Args:
        pairs: the pairs of towers whose scores are added up.
        rows: the row of one user.
        features: float32 [1, f].
        item: float32 [width]; the item's embedding, as the member has it.
    """
    directions = item[: -len(pairs)].reshape(len(pairs), -1)
    found = np.zeros(rows.entries)
    for pair, direction in zip(pairs, directions, strict=True):
        found += _parts_of_pair(pair, rows, features, direction)
    return found


def _parts_of_pair(
    towers: TowerEncoder, rows: Rows, features: Float32, direction: Float32
) -> Float64:
    if not rows.entries:
        return np.zeros(0)
    x = user_factor_inputs(towers.factor_model, rows)[0].astype(np.float64)
    parts = factor_parts(towers.factor_model, rows)
    length = float(np.linalg.norm(parts.sum(axis=0)))
    parts = parts * (float(np.linalg.norm(x)) / length if length > 0 else 0.0)
    share = float(gate(rows.counts, towers.shape["gate_half_count"])[0])
    places, weights = roots_legendre(_STEPS)
    by_factor, by_gate = _gradients(
        towers, features, share * x, share, (places + 1) / 2, direction.astype(np.float64)
    )
    of_factor = share * (parts @ (weights / 2 @ by_factor))
    found: Float64 = of_factor + share * float(weights / 2 @ by_gate) / rows.entries
    return found


def _gradients(
    towers: TowerEncoder,
    features: Float32,
    end: Float64,
    share: float,
    along: Float64,
    direction: Float64,
) -> tuple[Float64, Float64]:
    """The gradients of r . v / (|r| temperature) along the path: float64 [n, k] and [n].

    By what stands for g x, and by what stands for the gate.

    Args:
        towers: the towers.
        features: float32 [1, f].
        end: float64 [k]; g x.
        share: g.
        along: float64 [n]; the places on the path, from 0 to 1.
        direction: float64 [k]; v.
    """
    w, rank = towers.weights, len(end)
    stand_ins, read = towers.of_features("user", features)
    stand_in = np.sum([np.zeros(rank), *(one[0] for one in stand_ins)], axis=0)
    own = along[:, None] * end
    # The last place is the end, for the length.
    own = np.vstack([own, end])
    inputs = np.hstack([own, *(np.repeat(one, len(own), axis=0) for one in read)])
    before = inputs @ w["user.first.weight"].T + w["user.first.bias"]
    hidden = before * _normal_distribution(before)
    added = hidden[-1] @ w["user.last.weight"].T + w["user.last.bias"]
    turned = (end + (1 - share) * stand_in + added) @ w["shared.weight"].T
    length = np.sqrt(turned @ turned + NORM_FLOOR)
    by_tower = direction @ w["shared.weight"] / (length * towers.shape["temperature"])
    by_before = (by_tower @ w["user.last.weight"]) * _slope_of_gelu(before[:-1])
    by_factor = by_tower + by_before @ w["user.first.weight"][:, :rank]
    return by_factor, np.full(len(along), -float(by_tower @ stand_in))


def _normal_distribution(x: Float64) -> Float64:
    return np.asarray(0.5 * (1 + erf(x / np.sqrt(2))), np.float64)


def _slope_of_gelu(x: Float64) -> Float64:
    density = np.exp(-0.5 * x**2) / np.sqrt(2 * np.pi)
    slope: Float64 = _normal_distribution(x) + x * density
    return slope
