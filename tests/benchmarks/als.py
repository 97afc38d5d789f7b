"""Implicit ALS: a marginal iteration of ours, MLlib's and implicit's; the loss."""

from collections.abc import Callable
from typing import Any

from m6rec.kernels.arrays.rows import Float32
from m6rec.kernels.arrays.sparse_products import count_items
from m6rec.kernels.factors.projection import FactorModel, build_factor_model
from m6rec.stages.training.factors import train_als
from tests.benchmarks.als_objective import (
    ITERATIONS,
    REGULARISATION,
    als_config,
    als_objective,
    long_ratings,
    mllib_estimator,
)
from tests.benchmarks.measure import Contender, Measure, Workspace, marginal
from tests.benchmarks.spark import STOCK, open_session

KEY = "als_iteration_seconds"
LOSS = "als_loss"
RANKS = (64, 128)
# Our iterations differ: each `checkpoint_every` starts users anew. Ten have as many as a fit has.
SPAN = (4, 14)
MLLIB_SPAN = (2, 6)


def prepare_m6rec(workspace: Workspace) -> Measure:
    """The barrier program."""
    return _marginal_iteration(_fit_of_m6rec(workspace), SPAN)


def prepare_loss_of_m6rec(workspace: Workspace) -> Measure:
    """The loss that it reaches."""
    fit = _fit_of_m6rec(workspace)
    return lambda: loss(workspace, fit(ITERATIONS).factors)


def _marginal_iteration(fit: Callable[[int], Any], span: tuple[int, int]) -> Measure:
    """Measures one more iteration of a fit that has been compiled and has its data."""
    fit(1)
    return lambda: marginal(fit, *span)


def _fit_of_m6rec(workspace: Workspace) -> Callable[[int], FactorModel]:
    rank, dataset = int(workspace.case), workspace.dataset
    matrix = dataset.frame(open_session(workspace)).cache()
    matrix.count()

    def fit(iterations: int) -> FactorModel:
        return train_als(
            matrix, dataset.n_items, als_config(rank, iterations), workspace.seed, None
        )

    return fit


def prepare_mllib(workspace: Workspace) -> Measure:
    """Spark MLlib."""
    rank = int(workspace.case)
    ratings = long_ratings(workspace.dataset.frame(open_session(workspace, STOCK))).cache()
    ratings.count()

    def fit(iterations: int) -> Any:
        return mllib_estimator(rank, iterations, workspace.seed).fit(ratings)

    return _marginal_iteration(fit, MLLIB_SPAN)


def prepare_implicit(workspace: Workspace) -> Measure:
    """The package implicit: conjugate gradient on all threads."""
    return _marginal_iteration(_fit_of_implicit(workspace), SPAN)


def prepare_loss_of_implicit(workspace: Workspace) -> Measure:
    """The loss that it reaches."""
    fit = _fit_of_implicit(workspace)
    return lambda: loss(workspace, fit(ITERATIONS).item_factors)


def _fit_of_implicit(workspace: Workspace) -> Callable[[int], Any]:
    from implicit.cpu.als import AlternatingLeastSquares  # noqa: PLC0415 - may be absent

    confidence = workspace.dataset.scipy()
    confidence.data = confidence.data + 1.0

    def fit(iterations: int) -> Any:
        model = AlternatingLeastSquares(
            factors=int(workspace.case),
            regularization=REGULARISATION,
            alpha=1.0,
            iterations=iterations,
            num_threads=workspace.workers,
            random_state=workspace.seed,
        )
        model.fit(confidence, show_progress=False)
        return model

    return fit


def loss(workspace: Workspace, item_factors: Float32) -> float:
    """The common objective with each user at its optimum for these item factors."""
    rows = workspace.dataset.rows()
    parameters = {
        "unobserved_weight": 1.0,
        "weight_scale": 1.0,
        "regularisation": REGULARISATION,
        "frequency_exponent": 0.0,
        "frequency_offset": 0.0,
        "explicit": 0.0,
        "mean_rating": 0.0,
    }
    counts = count_items(rows, workspace.dataset.n_items)
    scales = (counts >= 0).astype(item_factors.dtype)
    model = build_factor_model("als", item_factors, None, scales, parameters, counts)
    return als_objective(model, rows)


def contenders() -> list[Contender]:
    """All, by rank."""
    return [
        contender
        for rank in map(str, RANKS)
        for contender in (
            Contender(KEY, rank, "m6rec", prepare_m6rec),
            Contender(KEY, rank, "implicit", prepare_implicit, needs="implicit"),
            Contender(KEY, rank, "mllib", prepare_mllib),
            Contender(LOSS, rank, "m6rec", prepare_loss_of_m6rec),
            Contender(LOSS, rank, "implicit", prepare_loss_of_implicit, needs="implicit"),
        )
    ]
