"""Rows of the user-item matrix, made from a matrix of SciPy."""

import numpy as np
import scipy.sparse as sp

from m6rec.kernels.arrays.rows import Int64, Rows


def rows_from_scipy(matrix: sp.csr_matrix, user_index: Int64 | None = None) -> Rows:
    """The rows of a SciPy matrix; users are numbered from 0 unless `user_index` is given."""
    ordered = matrix.tocsr().sorted_indices()
    index = np.arange(ordered.shape[0], dtype=np.int64) if user_index is None else user_index
    return Rows(
        index,
        ordered.indptr.astype(np.int64),
        ordered.indices.astype(np.int32),
        ordered.data.astype(np.float32),
    )
