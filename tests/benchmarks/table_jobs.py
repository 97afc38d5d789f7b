"""Jobs from Delta tables to Delta tables, ours and MLlib's from the same ones.

Each sample is a process of its own, as a job is, from when its Spark session is up; ours records
itself in table `runs`. On a tiny matrix nothing but the fixed cost is left.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.benchmarks import als_job, top_n_job
from tests.benchmarks.dataset import generated
from tests.benchmarks.generator import Sizes
from tests.benchmarks.measure import Contender, Measure, Workspace
from tests.benchmarks.tables import ALS_RANKS

ALS = "als_job_seconds"
TOP_N = "top_n_job_seconds"
START_UP = "start_up_seconds"
TINY = Sizes(users=500, items=300, interactions=5_000, tastes=4)


Program = Callable[[Workspace], Measure]


def contenders(folder: Path, seed: int) -> list[Contender]:
    """All."""
    job = partial(Contender, fresh=True)
    start_up = partial(job, START_UP, dataset=partial(generated, TINY, seed, folder / "tiny"))
    found = []
    for rank in ALS_RANKS:
        ours, theirs = _als_programs(rank)
        found += [job(ALS, str(rank), "m6rec", ours), job(ALS, str(rank), "mllib", theirs)]
    ours, theirs = _als_programs(ALS_RANKS[0])
    lists, their_lists = top_n_job.prepare_top_n_of_m6rec, top_n_job.prepare_top_n_of_mllib
    return found + [
        job(TOP_N, "default", "m6rec", lists),
        job(TOP_N, "default", "mllib", their_lists),
        job(TOP_N, "no_reasons", "m6rec", partial(lists, reasons=0)),
        start_up("als_job", "m6rec", ours),
        start_up("als_job", "mllib", theirs),
        start_up("top_n_job", "m6rec", lists),
        start_up("top_n_job", "mllib", their_lists),
    ]


def _als_programs(rank: int) -> tuple[Program, Program]:
    ours = partial(als_job.prepare_als_of_m6rec, rank=rank)
    return ours, partial(als_job.prepare_als_of_mllib, rank=rank)
