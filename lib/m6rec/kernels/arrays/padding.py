"""Pad matrices before products, so that a row's result does not depend on the other rows."""

import numpy as np

from m6rec.kernels.arrays.rows import Float32

# A multiple of the rows that any of BLAS's kernels takes at once.
_ROWS_OF_PRODUCT = 64


def padded_rows(matrix: Float32) -> Float32:
    """The rows with rows of zeros after them, so that BLAS rounds each row alike in any block.

    It has other kernels for few rows and for those that remain at the end of a block. OpenBLAS's
    kernel for AVX2 takes two groups of six rows at once and rounds them in different ways even so;
    of AVX-512 processors, NumPy 1.23 knows those of Intel only.
    """
    missing = -len(matrix) % _ROWS_OF_PRODUCT
    if not missing:
        return matrix
    return np.concatenate([matrix, np.zeros((missing, *matrix.shape[1:]), np.float32)])
