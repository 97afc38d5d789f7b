"""Columns of vectors as the towers read them: where they are among features, and how they pool.

The features of a user or item end with its columns of vectors. Each column is a modality: it has a
branch of its own, and several vectors of a row are pooled by attention. An item's columns of
pictures and videos are modalities after them (see `towers.picture_branches`). A row that lacks some
modalities gets more of the others, so that the branches' sum is of one size:

    p_c = the sum over the column's vectors x of softmax(q_c . x) x
    w_c = C / (the number of modalities that are there), 0 where column c is not
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from m6rec.kernels.arrays.rows import Float32

Modalities = tuple[tuple[int, int], ...]
"""Of each column of vectors, how many a row has at most, and how many numbers one has."""


def plain_width(features: int, modalities: Modalities) -> int:
    """How many of the features are no vectors."""
    return features - sum(vectors * width for vectors, width in modalities)


def as_modalities(described: Sequence[Sequence[int]]) -> Modalities:
    """Modalities as JSON holds them."""
    return tuple((int(vectors), int(width)) for vectors, width in described)


def split_features(features: Float32, modalities: Modalities) -> tuple[Float32, list[Float32]]:
    """The features that are no vectors, and each column as float32 [n, vectors, width]."""
    start = plain_width(features.shape[1], modalities)
    plain, columns = features[:, :start], []
    for vectors, width in modalities:
        stop = start + vectors * width
        columns.append(features[:, start:stop].reshape(-1, vectors, width))
        start = stop
    return plain, columns


def modality_presence(features: Float32, modalities: Modalities) -> npt.NDArray[np.bool_]:
    """Which columns each row has, bool [n, C]."""
    _, columns = split_features(features, modalities)
    present: npt.NDArray[np.bool_] = np.stack([one.any(axis=(1, 2)) for one in columns], axis=1)
    return present


def pooled_columns(
    columns: Sequence[Float32], queries: Mapping[int, Float32]
) -> tuple[list[Float32], npt.NDArray[np.bool_]]:
    """Pool the vectors of each column.

    Args:
        columns: float32 [n, vectors, width] each; a vector of zeros is not there.
        queries: float32 [width]; q of the columns that have one. Without it, the mean is taken.

    Returns:
        p of each column, float32 [n, width], and which columns are there, bool [n, C].
    """
    pooled = []
    present = np.zeros((len(columns[0]), len(columns)), np.bool_)
    for c, column in enumerate(columns):
        there = column.any(axis=2)
        present[:, c] = there.any(axis=1)
        query = queries.get(c, np.zeros(column.shape[2], np.float32))
        scores = np.where(there, column @ query, np.float32(-np.inf))
        scores = np.where(there.any(axis=1, keepdims=True), scores, np.float32(0))
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        pooled.append(np.einsum("nv,nvw->nw", shares, column).astype(np.float32))
    return pooled, present


def modality_shares(present: npt.NDArray[np.bool_]) -> Float32:
    """w of each modality, float32 [n, C], by which of them are there, bool [n, C]."""
    there = present.astype(np.float32)
    weights = there * (present.shape[1] / np.maximum(there.sum(axis=1, keepdims=True), 1))
    shares: Float32 = weights.astype(np.float32)
    return shares
