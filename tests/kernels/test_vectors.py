"""Vectors of the owner's are placed so that cosines tell items apart, whatever their scale."""

import numpy as np

from m6rec.kernels.neighbours.content import unit_rows
from m6rec.kernels.neighbours.vectors import NEAREST_ANCHORS, fit_vector_space


def _groups(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of 400 rows in 8 groups around centres, far from the origin."""
    generator = np.random.default_rng(seed)
    group = np.arange(400) % 8
    centres = generator.standard_normal((8, 16))
    vectors = centres[group] + 0.3 * generator.standard_normal((400, 16)) + 20.0
    return vectors.astype(np.float32), group


def test_a_shared_mean_and_the_scale_do_not_hide_likeness() -> None:
    vectors, group = _groups()
    placed = unit_rows(fit_vector_space(vectors, 16, seed=1).place(vectors))
    cosines = placed @ placed.T
    alike = group[:, None] == group[None]
    np.fill_diagonal(alike, val=False)
    # As they are, all cosines are above .99.
    assert cosines[alike].mean() > 0.7 and abs(cosines[group[:, None] != group[None]].mean()) < 0.2
    scaled = fit_vector_space(1000 * vectors, 16, seed=1).place(1000 * vectors)
    np.testing.assert_allclose(unit_rows(scaled) @ unit_rows(scaled).T, cosines, atol=1e-3)


def test_a_vector_near_the_mean_is_short_and_one_of_zeros_is_zero() -> None:
    vectors, _ = _groups()
    space = fit_vector_space(vectors, 16, seed=1)
    near = (vectors.mean(axis=0) + 0.01 * vectors[0] / 20)[None]
    placed = space.place(np.concatenate([vectors, near, np.zeros_like(near)]))
    lengths = np.linalg.norm(placed, axis=1)
    assert 0.5 < lengths[:400].mean() < 0.8 and lengths.max() < 1.0
    assert lengths[400] < 0.1 and lengths[401] == 0.0


def test_a_row_is_placed_alike_whatever_rows_stand_beside_it() -> None:
    vectors, _ = _groups()
    space = fit_vector_space(vectors, 16, seed=1)
    np.testing.assert_array_equal(space.place(vectors[:1]), space.place(vectors)[:1])


def test_garbage_leaves_the_axes_of_the_other_vectors() -> None:
    vectors, _ = _groups()
    garbage = np.full((1, 16), 1e18, np.float32)
    garbage[0, :8] = 3e38
    space = fit_vector_space(vectors, 16, seed=1)
    other = fit_vector_space(np.concatenate([vectors, garbage]), 16, seed=1)
    np.testing.assert_array_equal(other.axes, space.axes)
    placed = other.place(garbage)
    assert np.isfinite(placed).all() and np.linalg.norm(placed) <= 1.0 + 1e-6


def test_alike_rows_share_terms() -> None:
    vectors, group = _groups()
    space = fit_vector_space(vectors, 16, seed=1)
    terms = space.terms(space.place(vectors))
    assert np.diff(terms.indptr).max() <= NEAREST_ANCHORS
    np.testing.assert_allclose(np.sqrt(terms.multiply(terms).sum(axis=1)), 1.0, rtol=1e-5)
    shared = (terms @ terms.T).toarray()
    alike = group[:, None] == group[None]
    assert shared[alike].mean() > 3 * shared[~alike].mean()


def test_few_rows_or_none_give_a_space_as_well() -> None:
    vectors, _ = _groups()
    for rows in (0, 1, 3):
        space = fit_vector_space(vectors[:rows], 16, seed=1)
        placed = space.place(vectors)
        assert placed.shape == (400, space.width) and np.isfinite(placed).all()
        assert space.terms(placed).shape == (400, len(space.anchors))
