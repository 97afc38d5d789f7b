"""Item neighbours and local ridge, against implicit's item-item model and a dense EASE."""

import os
from collections.abc import Callable

import numpy as np
import scipy.linalg as sl
from pyspark.sql import DataFrame

from m6rec.config.models import NeighboursConfig
from m6rec.kernels.neighbours.item_neighbours import ItemWeights
from m6rec.stages.training.neighbours import train_item_neighbours, train_ridge
from tests.benchmarks.measure import CannotRunError, Contender, Measure, Workspace, time_of
from tests.benchmarks.spark import open_session

NEIGHBOURS = "neighbours_seconds"
RIDGE = "ridge_seconds"
EASE_PENALTY = 200.0
# An inverse of 12,000 items is some 3.5e12 operations: a minute of two cores.
EASE_ITEMS = 12_000


def prepare_neighbours(workspace: Workspace) -> Measure:
    """Ours, top 100, warm."""
    return _prepare(workspace, train_item_neighbours)


def prepare_implicit(workspace: Workspace) -> Measure:
    """implicit's cosine model with as many neighbours."""
    from implicit.nearest_neighbours import CosineRecommender  # noqa: PLC0415 - may be absent

    matrix = workspace.dataset.scipy()
    model = CosineRecommender(K=NeighboursConfig().neighbours, num_threads=workspace.workers)
    return lambda: time_of(lambda: model.fit(matrix, show_progress=False))


def prepare_ridge(workspace: Workspace) -> Measure:
    """Ours, 200 candidates, warm."""
    return _prepare(workspace, train_ridge)


def _prepare(
    workspace: Workspace, train: Callable[[DataFrame, int, NeighboursConfig], ItemWeights]
) -> Measure:
    matrix = workspace.dataset.frame(open_session(workspace)).cache()
    config, n_items = NeighboursConfig(), workspace.dataset.n_items
    train(matrix, n_items, config)
    return lambda: time_of(lambda: train(matrix, n_items, config))


def prepare_ease(workspace: Workspace) -> Measure:
    """EASE (Steck 2019): B = I - P diag(P)^-1, P = (X^T X + lambda I)^-1, dense float32."""
    n_items = workspace.dataset.n_items
    needed = 3 * 4 * n_items**2
    available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if n_items > EASE_ITEMS or needed > available:
        raise CannotRunError(
            f"a dense inverse of {n_items} items takes {needed / 1e9:.1f} GB and"
            f" {2 * n_items**3:.1e} operations; {available / 1e9:.1f} GB are free and the limit is"
            f" {EASE_ITEMS} items"
        )
    matrix = workspace.dataset.scipy()
    matrix.data[:] = 1.0

    def fit() -> None:
        gram = (matrix.T @ matrix).toarray(order="F")
        gram[np.diag_indices(n_items)] += EASE_PENALTY
        factor = sl.lapack.spotrf(gram, lower=1, overwrite_a=1)[0]
        inverse = sl.lapack.spotri(factor, lower=1, overwrite_c=1)[0]
        inverse /= -np.diag(inverse).copy()
        inverse[np.diag_indices(n_items)] = 0.0

    return lambda: time_of(fit)


def contenders() -> list[Contender]:
    """All."""
    return [
        Contender(NEIGHBOURS, "default", "m6rec", prepare_neighbours),
        Contender(NEIGHBOURS, "default", "implicit", prepare_implicit, needs="implicit"),
        Contender(RIDGE, "default", "m6rec", prepare_ridge),
        Contender(RIDGE, "default", "ease", prepare_ease),
    ]
