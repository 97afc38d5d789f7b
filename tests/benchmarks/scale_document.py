"""Writes the measured part of docs/scale.md from a benchmark.json.

python -m tests.benchmarks.scale_document output/benchmark/benchmark.json
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from m6rec.config.models import NeighboursConfig, SvdConfig
from m6rec.config.towers import TowersConfig
from tests.benchmarks import cost_model, loader, neighbours, scaling
from tests.benchmarks.als_objective import als_config
from tests.benchmarks.cost_model import NETWORK, Cluster, Cost, Matrix
from tests.benchmarks.spark import REPOSITORY

DOCUMENT = REPOSITORY / "docs" / "scale.md"
START, END = "<!-- from benchmark.json -->", "<!-- end -->"

# A year of a large shop. The mean of users' squared histories is as many times the square of the
# mean history as in the measured matrix.
SHOP = Matrix(users=1e9, items=1e7, interactions=1e11)
EXECUTORS = Cluster(executors=64, cores_of_each=16)
MEMORY_OF_EXECUTOR = 128e9
# Spark's own share, and room for Arrow batches and copies.
USABLE_MEMORY = 0.6
# 10 Gbit/s; what the benchmark measures between two ranks is a machine's loopback.
NETWORK_OF_EXECUTOR = 1.25e9
DOLLARS_OF_CORE_HOUR = 0.05
# The load of each core from which on the times measure other programs as well.
DISTURBED_LOAD = 0.5
ALS_ITERATIONS, TOWER_EPOCHS = 16, 10
RANK = scaling.RANK


@dataclass(frozen=True)
class Step:
    """A step of the shop's year: its cost and how often it is done."""

    name: str
    cost: Cost
    times: int = 1


Predictor = Callable[[Matrix, int, int], Cost]

PREDICTORS: dict[str, Predictor] = {
    "als_iteration_seconds": lambda matrix, workers, cores_of_rank: cost_model.als_iteration(
        matrix, als_config(RANK, 1), Cluster(workers // cores_of_rank, cores_of_rank)
    ),
    "svd_seconds": lambda matrix, workers, _: cost_model.svd(
        matrix, SvdConfig(rank=RANK), Cluster(workers, executors_of_machine=workers)
    ),
    "top_n_kernel_seconds": lambda matrix, workers, _: cost_model.top_n(
        matrix, RANK, Cluster(1, workers)
    ),
    scaling.PREPARATION: lambda matrix, workers, _: cost_model.prepare(
        matrix, 0.0, Cluster(1, workers)
    ),
}


def main(benchmark: Annotated[Path, typer.Argument(help="The benchmark.json.")]) -> None:
    """Replace the measured part of docs/scale.md."""
    result = json.loads(benchmark.read_text())
    before, _, rest = DOCUMENT.read_text().partition(START)
    after = rest.partition(END)[2]
    DOCUMENT.write_text(f"{before}{START}\n{measured_part(result)}\n{END}{after}")


def measured_part(result: dict[str, Any]) -> str:
    """Markdown: the run, the rates, predictions against what was measured, and the shop."""
    machine = result["machine"]
    run = (
        f"The figures are of the run of {machine['measured_at']} with m6rec"
        f" {result['versions']['m6rec']} on {machine['cores_used']} cores of an {machine['cpu']}."
        f" The load was {machine['load_before']:.1f} before it began; BLAS was"
        f" {', '.join(machine['blas'])}."
    )
    if machine["load_before"] > machine["cores_used"] * DISTURBED_LOAD:
        run += (
            " **Other programs used the cores at the same time.** The programs therefore took"
            " longer than on a quiet machine, while the rates come from short calls, so that the"
            " errors below say little about the model."
        )
    parts = [
        [run],
        table_of_rates(result),
        table_of_predictions(result),
        table_of_scaling(result),
        table_of_shop(result),
    ]
    return "\n\n".join("\n".join(part) for part in parts)


def rates_of(result: dict[str, Any]) -> dict[str, float]:
    """The rates measured apart, and those of steps that only the whole step tells."""
    rates = {name: one["m6rec"] for name, one in result.get("constants", {}).items()}
    machine = result.get("machine", {})
    cores = machine.get("cores_used", 1)
    rows = _seconds(result, neighbours.NEIGHBOURS)
    if rows:
        matrix = _matrix(machine)
        pairs = cost_model.neighbours(matrix, NeighboursConfig(), Cluster(1, cores)).work
        rates["neighbour_pairs"] = pairs["neighbour_pairs"] / rows
        systems = _seconds(result, neighbours.RIDGE)
        if systems and systems > rows:
            work = cost_model.ridge(matrix, NeighboursConfig(), Cluster(1, cores)).work
            rates["ridge_operations"] = work["ridge_operations"] / (systems - rows)
    epoch = _seconds(result, loader.EPOCH)
    if epoch:
        cost = cost_model.tower_epoch(_matrix(machine), RANK, TowersConfig(), Cluster(1, cores))
        rates["tower_operations"] = cost.work["tower_operations"] / epoch
    return rates


def _seconds(result: dict[str, Any], key: str) -> float | None:
    seconds: float | None = result.get(key, {}).get("default", {}).get("m6rec")
    return seconds


def _matrix(facts: dict[str, Any]) -> Matrix:
    return Matrix(facts["users"], facts["items"], facts["interactions"], facts["pairs"])


def table_of_rates(result: dict[str, Any]) -> list[str]:
    """Each rate, of one core."""
    rates = rates_of(result)
    rows = [f"| {name} | {rate:.3g} |" for name, rate in rates.items()]
    return ["| rate | per second, on one core |", "|---|---|", *rows]


def table_of_predictions(result: dict[str, Any]) -> list[str]:
    """Each case of the scaling: seconds predicted, measured, and the error of the prediction."""
    rates, facts = rates_of(result), result["checks"][scaling.KEY]
    lines = [
        "| program | interactions | items | workers | predicted, s | measured, s | error |",
        "|---|---|---|---|---|---|---|",
    ]
    for program, predict in PREDICTORS.items():
        for case, of_case in facts.items():
            fact = of_case["m6rec"]
            name = case.removeprefix(f"{program}/")
            if name == case or name in scaling.SKEW:
                continue
            cores_of_rank = fact.get("cores_of_rank", 1)
            predicted = predict(_matrix(fact), fact["workers"], cores_of_rank).seconds(rates)
            measured = result[scaling.KEY][case]["m6rec"]
            lines.append(
                f"| {program} | {fact['interactions']:,} | {fact['items']:,} | {fact['workers']} |"
                f" {predicted:.3g} |"
                f" {measured:.3g} | {predicted / measured - 1:+.0%} |"
            )
    return lines


def table_of_scaling(result: dict[str, Any]) -> list[str]:
    """The fitted exponent of each program, its speed-up by two workers, its slow-down by skew."""
    columns = ("exponent", "speed_up_of_two_workers", "slow_down_by_skew")
    measured = [result[scaling.KEY].get(column, {}) for column in columns]
    lines = [
        "| program | exponent of time by interactions | time of one worker / time of two"
        " | time of an interaction, skewed / even |",
        "|---|---|---|---|",
    ]
    for program in PREDICTORS:
        values = [f"{of[program]:.2f}" if program in of else "" for of in measured]
        lines.append(f"| {program} | {' | '.join(values)} |")
    return lines


def steps_of_shop(result: dict[str, Any]) -> Iterator[Step]:
    """The steps of a year, once through."""
    machine = result["machine"]
    unevenness = machine["pairs"] * machine["users"] / machine["interactions"] ** 2
    pairs = unevenness * SHOP.interactions**2 / SHOP.users
    shop = Matrix(SHOP.users, SHOP.items, SHOP.interactions, pairs)
    preparation = result["checks"]["constants"].get("prepared_interactions", {}).get("m6rec", {})
    shuffled = preparation.get("shuffled_bytes_of_interaction")
    als = als_config(RANK, ALS_ITERATIONS)
    if shuffled is not None:
        yield Step("prepare", cost_model.prepare(shop, shuffled, EXECUTORS))
    yield Step("ALS", cost_model.als_iteration(shop, als, EXECUTORS), ALS_ITERATIONS)
    yield Step("SVD", cost_model.svd(shop, SvdConfig(rank=RANK), EXECUTORS))
    yield Step("item neighbours", cost_model.neighbours(shop, NeighboursConfig(), EXECUTORS))
    yield Step("local ridge", cost_model.ridge(shop, NeighboursConfig(), EXECUTORS))
    epoch = cost_model.tower_epoch(shop, RANK, TowersConfig(), EXECUTORS)
    yield Step("towers", epoch, TOWER_EPOCHS)
    yield Step("top-N, exact", cost_model.top_n(shop, RANK, EXECUTORS))


def table_of_shop(result: dict[str, Any]) -> list[str]:
    """Each step of the year: memory and network an executor, hours, dollars; and what is short."""
    rates = rates_of(result) | {NETWORK: NETWORK_OF_EXECUTOR}
    lines = [
        f"The large shop has {SHOP.users:.0e} users, {SHOP.items:.0e} items and"
        f" {SHOP.interactions:.0e} interactions in a year; the rank is {RANK}. The cluster has"
        f" {EXECUTORS.executors} executors, each with {EXECUTORS.cores_of_each} cores,"
        f" {MEMORY_OF_EXECUTOR / 1e9:.0f} GB and {NETWORK_OF_EXECUTOR * 8e-9:.0f} Gbit/s. It is"
        f" assumed that a core costs {DOLLARS_OF_CORE_HOUR} dollars an hour.",
        "",
        "| step | times | memory of an executor, GB | sent by an executor, GB | hours | dollars |"
        " fits |",
        "|---|---|---|---|---|---|---|",
    ]
    for step in steps_of_shop(result):
        hours = "not measured"
        dollars = ""
        if all(name in rates for name in step.cost.work):
            spent = step.times * step.cost.seconds(rates) / 3600
            hours = f"{spent:.2g}"
            dollars = f"{spent * EXECUTORS.cores * DOLLARS_OF_CORE_HOUR:,.0f}"
        usable = USABLE_MEMORY * MEMORY_OF_EXECUTOR
        holds = "yes" if step.cost.memory_bytes <= usable else "no, too little memory"
        lines.append(
            f"| {step.name} | {step.times} | {step.cost.memory_bytes / 1e9:.1f} |"
            f" {step.times * step.cost.network_bytes / 1e9:.1f} | {hours} | {dollars} | {holds} |"
        )
    return lines + ["", *limits()]


def limits() -> list[str]:
    """The numbers of items at which the item arrays alone fill what an executor can use."""
    usable = USABLE_MEMORY * MEMORY_OF_EXECUTOR
    many = 1e6
    als = cost_model.als_iteration(Matrix(0, many, 0), als_config(128, 1), EXECUTORS)
    svd = cost_model.svd(Matrix(1, many, 0), SvdConfig(), EXECUTORS)
    return [
        f"The item arrays alone fill an executor from {usable / als.memory_bytes * many:.2g} items"
        f" on with ALS of rank 128, and from {usable / svd.memory_bytes * many:.2g} items on with"
        f" SVD of rank {SvdConfig().rank}."
    ]


if __name__ == "__main__":
    typer.run(main)
