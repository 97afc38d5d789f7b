"""Choose the weights by which the hybrid adds the standardised scores of its members.

score_uj = sum over members m of beta_m a_m(n_u) b_m(n_j) t_m(s_m(u, j)) / sigma_m

Here sigma_m is the standard deviation of the member's transformed scores over a sample of users and
all items. The factors a and b depend on the evidence, that is, on how many interactions the user
and the item have. So content decides about a new item, and behaviour takes over as it arrives. All
weights and factors are chosen by NDCG on validation, because a likelihood over all items would be
ruled by the tail and not by the top of the list.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from m6rec.kernels.arrays.rows import Float32, Float64, Int64, entries_of_rows
from m6rec.kernels.arrays.threads import Result, Threads, Work

# The bins of evidence: no interaction, 1 or 2, 3 to 9, 10 and more, and those items without
# interactions of which pictures alone are known, which other members know better than others.
EVIDENCE_BOUNDS = (1, 3, 10)
BIN_LABELS = ("no interaction", "1 or 2", "3 to 9", "10 and more", "pictures alone")
BINS = len(BIN_LABELS)
# Stands in place of the number of interactions of an item of the last bin.
PICTURES_ALONE = -1

STEPS = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
FACTOR_STEPS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0)
# Too small to change an order that another member makes, also of a user whose weights are tiny or
# have halved thirty times. Multiplied by two factors as small, it still is a number of 32 bits.
LEAST_WEIGHT = 1e-12
# A choice between settings is made only where the mean gain over users is more than so many of its
# standard errors: a smaller gain is as likely to be lost on other users.
LEAST_STANDARD_ERRORS = 1.0
# Weights are the means of those that so many samples of the users lead to.
RESAMPLES = 24
# Larger samples cost more and lead to the same means.
_MAXIMUM_USERS_OF_SAMPLE = 4_000
# Samples that are searched at once have about as many bytes together.
_BYTES_OF_SAMPLES = 4 << 30
# The first one in so many places of a list, which is the first fifth, counts twice.
_HEAD_OF = 5
# A smaller gain is a rounding error, even if all users agree in it.
_LEAST_MEAN_GAIN = 1e-9

Factors = tuple[tuple[float, ...], ...]


def evidence_bins(counts: npt.NDArray[Any]) -> Int64:
    """int64: the bin of evidence for each number of interactions, or `PICTURES_ALONE`."""
    bins = np.searchsorted(np.array(EVIDENCE_BOUNDS), counts, side="right")
    return np.where(counts == PICTURES_ALONE, BINS - 1, bins).astype(np.int64)


@dataclass(frozen=True)
class Blend:
    """A ranker as a weighted sum of members.

    Attributes:
        name: the ranker's name.
        members: the members' names.
        weights: [members], non-negative; beta.
        deviations: [members]; sigma.
        item_factors: [members][bins]; b for each bin of an item's evidence; empty means 1.
        user_factors: [members][bins]; a for each bin of a user's evidence; empty means 1.
    """

    name: str
    members: tuple[str, ...]
    weights: tuple[float, ...]
    deviations: tuple[float, ...]
    item_factors: Factors = ()
    user_factors: Factors = ()

    def coefficients(self) -> dict[str, float]:
        """weight / deviation of each member with a weight, by name; evidence is left out."""
        return {
            member: weight / deviation
            for member, weight, deviation in zip(
                self.members, self.weights, self.deviations, strict=True
            )
            if weight > 0.0
        }

    def item_factors_of(self, member: str) -> Float64:
        """float64 [bins]: the member's factor for each bin of an item's evidence."""
        return self._factors(self.item_factors, member)

    def user_factors_of(self, member: str) -> Float64:
        """float64 [bins]: the member's factor for each bin of a user's evidence."""
        return self._factors(self.user_factors, member)

    def _factors(self, factors: Factors, member: str) -> Float64:
        return np.array(factors[self.members.index(member)]) if factors else np.ones(BINS)


@dataclass(frozen=True)
class Candidates:
    """Candidate items of some validation users with every member's scores.

    Attributes:
        indptr: int64 [users + 1] into the candidates.
        scores: float32 [members, candidates]; transformed and divided by the deviations.
        relevant: bool [candidates]; whether the candidate is one of the user's held-out items.
        relevant_counts: int64 [users]; how many held-out items each user has, candidates or not.
        item_bins: int64 [candidates]; the bin of each candidate's evidence.
        user_bins: int64 [users]; the bin of each user's evidence.
        owners: int64 [users]; a number for each real user (in each domain), of whom there may be
            several copies, which are no evidence of their own.
    """

    indptr: Int64
    scores: Float32
    relevant: npt.NDArray[np.bool_]
    relevant_counts: Int64
    item_bins: Int64
    user_bins: Int64
    owners: Int64

    @property
    def measured_owners(self) -> Int64:
        """int64: the owners of the users with held-out items, as `ndcg_of_users` has these."""
        return self.owners[self.relevant_counts > 0]

    @property
    def bins_of_users(self) -> Int64:
        """int64 [candidates]: the bin of evidence of each candidate's user."""
        return np.repeat(self.user_bins, np.diff(self.indptr))

    def rests_on(self) -> dict[str, list[int]]:
        """How many held-out items are candidates, for each bin of `items` and of `users`.

        Those of a user's copies count once.
        """
        hits = np.flatnonzero(self.relevant)
        users = np.searchsorted(self.indptr, hits, side="right") - 1
        places = np.stack([self.owners[users], hits - self.indptr[users]])
        _, first = np.unique(places, axis=1, return_index=True)
        of_items = self.item_bins[hits[first]]
        of_users = self.user_bins[users[first]]
        counted = {"items": of_items, "users": of_users}
        return {side: np.bincount(bins, minlength=BINS).tolist() for side, bins in counted.items()}

    def of_users(self, chosen: Int64) -> "Candidates":
        """The candidates of some users, int64 [m], in that order."""
        indptr, entries = entries_of_rows(self.indptr, chosen)
        return Candidates(
            indptr,
            # Indexing by [:, entries] takes six times as long.
            np.take(self.scores, entries, axis=1),
            self.relevant[entries],
            self.relevant_counts[chosen],
            self.item_bins[entries],
            self.user_bins[chosen],
            self.owners[chosen],
        )


@dataclass(frozen=True)
class ChosenWeights:
    """The weights and factors that a search has chosen.

    Attributes:
        weights: float64 [members]; the largest is 1.
        item_factors, user_factors: float64 [members, bins].
        ndcg: the NDCG@k that they reach on validation.
        trials: how many combinations were scored on validation.
    """

    weights: Float64
    item_factors: Float64
    user_factors: Float64
    ndcg: float
    trials: int


def with_least_weight(chosen: ChosenWeights, member: int) -> ChosenWeights:
    """The weights with `LEAST_WEIGHT` at least for the member at this place.

    Its weight times its factor is no less for users without interactions, nor for any evidence of
    items, so that it orders the items of users of whom no other member knows anything.
    """
    weights, of_items = chosen.weights.copy(), chosen.item_factors.copy()
    of_users = chosen.user_factors.copy()
    weights[member] = max(weights[member], LEAST_WEIGHT)
    least = LEAST_WEIGHT / weights[member]
    of_items[member] = np.maximum(of_items[member], least)
    of_users[member, 0] = max(of_users[member, 0], least)
    return replace(chosen, weights=weights, item_factors=of_items, user_factors=of_users)


def with_weight_for_new_users(chosen: ChosenWeights, member: int) -> ChosenWeights:
    """The weights of which the member at this place has the largest for users without interactions.

    Its weight times its factor is 1 for them. For all other users it stays what it was.
    """
    weights, of_users = chosen.weights.copy(), chosen.user_factors.copy()
    of_items = chosen.item_factors.copy()
    if weights[member] == 0.0:
        weights[member], of_users[member], of_items[member] = 1.0, 0.0, 1.0
    of_users[member, 0] = 1.0 / weights[member]
    return replace(chosen, weights=weights, item_factors=of_items, user_factors=of_users)


def ndcg_of_users(candidates: Candidates, blended: Float32, k: int) -> Float64:
    """float64 [users with held-out items]: NDCG@k, where the ideal has min(k, relevant) hits.

    Args:
        candidates: the users' candidates.
        blended: float32 [candidates]; the scores that order them.
        k: depth of the lists.
    """
    of_users: Float64 = _ndcg_of_steps(candidates, blended, blended, (0.0,), _discounts(k))[0]
    return of_users


def blended_scores(candidates: Candidates, chosen: ChosenWeights) -> Float32:
    """float32 [candidates]: the members' scores, added with the chosen weights and factors."""
    blended = np.zeros(candidates.scores.shape[1], np.float32)

    def add(users: slice) -> None:
        for member, weight in enumerate(chosen.weights):
            factors = np.outer(chosen.user_factors[member], chosen.item_factors[member])
            _add_member(
                candidates.indptr[users.start : users.stop + 1],
                candidates.scores[member],
                candidates.item_bins,
                candidates.user_bins[users],
                (weight * factors).astype(np.float32),
                blended,
            )

    with Threads() as threads:
        threads.run(add, threads.parts_of_rows(candidates.indptr))
    return blended


@numba.njit(cache=True, nogil=True)
def _add_member(indptr, scores, item_bins, user_bins, factors, blended):  # type: ignore[no-untyped-def]
    """Add a member's scores, multiplied by the factors float32 [bins of users, bins of items]."""
    for user in range(len(user_bins)):
        of_user = factors[user_bins[user]]
        for candidate in range(indptr[user], indptr[user + 1]):
            blended[candidate] += of_user[item_bins[candidate]] * scores[candidate]


def choose_weights(
    candidates: Candidates,
    k: int,
    rounds: int,
    by_evidence: bool = True,
    resamples: int = RESAMPLES,
    standard_errors: float = 0.0,
) -> ChosenWeights:
    """Choose non-negative weights by coordinate searches, each from the best member on.

    What is measured is an NDCG@k in which the first fifth of the places counts twice: depth has
    less noise, since validation holds out few items, and the first places are what users see.

    Which way a search goes depends on a few users. So there is one on each of some samples of the
    users, drawn with replacement, and their weights and factors are averaged (bagging, Breiman
    1996). A member to which less than half of the searches give a weight has none (stability
    selection, Meinshausen and Buehlmann 2010, section 2.2), so that it need not be trained.

    Args:
        candidates: the users' candidates.
        k: depth of the NDCG.
        rounds: how often a search goes over all members, at most.
        by_evidence: whether factors by evidence are chosen; otherwise all of them are 1.
        resamples: how many samples are drawn; with 1, all users are searched once.
        standard_errors: a step of a search is taken where its mean gain over users is more than so
            many of its standard errors.
    """

    def search(number: int) -> ChosenWeights:
        sample = _sample(candidates, number, resamples)
        return _search_once(*sample, k, rounds, by_evidence, standard_errors)

    if resamples == 1:
        # Its steps are then divided among the threads.
        found = [search(0)]
        return _measured(candidates, found, k)
    share = min(_MAXIMUM_USERS_OF_SAMPLE / max(len(candidates.relevant_counts), 1), 1.0)
    found = run_searches(search, range(resamples), share * candidates.scores.nbytes)
    return _measured(candidates, found, k)


def run_searches(
    search: Callable[[Work], Result], parts: Sequence[Work], bytes_of_sample: float
) -> list[Result]:
    """What a search finds for each part, in order; as many run at once as memory is planned for.

    Args:
        search: of one part, which holds a sample of candidates.
        parts: what to search.
        bytes_of_sample: the size of its scores.
    """
    at_once = max(1, int(_BYTES_OF_SAMPLES / max(bytes_of_sample, 1.0)))
    found = list[Result]()
    with Threads() as threads:
        for first in range(0, len(parts), at_once):
            found += threads.run(search, parts[first : first + at_once])
    return found


def _measured(candidates: Candidates, found: Sequence[ChosenWeights], k: int) -> ChosenWeights:
    """The mean of what searches have found, with what it reaches on all users."""
    together = _averaged(found)
    ndcg = ndcg_of_users(candidates, blended_scores(candidates, together), k)
    return replace(together, ndcg=float(ndcg.mean()))


def _sample(candidates: Candidates, number: int, resamples: int) -> tuple[Candidates, Float64]:
    """Candidates of the users of the sample of that number, and how often each was drawn."""
    if resamples == 1:
        return candidates, np.ones(len(candidates.relevant_counts))
    measured = np.flatnonzero(candidates.relevant_counts)
    size = min(len(measured), _MAXIMUM_USERS_OF_SAMPLE)
    drawn = np.random.default_rng([len(measured), number]).choice(measured, size)
    chosen, counts = np.unique(drawn, return_counts=True)
    return candidates.of_users(chosen), counts.astype(np.float64)


def _averaged(found: Sequence[ChosenWeights]) -> ChosenWeights:
    """The mean of the weights, and of the factors by how much weight each search gives them."""
    all_weights = np.array([one.weights for one in found])
    total = all_weights.sum(axis=0)
    kept = 2 * np.count_nonzero(all_weights, axis=0) >= len(found)
    # Searches that agree in no member still have to leave one.
    kept[np.argmax(total)] = True

    def mean_factors(factors: Sequence[Float64]) -> Float64:
        summed = np.einsum("sm,smb->mb", all_weights, np.array(factors))
        return np.where(kept[:, None], summed / np.where(kept, total, 1.0)[:, None], 1.0)

    weights = np.where(kept, total, 0.0)
    return ChosenWeights(
        weights / weights.max(),
        mean_factors([one.item_factors for one in found]),
        mean_factors([one.user_factors for one in found]),
        0.0,
        sum(one.trials for one in found),
    )


def _search_once(
    candidates: Candidates,
    counts: Float64,
    k: int,
    rounds: int,
    by_evidence: bool,
    standard_errors: float,
) -> ChosenWeights:
    """The weights, then the factors of the items, then those of the users, by one search.

    `counts`, float64 [users], says how often each user counts. Members that add nothing keep the
    weight zero.
    """
    search = _Search(candidates, counts, k, standard_errors)
    members = len(candidates.scores)
    singles = [search.measured(scores) for scores in candidates.scores]
    order = np.argsort([-search.mean(single) for single in singles], kind="stable")
    first = int(order[0])
    weights, reached = np.eye(members)[first], singles[first]
    blended = candidates.scores[first].copy()
    cells = [_Cell(weights, (int(member),), candidates.scores[member]) for member in order]
    reached = search.improve(cells, STEPS, blended, reached, rounds)
    item_factors, user_factors = np.ones((members, BINS)), np.ones((members, BINS))
    if by_evidence:
        reached = _choose_factors(
            search, weights, blended, reached, order, item_factors, user_factors
        )
    return ChosenWeights(
        weights / weights.max(),
        item_factors,
        user_factors,
        search.mean(reached),
        search.trials,
    )


def improved(candidates: Candidates, start: ChosenWeights, k: int, rounds: int) -> ChosenWeights:
    """The weights that one search on all users reaches from others; the factors stay as they are.

    Where no member has a weight, the search begins at the best one.

    Args:
        candidates: the users' candidates.
        start: the weights to begin with, and the factors.
        k, rounds: as for `choose_weights`.
    """
    search = _Search(candidates, np.ones(len(candidates.relevant_counts)), k, 0.0)
    alone = [
        blended_scores(candidates, replace(start, weights=one))
        for one in np.eye(len(start.weights))
    ]
    weights = start.weights.copy()
    if not weights.any():
        weights[np.argmax([search.measured(scores).mean() for scores in alone])] = 1.0
    blended = blended_scores(candidates, replace(start, weights=weights))
    order = np.argsort(-weights, kind="stable")
    cells = [_Cell(weights, (int(member),), alone[member]) for member in order]
    reached = search.improve(cells, STEPS, blended, search.measured(blended), rounds)
    return replace(
        start, weights=weights / weights.max(), ndcg=search.mean(reached), trials=search.trials
    )


def _choose_factors(
    search: "_Search",
    weights: Float64,
    blended: Float32,
    reached: Float64,
    order: Int64,
    item_factors: Float64,
    user_factors: Float64,
) -> Float64:
    """Choose the factors of the members with a weight, in place; return what is measured."""
    # A factor multiplies a member's scores of all items, or of all users, of one bin.
    candidates = search.candidates
    chosen = [int(member) for member in order if weights[member] > 0.0]
    bins_of_users = candidates.bins_of_users
    for factors, bins in (
        (item_factors, candidates.item_bins),
        (user_factors, bins_of_users),
    ):
        present = np.flatnonzero(np.bincount(bins, minlength=BINS))
        if len(present) < 2:
            continue
        for member in chosen:
            of_member = np.outer(user_factors[member], weights[member] * item_factors[member])
            scores = _by_bins(
                candidates.scores[member],
                candidates.item_bins,
                bins_of_users,
                of_member,
                bins,
                present,
            )
            cells = [
                _Cell(factors, (member, int(one)), of_bin)
                for one, of_bin in zip(present, scores, strict=True)
            ]
            reached = search.improve(cells, FACTOR_STEPS, blended, reached, 1)
    return reached


@numba.njit(cache=True, nogil=True)
def _by_bins(scores, item_bins, user_bins, factors, bins, present):  # type: ignore[no-untyped-def]
    """A member's scores, multiplied by the factors, apart for each of the present bins.

    Args:
        scores, item_bins, user_bins, bins: [candidates].
        factors: float64 [bins of users, bins of items].
        present: int64 [m]; some of `bins`.

    Returns:
        float32 [m, candidates]; zero where a candidate is of another bin.
    """
    found = np.zeros((len(present), len(scores)), np.float32)
    for row in range(len(present)):
        for candidate in range(len(scores)):
            if bins[candidate] == present[row]:
                factor = factors[user_bins[candidate], item_bins[candidate]]
                found[row, candidate] = factor * np.float64(scores[candidate])
    return found


@dataclass(frozen=True)
class _Cell:
    """One number of the search: where it stands, and what it multiplies.

    Attributes:
        array, place: the number is array[place].
        scores: float32 [candidates]; what the number multiplies.
    """

    array: Float64
    place: tuple[int, ...]
    scores: Float32


class _Search:
    """Measures combinations on the candidates and counts how many were measured."""

    def __init__(
        self, candidates: Candidates, counts: Float64, k: int, standard_errors: float
    ) -> None:
        self.candidates = candidates
        self._counts = counts[candidates.relevant_counts > 0]
        self._standard_errors = standard_errors
        self._discounts = _discounts(k)
        self._discounts[: k // _HEAD_OF] *= 2.0
        self.trials = 0

    def measured(self, blended: Float32) -> Float64:
        """float64 [users with held-out items]: what is measured of the scores."""
        of_users: Float64 = self._of_steps(blended, blended, (0.0,))[0]
        return of_users

    def mean(self, of_users: Float64) -> float:
        """The mean over the users, each as often as it counts."""
        return float(np.average(of_users, weights=self._counts))

    def _of_steps(self, blended: Float32, scores: Float32, steps: Sequence[float]) -> Float64:
        """float64 [steps, users with held-out items]: of blended + step * scores."""
        self.trials += len(steps)
        return _ndcg_of_steps(self.candidates, blended, scores, steps, self._discounts)

    def improve(
        self,
        cells: Sequence[_Cell],
        steps: Sequence[float],
        blended: Float32,
        reached: Float64,
        rounds: int,
    ) -> Float64:
        """Set each cell in turn to its best step; `blended` and the arrays change in place.

        Args:
            cells: the numbers to set.
            steps: the values that each may take.
            blended: float32 [candidates]; the scores so far.
            reached: float64 [users with held-out items]; what is measured so far.
            rounds: how often the search goes over all cells, at most.

        Returns:
            float64 [users with held-out items]: what is measured in the end.
        """
        for _ in range(rounds):
            before = reached
            for cell in cells:
                current = cell.array[cell.place]
                differences = [step - current for step in steps]
                tried = self._of_steps(blended, cell.scores, differences)
                chosen = int(np.argmax([self.mean(one) for one in tried]))
                trial = cell.array.copy()
                trial[cell.place] = steps[chosen]
                gains = tried[chosen] - reached
                if trial.any() and is_above_noise(gains, self._standard_errors, self._counts):
                    blended += np.float32(steps[chosen] - current) * cell.scores
                    cell.array[cell.place] = steps[chosen]
                    reached = tried[chosen]
            if reached is before:
                break
        return reached


def is_above_noise(
    gains: Float64,
    standard_errors: float = LEAST_STANDARD_ERRORS,
    counts: Float64 | None = None,
) -> bool:
    """Whether the mean of users' gains is more than so many of its standard errors above zero.

    `counts`, float64 [users], says how often each user counts; once unless given.
    """
    times = np.ones(len(gains)) if counts is None else counts
    mean = np.average(gains, weights=times)
    variance = np.average((gains - mean) ** 2, weights=times)
    standard_error = np.sqrt(variance / times.sum())
    return bool(mean > max(standard_errors * standard_error, _LEAST_MEAN_GAIN))


def _discounts(k: int) -> Float64:
    discounts: Float64 = 1.0 / np.log2(np.arange(k) + 2.0)
    return discounts


def _ndcg_of_steps(
    candidates: Candidates,
    blended: Float32,
    scores: Float32,
    steps: Sequence[float],
    discounts: Float64,
) -> Float64:
    """float64 [steps, users with held-out items]: NDCG of blended + step * scores."""
    of_users = np.empty((len(steps), len(candidates.relevant_counts)))

    def measure(users: slice) -> None:
        _measure_steps(
            candidates.indptr[users.start : users.stop + 1],
            blended,
            scores,
            np.array(steps, np.float32),
            candidates.relevant,
            candidates.relevant_counts[users],
            discounts,
            of_users[:, users],
        )

    with Threads() as threads:
        threads.run(measure, threads.parts_of_rows(candidates.indptr))
    return of_users[:, candidates.relevant_counts > 0]


@numba.njit(cache=True, nogil=True)
def _measure_steps(  # type: ignore[no-untyped-def]
    indptr, blended, added, steps, relevant, relevant_counts, discounts, of_users
):
    k = len(discounts)
    largest = np.diff(indptr).max() if len(indptr) > 1 else 0
    scores, places = np.empty(largest, dtype=np.float32), np.empty(largest, dtype=np.int64)
    for user in range(len(indptr) - 1):
        if relevant_counts[user] == 0:
            continue
        start, size = indptr[user], indptr[user + 1] - indptr[user]
        found = 0
        for candidate in range(size):
            if relevant[start + candidate]:
                places[found] = candidate
                found += 1
        if found == 0:
            of_users[:, user] = 0.0
            continue
        ideal = 0.0
        for rank in range(min(k, relevant_counts[user])):
            ideal += discounts[rank]
        base, more = blended[start : start + size], added[start : start + size]
        for one in range(len(steps)):
            step = steps[one]
            if step == 0.0:
                gain = _gain(base, places[:found], discounts)
            else:
                for candidate in range(size):
                    scores[candidate] = base[candidate] + step * more[candidate]
                gain = _gain(scores[:size], places[:found], discounts)
            of_users[one, user] = gain / ideal


@numba.njit(cache=True, nogil=True)
def _gain(scores, relevant, discounts):  # type: ignore[no-untyped-def]
    """The summed discounts of the candidates at the places `relevant`."""
    gain = 0.0
    for candidate in relevant:
        # The candidate's rank from 0; of equal scores the first candidate ranks higher.
        score = scores[candidate]
        rank = _above(scores, score)
        if rank < len(discounts):
            rank += _equal(scores[:candidate], score)
        if rank < len(discounts):
            gain += discounts[rank]
    return gain


# Vector instructions need a count as narrow as a score, and a loop over indices that begins at 0.
@numba.njit(cache=True, nogil=True)
def _above(scores, bound):  # type: ignore[no-untyped-def]
    count = np.int32(0)
    for candidate in range(len(scores)):
        count += np.int32(scores[candidate] > bound)
    return count


@numba.njit(cache=True, nogil=True)
def _equal(scores, value):  # type: ignore[no-untyped-def]
    count = np.int32(0)
    for candidate in range(len(scores)):
        count += np.int32(scores[candidate] == value)
    return count
