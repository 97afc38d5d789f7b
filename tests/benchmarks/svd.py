"""Randomized SVD of D_u^-a P D_i^-b: ours, SciPy's, scikit-learn's and Spark MLlib's RowMatrix."""

import numpy as np
import scipy.sparse as sp
from pyspark.mllib.linalg import Vectors
from pyspark.mllib.linalg.distributed import RowMatrix

from m6rec.config.models import SvdConfig
from m6rec.kernels.factors.projection import FactorModel
from m6rec.stages.training.factors import train_svd
from tests.benchmarks.measure import Contender, Measure, Workspace, time_of
from tests.benchmarks.spark import STOCK, open_session

KEY = "svd_seconds"
RANKS = (64, 256)
ROW_MATRIX_RANKS = (64,)
# With which plain power passes leave an error of some 1e-3 there.
EXACT_PASSES = 7


def prepare_m6rec(workspace: Workspace) -> Measure:
    """The barrier program."""
    config = SvdConfig(rank=int(workspace.case), exact=True)
    matrix = workspace.dataset.frame(open_session(workspace)).cache()
    matrix.count()

    def fit() -> FactorModel:
        return train_svd(matrix, workspace.dataset.n_items, config, workspace.seed)

    workspace.facts["first_singular_values"] = _of_model(fit())
    return lambda: time_of(fit)


def _of_model(model: FactorModel) -> list[float]:
    # factors = V (s / s_0)^p, and V has columns of length 1.
    lengths = np.linalg.norm(model.factors.astype(np.float64), axis=0)
    largest = model.parameters["largest_singular_value"]
    return _first_half(largest * lengths ** (1.0 / model.parameters["spectrum_power"]))


def prepare_svds(workspace: Workspace) -> Measure:
    """SciPy's svds (ARPACK) with its default tolerance."""
    matrix, rank = normalised(workspace), int(workspace.case)

    def fit() -> None:
        values = sp.linalg.svds(matrix, k=rank, rng=np.random.default_rng(workspace.seed))[1]
        workspace.facts["first_singular_values"] = _first_half(np.sort(values)[::-1])

    return lambda: time_of(fit)


def prepare_randomized_svd(workspace: Workspace) -> Measure:
    """scikit-learn with our oversampling, and passes enough for the first half of the values."""
    from sklearn.utils.extmath import randomized_svd  # noqa: PLC0415 - may be absent

    matrix, defaults = normalised(workspace), SvdConfig()

    def fit() -> None:
        values = randomized_svd(
            matrix,
            int(workspace.case),
            n_oversamples=defaults.oversampling,
            n_iter=EXACT_PASSES,
            random_state=workspace.seed,
        )[1]
        workspace.facts["first_singular_values"] = _first_half(values)

    return lambda: time_of(fit)


def prepare_row_matrix(workspace: Workspace) -> Measure:
    """RowMatrix.computeSVD on a cached RDD of sparse vectors."""
    matrix = normalised(workspace)
    spark = open_session(workspace, STOCK)
    vectors = [
        Vectors.sparse(
            matrix.shape[1],
            matrix.indices[start:stop].tolist(),
            matrix.data[start:stop].astype(np.float64).tolist(),
        )
        for start, stop in zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True)
    ]
    rows = RowMatrix(spark.sparkContext.parallelize(vectors, workspace.workers).cache())
    rows.numRows()

    def fit() -> None:
        values = rows.computeSVD(int(workspace.case), computeU=False).s.toArray()
        workspace.facts["first_singular_values"] = _first_half(values)

    return lambda: time_of(fit)


def normalised(workspace: Workspace) -> sp.csr_matrix:
    """The matrix that our program decomposes, float32."""
    matrix, defaults = workspace.dataset.scipy(), SvdConfig()
    users = np.maximum(np.diff(matrix.indptr), 1) ** -defaults.user_exponent
    items = np.maximum(np.bincount(matrix.indices, minlength=matrix.shape[1]), 1)
    scale = np.repeat(users, np.diff(matrix.indptr))
    scale *= (items**-defaults.item_exponent)[matrix.indices]
    matrix.data = (matrix.data * scale).astype(np.float32)
    return matrix


def _first_half(values: np.ndarray) -> list[float]:
    return [float(value) for value in values[: max(len(values) // 2, 1)]]


def contenders() -> list[Contender]:
    """All, by rank."""
    found = []
    for rank in RANKS:
        case = str(rank)
        found += [
            Contender(KEY, case, "m6rec", prepare_m6rec),
            Contender(KEY, case, "svds", prepare_svds),
            Contender(KEY, case, "randomized_svd", prepare_randomized_svd, needs="sklearn"),
        ]
        if rank in ROW_MATRIX_RANKS:
            found.append(Contender(KEY, case, "row_matrix", prepare_row_matrix))
    return found
