"""How alike two items are: by the cosine of vectors, or of sets of categories."""

from dataclasses import dataclass

import numba
import numpy as np

from m6rec.kernels.arrays.categories import ItemCategories
from m6rec.kernels.arrays.rows import Float32


@dataclass(frozen=True)
class ItemLikeness:
    """By what items are alike.

    Attributes:
        vectors: float32 [items, d], of length 1 or 0; d is 0 where categories decide.
        categories: of all items.
    """

    vectors: Float32
    categories: ItemCategories


@numba.njit(cache=True, nogil=True)
def likeness_of(vectors, indptr, categories, one, other):  # type: ignore[no-untyped-def]
    """The cosine of two items, by the fields of `ItemLikeness` and of its categories."""
    if vectors.shape[1] == 0:
        return _cosine_of_sets(indptr, categories, one, other)
    total = 0.0
    for column in range(vectors.shape[1]):
        total += vectors[one, column] * vectors[other, column]
    return total


@numba.njit(cache=True, nogil=True)
def _cosine_of_sets(indptr, indices, one, other):  # type: ignore[no-untyped-def]
    """The cosine of two items' sets of categories; 0 where one of them has none."""
    place, end = indptr[one], indptr[one + 1]
    other_place, other_end = indptr[other], indptr[other + 1]
    if place == end or other_place == other_end:
        return 0.0
    length = np.sqrt(float((end - place) * (other_end - other_place)))
    shared = 0
    while place < end and other_place < other_end:
        difference = indices[place] - indices[other_place]
        shared += difference == 0
        place += difference <= 0
        other_place += difference >= 0
    return shared / length
