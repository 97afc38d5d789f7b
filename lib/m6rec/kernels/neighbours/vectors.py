"""Place vectors of the owner's, whatever made them, in a space where cosines tell items apart.

Vectors of an encoder often share a large mean and a few directions that dominate. They are centred,
rotated to the principal axes of the training rows and scaled by the axes' variances to the power of
-1/4, which is half way to whitening. A vector of length l then gets the length l / sqrt(l^2 + m),
where m is the mean of l^2: a vector near the mean says little, and blown up to the length of the
others it would be noise. So columns of different lengths and scales count alike.

The nearest of a number of anchors, which are centres of the training rows by spherical k-means
(Dhillon and Modha 2001), are a row's terms. So all code that reads the terms of words can read
vectors as well (Liu, He and Chang 2010, "Large graph construction for scalable semi-supervised
learning").
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from m6rec.kernels.arrays.padding import padded_rows
from m6rec.kernels.arrays.principal_components import turn_between, with_positive_peaks
from m6rec.kernels.arrays.rows import Float32, Float64, Int64
from m6rec.kernels.neighbours.content import inverse_document_frequency, unit_rows

SPECTRUM_POWER = 0.25
ANCHORS = 512
NEAREST_ANCHORS = 10
_ROWS_PER_ANCHOR = 8
_ROUNDS = 8
# Axes with less of the largest variance are noise that scaling would blow up.
_LEAST_VARIANCE = 1e-6
_ROWS_AT_ONCE = 16_384
# A vector with a number so many times larger than those of half of the rows is garbage. Alone, it
# would leave no variance that counts to all others.
_GARBAGE = 1e4
# Larger numbers have no squares in float32.
_LARGEST = 1e15
# The squared way that the mean of the same column may go, in a space whose m is 1.
_MOST_MOVED = 0.25


@dataclass(frozen=True)
class VectorSpace:
    """A fitted space of vectors, in which none is longer than 1.

    Attributes:
        mean: float32 [d]; that of the training rows.
        axes: float32 [d, r]; the principal axes, scaled so that m is 1.
        anchors: float32 [a, r]; of length 1.
        anchor_weights: float32 [a]; the anchors' inverse document frequencies.
    """

    mean: Float32
    axes: Float32
    anchors: Float32
    anchor_weights: Float32

    @property
    def width(self) -> int:
        """r."""
        return self.axes.shape[1]

    def place(self, vectors: Float32) -> Float32:
        """Vectors [n, d] in the space, float32 [n, r]; a row of zeros stays zero."""
        present = vectors.any(axis=1)
        placed: Float32 = np.zeros((len(vectors), self.width), np.float32)
        bounded = np.clip(vectors[present], -_LARGEST, _LARGEST)
        rotated = (padded_rows(bounded - self.mean) @ self.axes)[: len(bounded)]
        squares = np.einsum("nr,nr->n", rotated, rotated)[:, None]
        placed[present] = rotated / np.sqrt(squares + 1)
        return placed

    def turn_to(self, before: "VectorSpace") -> Float32:
        """What turns placed vectors into those of an earlier space of the same column.

        Returns:
            float32 [r, r before]; all zero where the column has come to hold other vectors.
        """
        turn: Float32 = np.zeros((self.width, before.width), np.float32)
        if len(self.mean) == len(before.mean):
            moved = (self.mean - before.mean) @ before.axes
            if moved @ moved < _MOST_MOVED:
                axes, earlier = self.axes.astype(np.float64), before.axes.astype(np.float64)
                turn = turn_between(axes, earlier).astype(np.float32)
        return turn

    def terms(self, placed: Float32) -> sp.csr_matrix:
        """The nearest anchors of placed vectors: float32 [n, a], rows of length 1 or empty.

        An anchor counts by its squared cosine; one at more than a right angle does not count.
        """
        blocks = [
            self._terms(placed[start : start + _ROWS_AT_ONCE])
            for start in range(0, len(placed), _ROWS_AT_ONCE)
        ]
        shape = (0, len(self.anchors))
        if not blocks:
            return sp.csr_matrix(shape, dtype=np.float32)
        return sp.csr_matrix(sp.vstack(blocks, format="csr"), dtype=np.float32)

    def _terms(self, placed: Float32) -> sp.csr_matrix:
        near, cosines = _nearest_anchors(unit_rows(placed), self.anchors)
        values = np.maximum(cosines, 0.0) ** 2 * self.anchor_weights[near]
        values = unit_rows(values.astype(np.float32))
        rows = np.repeat(np.arange(len(placed)), near.shape[1])
        shape = (len(placed), len(self.anchors))
        terms = sp.csr_matrix((values.ravel(), (rows, near.ravel())), shape=shape)
        terms.eliminate_zeros()
        terms.sort_indices()
        return terms


def fit_vector_space(vectors: Float32, rank: int, seed: int) -> VectorSpace:
    """Fit the space of the training rows' vectors.

    Args:
        vectors: float32 [n, d]; always in the same order. Without any, all vectors are placed at
            zero. Garbage among them does not count.
        rank: the most axes that are kept.
        seed: of the start of the anchors.
    """
    if not len(vectors):
        nowhere = np.zeros((vectors.shape[1], 1), np.float32)
        return VectorSpace(nowhere[:, 0], nowhere, nowhere[:1], np.ones(1, np.float32))
    peaks = np.abs(vectors).max(axis=1)
    vectors = vectors[peaks <= max(_GARBAGE * float(np.median(peaks)), float(peaks.min()))]
    mean = vectors.mean(axis=0, dtype=np.float64)
    axes = _scaled_axes(vectors - mean, rank)
    space = VectorSpace(
        mean.astype(np.float32),
        axes,
        np.zeros((0, axes.shape[1]), np.float32),
        np.zeros(0, np.float32),
    )
    placed = unit_rows(space.place(vectors))
    anchors = _spherical_means(placed, max(1, min(ANCHORS, len(vectors) // _ROWS_PER_ANCHOR)), seed)
    near, _ = _nearest_anchors(placed, anchors)
    counts = np.bincount(near.ravel(), minlength=len(anchors)).astype(np.float64)
    weights = inverse_document_frequency(counts, len(placed))
    # With a handful of rows every row is near every anchor, and all weights would be zero.
    weights = weights if weights.any() else np.ones_like(weights)
    return VectorSpace(space.mean, axes, anchors, weights)


def _scaled_axes(centred: Float64, rank: int) -> Float32:
    eigenvalues, axes = np.linalg.eigh(centred.T @ centred / len(centred))
    order = np.argsort(-eigenvalues, kind="stable")[:rank]
    variances, axes = np.maximum(eigenvalues[order], 0.0), axes[:, order]
    kept = variances > _LEAST_VARIANCE * variances[0]
    if not kept.any():
        # All rows are alike: there is one direction, and it tells nothing.
        return np.zeros((len(axes), 1), np.float32)
    scaled = with_positive_peaks(axes) * np.maximum(variances, 1e-30) ** -SPECTRUM_POWER
    # The variance along a scaled axis is v^(1 - 2 p), and m is the sum of these.
    m = (variances[kept] ** (1 - 2 * SPECTRUM_POWER)).sum()
    result: Float32 = (scaled[:, kept] / np.sqrt(m)).astype(np.float32)
    return result


def _spherical_means(placed: Float32, number: int, seed: int) -> Float32:
    """Centres of rows of length 1, float32 [number, r] of length 1; one without rows stays."""
    generator = np.random.default_rng(seed)
    chosen = generator.permutation(len(placed))[: number * 8 * _ROWS_PER_ANCHOR]
    sample = placed[np.sort(chosen)]
    centres: Float32 = sample[generator.choice(len(sample), number, replace=False)].copy()
    for _ in range(_ROUNDS):
        nearest = (sample @ centres.T).argmax(axis=1)
        members = sp.csr_matrix(
            (np.ones(len(sample), np.float32), (nearest, np.arange(len(sample)))),
            shape=(number, len(sample)),
        )
        means = unit_rows(np.asarray(members @ sample, dtype=np.float32))
        centres = np.where(means.any(axis=1, keepdims=True), means, centres)
    return centres


def _nearest_anchors(placed: Float32, anchors: Float32) -> tuple[Int64, Float32]:
    """The nearest anchors of each row and their cosines, [n, NEAREST_ANCHORS] each."""
    cosines = placed @ anchors.T
    number = min(NEAREST_ANCHORS, len(anchors))
    near = np.argpartition(-cosines, number - 1, axis=1)[:, :number].astype(np.int64)
    return near, np.take_along_axis(cosines, near, axis=1)
