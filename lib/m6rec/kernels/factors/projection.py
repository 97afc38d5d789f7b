"""Hold factor models, and compute a user's factor from the user's row by one function.

Training, the fold-in of a new user and batch scoring all call `project`, so they agree.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from m6rec.kernels.arrays.principal_components import with_positive_peaks
from m6rec.kernels.arrays.read_only import read_only
from m6rec.kernels.arrays.rows import Float32, Float64, Int64, Rows
from m6rec.kernels.arrays.sparse_products import gather_rows
from m6rec.kernels.factors.least_squares import solve_rows_on_axes, turn_rows

ATTRIBUTE_WEIGHT = "attribute_weight"
# A gram counts as diagonal where each entry beside the diagonal is below this share of
# sqrt(g_ii g_jj). Rounding of factors in float32 leaves about 1e-6.
ROUNDING_OF_GRAM = 1e-4
_ITEMS_AT_ONCE = 1 << 16


@dataclass(frozen=True)
class FactorModel:
    """The item side of a factor model; `build_factor_model` makes it.

    The score of item j for a user is `user_factor . factors[j] * scales[j]`.

    Attributes:
        method: the name of the model in `rankers.py`, which says what trained it.
        factors: float32 [M, k]; each item's factor.
        projection: float32 [M, k], the linear map from a row to the user's factor (SVD), or None
            where the user's factor is a least-squares solution.
        scales: float32 [M]; each multiplies the scores of its item.
        parameters: numbers that `project` needs, and others that record how the model was trained.
            Least squares needs unobserved_weight (a0), weight_scale, regularisation,
            frequency_exponent, frequency_offset, explicit (0 or 1) and mean_rating.
            attribute_weight is above 0 where attributes took part in the training.
        interaction_counts: int64 [M]; how many rows held each item in training.
        scaled_gram: a0 V^T V as float32 [k, k], or only its diagonal as float32 [k] where the
            factors lie along their principal axes; None where there is a projection.
        later_items: so many of the M items, the last ones, came after the training. They have
            zeros for factors and count in no mean over items.
    """

    method: str
    factors: Float32
    projection: Float32 | None
    scales: Float32
    parameters: dict[str, float]
    interaction_counts: Int64
    scaled_gram: Float32 | None = field(default=None, repr=False)
    later_items: int = 0

    @property
    def knows_attributes(self) -> bool:
        """Whether the factors were trained on the items' attributes as well."""
        return self.parameters.get(ATTRIBUTE_WEIGHT, 0.0) > 0.0

    @property
    def rank(self) -> int:
        """The length of a factor."""
        return int(self.factors.shape[1])

    @property
    def scored_factors(self) -> Float32:
        """float32 [M, k]: factors[j] * scales[j], whose dot product with a user factor scores."""
        return np.ascontiguousarray(self.factors * self.scales[:, None])

    @property
    def n_items(self) -> int:
        """How many items there are."""
        return int(self.factors.shape[0])

    @property
    def trained_items(self) -> int:
        """How many of them the training knew, which come first."""
        return self.n_items - self.later_items

    @cached_property
    def on_axes(self) -> tuple[Float32, Float32, Float32]:
        """The eigenvalues of `scaled_gram`, its axes, and the factors along them."""
        assert self.scaled_gram is not None
        gram = self.scaled_gram.astype(np.float64)
        values, axes = np.linalg.eigh(np.diag(gram) if gram.ndim == 1 else gram)
        turned = _turned(self.factors, axes)
        whole = np.ascontiguousarray(axes, np.float32)
        return np.maximum(values, 0.0).astype(np.float32), whole, turned


def build_factor_model(
    method: str,
    factors: Float32,
    projection: Float32 | None,
    scales: Float32,
    parameters: dict[str, float],
    interaction_counts: Int64,
) -> FactorModel:
    """Make a FactorModel, and compute once what `project` needs. Shapes are as in FactorModel."""
    gram = None
    if projection is None:
        exact = exact_product(factors, factors)
        whole = (parameters["unobserved_weight"] * exact).astype(np.float32)
        gram = _diagonal_or_whole(whole)
    return FactorModel(
        method,
        np.ascontiguousarray(factors, np.float32),
        None if projection is None else np.ascontiguousarray(projection, np.float32),
        np.ascontiguousarray(scales, np.float32),
        dict(parameters),
        np.ascontiguousarray(interaction_counts, np.int64),
        gram,
    )


def padded_by_later_items(model: FactorModel, count: int) -> FactorModel:
    """The model followed by so many items that came after its training.

    A user's factor from a row without them stays what it was.
    """
    if count == 0:
        return model
    more = ((0, count), (0, 0))
    padded = replace(
        model,
        factors=np.pad(model.factors, more),
        projection=None if model.projection is None else np.pad(model.projection, more),
        scales=np.pad(model.scales, (0, count)),
        interaction_counts=np.pad(model.interaction_counts, (0, count)),
        later_items=model.later_items + count,
    )
    return ready_to_ship(padded)


def ready_to_ship(model: FactorModel) -> FactorModel:
    """The model, with what `project` would compute anew, and hold for itself, in each process."""
    if model.scaled_gram is not None and model.scaled_gram.ndim == 2:
        # The property keeps it in the model, with which it is pickled.
        _ = model.on_axes
    return model


def along_principal_axes(factors: Float32) -> Float32:
    """Turn the factors so that V^T V is diagonal, largest first; no score changes."""
    _, axes = np.linalg.eigh(exact_product(factors, factors))
    return _turned(factors, with_positive_peaks(axes[:, ::-1]))


def exact_product(left: Float32, right: Float32) -> Float64:
    """X^T Y of the items in float64, [k, l]; X float32 [M, k], Y float32 [M, l].

    It takes a block of items at a time: all items in float64 would be twice as large as they are.
    """
    total: Float64 = np.zeros((left.shape[1], right.shape[1]))
    for items in _blocks(len(left)):
        exact = left[items].astype(np.float64)
        other = exact if right is left else right[items].astype(np.float64)
        total += exact.T @ other
    return total


def _turned(factors: Float32, axes: Float64) -> Float32:
    """V Q, computed in float64 a block of items at a time: float32 [M, k]."""
    turned = np.empty((len(factors), axes.shape[1]), np.float32)
    for items in _blocks(len(factors)):
        turned[items] = factors[items].astype(np.float64) @ axes
    return turned


def _blocks(n_items: int) -> Iterator[slice]:
    return (slice(start, start + _ITEMS_AT_ONCE) for start in range(0, n_items, _ITEMS_AT_ONCE))


def aligned_with(model: FactorModel, earlier: Float32) -> FactorModel:
    """The model turned so that its factors are as near to earlier ones as a rotation brings them.

    No score changes. The rotation is that of Schoenemann (1966), "A generalized solution of the
    orthogonal Procrustes problem". The turned model has at least as many dimensions as the earlier
    one, whose dimensions come first.

    Args:
        model: the model.
        earlier: float32 [M, k]; a row of zeros for an item that has no earlier factor.
    """
    rank = max(model.rank, earlier.shape[1])
    wanted = np.pad(earlier, ((0, 0), (0, rank - earlier.shape[1])))
    product = exact_product(model.factors, wanted)
    left, _, right = np.linalg.svd(product, full_matrices=False)
    rotation = (left @ right).astype(np.float32)
    turned = model.factors @ rotation
    projection = None if model.projection is None else model.projection @ rotation
    return build_factor_model(
        model.method,
        turned,
        projection,
        model.scales,
        model.parameters,
        model.interaction_counts,
    )


def _diagonal_or_whole(gram: Float32) -> Float32:
    """Only the diagonal where all other entries are rounding errors, else the whole gram."""
    diagonal = np.diag(gram)
    rounding = ROUNDING_OF_GRAM * np.sqrt(np.outer(diagonal, diagonal))
    rounding += np.finfo(np.float32).eps * diagonal.max(initial=0.0)
    beside = np.abs(gram - np.diag(diagonal))
    return diagonal.copy() if (beside <= rounding).all() else gram


def project(model: FactorModel, rows: Rows) -> Float32:
    """The user factor of each row, float32 [n, k]; rows without entries give zeros.

    SVD: u = sum_i w_ui projection_i. ALS: u minimises the training loss of the row given the item
    factors (Hu, Koren, Volinsky 2008, eq. 4), solved directly.
    """
    users = np.zeros((len(rows), model.rank), np.float32)
    if model.projection is not None:
        read = read_only(rows.indptr, rows.item_indices, rows.weights, model.projection)
        gather_rows(*read, users)
        return users
    assert model.scaled_gram is not None
    confidence, right_hand_side = normal_equation_terms(rows, model.parameters)
    regularisation = frequency_regularisation(rows.counts, model.parameters)
    equations = rows.indptr, rows.item_indices, confidence, right_hand_side, regularisation
    if model.scaled_gram.ndim == 1:
        solve_rows_on_axes(*read_only(*equations, model.scaled_gram, model.factors), users)
        return users
    diagonal, axes, turned = model.on_axes
    solve_rows_on_axes(*read_only(*equations, diagonal, turned), users)
    turn_rows(users, *read_only(axes))
    return users


def normal_equation_terms(rows: Rows, parameters: dict[str, float]) -> tuple[Float32, Float32]:
    """Confidence c beyond a0 and right-hand side t of each entry, float32 [entries] each.

    Implicit feedback has c = s w and t = s w + a0, where s is the weight_scale. Explicit feedback
    has c = 1 and t = w - mean_rating.
    """
    if parameters["explicit"]:
        right_hand_side = rows.weights - np.float32(parameters["mean_rating"])
        return np.ones(rows.entries, np.float32), right_hand_side
    confidence = rows.weights * np.float32(parameters["weight_scale"])
    return confidence, confidence + np.float32(parameters["unobserved_weight"])


def frequency_regularisation(counts: Int64, parameters: dict[str, float]) -> Float32:
    """lambda (|I_u| + a0 M)^nu of each row, float32 [n] (Rendle et al. 2021, eq. 7)."""
    base = counts + parameters["frequency_offset"]
    scaled = parameters["regularisation"] * base ** parameters["frequency_exponent"]
    return scaled.astype(np.float32)
