"""The hybrid: members' standardised scores, added with weights chosen on validation.

score = sum over members m of beta_m t_m(score_m) / sigma_m, where sigma_m is the standard
deviation of the member's transformed scores over a sample of users and all items. The weights are
chosen by validation NDCG: likelihood over all items is ruled by the tail, not by the top of the
list.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from m6rec.kernels.rows import Float32, Float64, Int64

STEPS = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
LEAST_GAIN = 2e-4


@dataclass(frozen=True)
class Blend:
    """A ranker as a weighted sum of members.

    Attributes:
        name: the ranker's name.
        members: names of the members with a weight.
        weights: float64 [members], non-negative.
        deviations: float64 [members]: sigma of each member.
    """

    name: str
    members: tuple[str, ...]
    weights: tuple[float, ...]
    deviations: tuple[float, ...]

    def coefficients(self) -> dict[str, float]:
        """The factor of each member's transformed score: weight / deviation."""
        return {
            member: weight / deviation
            for member, weight, deviation in zip(
                self.members, self.weights, self.deviations, strict=True
            )
            if weight > 0.0
        }


@dataclass(frozen=True)
class Candidates:
    """Candidate items of some validation users with every member's score.

    Attributes:
        offsets: int64 [users + 1] into the candidates.
        scores: float32 [candidates, members], transformed and divided by the deviations.
        relevant: bool [candidates]: whether the user's held-out items hold the candidate.
        relevant_counts: int64 [users]: held-out items of each user, candidates or not.
    """

    offsets: Int64
    scores: Float32
    relevant: npt.NDArray[np.bool_]
    relevant_counts: Int64

    def subset(self, columns: Sequence[int]) -> "Candidates":
        """The same candidates with some of the members only."""
        return Candidates(
            self.offsets,
            np.ascontiguousarray(self.scores[:, list(columns)]),
            self.relevant,
            self.relevant_counts,
        )


def mean_ndcg(candidates: Candidates, weights: Float64, k: int) -> float:
    """NDCG@k over users of the weighted sum of members; the ideal is over min(k, relevant)."""
    blended = candidates.scores @ weights.astype(np.float32)
    return float(
        _mean_ndcg(
            candidates.offsets,
            blended,
            candidates.relevant,
            candidates.relevant_counts,
            1.0 / np.log2(np.arange(k) + 2.0),
        )
    )


def choose_weights(candidates: Candidates, k: int, rounds: int) -> tuple[Float64, float]:
    """Non-negative weights by coordinate search on NDCG@k, from the best single member.

    A step that gains less than 0.0002 is not taken, so that members which add nothing stay at
    zero.

    Returns:
        float64 [members] weights, largest 1, and the NDCG@k that they reach.
    """
    n_members = candidates.scores.shape[1]
    singles = [mean_ndcg(candidates, np.eye(n_members)[m], k) for m in range(n_members)]
    weights = np.eye(n_members)[int(np.argmax(singles))]
    best = max(singles)
    for _ in range(rounds):
        before = best
        for member in np.argsort(singles)[::-1]:
            for step in STEPS:
                trial = weights.copy()
                trial[member] = step
                if not trial.any():
                    continue
                value = mean_ndcg(candidates, trial, k)
                if value > best + LEAST_GAIN:
                    weights, best = trial, value
        if best <= before:
            break
    return weights / weights.max(), best


@numba.njit(cache=True, nogil=True)
def _mean_ndcg(offsets, scores, relevant, relevant_counts, discounts):  # type: ignore[no-untyped-def]
    k = len(discounts)
    total = 0.0
    users = 0
    top_scores = np.empty(k, dtype=np.float32)
    top_relevant = np.empty(k, dtype=np.bool_)
    for user in range(len(offsets) - 1):
        if relevant_counts[user] == 0:
            continue
        users += 1
        size = 0
        for position in range(offsets[user], offsets[user + 1]):
            score = scores[position]
            if size == k and score <= top_scores[k - 1]:
                continue
            slot = min(size, k - 1)
            while slot > 0 and top_scores[slot - 1] < score:
                top_scores[slot] = top_scores[slot - 1]
                top_relevant[slot] = top_relevant[slot - 1]
                slot -= 1
            top_scores[slot] = score
            top_relevant[slot] = relevant[position]
            size = min(size + 1, k)
        gain = 0.0
        for rank in range(size):
            if top_relevant[rank]:
                gain += discounts[rank]
        ideal = 0.0
        for rank in range(min(k, relevant_counts[user])):
            ideal += discounts[rank]
        total += gain / ideal
    return total / max(users, 1)
