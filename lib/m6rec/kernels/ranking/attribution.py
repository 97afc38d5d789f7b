"""Divide each member's score of a listed item among the items of the user's history.

The shares are exact: those of all history items add up to the score.

- A sum over the history, sum_h x_h, is divided into its terms.
- The square root of a sum S gives each term x_h / sqrt(S). That is the integral of the gradient
  from the empty history to the user's own (integrated gradients: Sundararajan, Taly and Yan 2017).
- A projection u = sum_h w_h p_h gives (w_h p_h) . v_j. A least-squares solution A u = sum_h t_h v_h
  gives t_h v_h^T A^-1 v_j (Hu, Koren and Volinsky 2008, section 5).
- Of a sum over neighbours v, sum_v sim(u, v) r_vj, an item gets what it adds to the similarities.

Content and towers are not divided here: content is told by attributes, and towers are no sums (job
`explain` divides them by `towers.attribution` and `towers.sequence_attribution`).

A cell holds what one history item adds to a member's score of one listed item. Cells are ordered by
user, then by listed item, then by history item.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numba
import numpy as np

from m6rec.kernels.arrays.read_only import read_only
from m6rec.kernels.arrays.rows import Float32, Float64, Int32, Int64, Rows, indptr_of
from m6rec.kernels.factors.least_squares import SMALLEST_REGULARISATION
from m6rec.kernels.factors.projection import (
    FactorModel,
    frequency_regularisation,
    normal_equation_terms,
    project,
)
from m6rec.kernels.ranking.expanded_history import ExpandedHistoryMember
from m6rec.kernels.ranking.members import (
    DirectionEncoder,
    DotMember,
    FactorEncoder,
    HistoryMember,
    Member,
    OwnMembers,
    SparseRows,
    Terms,
    UserBlock,
    UserNeighboursMember,
    takes_square_root,
)


@dataclass(frozen=True)
class Listed:
    """Listed items of a block of users, and where the cells of each are.

    Attributes:
        rows: the users' histories.
        indptr: int64 [n + 1] into items; where each user's list starts and ends.
        items: int32 [entries].
        cells: int64 [entries + 1]; entry e has the cells cells[e] up to cells[e + 1].
    """

    rows: Rows
    indptr: Int64
    items: Int32
    cells: Int64

    @property
    def users(self) -> Int64:
        """int64 [entries]: the place of each entry's user."""
        return np.repeat(np.arange(len(self.rows)), np.diff(self.indptr))


def listed_items(rows: Rows, indptr: Int64, items: Int32) -> Listed:
    """The listed items with one cell for each item of their user's history."""
    return Listed(rows, indptr, items, indptr_of(np.repeat(rows.counts, np.diff(indptr))))


def cells_at_once(
    members: Iterable[Member | OwnMembers], terms: Mapping[str, Terms], rows: Rows, lengths: Int64
) -> Int64:
    """int64 [n]: the most cells of each user that `history_shares` of one of the members holds.

    They are those of the user's listed items and, where a member adds items to the history, of
    these, too.

    Args:
        members: of a blend.
        terms: the sparse rows that the users add up, by member name.
        rows: the users' histories.
        lengths: int64 [n]; how many items each user's list has.
    """
    added = np.zeros(len(rows), np.int64)
    for member in members:
        if isinstance(member, ExpandedHistoryMember):
            behind = np.diff(terms[member.name].indptr) - rows.counts
            added = np.maximum(added, behind)
    cells: Int64 = rows.counts * (lengths + added)
    return cells


def history_shares(
    member: Member | OwnMembers, block: UserBlock, terms: Terms | None, listed: Listed
) -> Float64 | None:
    """What each history item adds to the member's score of each listed item, float64 [cells].

    None where the member's score cannot be divided.

    Args:
        member: of any kind.
        block: the users; its rows are those of `listed`.
        terms: the sparse rows that the users add up, for members that have these.
        listed: the items.
    """
    match member:
        case HistoryMember():
            assert terms is not None
            shares = _shares_of_rows(terms, member.rows, listed)
            return _under_root(shares, listed) if takes_square_root(member.transform) else shares
        case ExpandedHistoryMember():
            assert terms is not None
            return _under_root(_shares_of_expanded(member, block, terms, listed), listed)
        case UserNeighboursMember():
            assert terms is not None
            return _shares_of_neighbours(member, terms, listed)
        case DotMember(encoder=FactorEncoder(model)):
            return _shares_of_factors(model, member.item_vectors, listed)
        case DotMember(encoder=DirectionEncoder(model)):
            shares = _shares_of_factors(model, member.item_vectors, listed)
            lengths = np.linalg.norm(project(model, listed.rows).astype(np.float64), axis=1)
            return _divided(shares, lengths, listed)
        case _:
            return None


def _shares_of_rows(terms: Terms, rows: SparseRows, listed: Listed) -> Float64:
    shares = np.zeros(listed.cells[-1])
    _add_rows(
        *read_only(terms.indptr, terms.row_indices, terms.factors),
        *read_only(rows.indptr, rows.item_indices, rows.values),
        *read_only(listed.indptr, listed.items, listed.cells),
        len(rows.indptr) - 1,
        shares,
    )
    return shares


def _shares_of_expanded(
    member: ExpandedHistoryMember, block: UserBlock, terms: Terms, listed: Listed
) -> Float64:
    """The history items' own rows, and their part in what the added items say.

    An added item a counts `expansion` times its score, sum_h w_h B_ha, so that h adds
    expansion w_h B_ha W_aj to the score of item j.
    """
    history = member.added_by.terms(block)
    shares = _shares_of_rows(history, member.rows, listed)
    added, items = _after_history(terms, history)
    of_added = listed_items(listed.rows, added, items)
    says = _shares_of_rows(history, member.added_by.rows, of_added)
    says *= member.expansion
    rows = member.rows
    _add_expansion(
        *read_only(added, items, of_added.cells, says),
        *read_only(rows.indptr, rows.item_indices, rows.values),
        *read_only(listed.indptr, listed.items, listed.cells),
        len(rows.indptr) - 1,
        shares,
    )
    return shares


def _after_history(whole: Terms, history: Terms) -> tuple[Int64, Int32]:
    """The rows that stand behind each user's history: indptr and row indices."""
    counts = np.diff(whole.indptr) - np.diff(history.indptr)
    places = np.arange(len(whole.row_indices)) - np.repeat(whole.indptr[:-1], np.diff(whole.indptr))
    behind = places >= np.repeat(np.diff(history.indptr), np.diff(whole.indptr))
    return indptr_of(counts), whole.row_indices[behind]


def _under_root(shares: Float64, listed: Listed) -> Float64:
    totals = _sums(shares, listed)
    with np.errstate(divide="ignore", invalid="ignore"):
        scales = np.where(totals > 0.0, 1.0 / np.sqrt(totals), 0.0)
    scaled: Float64 = shares * np.repeat(scales, np.diff(listed.cells))
    return scaled


def _sums(shares: Float64, listed: Listed) -> Float64:
    """float64 [entries]: the sum of the cells of each entry."""
    entries = np.repeat(np.arange(len(listed.items)), np.diff(listed.cells))
    return np.bincount(entries, shares, len(listed.items)).astype(np.float64)


def _shares_of_neighbours(member: UserNeighboursMember, terms: Terms, listed: Listed) -> Float64:
    search = member.search
    rows = search.candidates.rows
    own = listed.rows
    squares = own.weights.astype(np.float64) ** 2 * search.item_damping[own.item_indices]
    owners = np.repeat(np.arange(len(own)), own.counts)
    lengths = np.sqrt(np.bincount(owners, weights=squares, minlength=len(own)))
    shares = np.zeros(listed.cells[-1])
    _add_neighbours(
        *read_only(terms.indptr, terms.row_indices),
        *read_only(rows.indptr, rows.item_indices, rows.weights),
        len(rows),
        *read_only(search.by_item_indptr, search.by_item_indices, search.by_item_values),
        *read_only(own.indptr, own.item_indices, own.weights),
        *read_only(listed.indptr, listed.items, listed.cells),
        search.n_items,
        shares,
    )
    return _divided(shares, lengths, listed)


def _shares_of_factors(model: FactorModel, item_vectors: Float32, listed: Listed) -> Float64:
    own = listed.rows
    if model.projection is not None:
        return _dot_products(own.weights, model.projection, item_vectors, listed)
    assert model.scaled_gram is not None
    confidence, right_hand_side = normal_equation_terms(own, model.parameters)
    regularisation = frequency_regularisation(own.counts, model.parameters)
    if model.scaled_gram.ndim == 1:
        diagonal, axes, vectors = model.scaled_gram, np.zeros((0, 0), np.float32), model.factors
    else:
        diagonal, axes, vectors = model.on_axes
    shares = np.zeros(listed.cells[-1])
    _fill_least_squares(
        *read_only(own.indptr, own.item_indices, confidence, right_hand_side),
        *read_only(np.maximum(regularisation, SMALLEST_REGULARISATION)),
        *read_only(diagonal, axes, vectors, np.ascontiguousarray(item_vectors)),
        *read_only(listed.indptr, listed.items, listed.cells),
        shares,
    )
    return shares


def factor_parts(model: FactorModel, rows: Rows) -> Float64:
    """The part of each item of one user's history in the user's factor: float64 [entries, rank]."""
    axes = np.arange(model.rank, dtype=np.int32)
    listed = listed_items(rows, np.array([0, len(axes)]), axes)
    shares = _shares_of_factors(model, np.eye(model.rank, dtype=np.float32), listed)
    return shares.reshape(len(axes), rows.entries).T


def _dot_products(factors: Float32, sources: Float32, targets: Float32, listed: Listed) -> Float64:
    """float64 [cells]: factor_h source_h . target_j."""
    shares = np.zeros(listed.cells[-1])
    _fill_dot_products(
        *read_only(listed.rows.indptr, listed.rows.item_indices),
        *read_only(factors, sources, targets),
        *read_only(listed.indptr, listed.items, listed.cells),
        shares,
    )
    return shares


def _divided(shares: Float64, by_user: Float64, listed: Listed) -> Float64:
    """The cells over a number of their user; 0 where that is no positive number."""
    usable = np.isfinite(by_user) & (by_user > 0.0)
    scales = np.divide(1.0, by_user, out=np.zeros(len(by_user)), where=usable)
    divided: Float64 = shares * np.repeat(scales[listed.users], np.diff(listed.cells))
    return divided


@numba.njit(cache=True, nogil=True)
def _note_places(entry_of, items, start, stop, first):  # type: ignore[no-untyped-def]
    """Note the entry of each listed item, counted from `first`; -1 means that it is not listed."""
    for entry in range(start, stop):
        entry_of[items[entry]] = entry - first


@numba.njit(cache=True, nogil=True)
def _forget_places(entry_of, items, start, stop):  # type: ignore[no-untyped-def]
    for entry in range(start, stop):
        entry_of[items[entry]] = -1


@numba.njit(cache=True, nogil=True)
def _add_rows(  # type: ignore[no-untyped-def]
    term_indptr,
    row_indices,
    factors,
    row_indptr,
    targets,
    values,
    list_indptr,
    items,
    cells,
    n_items,
    shares,
):
    entry_of = np.full(n_items, -1, np.int64)
    for user in range(len(list_indptr) - 1):
        start, stop = list_indptr[user], list_indptr[user + 1]
        _note_places(entry_of, items, start, stop, 0)
        first = term_indptr[user]
        for term in range(first, term_indptr[user + 1]):
            row = row_indices[term]
            for position in range(row_indptr[row], row_indptr[row + 1]):
                entry = entry_of[targets[position]]
                if entry >= 0:
                    shares[cells[entry] + term - first] += (
                        np.float64(factors[term]) * values[position]
                    )
        _forget_places(entry_of, items, start, stop)


@numba.njit(cache=True, nogil=True)
def _add_expansion(  # type: ignore[no-untyped-def]
    added_indptr,
    added,
    added_cells,
    says,
    row_indptr,
    targets,
    values,
    list_indptr,
    items,
    cells,
    n_items,
    shares,
):
    entry_of = np.full(n_items, -1, np.int64)
    for user in range(len(list_indptr) - 1):
        first, last = list_indptr[user], list_indptr[user + 1]
        _note_places(entry_of, items, first, last, 0)
        for one in range(added_indptr[user], added_indptr[user + 1]):
            start, stop = added_cells[one], added_cells[one + 1]
            for position in range(row_indptr[added[one]], row_indptr[added[one] + 1]):
                entry = entry_of[targets[position]]
                if entry >= 0:
                    for place in range(stop - start):
                        shares[cells[entry] + place] += says[start + place] * values[position]
        _forget_places(entry_of, items, first, last)


@numba.njit(cache=True, nogil=True)
def _add_neighbours(  # type: ignore[no-untyped-def]
    term_indptr,
    neighbours,
    row_indptr,
    targets,
    values,
    n_candidates,
    by_item_indptr,
    by_item_indices,
    by_item_values,
    own_indptr,
    own_items,
    own_weights,
    list_indptr,
    items,
    cells,
    n_items,
    shares,
):
    """Add w_h r_vh d_h^-e / |v| times r_vj, over the user's neighbours v that have h and j."""
    entry_of = np.full(n_items, -1, np.int64)
    place_of = np.full(n_candidates, -1, np.int64)
    for user in range(len(list_indptr) - 1):
        start, stop = list_indptr[user], list_indptr[user + 1]
        _note_places(entry_of, items, start, stop, start)
        first_term = term_indptr[user]
        has = np.zeros((term_indptr[user + 1] - first_term, stop - start))
        for place in range(len(has)):
            neighbour = neighbours[first_term + place]
            place_of[neighbour] = place
            for position in range(row_indptr[neighbour], row_indptr[neighbour + 1]):
                entry = entry_of[targets[position]]
                if entry >= 0:
                    has[place, entry] = values[position]
        first = own_indptr[user]
        for own in range(first, own_indptr[user + 1]):
            item = own_items[own]
            for q in range(by_item_indptr[item], by_item_indptr[item + 1]):
                place = place_of[by_item_indices[q]]
                if place >= 0:
                    similarity = np.float64(own_weights[own]) * by_item_values[q]
                    for entry in range(stop - start):
                        shares[cells[start + entry] + own - first] += similarity * has[place, entry]
        for place in range(len(has)):
            place_of[neighbours[first_term + place]] = -1
        _forget_places(entry_of, items, start, stop)


@numba.njit(cache=True, nogil=True)
def _fill_dot_products(  # type: ignore[no-untyped-def]
    own_indptr, own_items, factors, sources, targets, list_indptr, items, cells, shares
):
    for user in range(len(list_indptr) - 1):
        first = own_indptr[user]
        for entry in range(list_indptr[user], list_indptr[user + 1]):
            target = targets[items[entry]]
            for own in range(first, own_indptr[user + 1]):
                source = sources[own_items[own]]
                total = 0.0
                for column in range(len(target)):
                    total += np.float64(source[column]) * target[column]
                shares[cells[entry] + own - first] = factors[own] * total


@numba.njit(cache=True, nogil=True)
def _fill_least_squares(  # type: ignore[no-untyped-def]
    own_indptr,
    own_items,
    confidence,
    right_hand_side,
    regularisation,
    diagonal,
    axes,
    vectors,
    targets,
    list_indptr,
    items,
    cells,
    shares,
):
    """Fill t_h v_h^T A^-1 v_j, where A = D + sum_h c_h v_h v_h^T and D = gram + lambda I.

    Where the history is shorter than a factor, the smaller system (I + K C) x = v_h^T D^-1 v_j is
    solved, with K = V D^-1 V^T. The gram is its diagonal along `axes`, which turn the targets; axes
    without rows turn nothing.
    """
    rank = len(diagonal)
    for user in range(len(own_indptr) - 1):
        first, last = own_indptr[user], own_indptr[user + 1]
        start, stop = list_indptr[user], list_indptr[user + 1]
        if first == last or start == stop:
            continue
        history, listed = vectors[own_items[first:last]], targets[items[start:stop]]
        if len(axes):
            listed = np.dot(listed, axes)
        weights = confidence[first:last]
        damped = diagonal + regularisation[user]
        exact, turned = history.astype(np.float64), listed.T.astype(np.float64)
        if last - first < rank:
            scaled = exact / damped
            system = np.dot(scaled, exact.T) * weights
            for place in range(len(system)):
                system[place, place] += 1.0
            worth = np.linalg.solve(system, np.dot(scaled, turned))
        else:
            matrix = np.dot(np.ascontiguousarray(exact.T) * weights, exact)
            for place in range(rank):
                matrix[place, place] += damped[place]
            worth = np.dot(exact, np.linalg.solve(matrix, turned))
        for entry in range(start, stop):
            for place in range(last - first):
                shares[cells[entry] + place] = (
                    right_hand_side[first + place] * worth[place, entry - start]
                )
