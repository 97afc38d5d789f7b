"""Time against interactions, one worker against two, and rows of one heavy user and item.

Users grow with the interactions and items stay, as in a shop that wins customers. Top-N scores
every fourth user.
"""

import math
from collections.abc import Mapping
from pathlib import Path

from m6rec.config import AlsConfig, SvdConfig
from m6rec.kernels.top_n import top_n_products
from m6rec.stages.factors import train_als, train_svd
from tests.benchmarks.als import config as als_config
from tests.benchmarks.dataset import Dataset, save
from tests.benchmarks.generator import Sizes, generate, with_heavy_user_and_item
from tests.benchmarks.measure import Contender, Measure, Workspace, marginal, time_of
from tests.benchmarks.spark import open_session
from tests.benchmarks.top_n import LISTED, vectors

KEY = "scaling"
RANK = 64
INTERACTIONS_PER_USER = 30
SCORED_SHARE = 4
# No iteration of the span starts users anew, so that few are like all.
SPAN = (1, 4)


def prepare_als(workspace: Workspace) -> Measure:
    """A marginal iteration of the barrier program."""
    dataset = workspace.dataset
    matrix = dataset.frame(open_session(workspace))

    def fit(iterations: int) -> None:
        settings: AlsConfig = als_config(RANK, iterations).model_copy(
            update={"checkpoint_every": SPAN[1] + 1}
        )
        train_als(matrix, dataset.n_items, settings, workspace.seed, None)

    fit(1)
    return lambda: marginal(fit, *SPAN)


def prepare_svd(workspace: Workspace) -> Measure:
    """The barrier program, with what it takes to bring the rows into it."""
    dataset = workspace.dataset
    matrix = dataset.frame(open_session(workspace))
    settings = SvdConfig(rank=RANK)
    return lambda: time_of(lambda: train_svd(matrix, dataset.n_items, settings, workspace.seed))


def prepare_top_n(workspace: Workspace) -> Measure:
    """The kernel for every fourth user."""
    users, items = vectors(workspace, RANK)
    rows = workspace.dataset.rows()
    part = rows.slice(0, max(len(rows) // SCORED_SHARE, 1))

    def work() -> None:
        top_n_products(users[: len(part)], items, LISTED, part.offsets, part.item_indices)

    return lambda: time_of(work)


PROGRAMS = {
    "als_iteration_seconds": prepare_als,
    "svd_seconds": prepare_svd,
    "top_n_kernel_seconds": prepare_top_n,
}


def contenders(sizes: tuple[int, ...], items: int, folder: Path, seed: int) -> list[Contender]:
    """Each program at each number of interactions, on one worker, and on skewed rows."""
    even = {size: _dataset(folder / str(size), size, items, seed) for size in sizes}
    found = [
        Contender(KEY, f"{program}/{size}", "m6rec", prepare, dataset=dataset)
        for size, dataset in even.items()
        for program, prepare in PROGRAMS.items()
    ]
    middle = sizes[len(sizes) // 2]
    found += [
        Contender(
            KEY,
            f"{program}/{middle}/{workers}_workers",
            "m6rec",
            prepare,
            dataset=even[middle],
            workers=workers,
        )
        for program, prepare in PROGRAMS.items()
        for workers in (1, 2)
    ]
    heavy = _skewed(folder, sizes[0], seed)
    return found + [
        Contender(KEY, f"als_iteration_seconds/{name}", "m6rec", prepare_als, dataset=dataset)
        for name, dataset in heavy.items()
    ]


def _dataset(folder: Path, interactions: int, items: int, seed: int) -> Dataset:
    users = max(interactions // INTERACTIONS_PER_USER, 2)
    return save(generate(Sizes(users, items, interactions), seed), items, folder)


def _skewed(folder: Path, interactions: int, seed: int) -> dict[str, Dataset]:
    """A matrix with as many items as interactions, and it with a user and an item that have all."""
    items = interactions
    users = max(interactions // INTERACTIONS_PER_USER, 2)
    rows = generate(Sizes(users, items, interactions), seed)
    return {
        "even": save(rows, items, folder / "even"),
        "skewed": save(with_heavy_user_and_item(rows, items), items, folder / "skewed"),
    }


def fitted_exponent(seconds: Mapping[int, float]) -> float:
    """The slope of log seconds against log interactions by least squares."""
    x = [math.log(size) for size in seconds]
    y = [math.log(value) for value in seconds.values()]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    above = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return above / sum((a - mean_x) ** 2 for a in x)


def summary(medians: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Cases `exponent` and `speed_up_of_two_workers`, by program, from the medians of all cases."""
    exponents, speed_ups = {}, {}
    for program in PROGRAMS:
        cases = {
            case.removeprefix(f"{program}/"): value
            for case, value in medians.items()
            if case.startswith(f"{program}/")
        }
        by_size = {int(case): value for case, value in cases.items() if case.isdigit()}
        if len(by_size) > 1:
            exponents[program] = fitted_exponent(by_size)
        by_workers = {case[-9]: value for case, value in cases.items() if case.endswith("_workers")}
        if set(by_workers) == {"1", "2"}:
            speed_ups[program] = by_workers["1"] / by_workers["2"]
    return {"exponent": exponents, "speed_up_of_two_workers": speed_ups}
