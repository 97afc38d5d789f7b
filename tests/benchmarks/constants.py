"""The rates of the cost model, each of one core: operations, interactions or bytes a second."""

import statistics
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import types as T

from m6rec.config.models import SvdConfig
from m6rec.kernels.arrays.communicator import Communicator, LocalCommunicator
from m6rec.kernels.arrays.rows import Float32, Rows
from m6rec.kernels.arrays.sparse_products import count_items, entries_by_item, popularity_order
from m6rec.kernels.factors.als import alternating_least_squares
from m6rec.kernels.factors.least_squares import add_sparse_terms, solve_rows
from m6rec.kernels.factors.svd import _normalise, randomized_svd
from m6rec.kernels.factors.svd import _sweep as _svd_sweep
from m6rec.kernels.ranking.top_n import by_length, top_n_products
from m6rec.spark.barrier import run_program
from m6rec.spark.shipping import HANDED_OVER, collect_value, hand_over
from m6rec.stages.training.factors import train_svd
from tests.benchmarks import cost_model, preparation
from tests.benchmarks.als_objective import als_config
from tests.benchmarks.cost_model import Cluster, Matrix
from tests.benchmarks.dataset import Dataset, save
from tests.benchmarks.measure import Contender, Measure, Workspace, marginal, time_of
from tests.benchmarks.spark import open_session

KEY = "constants"
RANK = 64
_SCORED_USERS = 2048
_REDUCED_NUMBERS = 4_000_000
_REDUCTIONS = 10
_CALLS = 5
# After which the JVM no longer gets faster from call to call.
_WARM_CALLS = 3
_SECONDS = T.StructType([T.StructField("seconds", T.DoubleType(), False)])
_OPERATIONS = T.StructType([T.StructField("operations", T.DoubleType(), False)])


def prepare_user_sweep(workspace: Workspace) -> Measure:
    """ALS: users' entries against item factors, popular items together."""
    rows = _by_popularity(workspace.dataset.rows(), workspace.dataset.n_items)
    return _sweep(rows.indptr, rows.item_indices, workspace.dataset.n_items)


def prepare_item_sweep(workspace: Workspace) -> Measure:
    """ALS: items' entries against user factors that are close."""
    return _item_sweep(workspace, cost_model.CLOSE_BYTES)


def prepare_far_item_sweep(workspace: Workspace) -> Measure:
    """ALS: items' entries against user factors in memory."""
    return _item_sweep(workspace, cost_model.FAR_BYTES)


def _item_sweep(workspace: Workspace, bytes_of_vectors: float) -> Measure:
    rows = _by_popularity(workspace.dataset.rows(), workspace.dataset.n_items)
    indptr, indices, _ = entries_by_item(rows, workspace.dataset.n_items)
    users = int(bytes_of_vectors / (cost_model.WORD * RANK))
    # In the order of the real users, but anywhere among so many: else few of them would be read.
    stride = users / len(rows)
    within = np.random.default_rng(workspace.seed).random(len(indices))
    spread = ((indices + within) * stride).astype(np.int32)
    return _sweep(indptr, spread, users)


def _sweep(indptr: np.ndarray, indices: np.ndarray, others: int) -> Measure:
    ones = np.ones(len(indices), np.float32)
    vectors, inputs = _random(others, RANK), _random(len(indptr) - 1, RANK)
    outputs, penalty = np.zeros_like(inputs), np.zeros(len(inputs), np.float32)
    one = np.float32(1.0)

    def work() -> None:
        add_sparse_terms(indptr, indices, ones, ones, penalty, one, one, vectors, inputs, outputs)

    work()
    return lambda: 4 * RANK * len(indices) / _best_time(work)


def prepare_als_product(workspace: Workspace) -> Measure:
    """ALS: blocks of rows times the Gram matrix, in the solver on rows of one entry."""
    users = min(workspace.dataset.sizes()["users"], 100_000)
    indptr, indices = np.arange(users + 1), np.zeros(users, np.int32)
    ones, solutions = np.ones(users, np.float32), _random(users, RANK)
    gram, items = np.eye(RANK, dtype=np.float32), _random(1, RANK)
    settings = als_config(RANK, 1)
    steps = settings.conjugate_gradient_steps

    def work() -> None:
        solve_rows(indptr, indices, ones, ones, ones, gram, items, steps, solutions)

    work()
    return lambda: (steps + 1) * 2 * RANK**2 * users / _best_time(work)


def prepare_als_item_arrays(workspace: Workspace) -> Measure:
    """ALS: numbers of whole item arrays in a sweep, on a matrix that has nothing else."""
    n_items = workspace.dataset.n_items
    rows, product_rate = _one_item_each(n_items), prepare_als_product(workspace)

    def fit(iterations: int) -> None:
        settings = als_config(RANK, iterations)
        alternating_least_squares(rows, n_items, settings, workspace.seed, LocalCommunicator())

    fit(1)
    work = cost_model.als_iteration(
        Matrix(n_items, n_items, n_items), als_config(RANK, 1), Cluster(1)
    ).work

    def rate() -> float:
        seconds = marginal(fit, 1, 1 + _CALLS)
        seconds -= work["als_product_operations"] / product_rate()
        return work["als_item_numbers"] / max(seconds, 1e-3)

    return rate


def prepare_svd_item_arrays(workspace: Workspace) -> Measure:
    """SVD: numbers of whole item arrays, by all ranks at once on a matrix that has nothing else."""
    n_items, settings = workspace.dataset.n_items, SvdConfig(rank=RANK)
    product_rate, network_rate = prepare_svd_product(workspace), prepare_network(workspace)
    few = workspace.dataset.frame(open_session(workspace)).limit(100).cache()
    program = partial(_svd_program, n_items=n_items, settings=settings, seed=workspace.seed)
    decomposed = run_program(few, program, _SECONDS)
    empty = Matrix(n_items, n_items, n_items)
    cost = cost_model.svd(empty, settings, Cluster(workspace.workers))

    def rate() -> float:
        seconds = max(row["seconds"] for row in decomposed.collect())
        seconds -= cost.work["svd_product_operations"] / product_rate()
        seconds -= cost.network_bytes / network_rate()
        return cost.work["svd_item_numbers"] / max(seconds, 1e-3)

    rate()
    return rate


def _svd_program(
    rows: Rows, communicator: Communicator, n_items: int, settings: SvdConfig, seed: int
) -> Iterator[pa.RecordBatch]:
    own = _one_item_each(n_items)
    # Once, as a job does it: a second call would find its memory at hand.
    seconds = time_of(lambda: randomized_svd(own, n_items, settings, seed, communicator))
    yield pa.RecordBatch.from_pydict({"seconds": [seconds]})


def prepare_svd_start(workspace: Workspace) -> Measure:
    """SVD: decompositions in a second, beyond all else that one of next to nothing takes.

    This is what it takes to end the stage and to open the model.
    """
    n_items, settings = workspace.dataset.n_items, SvdConfig(rank=RANK)
    rows = save(_one_item_each(n_items), n_items, workspace.scratch / "one_item_each")
    matrix = rows.frame(open_session(workspace))
    rates = {
        "svd_product_operations": prepare_svd_product(workspace),
        "svd_item_numbers": prepare_svd_item_arrays(workspace),
        "handed_over_bytes": prepare_hand_over(workspace),
        "barrier_starts": prepare_barrier(workspace),
    }
    network_rate = prepare_network(workspace)
    cost = cost_model.svd(Matrix(n_items, n_items, n_items), settings, Cluster(workspace.workers))

    def fit() -> None:
        train_svd(matrix, n_items, settings, workspace.seed)

    for _ in range(_WARM_CALLS):
        fit()

    def rate() -> float:
        seconds = _usual_time(fit) - cost.network_bytes / network_rate()
        seconds -= sum(cost.work[name] / measured() for name, measured in rates.items())
        return 1.0 / max(seconds, 1e-3)

    return rate


def _one_item_each(n_items: int) -> Rows:
    users = np.arange(n_items, dtype=np.int64)
    return Rows(users, np.arange(n_items + 1), users.astype(np.int32), np.ones(n_items, np.float32))


def prepare_svd_sweep(workspace: Workspace) -> Measure:
    """SVD: A^T (A X) of all columns."""
    dataset, width = workspace.dataset, cost_model.svd_width(SvdConfig(rank=RANK))
    rows = _by_popularity(dataset.rows(), dataset.n_items)
    basis, alone = _random(dataset.n_items, width), LocalCommunicator()
    _svd_sweep(rows, basis, alone)
    return lambda: 4 * width * rows.entries / _best_time(lambda: _svd_sweep(rows, basis, alone))


def prepare_shared_svd_sweep(workspace: Workspace) -> Measure:
    """SVD: the same by all ranks of this machine at once, each on its own rows."""
    matrix = workspace.dataset.frame(open_session(workspace))
    program = partial(_sweep_program, n_items=workspace.dataset.n_items)
    swept = run_program(matrix, program, _OPERATIONS)
    return lambda: min(row["operations"] for row in swept.collect())


def _sweep_program(
    rows: Rows, communicator: Communicator, n_items: int
) -> Iterator[pa.RecordBatch]:
    width, alone = cost_model.svd_width(SvdConfig(rank=RANK)), LocalCommunicator()
    own, basis = _by_popularity(rows, n_items), _random(n_items, width)
    seconds = []
    for _ in range(_CALLS):
        communicator.broadcast(np.zeros(1, np.float32))
        seconds.append(time_of(lambda: _svd_sweep(own, basis, alone)))
    rate = 4 * width * rows.entries / statistics.median(seconds)
    yield pa.RecordBatch.from_pydict({"operations": [rate]})


def prepare_svd_normalisation(workspace: Workspace) -> Measure:
    """SVD: counting and scaling the entries before the first sweep."""
    rows, n_items = workspace.dataset.rows(), workspace.dataset.n_items

    def work() -> None:
        counts = count_items(rows, n_items)
        _normalise(rows, counts, popularity_order(counts)[1], SvdConfig(rank=RANK))

    work()
    return lambda: rows.entries / _best_time(work)


def prepare_svd_product(workspace: Workspace) -> Measure:
    """SVD: the basis times a triangle."""
    width = cost_model.svd_width(SvdConfig(rank=RANK))
    basis, triangle = _random(workspace.dataset.n_items, width), _random(width, width)
    _ = basis @ triangle
    return lambda: 2 * basis.shape[0] * width**2 / _best_time(lambda: basis @ triangle)


def prepare_top_n(workspace: Workspace) -> Measure:
    """The list kernel, with the masks and the selection."""
    rows = workspace.dataset.rows()
    part = rows.slice(0, min(_SCORED_USERS, len(rows)))
    users = _random(len(part), RANK)
    items = by_length(_random(workspace.dataset.n_items, RANK))

    def work() -> None:
        top_n_products(users, items, 20, part.indptr, part.item_indices)

    work()
    return lambda: 2 * RANK * len(users) * len(items.vectors) / _best_time(work)


def prepare_load(workspace: Workspace) -> Measure:
    """Interactions from Parquet into a barrier program, less what an empty one takes."""
    full, _, empty = _barrier(workspace)
    interactions = workspace.dataset.sizes()["interactions"] / workspace.workers
    return lambda: interactions / max(_usual_time(full) - _usual_time(empty), 1e-3)


def prepare_barrier(workspace: Workspace) -> Measure:
    """Barrier programs that start and end in a second."""
    empty = _barrier(workspace)[-1]
    return lambda: 1.0 / _usual_time(empty)


def prepare_hand_over(workspace: Workspace) -> Measure:
    """Bytes of item factors that a rank hands over to the driver, less what an empty one takes."""
    n_items = workspace.dataset.n_items
    few, empty = _barrier(workspace)[1:]
    program = partial(_hand_over_program, n_items=n_items)
    handed_over = run_program(few, program, HANDED_OVER)

    def work() -> None:
        collect_value(handed_over, np.ndarray)

    work()
    return lambda: (
        cost_model.WORD * n_items * RANK / max(_usual_time(work) - _usual_time(empty), 1e-3)
    )


def _hand_over_program(
    rows: Rows, communicator: Communicator, n_items: int
) -> Iterator[pa.RecordBatch]:
    if communicator.rank == 0:
        yield from hand_over(_random(n_items, RANK))


def _best_time(work: Callable[[], object]) -> float:
    """Seconds of the call that was disturbed least: short ones are lengthened by any other load."""
    return min(time_of(work) for _ in range(_CALLS))


def _usual_time(work: Callable[[], object]) -> float:
    """Seconds of a call of a Spark job, whose start takes now more and now less."""
    return statistics.median(time_of(work) for _ in range(_CALLS))


def _barrier(
    workspace: Workspace,
) -> tuple[Callable[[], object], DataFrame, Callable[[], object]]:
    """A program that does nothing on all rows; a few rows, and the program on them."""
    matrix = workspace.dataset.frame(open_session(workspace))
    few = matrix.limit(100).cache()
    full, empty = (run_program(frame, _no_program, _SECONDS).collect for frame in (matrix, few))
    for _ in range(_WARM_CALLS):
        full()
        empty()
    return full, few, empty


def _no_program(rows: Rows, communicator: Communicator) -> Iterator[pa.RecordBatch]:
    yield from ()


def prepare_network(workspace: Workspace) -> Measure:
    """All-reduce between two ranks on this machine: bytes that each sends."""
    matrix = workspace.dataset.frame(open_session(workspace)).limit(100).cache()
    reduced = run_program(matrix, _reduce_program, _SECONDS)

    def rate() -> float:
        seconds = max(row["seconds"] for row in reduced.collect())
        return cost_model.ring(4.0 * _REDUCED_NUMBERS * _REDUCTIONS, workspace.workers) / seconds

    rate()
    return rate


def _reduce_program(rows: Rows, communicator: Communicator) -> Iterator[pa.RecordBatch]:
    # Each of its own, as programs reduce arrays that they have just made.
    arrays = [np.ones(_REDUCED_NUMBERS, np.float32) for _ in range(_REDUCTIONS)]
    communicator.broadcast(np.zeros(1, np.float32))
    seconds = time_of(lambda: [communicator.all_reduce(array) for array in arrays])
    yield pa.RecordBatch.from_pydict({"seconds": [seconds]})


def prepare_preparation(workspace: Workspace) -> Measure:
    """Interactions that job `prepare_interactions` takes a second and core."""
    run = preparation.runner(workspace)
    interactions = workspace.dataset.sizes()["interactions"]

    def rate() -> float:
        more = time_of(run) - time_of(lambda: run(preparation.FEW))
        workspace.facts["shuffled_bytes_of_interaction"] = (
            preparation.shuffled_bytes(workspace, run) / interactions
        )
        return interactions / max(more, 1e-3) / workspace.workers

    return rate


def prepare_preparation_start(workspace: Workspace) -> Measure:
    """Runs of it on next to nothing in a second."""
    run = preparation.runner(workspace)
    return lambda: 1.0 / time_of(lambda: run(preparation.FEW))


def _by_popularity(rows: Rows, n_items: int) -> Rows:
    place = popularity_order(count_items(rows, n_items))[1]
    return Rows(rows.user_index, rows.indptr, place[rows.item_indices], rows.weights)


def _random(rows: int, columns: int) -> Float32:
    return np.random.default_rng(1).standard_normal((rows, columns), np.float32)


ONE_CORE = {
    "als_user_operations": prepare_user_sweep,
    "als_item_operations": prepare_item_sweep,
    "als_far_item_operations": prepare_far_item_sweep,
    "als_product_operations": prepare_als_product,
    "als_item_numbers": prepare_als_item_arrays,
    "svd_normalised_interactions": prepare_svd_normalisation,
    "svd_sweep_operations": prepare_svd_sweep,
    "svd_product_operations": prepare_svd_product,
    "top_n_operations": prepare_top_n,
    "handed_over_bytes": prepare_hand_over,
}
TWO_CORES = {
    "svd_shared_sweep_operations": prepare_shared_svd_sweep,
    "svd_item_numbers": prepare_svd_item_arrays,
    "svd_starts": prepare_svd_start,
    "loaded_interactions": prepare_load,
    "barrier_starts": prepare_barrier,
    cost_model.NETWORK: prepare_network,
}
PREPARATION = {
    "prepared_interactions": prepare_preparation,
    "prepare_starts": prepare_preparation_start,
}


def contenders(dataset: Callable[[], Dataset], prepared: Callable[[], Dataset]) -> list[Contender]:
    """Each rate on the same matrix, but for those of the preparation, which takes a smaller one."""
    parts = ((1, dataset, ONE_CORE), (2, dataset, TWO_CORES), (2, prepared, PREPARATION))
    return [
        Contender(KEY, name, "m6rec", prepare, dataset=of_part, workers=workers)
        for workers, of_part, programs in parts
        for name, prepare in programs.items()
    ]
