"""Factorise distributed user rows by alternating least squares (Hu, Koren, Volinsky 2008).

For implicit feedback it minimises the following loss, where a0 is the weight of pairs that were
not observed:

    sum_{(u,i) observed} (w_ui + a0) (1 - u.v_i)^2 + a0 sum_{others} (u.v_i)^2
        + sum_u lambda_u |u|^2 + sum_i lambda_i |v_i|^2,
    lambda_u = regularisation (|I_u| + a0 M)^nu,  lambda_i = regularisation (|U_i| + a0 N)^nu

(Rendle et al. 2021, "Revisiting the performance of iALS", eq. 7). Every rank holds its own users
and all item factors V. An iteration first solves the rank's users. Then it improves all items
together by steps of conjugate gradient. The first residual and each step take one sweep over the
rank's entries, sorted by item, and one all-reduce of M x k numbers. The all-reduce goes by pieces:
one piece of the items is reduced while the next one is swept. Explicit feedback sets a0 = 0 and
fits the ratings less their mean.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import assert_never

import numpy as np

from m6rec.config.models import AlsConfig
from m6rec.errors import DataError
from m6rec.kernels.arrays.communicator import Communicator, all_sum
from m6rec.kernels.arrays.read_only import read_only
from m6rec.kernels.arrays.rows import Float32, Int32, Int64, Rows, indptr_of
from m6rec.kernels.arrays.sparse_products import (
    count_items,
    entries_by_item,
    popularity_order,
    share_of,
)
from m6rec.kernels.arrays.threads import Threads
from m6rec.kernels.factors.least_squares import add_sparse_terms, descend, solve_rows, start_descent
from m6rec.kernels.factors.projection import (
    FactorModel,
    along_principal_axes,
    build_factor_model,
    frequency_regularisation,
    normal_equation_terms,
)

Checkpoint = Callable[[int, Float32], None]

_INITIAL_DEVIATION = 0.1
_PIECES = 4


@dataclass(frozen=True)
class _NormalEquations:
    """What one side's normal equations get from the entries of this rank and from lambda.

    Attributes:
        indptr: int64 [n + 1].
        indices: int32 [entries] into the other side's vectors.
        confidence: float32 [entries]; c of `normal_equation_terms`.
        right_hand_side: float32 [entries]; t of `normal_equation_terms`.
        regularisation: float32 [n]; lambda of each row.
    """

    indptr: Int64
    indices: Int32
    confidence: Float32
    right_hand_side: Float32
    regularisation: Float32

    def of_rows(self, rows: slice) -> tuple[Int64, Int32, Float32, Float32, Float32]:
        """The equations of a range of rows, in the order in which the kernels take them."""
        indptr, regularisation = self.indptr[rows.start : rows.stop + 1], self.regularisation[rows]
        return indptr, self.indices, self.confidence, self.right_hand_side, regularisation


@dataclass(frozen=True)
class _Problem:
    """The equations of both sides, with items numbered by frequency.

    Each rank adds lambda and the dense terms for its own part of the items and zeros for the
    others; the all-reduce puts the parts together. It goes by `pieces` of the items, which are the
    same on all ranks.
    """

    users: _NormalEquations
    items: _NormalEquations
    items_part: slice
    pieces: list[slice]
    unobserved_weight: float
    communicator: Communicator
    threads: Threads

    @cached_property
    def user_parts(self) -> list[slice]:
        """The users of each thread."""
        return self.threads.parts_of_rows(self.users.indptr)

    @cached_property
    def item_parts(self) -> list[slice]:
        """The items of each thread."""
        return self.threads.parts_of_rows(self.items.indptr)

    @cached_property
    def parts_of_pieces(self) -> list[list[slice]]:
        """The items of each thread, for each piece."""
        return [self.threads.parts_of_rows(self.items.indptr, piece) for piece in self.pieces]


def alternating_least_squares(
    rows: Rows,
    n_items: int,
    config: AlsConfig,
    seed: int,
    communicator: Communicator,
    checkpoint: Checkpoint | None = None,
    start: tuple[int, Float32] | None = None,
    initial: Float32 | None = None,
) -> FactorModel:
    """Factorise the rows of all ranks by ALS; every rank returns the same model.

    Args:
        rows: this rank's users.
        n_items: M, the same on all ranks.
        config: rank, iterations, weights and solver.
        seed: of the initial item factors, which do not depend on the number of ranks.
        communicator: the group; all ranks call this function together.
        checkpoint: rank 0 calls it after every `config.checkpoint_every` iterations except the
            last, with the number of iterations done and the item factors, float32 [M, k].
        start: what `checkpoint` was called with, given on all ranks. Training goes on from there
            and ends with the same model as a training that was never stopped.
        initial: float32 [M, k]; item factors of an earlier training, in place of random ones. An
            item whose row is zero starts from a random one. The factors are then not turned along
            their principal axes, so that their coordinates keep the earlier meaning.

    Raises:
        DataError: the weights are so large that the factors are not finite.
    """
    counts = _all_counts(rows, n_items, communicator)
    n_users = int(all_sum(communicator, np.count_nonzero(rows.counts)))
    # Items that nobody has stay zero, and so do those that a lake has had once.
    n_warm = int(np.count_nonzero(counts))
    parameters = _parameters(rows, max(n_warm, 1), config, communicator)
    order, place = popularity_order(counts)
    done, factors = start or (0, _initial_factors(n_items, config.rank, seed, counts, initial))
    item_factors = np.ascontiguousarray(factors[order])
    # Arrays of all items are most of what a rank holds.
    del factors
    # NumPy asks for huge pages where it makes an empty array, but not where it makes zeros. Random
    # reads from small pages take half as long again.
    user_factors = np.empty((len(rows), config.rank), np.float32)
    user_factors[:] = 0.0
    with Threads() as threads:
        problem = _problem(rows, counts[order], place, n_users, parameters, communicator, threads)
        for iteration in range(done, config.iterations):
            fresh = iteration % config.checkpoint_every == 0
            _iterate(problem, config, fresh, user_factors, item_factors)
            finished = iteration + 1
            if finished % config.checkpoint_every or finished == config.iterations:
                continue
            if checkpoint is not None and communicator.rank == 0:
                checkpoint(finished, item_factors[place])
    factors = item_factors[place]
    del item_factors
    _check_finite(factors, rows)
    if initial is None:
        factors = along_principal_axes(factors)
    return build_factor_model(
        "als", factors, None, np.ones(n_items, np.float32), parameters, counts
    )


def _check_finite(factors: Float32, rows: Rows) -> None:
    if not np.isfinite(factors).all():
        raise DataError(
            "ALS has numbers beyond those of 32 bits, as the weights of interactions are too large:"
            f" one is {rows.weights.max(initial=0.0):g}; set interactions.weighting: log, or divide"
            " the weights by a power of ten"
        )


def _all_counts(rows: Rows, n_items: int, communicator: Communicator) -> Int64:
    counts = count_items(rows, n_items)
    communicator.all_reduce(counts)
    return counts


def _parameters(
    rows: Rows, n_warm: int, config: AlsConfig, communicator: Communicator
) -> dict[str, float]:
    """What factors and projections are computed by; `n_warm` items have interactions."""
    unobserved, mean, explicit = 0.0, 0.0, False
    match config.feedback:
        case "explicit":
            explicit = True
            total = all_sum(communicator, float(rows.weights.sum(dtype=np.float64)))
            mean = total / max(all_sum(communicator, rows.entries), 1.0)
        case "implicit" if config.unobserved_weight is not None:
            unobserved = config.unobserved_weight
        case "implicit":
            unobserved = config.unobserved_total / n_warm
        case _:
            assert_never(config.feedback)
    return {
        "unobserved_weight": unobserved,
        "weight_scale": 1.0,
        "regularisation": config.regularisation,
        "frequency_exponent": config.frequency_exponent,
        "frequency_offset": unobserved * n_warm,
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
    threads: Threads,
) -> _Problem:
    confidence, right_hand_side = normal_equation_terms(rows, parameters)
    unobserved = parameters["unobserved_weight"]
    users = _NormalEquations(
        rows.indptr,
        place[rows.item_indices],
        confidence,
        right_hand_side,
        frequency_regularisation(rows.counts, parameters),
    )
    part = share_of(len(ordered_counts), communicator.rank, communicator.size)
    item_side = {**parameters, "frequency_offset": unobserved * n_users}
    item_regularisation = np.zeros(len(ordered_counts), np.float32)
    item_regularisation[part] = frequency_regularisation(ordered_counts[part], item_side)
    numbered = Rows(rows.user_index, rows.indptr, users.indices, rows.weights)
    indptr, row_indices, positions = entries_by_item(numbered, len(ordered_counts))
    items = _NormalEquations(
        indptr, row_indices, confidence[positions], right_hand_side[positions], item_regularisation
    )
    pieces = _pieces(ordered_counts)
    return _Problem(users, items, part, pieces, unobserved, communicator, threads)


def _pieces(counts: Int64) -> list[slice]:
    """Pieces of the items with about equally many entries, the rarest items first.

    No sweep runs while the last piece is reduced. It holds the most frequent items, which are few
    and therefore quickly reduced.
    """
    before = indptr_of(counts)
    ends = np.searchsorted(before, np.linspace(0, before[-1], _PIECES + 1))
    ends[-1] = len(counts)
    return [slice(low, high) for low, high in pairwise(ends.tolist())][::-1]


def _initial_factors(
    n_items: int, rank: int, seed: int, counts: Int64, given: Float32 | None
) -> Float32:
    generator = np.random.default_rng(seed)
    factors = generator.standard_normal((n_items, rank), dtype=np.float32)
    factors *= np.float32(_INITIAL_DEVIATION / np.sqrt(rank))
    if given is not None:
        # Of new items alone, all zero, users would get zeros, and of these the items again.
        known = given.any(axis=1)
        factors[known] = given[known]
    # The solution of an item that nobody has is zero; starting there, it stays.
    factors[counts == 0] = 0.0
    return factors


def _iterate(
    problem: _Problem, config: AlsConfig, fresh: bool, user_factors: Float32, item_factors: Float32
) -> None:
    steps = _steps_of_users(config)
    if fresh:
        # A checkpoint holds no user factors. Solving them from zero wherever a checkpoint may be
        # written makes a resumed run equal to one that was never stopped. Twice the steps make up
        # for the cold start.
        user_factors[:] = 0.0
        steps *= 2
    own_items = [_within(part, problem.items_part) for part in problem.item_parts]
    item_gram = _scaled_gram(problem, item_factors, own_items)

    def solve(users: slice) -> None:
        equations = problem.users.of_rows(users)
        read = read_only(*equations, item_gram, item_factors)
        solve_rows(*read, steps, user_factors[users])

    problem.threads.run(solve, problem.user_parts)
    _descend_items(problem, config.conjugate_gradient_steps, user_factors, item_factors)


def _steps_of_users(config: AlsConfig) -> int:
    """Steps of conjugate gradient for a user; 0 solves exactly."""
    match config.solver:
        case "conjugate_gradient":
            return config.conjugate_gradient_steps
        case "cholesky":
            return 0
        case _:
            assert_never(config.solver)


def _within(part: slice, whole: slice) -> slice:
    start = min(max(part.start, whole.start), whole.stop)
    return slice(start, max(start, min(part.stop, whole.stop)))


def _scaled_gram(problem: _Problem, factors: Float32, parts: list[slice]) -> Float32:
    """a0 F^T F over the parts of all ranks, float32 [k, k]."""
    grams = problem.threads.run(lambda part: factors[part].T @ factors[part], parts)
    gram: Float32 = np.sum(grams, axis=0)
    problem.communicator.all_reduce(gram)
    return gram * np.float32(problem.unobserved_weight)


def _descend_items(
    problem: _Problem, steps: int, user_factors: Float32, item_factors: Float32
) -> None:
    """Take steps of conjugate gradient on the systems of all items at once, in place."""
    user_gram = _scaled_gram(problem, user_factors, problem.user_parts)
    residuals, directions = np.empty_like(item_factors), np.empty_like(item_factors)
    products, lengths = np.empty_like(item_factors), np.empty(len(item_factors), np.float32)
    state = item_factors, residuals, directions, lengths

    def start(items: slice) -> None:
        start_descent(residuals[items], directions[items], lengths[items])

    def step(items: slice) -> None:
        descend(products[items], *(array[items] for array in state))

    _apply_to_items(problem, -user_gram, 1.0, -1.0, user_factors, item_factors, residuals)
    problem.threads.run(start, problem.item_parts)
    for _ in range(steps):
        _apply_to_items(problem, user_gram, 0.0, 1.0, user_factors, directions, products)
        problem.threads.run(step, problem.item_parts)


def _apply_to_items(
    problem: _Problem,
    gram: Float32,
    right_hand_side_scale: float,
    matrix_scale: float,
    user_factors: Float32,
    vectors: Float32,
    output: Float32,
) -> None:
    # Adds up the sparse terms of `add_sparse_terms` and the dense terms in a0 over all ranks.
    scales = np.float32(right_hand_side_scale), np.float32(matrix_scale)

    def apply(items: slice) -> None:
        output[items] = 0.0
        own = _within(items, problem.items_part)
        np.matmul(vectors[own], gram, out=output[own])
        equations = problem.items.of_rows(items)
        vectors_read = read_only(user_factors, vectors[items])
        add_sparse_terms(*read_only(*equations), *scales, *vectors_read, output[items])

    reduced = []
    for piece, parts in zip(problem.pieces, problem.parts_of_pieces, strict=True):
        problem.threads.run(apply, parts)
        reduced.append(problem.communicator.start_all_reduce(output[piece]))
    for wait in reduced:
        wait()
