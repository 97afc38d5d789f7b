"""Top 20 of all items for all users: the kernel against the product alone, implicit and faiss.

Cases: a rank alone has random vectors, all about as long, of which every product has to be
computed; `64_als` has factors that ALS has learned; `_hybrid` adds item neighbours to each score.
"""

import numpy as np
import scipy.sparse as sp

from m6rec.config.models import NeighboursConfig
from m6rec.kernels.arrays.communicator import LocalCommunicator
from m6rec.kernels.arrays.rows import Float32, Int32
from m6rec.kernels.arrays.sparse_products import count_items
from m6rec.kernels.factors.als import alternating_least_squares
from m6rec.kernels.factors.projection import project
from m6rec.kernels.ranking.blending import Blend
from m6rec.kernels.ranking.members import DotMember, GivenEncoder, HistoryMember, Terms
from m6rec.kernels.ranking.scoring import Masked, RepresentedUsers, blend_top_n, prepare_blend
from m6rec.kernels.ranking.top_n import by_length, top_n, top_n_products
from m6rec.stages.training.neighbours import train_item_neighbours
from tests.benchmarks.als_objective import als_config
from tests.benchmarks.measure import Contender, Measure, Workspace, time_of
from tests.benchmarks.spark import open_session

KEY = "top_n_kernel_seconds"
RANKS = (64, 128, 512)
LISTED = 20
CHECKED_USERS = 200
_LEARNED = "_als"
_HYBRID = "_hybrid"
_ITERATIONS = 5
_PRODUCT_USERS = 1024


def vectors(workspace: Workspace, rank: int) -> tuple[Float32, Float32]:
    """Random user and item vectors, float32 [n, rank]: no list can leave out any of them."""
    generator = np.random.default_rng(workspace.seed)
    users = len(np.load(workspace.dataset.folder / "user_index.npy", mmap_mode="r"))
    return (
        generator.standard_normal((users, rank), np.float32),
        generator.standard_normal((workspace.dataset.n_items, rank), np.float32),
    )


def _vectors_of_case(workspace: Workspace) -> tuple[Float32, Float32]:
    rank = _rank(workspace)
    if not workspace.case.endswith(_LEARNED):
        return vectors(workspace, rank)
    rows, n_items = workspace.dataset.rows(), workspace.dataset.n_items
    settings = als_config(rank, _ITERATIONS)
    model = alternating_least_squares(rows, n_items, settings, workspace.seed, LocalCommunicator())
    return project(model, rows), model.scored_factors


def _rank(workspace: Workspace) -> int:
    return int(workspace.case.partition("_")[0])


def prepare_m6rec(workspace: Workspace) -> Measure:
    """Ours, on as many threads as BLAS has here."""
    users, items = _vectors_of_case(workspace)
    rows = workspace.dataset.rows()
    few = rows.slice(0, min(CHECKED_USERS, len(rows)))
    found = top_n_products(
        users[: len(few)], by_length(items), LISTED, few.indptr, few.item_indices
    )[0]
    workspace.facts["users_equal_to_brute_force"] = _share_equal(found, users, items, few)

    def work() -> None:
        top_n_products(users, by_length(items), LISTED, rows.indptr, rows.item_indices)

    return lambda: time_of(work)


def prepare_hybrid(workspace: Workspace) -> Measure:
    """Ours with a sparse member, which adds to each block of scores while it is in cache."""
    users, items = _vectors_of_case(workspace)
    rows, n_items = workspace.dataset.rows(), workspace.dataset.n_items
    matrix = workspace.dataset.frame(open_session(workspace))
    weights = train_item_neighbours(matrix, n_items, NeighboursConfig())
    dot, sparse = "vectors", "item_neighbours"
    blend = Blend("hybrid", (dot, sparse), (1.0, 1.0), (1.0, 1.0))
    members = {
        dot: DotMember(dot, GivenEncoder(dot, items.shape[1]), items),
        sparse: HistoryMember(sparse, weights),
    }
    prepared = prepare_blend(blend, members, count_items(rows, n_items))
    terms = Terms(rows.indptr, rows.item_indices, rows.weights)
    represented = RepresentedUsers({dot: users}, {sparse: terms}, rows.counts)
    masked = Masked(rows.indptr, rows.item_indices, np.zeros(n_items, np.bool_))
    return lambda: time_of(lambda: blend_top_n(prepared, represented, masked, LISTED))


def _share_equal(found: Int32, users: Float32, items: Float32, rows: object) -> float:
    scores = users[: len(found)] @ items.T
    matrix: sp.csr_matrix = rows.to_scipy(len(items))  # type: ignore[attr-defined]
    scores[matrix.nonzero()] = -np.inf
    expected = top_n(scores, LISTED)[0]
    return float((found == expected).all(axis=1).mean())


def prepare_product(workspace: Workspace) -> Measure:
    """The matrix product alone, by blocks of users, scores thrown away: the limit."""
    users, items = _vectors_of_case(workspace)
    scores = np.empty((_PRODUCT_USERS, len(items)), np.float32)

    def work() -> None:
        for start in range(0, len(users), _PRODUCT_USERS):
            block = users[start : start + _PRODUCT_USERS]
            np.matmul(block, items.T, out=scores[: len(block)])

    return lambda: time_of(work)


def prepare_implicit(workspace: Workspace) -> Measure:
    """implicit's `recommend` with seen items masked."""
    from implicit.cpu.als import AlternatingLeastSquares  # noqa: PLC0415 - may be absent

    model = AlternatingLeastSquares(factors=_rank(workspace), num_threads=workspace.workers)
    model.user_factors, model.item_factors = _vectors_of_case(workspace)
    seen, everyone = workspace.dataset.scipy(), np.arange(len(model.user_factors))
    return lambda: time_of(lambda: model.recommend(everyone, seen, N=LISTED))


def prepare_faiss(workspace: Workspace) -> Measure:
    """faiss IndexFlatIP; it masks nothing."""
    import faiss  # noqa: PLC0415 - may be absent

    faiss.omp_set_num_threads(workspace.workers)
    users, items = _vectors_of_case(workspace)
    index = faiss.IndexFlatIP(items.shape[1])
    index.add(items)
    return lambda: time_of(lambda: index.search(users, LISTED))


def contenders() -> list[Contender]:
    """All, by case."""
    alone = [str(rank) for rank in RANKS]
    found = [
        contender
        for case in (*alone, f"{RANKS[0]}{_LEARNED}")
        for contender in (
            Contender(KEY, case, "m6rec", prepare_m6rec),
            Contender(KEY, case, "matrix_product", prepare_product),
            Contender(KEY, case, "implicit", prepare_implicit, needs="implicit"),
            Contender(KEY, case, "faiss", prepare_faiss, needs="faiss"),
        )
    ]
    for case in (f"{rank}{_HYBRID}" for rank in alone):
        found += [
            Contender(KEY, case, "m6rec", prepare_hybrid),
            Contender(KEY, case, "matrix_product", prepare_product),
        ]
    return found
