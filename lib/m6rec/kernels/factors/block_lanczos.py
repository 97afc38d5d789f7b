"""Find leading eigenvectors of a symmetric positive semidefinite operator by block Lanczos.

The recurrence is A Q_j = Q_j-1 B_j-1^T + Q_j A_j + Q_j+1 B_j (Golub and Underwood 1977, "The block
Lanczos method for computing eigenvalues"). In the basis of all blocks Q the operator is a block
tridiagonal matrix T, and after few blocks the leading eigenvalues of T are close to those of A.
Rounding errors spoil the orthogonality of the blocks, so each new block is made orthogonal to all
blocks before it. Each rank keeps its share of the items of each block and does its share of the
products.
"""

from collections.abc import Callable, Iterator

import numpy as np
import scipy.linalg as sl

from m6rec.kernels.arrays.communicator import Communicator
from m6rec.kernels.arrays.rows import Float32, Float64
from m6rec.kernels.arrays.sparse_products import share_of

# Columns of a block: with fewer columns fewer products are needed, with more each is faster.
LANCZOS_BLOCK = 32
# The leading half is settled where |A v - l v| / l is at most this. Its eigenvalues l are then
# right to about 1e-4, because the error of an eigenvalue grows with the square of its residual.
_RESIDUAL = 1e-2
# Below this squared length, relative to the longest, a direction is a rounding error of float32.
_DEPENDENT = 1e-6
# The length of the rounding error of a product, relative to the largest eigenvalue.
_ROUNDING = 1e-6


def leading_eigenvectors(
    multiply: Callable[[Float32], Float32],
    starts: Iterator[Float32],
    rank: int,
    limit: int,
    communicator: Communicator,
) -> tuple[Float64, Float32]:
    """The `rank` leading eigenvalues and eigenvectors; the first half of the values is settled.

    Args:
        multiply: returns A X for X, float32 [M, w], the same on all ranks.
        starts: random blocks, float32 [M, w], the same on all ranks. The first one starts the
            space; the next one extends it where the space is closed under A but too small.
        rank: how many eigenvalues, at most `limit`.
        limit: how large the space can become from one start, at least 1.
        communicator: the group; all ranks call this function together.

    Returns:
        Eigenvalues float64 [rank], descending, and vectors float32 [M, rank].
    """
    start = next(starts)
    n_items = len(start)
    share = share_of(n_items, communicator.rank, communicator.size)
    leading = slice(-1, -rank - 1, -1)
    half = slice(-1, -max(rank // 2, 1) - 1, -1)
    basis, tridiagonal = np.zeros((share.stop - share.start, 0), np.float32), np.zeros((0, 0))
    block = _next_block(start[share], basis, 0.0, communicator)[0]
    below = np.zeros((block.shape[1], 0))
    while True:
        room = limit - basis.shape[1]
        block, below = block[:, :room], below[:room]
        image = multiply(_gathered(block, share, n_items, communicator))[share]
        diagonal = _reduced_product(block, image, communicator)
        image = image - block @ diagonal.astype(np.float32)
        if below.size:
            image -= basis[:, -below.shape[1] :] @ below.T.astype(np.float32)
        tridiagonal = _bordered(tridiagonal, diagonal, below)
        basis = np.concatenate([basis, block], axis=1)
        eigenvalues, rotation = np.linalg.eigh(tridiagonal)
        last = slice(-block.shape[1], None)
        block, below = _next_block(image, basis, eigenvalues[-1], communicator)
        residuals = np.linalg.norm(below @ rotation[last, half], axis=0)
        settled = bool((residuals <= _RESIDUAL * eigenvalues[half]).all())
        if basis.shape[1] == limit or (basis.shape[1] >= rank and settled):
            break
        if not block.shape[1]:
            block = _next_block(next(starts)[share], basis, 0.0, communicator)[0]
            below = np.zeros((block.shape[1], 0))
    vectors = basis @ np.ascontiguousarray(rotation[:, leading], np.float32)
    return eigenvalues[leading], _gathered(vectors, share, n_items, communicator)


def reduced_gram(part: Float32, communicator: Communicator) -> Float64:
    """X^T X, float64 [r, r], where each rank passes its part of the items."""
    # The gram is symmetric, so half of it is computed and mirrored.
    lower = sl.blas.ssyrk(1.0, part.T, lower=1) if part.size else np.zeros((part.shape[1],) * 2)
    gram = np.ascontiguousarray(lower, np.float64)
    gram += np.tril(gram, -1).T
    communicator.all_reduce(gram)
    return gram


def _next_block(
    part: Float32, basis: Float32, largest: float, communicator: Communicator
) -> tuple[Float32, Float64]:
    """Return Q and B whose product Q B is X without its projection on the basis.

    Each rank passes its part of X and gets its part of Q.
    Q has as many columns as X has independent ones outside the basis. It has none where X lies in
    the basis up to the rounding error of a product with an operator whose largest eigenvalue is
    `largest`.
    """
    total = np.eye(part.shape[1])
    part = part - basis @ _reduced_product(basis, part, communicator).astype(np.float32)
    # One round leaves an error of rounding times the square of the condition, so there are two.
    for least in ((_ROUNDING * largest) ** 2, 0.0):
        # G = Z L Z^T; Q = X Z L^-1/2, B = L^1/2 Z^T.
        squares, vectors = np.linalg.eigh(reduced_gram(part, communicator))
        kept = squares > max(_DEPENDENT * squares.max(initial=0.0), least)
        lengths = np.sqrt(squares[kept])
        part = part @ (vectors[:, kept] / lengths).astype(np.float32)
        total = (vectors[:, kept] * lengths).T @ total
    return part, total


def _bordered(tridiagonal: Float64, diagonal: Float64, below: Float64) -> Float64:
    """The block tridiagonal matrix, extended by one block row and one block column."""
    old, last = len(tridiagonal), below.shape[1]
    bordered = np.zeros((old + len(diagonal), old + len(diagonal)))
    bordered[:old, :old] = tridiagonal
    bordered[old:, old:] = (diagonal + diagonal.T) / 2
    bordered[old:, old - last : old] = below
    bordered[old - last : old, old:] = below.T
    return bordered


def _reduced_product(left: Float32, right: Float32, communicator: Communicator) -> Float64:
    """left^T right, summed over the items of all ranks."""
    product = (left.T @ right).astype(np.float64)
    communicator.all_reduce(product)
    return product


def _gathered(part: Float32, share: slice, total: int, communicator: Communicator) -> Float32:
    """The parts of all ranks put together, float32 [total, columns], on every rank."""
    whole = np.zeros((total, part.shape[1]), np.float32)
    whole[share] = part
    communicator.all_reduce(whole)
    return whole
