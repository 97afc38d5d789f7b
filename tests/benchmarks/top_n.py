"""Top 20 of all items for all users: the kernel against the product alone, implicit and faiss."""

import numpy as np
import scipy.sparse as sp

from m6rec.kernels.rows import Float32, Int32
from m6rec.kernels.top_n import by_length, top_n, top_n_products
from tests.benchmarks.measure import Contender, Measure, Workspace, time_of

KEY = "top_n_kernel_seconds"
RANKS = (64, 128, 512)
LISTED = 20
CHECKED_USERS = 200
_PRODUCT_USERS = 1024


def vectors(workspace: Workspace, rank: int) -> tuple[Float32, Float32]:
    """Random user and item vectors, float32 [n, rank]: what they hold does not change the work."""
    generator = np.random.default_rng(workspace.seed)
    users = len(np.load(workspace.dataset.folder / "user_index.npy", mmap_mode="r"))
    return (
        generator.standard_normal((users, rank), np.float32),
        generator.standard_normal((workspace.dataset.n_items, rank), np.float32),
    )


def prepare_m6rec(workspace: Workspace) -> Measure:
    """Ours, on as many threads as BLAS has here."""
    users, items = vectors(workspace, int(workspace.case))
    rows = workspace.dataset.rows()
    few = rows.slice(0, min(CHECKED_USERS, len(rows)))
    found = top_n_products(
        users[: len(few)], by_length(items), LISTED, few.offsets, few.item_indices
    )[0]
    workspace.facts["users_equal_to_brute_force"] = _share_equal(found, users, items, few)

    def work() -> None:
        top_n_products(users, by_length(items), LISTED, rows.offsets, rows.item_indices)

    return lambda: time_of(work)


def _share_equal(found: Int32, users: Float32, items: Float32, rows: object) -> float:
    scores = users[: len(found)] @ items.T
    matrix: sp.csr_matrix = rows.to_scipy(len(items))  # type: ignore[attr-defined]
    scores[matrix.nonzero()] = -np.inf
    expected = top_n(scores, LISTED)[0]
    return float((found == expected).all(axis=1).mean())


def prepare_product(workspace: Workspace) -> Measure:
    """The matrix product alone, by blocks of users, scores thrown away: the limit."""
    users, items = vectors(workspace, int(workspace.case))
    scores = np.empty((_PRODUCT_USERS, len(items)), np.float32)

    def work() -> None:
        for start in range(0, len(users), _PRODUCT_USERS):
            block = users[start : start + _PRODUCT_USERS]
            np.matmul(block, items.T, out=scores[: len(block)])

    return lambda: time_of(work)


def prepare_implicit(workspace: Workspace) -> Measure:
    """implicit's `recommend` with seen items masked."""
    from implicit.cpu.als import AlternatingLeastSquares  # noqa: PLC0415 - may be absent

    rank = int(workspace.case)
    model = AlternatingLeastSquares(factors=rank, num_threads=workspace.workers)
    model.user_factors, model.item_factors = vectors(workspace, rank)
    seen, everyone = workspace.dataset.scipy(), np.arange(len(model.user_factors))
    return lambda: time_of(lambda: model.recommend(everyone, seen, N=LISTED))


def prepare_faiss(workspace: Workspace) -> Measure:
    """faiss IndexFlatIP; it masks nothing."""
    import faiss  # noqa: PLC0415 - may be absent

    faiss.omp_set_num_threads(workspace.workers)
    users, items = vectors(workspace, int(workspace.case))
    index = faiss.IndexFlatIP(items.shape[1])
    index.add(items)
    return lambda: time_of(lambda: index.search(users, LISTED))


def contenders() -> list[Contender]:
    """All, by rank."""
    return [
        contender
        for rank in map(str, RANKS)
        for contender in (
            Contender(KEY, rank, "m6rec", prepare_m6rec),
            Contender(KEY, rank, "matrix_product", prepare_product),
            Contender(KEY, rank, "implicit", prepare_implicit, needs="implicit"),
            Contender(KEY, rank, "faiss", prepare_faiss, needs="faiss"),
        )
    ]
