"""Measure the matrix programs, the top-N lists and the training against their peers.

Writes benchmark.json and benchmark.html. Run by `make benchmark DATA=FILE OUTPUT=DIR`.
"""

import json
import os
import platform
import shutil
import tempfile
import time
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import psutil
import scipy.linalg  # noqa: F401 - loads its BLAS, so that it can be told
import typer
from threadpoolctl import threadpool_info

from m6rec.command_line import errors_as_messages
from m6rec.runs import code_version
from tests.benchmarks import (
    als,
    constants,
    fold_in,
    loader,
    neighbours,
    nights,
    scaling,
    sequence_towers,
    svd,
    table_jobs,
    top_n,
)
from tests.benchmarks.dataset import Dataset, generated, load_interactions, save
from tests.benchmarks.generator import Sizes
from tests.benchmarks.measure import THREADS, Contender, Outcome, run_contenders
from tests.benchmarks.report import write_report

PARTS = (als, svd, neighbours, top_n, loader)
PACKAGES = (
    "numpy scipy numba torch pyspark delta-spark petastorm pyarrow implicit faiss-cpu scikit-learn"
)
FULL = Sizes(users=200_000, items=50_000, interactions=5_000_000)
QUICK = Sizes(users=2_000, items=1_500, interactions=60_000, tastes=8)
FULL_CATALOGUE = Sizes(users=2_000_000, items=10_000_000, interactions=100_000_000)
QUICK_CATALOGUE = Sizes(users=2_000, items=20_000, interactions=60_000, tastes=8)
FULL_SCALING = (1_000_000, 3_000_000, 10_000_000, 30_000_000)
QUICK_SCALING = (20_000, 60_000)
_OF_QUICK = "Its default depends on --quick."
_SECONDS_OF_LOAD = 1.0
BLAS_SETTINGS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


def main(
    output: Annotated[Path, typer.Option(help="Folder for benchmark.json and benchmark.html.")],
    data: Annotated[
        Path | None,
        typer.Option(help="Parquet with user_id, item_id and optionally weight; else generated."),
    ] = None,
    users: Annotated[int, typer.Option(help=f"Users of the generated matrix. {_OF_QUICK}")] = 0,
    items: Annotated[int, typer.Option(help=f"Items of it, and of the scaling. {_OF_QUICK}")] = 0,
    interactions: Annotated[int, typer.Option(help=f"Interactions of it. {_OF_QUICK}")] = 0,
    scaling_sizes: Annotated[
        str, typer.Option(help="Interactions of the scaling's matrices, by commas.")
    ] = "",
    only: Annotated[
        list[str] | None, typer.Option(help="Measure this KEY, or KEY/CASE, alone; repeatable.")
    ] = None,
    rounds: Annotated[int, typer.Option(help="Samples of each contender.", min=1)] = 3,
    seed: Annotated[int, typer.Option(help="Of everything drawn.")] = 1,
    quick: Annotated[
        bool, typer.Option(help="Small matrices, and one round of a case a key; to try it.")
    ] = False,
) -> None:
    """Measure, in turns, every contender of every key."""
    start = time.perf_counter()
    _check_blas_settings()
    # All contenders, and what they start, share the same cores.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
    blas = blas_kernels()
    print(f"BLAS kernels: {', '.join(blas) or 'unknown'}", flush=True)
    output.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="scratch-", dir=output.absolute()))
    try:
        sizes = _sizes(users, items, interactions, quick)
        with errors_as_messages():
            dataset = _dataset(data, sizes, scratch / "data", seed)
        steps = _numbers(scaling_sizes) or (QUICK_SCALING if quick else FULL_SCALING)
        entrants = [one for part in PARTS for one in part.contenders()]
        entrants += table_jobs.contenders(scratch, seed)
        entrants += nights.contenders()
        entrants += fold_in.contenders()
        trained = sequence_towers.QUICK if quick else sequence_towers.FULL
        folder = scratch / "scaling"
        entrants += sequence_towers.contenders(trained, sizes.items, folder, seed)
        # Last, for its largest matrices take longer than all else together.
        entrants += scaling.contenders(
            steps, sizes.items, QUICK_CATALOGUE if quick else FULL_CATALOGUE, folder, seed
        )
        groups = _by_key_and_case([one for one in entrants if _is_chosen(one, only)])
        if quick:
            groups, rounds = _first_case_of_each_key(groups), 1
        if only and not groups:
            raise typer.BadParameter(
                f"there is no key or case {', '.join(only)}", param_hint="--only"
            )
        about = machine(blas) | {"data": str(data or "generated"), **dataset.sizes()}
        outcomes: list[tuple[Contender, Outcome]] = []
        for (key, case), group in groups.items():
            print(f"{key} {case}: {time.perf_counter() - start:.0f} s so far", flush=True)
            outcomes += run_contenders(group, dataset, scratch, rounds, seed)
            # After each, so that who stops it keeps what has been measured.
            seconds = time.perf_counter() - start
            facts = {"machine": about, "versions": versions(), "seconds": seconds}
            _write(assemble(outcomes) | facts, output)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    print(f"total: {time.perf_counter() - start:.0f} s; {output / 'benchmark.html'}", flush=True)


def _write(result: dict[str, Any], output: Path) -> None:
    (output / "benchmark.json").write_text(json.dumps(result, indent=1))
    write_report(result, output / "benchmark.html")


def assemble(outcomes: list[tuple[Contender, Outcome]]) -> dict[str, Any]:
    """Key, case, contender, median; `samples`, `checks`, `failures` and `peak_bytes` beside."""
    result: dict[str, Any] = {"samples": {}, "checks": {}, "failures": {}, "peak_bytes": {}}
    for contender, outcome in outcomes:
        key, case, name = contender.key, contender.case, contender.name
        if outcome.failure is not None:
            _put(result["failures"], key, case, name, outcome.failure)
        if not outcome.samples:
            continue
        _put(result, key, case, name, outcome.median)
        _put(result["samples"], key, case, name, outcome.samples)
        result["peak_bytes"].setdefault(f"{key}/{case}", {})[name] = outcome.peak_bytes
        facts = outcome.facts | {"processes": outcome.peaks, "peak_bytes": outcome.peak_bytes}
        _put(result["checks"], key, case, name, facts)
    for part in (scaling, sequence_towers):
        if part.KEY in result:
            medians = {case: one["m6rec"] for case, one in result[part.KEY].items()}
            facts = {case: one["m6rec"] for case, one in result["checks"][part.KEY].items()}
            result[part.KEY] |= part.summary(medians, facts)
    return result


def _put(table: dict[str, Any], key: str, case: str, name: str, value: Any) -> None:
    table.setdefault(key, {}).setdefault(case, {})[name] = value


def _sizes(users: int, items: int, interactions: int, quick: bool) -> Sizes:
    default = QUICK if quick else FULL
    return Sizes(
        users or default.users,
        items or default.items,
        interactions or default.interactions,
        default.tastes,
    )


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(",")) if text else ()


def _dataset(data: Path | None, sizes: Sizes, folder: Path, seed: int) -> Dataset:
    if data is None:
        return generated(sizes, seed, folder)
    rows, n_items = load_interactions(data)
    return save(rows, n_items, folder)


def _is_chosen(contender: Contender, only: list[str] | None) -> bool:
    place = f"{contender.key}/{contender.case}"
    return not only or contender.key in only or place in only


def _by_key_and_case(contenders: list[Contender]) -> dict[tuple[str, str], list[Contender]]:
    groups: dict[tuple[str, str], list[Contender]] = {}
    for one in contenders:
        groups.setdefault((one.key, one.case), []).append(one)
    return groups


def _first_case_of_each_key(
    groups: dict[tuple[str, str], list[Contender]],
) -> dict[tuple[str, str], list[Contender]]:
    """Of scaling and constants all, since each case is another program, and all quantiles."""
    first: dict[str, tuple[str, str]] = {}
    for place in groups:
        first.setdefault(place[0], place)
    whole = {scaling.KEY, constants.KEY, fold_in.SECONDS}
    return {
        place: group
        for place, group in groups.items()
        if place[0] in whole or place in first.values()
    }


def _check_blas_settings() -> None:
    """Refuse them: OpenBLAS reads them when it is loaded."""
    if any(name in os.environ for name in BLAS_SETTINGS):
        raise typer.BadParameter(
            f"{BLAS_SETTINGS} hold OpenBLAS to other kernels than this machine's; unset them"
            " (make benchmark does)"
        )


def blas_kernels() -> list[str]:
    """The BLAS libraries that are loaded, and the kernels that they have chosen."""
    _ = np.ones((2, 2)) @ np.ones((2, 2))
    return [
        f"{Path(pool['filepath']).name} {pool.get('architecture', '')}".strip()
        for pool in threadpool_info()
        if pool["user_api"] == "blas"
    ]


def machine(blas: list[str]) -> dict[str, Any]:
    """Where it was measured."""
    cpu = [
        line.split(":", 1)[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "cpu": cpu[0] if cpu else platform.processor(),
        "cores_used": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        # The load average would still hold what has just ended.
        "load_before": psutil.cpu_percent(_SECONDS_OF_LOAD) / 100.0 * (os.cpu_count() or 1),
        "blas": blas,
        "system": platform.platform(),
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def versions() -> dict[str, str]:
    """Of ourselves and of what was measured."""
    found = {"m6rec": code_version(), "python": platform.python_version()}
    for package in PACKAGES.split():
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


if __name__ == "__main__":
    typer.run(main)
