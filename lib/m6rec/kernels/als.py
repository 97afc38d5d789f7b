"""Alternating least squares over distributed user rows (Hu, Koren, Volinsky 2008).

Implicit feedback minimises, with a0 the weight of the unobserved,

    sum_{(u,i) observed} (w_ui + a0) (1 - u.v_i)^2 + a0 sum_{others} (u.v_i)^2
        + sum_u lambda_u |u|^2 + sum_i lambda_i |v_i|^2,
    lambda_u = regularisation (|I_u| + a0 M)^nu,  lambda_i = regularisation (|U_i| + a0 N)^nu

(Rendle et al. 2021, "Revisiting the performance of iALS", eq. 7). Every rank holds its own users
and the whole of V. An iteration solves each user and adds its share of the items' residual in one
sweep; then items descend by conjugate gradient, each step one sweep and one all-reduce of M x k.
Explicit feedback has a0 = 0 and fits ratings less their mean.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from m6rec.config import AlsConfig
from m6rec.kernels.communicator import Communicator, all_sum
from m6rec.kernels.least_squares import solve_rows_and_add_residual
from m6rec.kernels.projection import (
    FactorModel,
    build_factor_model,
    entry_terms,
    frequency_regularisation,
    project,
)
from m6rec.kernels.rows import Float32, Float64, Int32, Int64, Rows
from m6rec.kernels.sparse_products import (
    add_item_curvature,
    count_items,
    popularity_order,
    share_of,
)

Checkpoint = Callable[[int, Float32], None]

_INITIAL_DEVIATION = 0.1


@dataclass(frozen=True)
class _Problem:
    """The rows of a rank with items numbered by frequency, and the weights of every term."""

    rows: Rows
    curvature: Float32
    pull: Float32
    user_regularisation: Float32
    item_regularisation: Float32
    unobserved_weight: float
    communicator: Communicator

    @property
    def sparse(self) -> tuple[Int64, Int32]:
        """Offsets and item indices as the kernels take them."""
        return self.rows.offsets, self.rows.item_indices


def train_als(
    rows: Rows,
    n_items: int,
    config: AlsConfig,
    seed: int,
    communicator: Communicator,
    checkpoint: Checkpoint | None = None,
    start: tuple[int, Float32] | None = None,
) -> FactorModel:
    """Factorise the rows of all ranks; every rank returns the same model.

    Args:
        rows: this rank's users.
        n_items: M, the same on all ranks.
        config: rank, iterations, weights and solver.
        seed: of the initial item factors, which do not depend on the number of ranks.
        communicator: the group; all ranks call this together.
        checkpoint: called on rank 0 each `config.checkpoint_every` iterations, but for the last,
            with the number of iterations done and the item factors, float32 [M, k].
        start: what a checkpoint was given, on all ranks: iterations go on from there, and end as
            if they had never stopped.
    """
    counts = _all_counts(rows, n_items, communicator)
    n_users = int(all_sum(communicator, np.count_nonzero(rows.counts)))
    parameters = _parameters(rows, n_items, config, communicator)
    order, place = popularity_order(counts)
    problem = _problem(rows, counts[order], place, n_users, parameters, communicator)
    done, factors = start or (0, _initial_factors(n_items, config.rank, seed, counts))
    item_factors = np.ascontiguousarray(factors[order])
    user_factors = np.zeros((len(rows), config.rank), np.float32)
    for iteration in range(done, config.iterations):
        fresh = iteration % config.checkpoint_every == 0
        _iterate(problem, config, fresh, user_factors, item_factors)
        finished = iteration + 1
        if finished % config.checkpoint_every or finished == config.iterations:
            continue
        if checkpoint is not None and communicator.rank == 0:
            checkpoint(finished, item_factors[place])
    return build_factor_model(
        "als", item_factors[place], None, np.ones(n_items, np.float32), parameters, counts
    )


def _all_counts(rows: Rows, n_items: int, communicator: Communicator) -> Int64:
    counts = count_items(rows, n_items)
    communicator.all_reduce(counts)
    return counts


def _parameters(
    rows: Rows, n_items: int, config: AlsConfig, communicator: Communicator
) -> dict[str, float]:
    explicit = config.feedback == "explicit"
    unobserved = 0.0
    mean = 0.0
    if explicit:
        total = all_sum(communicator, float(rows.weights.sum(dtype=np.float64)))
        mean = total / max(all_sum(communicator, rows.entries), 1.0)
    elif config.unobserved_weight is not None:
        unobserved = config.unobserved_weight
    else:
        unobserved = config.unobserved_total / n_items
    return {
        "unobserved_weight": unobserved,
        "weight_scale": 1.0,
        "regularisation": config.regularisation,
        "frequency_exponent": config.frequency_exponent,
        "frequency_offset": unobserved * n_items,
        "explicit": float(explicit),
        "mean_rating": mean,
    }


def _problem(
    rows: Rows,
    ordered_counts: Int64,
    place: Int32,
    n_users: int,
    parameters: dict[str, float],
    communicator: Communicator,
) -> _Problem:
    curvature, pull = entry_terms(rows, parameters)
    unobserved = parameters["unobserved_weight"]
    item_side = {**parameters, "frequency_offset": unobserved * n_users}
    return _Problem(
        Rows(rows.user_index, rows.offsets, place[rows.item_indices], rows.weights),
        curvature,
        pull,
        frequency_regularisation(rows.counts, parameters),
        frequency_regularisation(ordered_counts, item_side),
        unobserved,
        communicator,
    )


def _initial_factors(n_items: int, rank: int, seed: int, counts: Int64) -> Float32:
    generator = np.random.default_rng(seed)
    factors = generator.standard_normal((n_items, rank), dtype=np.float32)
    factors *= np.float32(_INITIAL_DEVIATION / np.sqrt(rank))
    # The solution of an item that nobody has is zero; starting there, it stays.
    factors[counts == 0] = 0.0
    return factors


def _iterate(
    problem: _Problem, config: AlsConfig, fresh: bool, user_factors: Float32, item_factors: Float32
) -> None:
    steps = config.conjugate_gradient_steps if config.solver == "conjugate_gradient" else 0
    if fresh:
        # A checkpoint holds no users. Solving them from zero where one is or could be written
        # lets a run that resumes take the same path as one that was never stopped; twice the
        # steps make up for the cold start.
        user_factors[:] = 0.0
        steps *= 2
    residual = np.zeros_like(item_factors)
    solve_rows_and_add_residual(
        *problem.sparse,
        problem.curvature,
        problem.pull,
        problem.user_regularisation,
        _scaled_gram(item_factors, problem.unobserved_weight),
        item_factors,
        steps,
        user_factors,
        residual,
    )
    user_gram = user_factors.T @ user_factors
    problem.communicator.all_reduce(user_gram)
    user_gram *= np.float32(problem.unobserved_weight)
    _add_dense_terms(problem, user_gram, item_factors, residual, -1.0)
    problem.communicator.all_reduce(residual)
    _descend_items(
        problem, config.conjugate_gradient_steps, user_gram, user_factors, item_factors, residual
    )


def _scaled_gram(factors: Float32, scale: float) -> Float32:
    gram: Float32 = factors.T @ factors
    return gram * np.float32(scale)


def _add_dense_terms(
    problem: _Problem, scaled_gram: Float32, vectors: Float32, output: Float32, sign: float
) -> None:
    # (a0 U^T U + lambda_i) p_i, each rank for its part of the items: the all-reduce that follows
    # puts the parts together.
    communicator = problem.communicator
    part = share_of(len(vectors), communicator.rank, communicator.size)
    terms = vectors[part] @ scaled_gram
    terms += problem.item_regularisation[part, None] * vectors[part]
    if sign < 0:
        output[part] -= terms
    else:
        output[part] += terms


def _descend_items(
    problem: _Problem,
    steps: int,
    user_gram: Float32,
    user_factors: Float32,
    item_factors: Float32,
    residual: Float32,
) -> None:
    """Conjugate gradient on every item's own system at once, in place."""
    direction = residual.copy()
    lengths = _squares(residual, residual)
    product = np.empty_like(residual)
    for step in range(steps):
        product[:] = 0.0
        add_item_curvature(*problem.sparse, problem.curvature, user_factors, direction, product)
        _add_dense_terms(problem, user_gram, direction, product, 1.0)
        problem.communicator.all_reduce(product)
        ratio = _ratio(lengths, _squares(direction, product))[:, None]
        item_factors += ratio * direction
        if step + 1 == steps:
            return
        residual -= ratio * product
        shrunk = _squares(residual, residual)
        direction *= _ratio(shrunk, lengths)[:, None]
        direction += residual
        lengths = shrunk


def _squares(left: Float32, right: Float32) -> Float32:
    sums: Float32 = np.einsum("ij,ij->i", left, right)
    return sums


def _ratio(above: Float32, below: Float32) -> Float32:
    quotient: Float32 = np.divide(above, below, out=np.zeros_like(above), where=below > 0)
    return quotient


def als_objective(model: FactorModel, rows: Rows, communicator: Communicator) -> float:
    """The training loss over the rows of all ranks, each user at its exact optimum.

    The module's formula, in float64; for explicit feedback the squared errors of the ratings less
    their mean, with the same penalties.
    """
    parameters = model.parameters
    users = project(model, rows).astype(np.float64)
    items = model.factors.astype(np.float64)
    curvature, pull = entry_terms(rows, parameters)
    # (w + a0) (1 - s)^2 - a0 s^2 = c s^2 - 2 t s + t; (t - s)^2 = s^2 - 2 t s + t^2.
    constants = pull.astype(np.float64) ** (2.0 if parameters["explicit"] else 1.0)
    local = float(constants.sum()) + _observed_loss(rows, curvature, pull, users, items)
    user_penalty = frequency_regularisation(rows.counts, parameters).astype(np.float64)
    local += float(user_penalty @ np.einsum("ij,ij->i", users, users))
    user_gram = users.T @ users
    communicator.all_reduce(user_gram)
    n_users = all_sum(communicator, np.count_nonzero(rows.counts))
    unobserved = parameters["unobserved_weight"]
    item_penalty = frequency_regularisation(
        model.interaction_counts, {**parameters, "frequency_offset": unobserved * n_users}
    ).astype(np.float64)
    shared = float(item_penalty @ np.einsum("ij,ij->i", items, items))
    shared += unobserved * float(np.sum(user_gram * (items.T @ items)))
    return all_sum(communicator, local) + shared


def _observed_loss(
    rows: Rows, curvature: Float32, pull: Float32, users: Float64, items: Float64
) -> float:
    # c s^2 - 2 t s: each observed term of the loss but for its constant.
    total = 0.0
    for row in range(len(rows)):
        entries = slice(rows.offsets[row], rows.offsets[row + 1])
        scores = items[rows.item_indices[entries]] @ users[row]
        bends, pulls = curvature[entries].astype(np.float64), pull[entries].astype(np.float64)
        total += float(bends @ scores**2 - 2.0 * pulls @ scores)
    return total
