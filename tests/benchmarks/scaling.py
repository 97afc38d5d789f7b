"""Time against interactions, one worker against two, and rows of one heavy user and item.

Users grow with the interactions and items stay, as in a shop that wins customers. Top-N scores
every fourth user. Last comes a catalogue of many items, of which only some users are scored.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from m6rec.config.models import AlsConfig, SvdConfig
from m6rec.kernels.ranking.top_n import by_length, top_n_products
from m6rec.stages.training.factors import train_als, train_svd
from tests.benchmarks import constants, preparation
from tests.benchmarks.als_objective import als_config
from tests.benchmarks.dataset import Dataset, generated, kept
from tests.benchmarks.generator import Sizes, generate, with_heavy_user_and_item
from tests.benchmarks.measure import THREADS, Contender, Measure, Workspace, marginal, time_of
from tests.benchmarks.spark import open_session
from tests.benchmarks.top_n import LISTED, vectors

KEY = "scaling"
RANK = 64
INTERACTIONS_PER_USER = 30
SCORED_SHARE = 4
# No iteration of the span starts users anew, so that few are like all.
SPAN = (1, 7)
SKEW = ("even", "skewed")
CATALOGUE = "catalogue"
# Each iteration there takes as long as a whole training elsewhere.
CATALOGUE_SPAN = (1, 3)
CATALOGUE_SCORED = 2_000
# Spark's shuffles of more take the disk of a larger machine.
PREPARED_UP_TO = 3_000_000


def prepare_als(
    workspace: Workspace, span: tuple[int, int] = SPAN, cores_of_rank: int = 1
) -> Measure:
    """A marginal iteration of the barrier program."""
    dataset = workspace.dataset
    cores = {"spark.task.cpus": str(cores_of_rank)}
    matrix = dataset.frame(open_session(workspace, cores))

    def fit(iterations: int) -> None:
        settings: AlsConfig = als_config(RANK, iterations).model_copy(
            update={"checkpoint_every": span[1] + 1}
        )
        train_als(matrix, dataset.n_items, settings, workspace.seed, None)

    fit(1)
    _note_sizes(workspace)
    workspace.facts["cores_of_rank"] = cores_of_rank
    return lambda: marginal(fit, *span)


def prepare_svd(workspace: Workspace) -> Measure:
    """The barrier program, with what it takes to bring the rows into it."""
    dataset = workspace.dataset
    matrix = dataset.frame(open_session(workspace))
    settings = SvdConfig(rank=RANK)

    def fit() -> None:
        train_svd(matrix, dataset.n_items, settings, workspace.seed)

    # The JVM gets faster from call to call, by a quarter of a second until the third.
    for _ in range(3):
        fit()
    _note_sizes(workspace)
    return lambda: time_of(fit)


def prepare_top_n(workspace: Workspace, scored: int | None = None) -> Measure:
    """The kernel for so many users; for every fourth unless given."""
    users, items = vectors(workspace, RANK)
    rows = workspace.dataset.rows()
    part = rows.slice(0, min(scored or max(len(rows) // SCORED_SHARE, 1), len(rows)))
    few = rows.slice(0, 1)
    # An executor puts the items in order once for all of its users.
    ordered = by_length(items)
    top_n_products(users[:1], ordered, LISTED, few.indptr, few.item_indices)
    _note_sizes(workspace)
    workspace.facts["users"] = len(part)

    def work() -> None:
        top_n_products(users[: len(part)], ordered, LISTED, part.indptr, part.item_indices)

    return lambda: time_of(work)


def prepare_preparation(workspace: Workspace) -> Measure:
    """Job `prepare_interactions`, warm."""
    run = preparation.runner(workspace)
    _note_sizes(workspace)
    return lambda: time_of(run)


def _note_sizes(workspace: Workspace) -> None:
    workspace.facts.update(workspace.dataset.sizes(), workers=workspace.workers)


PREPARATION = "prepare_seconds"
PROGRAMS = {
    "als_iteration_seconds": prepare_als,
    "svd_seconds": prepare_svd,
    "top_n_kernel_seconds": prepare_top_n,
}


def contenders(
    sizes: tuple[int, ...], items: int, catalogue: Sizes, folder: Path, seed: int
) -> list[Contender]:
    """Each program by number of interactions, on one worker, on skewed rows, and on many items.

    Matrices are made when their turn comes. Rates of the cost model are measured on one in between.
    """

    def of_size(size: int) -> Callable[[], Dataset]:
        return partial(dataset_of_size, folder / str(size), size, items, seed)

    found = []
    for size in sizes:
        programs = dict(PROGRAMS)
        if size <= PREPARED_UP_TO:
            programs[PREPARATION] = prepare_preparation
        found += [
            Contender(KEY, f"{program}/{size}", "m6rec", prepare, dataset=of_size(size))
            for program, prepare in programs.items()
        ]
    # Few interactions are no work for two.
    shared = max(sizes)
    found += [
        Contender(
            KEY,
            f"{program}/{shared}/{workers}_workers",
            "m6rec",
            prepare,
            dataset=of_size(shared),
            workers=workers,
        )
        for program, prepare in PROGRAMS.items()
        for workers in (1, 2)
    ]
    found += [
        Contender(
            KEY,
            f"{program}/{name}",
            "m6rec",
            PROGRAMS[program],
            dataset=partial(_skewed, name, folder / name, sizes[0], seed),
        )
        for program in ("als_iteration_seconds", "svd_seconds")
        for name in SKEW
    ]
    large_catalogue = partial(generated, catalogue, seed, folder / CATALOGUE)
    of_catalogue: dict[str, Callable[[Workspace], Measure]] = {
        # With a rank for each core, the machine would hold the items twice.
        "als_iteration_seconds": partial(prepare_als, span=CATALOGUE_SPAN, cores_of_rank=THREADS),
        "top_n_kernel_seconds": partial(prepare_top_n, scored=CATALOGUE_SCORED),
    }
    found += [
        Contender(KEY, f"{program}/{CATALOGUE}", "m6rec", prepare, dataset=large_catalogue)
        for program, prepare in of_catalogue.items()
    ]
    # Of a matrix on which each rate is told from the noise.
    large, prepared = sizes[len(sizes) // 2], sizes[(len(sizes) - 1) // 2]
    return constants.contenders(of_size(large), of_size(prepared)) + found


def dataset_of_size(folder: Path, interactions: int, items: int, seed: int) -> Dataset:
    """The generator's matrix with so many interactions and items."""
    return generated(_sizes(interactions, items), seed, folder)


def _skewed(name: str, folder: Path, interactions: int, seed: int) -> Dataset:
    """A matrix with as many items as interactions; skewed, a user and an item that have all.

    The even one has as many interactions as the skewed one has with the heavy user's.
    """
    items = interactions
    if name == SKEW[0]:
        return generated(_sizes(2 * interactions, items), seed, folder)
    sizes = _sizes(interactions, items)
    return kept(lambda: with_heavy_user_and_item(generate(sizes, seed), items), items, folder)


def _sizes(interactions: int, items: int) -> Sizes:
    return Sizes(max(interactions // INTERACTIONS_PER_USER, 2), items, interactions)


def fitted_exponent(seconds: Mapping[int, float]) -> float:
    """The slope of log seconds against log interactions by least squares."""
    x = [math.log(size) for size in seconds]
    y = [math.log(value) for value in seconds.values()]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    above = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return above / sum((a - mean_x) ** 2 for a in x)


def summary(
    medians: Mapping[str, float], facts: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, float]]:
    """Exponents, the speed-up of two workers and the slow-down by skew, by program.

    Args:
        medians: of all cases.
        facts: of all cases; `interactions` among them.

    Returns:
        Cases `exponent`; `speed_up_of_two_workers`; `slow_down_by_skew`: seconds an interaction of
        the skewed matrix over those of the even one.
    """
    found: dict[str, dict[str, float]] = {
        "exponent": {},
        "speed_up_of_two_workers": {},
        "slow_down_by_skew": {},
    }
    for program in (*PROGRAMS, PREPARATION):
        cases = {
            case.removeprefix(f"{program}/"): case
            for case in medians
            if case.startswith(f"{program}/")
        }
        by_size = {
            facts[case]["interactions"]: medians[case]
            for name, case in cases.items()
            # A difference of two times is below zero where they are all noise.
            if name.isdigit() and medians[case] > 0.0
        }
        if len(by_size) > 1:
            found["exponent"][program] = fitted_exponent(by_size)
        by_workers = {
            facts[case]["workers"]: medians[case]
            for name, case in cases.items()
            if name.endswith("_workers")
        }
        if set(by_workers) == {1, 2}:
            found["speed_up_of_two_workers"][program] = by_workers[1] / by_workers[2]
        if set(SKEW) <= set(cases):
            even, skewed = (
                medians[cases[name]] / facts[cases[name]]["interactions"] for name in SKEW
            )
            found["slow_down_by_skew"][program] = skewed / even
    return found
